//! Which ranges of the node's ids belong to which pod. Pure.
//!
//! The kubelet's ids are cut into ranges of equal length; a pod has one whole range, and no two pods share any.

use std::collections::{BTreeMap, BTreeSet};

/// The smallest range, and what every range is a multiple of.
pub const UNIT: u32 = 65536;

/// The ids that the node gives to pods: the first, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The first id.
    pub first: u32,
    /// How many there are.
    pub length: u32,
}

impl Pool {
    /// Where nothing is configured: all ids but the lowest, which are the node's own users.
    pub fn of_node(ids_per_pod: u32) -> Self {
        // As many as fit into 32 bits after those of the node: without overflow, as `ids_per_pod` is not zero.
        Self { first: ids_per_pod, length: 0_u32.wrapping_sub(ids_per_pod) }
    }
}

/// Who has which range.
#[derive(Debug)]
pub struct Ranges {
    /// Ids of each pod.
    per_pod: u32,
    /// The pool's first id, counted in ranges.
    offset: u32,
    /// Ranges of the pool.
    count: u32,
    /// First ids, by the pod's uid.
    by_pod: BTreeMap<String, u32>,
    taken: BTreeSet<u32>,
    /// Where the next free range is looked for: one that was just given back is not given away at once.
    next: u32,
}

impl Ranges {
    /// Nobody has anything yet.
    ///
    /// # Errors
    /// When the pool cannot be cut so, in upstream's words.
    pub fn new(pool: Pool, per_pod: u32, max_pods: u32) -> Result<Self, String> {
        let Pool { first, length } = pool;
        if per_pod == 0 || !per_pod.is_multiple_of(UNIT) {
            return Err(format!("kubelet user namespace length {per_pod} is not a multiple of {UNIT}"));
        }
        if !first.is_multiple_of(per_pod) {
            return Err(format!("kubelet user assigned ID {first} is not a multiple of {per_pod}"));
        }
        if first < per_pod {
            return Err(format!("kubelet user assigned ID {first} must be greater or equal to {per_pod}"));
        }
        if !length.is_multiple_of(per_pod) {
            return Err(format!("kubelet user assigned IDs length {length} is not a multiple of {per_pod}"));
        }
        if length / per_pod < max_pods {
            return Err(format!("kubelet user assigned IDs are not enough to support {max_pods} pods"));
        }
        let (by_pod, taken) = Default::default();
        Ok(Self { per_pod, offset: first / per_pod, count: length / per_pod, by_pod, taken, next: 0 })
    }

    /// Ids of each pod.
    pub fn per_pod(&self) -> u32 {
        self.per_pod
    }

    /// The first id of a pod's range.
    pub fn of(&self, uid: &str) -> Option<u32> {
        self.by_pod.get(uid).copied()
    }

    /// Gives a pod a range that nobody has; answers its first id.
    ///
    /// # Errors
    /// When none is left.
    pub fn give(&mut self, uid: &str) -> Result<u32, String> {
        let order = (self.next..self.count).chain(0..self.next);
        let free = order.into_iter().find(|range| !self.taken.contains(range));
        let range = free.ok_or("could not find an empty slot to allocate a user namespace")?;
        self.taken.insert(range);
        self.next = (range + 1) % self.count;
        let first = (range + self.offset) * self.per_pod;
        self.by_pod.insert(uid.to_owned(), first);
        Ok(first)
    }

    /// A pod has this range, as the kubelet before this one wrote down.
    ///
    /// # Errors
    /// When that cannot be, in upstream's words.
    pub fn record(&mut self, uid: &str, first: u32, length: u32) -> Result<(), String> {
        if length != self.per_pod {
            return Err(format!("wrong user namespace length {length}"));
        }
        if !first.is_multiple_of(self.per_pod) {
            return Err(format!("wrong user namespace offset specified {first}"));
        }
        match self.by_pod.get(uid) {
            Some(known) if *known == first => return Ok(()),
            Some(_) => return Err(format!("different user namespace range already used by pod {uid:?}")),
            None => {}
        }
        let range = (first / self.per_pod).checked_sub(self.offset).filter(|range| *range < self.count);
        let range = range.ok_or_else(|| format!("id {first} is out of range"))?;
        if !self.taken.insert(range) {
            return Err(format!("range picked for pod {uid:?} already taken"));
        }
        self.by_pod.insert(uid.to_owned(), first);
        Ok(())
    }

