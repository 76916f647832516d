//! What the roles of one user let it read and write, merged: ranges that touch have become one, so that
//! a range of keys is permitted when one of them holds all of it.

use bytes::Bytes;
use etcd_protocol::authpb::{Permission, permission::Type};

use crate::mvcc::{KeyRange, RangeEnd};

/// One merged range: from `start` to before `end`; `None` for every key from the start on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    start: Bytes,
    end: Option<Bytes>,
}

/// Merged ranges, ascending; none touches the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ranges(Vec<Range>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    read: Ranges,
    write: Ranges,
}

impl Permissions {
    pub fn merge<'a>(permissions: impl IntoIterator<Item = &'a Permission>) -> Self {
        let (mut read, mut write) = (Vec::new(), Vec::new());
        for permission in permissions {
            let range = range_of(permission);
            match permission.perm_type() {
                Type::Read => read.push(range),
                Type::Write => write.push(range),
                Type::Readwrite => {
                    read.push(range.clone());
                    write.push(range);
                }
            }
        }
        Self { read: Ranges::merge(read), write: Ranges::merge(write) }
    }

    pub fn may_read(&self, keys: KeyRange<'_>) -> bool {
        self.read.hold(keys)
    }

    pub fn may_write(&self, keys: KeyRange<'_>) -> bool {
        self.write.hold(keys)
    }
}

fn range_of(permission: &Permission) -> Range {
    let start = permission.key.clone();
    let end = match permission.range_end.as_ref() {
        // One key: up to the next that there can be.
        [] => Some([start.as_ref(), &[0]].concat().into()),
        [0] => None,
        end => Some(Bytes::copy_from_slice(end)),
    };
    Range { start, end }
}

impl Ranges {
    fn merge(mut ranges: Vec<Range>) -> Self {
        ranges.sort_by(|a, b| a.start.cmp(&b.start));
        let mut merged: Vec<Range> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(last) if last.end.as_ref().is_none_or(|end| range.start <= *end) => {
                    last.end = match (last.end.take(), range.end) {
                        (Some(a), Some(b)) => Some(a.max(b)),
                        _ => None,
                    };
                }
                _ => merged.push(range),
            }
        }
        Self(merged)
    }

    fn hold(&self, keys: KeyRange<'_>) -> bool {
        let after = self.0.partition_point(|range| range.start.as_ref() <= keys.start);
        let Some(range) = after.checked_sub(1).and_then(|at| self.0.get(at)) else { return false };
        let Some(end) = range.end.as_deref() else { return true };
        keys.start < end
            && match keys.end {
                RangeEnd::Single => true,
                RangeEnd::Before(wanted) => wanted <= end,
                RangeEnd::Open => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(kind: Type, key: &str, end: &str) -> Permission {
        Permission {
            perm_type: kind.into(),
            key: key.as_bytes().to_vec().into(),
            range_end: end.as_bytes().to_vec().into(),
        }
    }

    #[test]
    fn ranges_that_touch_are_one() {
        let given = [
            permission(Type::Read, "a", "c"),
            permission(Type::Read, "c", "e"),
            permission(Type::Readwrite, "g", ""),
            permission(Type::Write, "x", "\0"),
        ];
        let merged = Permissions::merge(&given);
        let check = |start: &str, end: &str, expected: (bool, bool)| {
            let keys = KeyRange::new(start.as_bytes(), end.as_bytes());
            assert_eq!((merged.may_read(keys), merged.may_write(keys)), expected, "{start}..{end}");
        };
        check("a", "", (true, false));
        check("b", "d", (true, false));
        check("a", "e", (true, false));
        check("a", "e\0", (false, false));
        check("e", "", (false, false));
        check("Z", "b", (false, false));
        check("a", "\0", (false, false));
        check("g", "", (true, true));
        check("g", "g\0", (true, true));
        check("g", "h", (false, false));
        check("g\0", "", (false, false));
        check("x", "\0", (false, true));
        check("zzz", "", (false, true));
        check("z", "zz", (false, true));
        check("w", "\0", (false, false));
    }
}