    /// A pod needs its range no longer; `false` where it had none.
    pub fn release(&mut self, uid: &str) -> bool {
        let Some(first) = self.by_pod.remove(uid) else { return false };
        self.taken.remove(&(first / self.per_pod - self.offset));
        true
    }

    /// The pods that have ranges.
    pub fn pods(&self) -> impl Iterator<Item = &String> {
        self.by_pod.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Ranges {
        Ranges::new(Pool { first: 2 * UNIT, length: 3 * UNIT }, UNIT, 3).unwrap()
    }

    #[test]
    fn pods_share_no_ids_and_what_was_given_back_comes_last() {
        let mut ranges = three();
        assert_eq!(ranges.give("a"), Ok(2 * UNIT));
        assert_eq!(ranges.give("b"), Ok(3 * UNIT));
        assert!(ranges.release("a") && !ranges.release("a"));
        assert_eq!(ranges.give("c"), Ok(4 * UNIT));
        assert_eq!(ranges.give("d"), Ok(2 * UNIT));
        assert_eq!(
            ranges.give("e").unwrap_err(),
            "could not find an empty slot to allocate a user namespace"
        );
        assert_eq!((ranges.of("b"), ranges.of("e")), (Some(3 * UNIT), None));
    }

    #[test]
    fn what_is_written_down_is_believed_only_where_it_can_be() {
        let mut ranges = three();
        assert_eq!(ranges.record("a", 3 * UNIT, UNIT), Ok(()));
        assert_eq!(ranges.record("a", 3 * UNIT, UNIT), Ok(()), "once more");
        let mut refused = |uid: &str, first, length| ranges.record(uid, first, length).unwrap_err();
        assert_eq!(refused("a", 4 * UNIT, UNIT), "different user namespace range already used by pod \"a\"");
        assert_eq!(refused("b", 3 * UNIT, UNIT), "range picked for pod \"b\" already taken");
        assert_eq!(refused("b", UNIT, UNIT), "id 65536 is out of range");
        assert_eq!(refused("b", 5 * UNIT, UNIT), "id 327680 is out of range");
        assert_eq!(refused("b", 4 * UNIT, 1), "wrong user namespace length 1");
        assert_eq!(refused("b", 4 * UNIT + 1, UNIT), "wrong user namespace offset specified 262145");
        assert_eq!(ranges.give("c"), Ok(2 * UNIT));
        assert_eq!(ranges.give("d"), Ok(4 * UNIT), "the one that is taken is passed over");
    }

    #[test]
    fn pools_that_cannot_be_cut() {
        let refused =
            |first, length, per_pod, pods| Ranges::new(Pool { first, length }, per_pod, pods).unwrap_err();
        assert_eq!(refused(UNIT, UNIT, 1, 1), "kubelet user namespace length 1 is not a multiple of 65536");
        assert_eq!(refused(1, UNIT, UNIT, 1), "kubelet user assigned ID 1 is not a multiple of 65536");
        assert_eq!(refused(0, UNIT, UNIT, 1), "kubelet user assigned ID 0 must be greater or equal to 65536");
        assert_eq!(
            refused(UNIT, 1, UNIT, 1),
            "kubelet user assigned IDs length 1 is not a multiple of 65536"
        );
        assert_eq!(
            refused(UNIT, 2 * UNIT, UNIT, 3),
            "kubelet user assigned IDs are not enough to support 3 pods"
        );
        let pool = Pool::of_node(UNIT);
        assert_eq!(pool, Pool { first: 65536, length: 4_294_901_760 });
        assert!(Ranges::new(pool, UNIT, 65535).is_ok(), "all that there are");
    }
}
