//! How many seats a request takes, and for how long (KEP-1040, "Work estimation"): lists by what they may hold in
//! memory, writes by how many watches hear of them after they are answered. Pure.
//!
//! Every list is read out of the cache here, which bounds it as upstream bounds lists from its own.

use std::time::Duration;

use crate::query::Query;
use crate::request::RequestInfo;

/// Bytes of objects that one seat stands for.
const BYTES_PER_SEAT: u64 = 100_000;
/// A list out of the cache is streamed: it holds no more than this at once.
const MOST_AT_ONCE: u64 = 1_000_000;
const MOST_OF_A_LIST: u32 = 100;
const MOST_OF_A_WRITE: u32 = 10;
const WATCHES_PER_SEAT: usize = 10;
/// What telling those watches of one event takes.
const TELLING: Duration = Duration::from_millis(5);

/// What a request is taken to need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// While it runs.
    pub initial: u32,
    /// After it has ended, for `latency`.
    pub last: u32,
    pub latency: Duration,
}

/// What there is of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stock {
    pub objects: u64,
    pub bytes_each: u64,
}

impl Estimate {
    pub const ONE: Self = Self::of(1);

    const fn of(initial: u32) -> Self {
        Self { initial, last: 0, latency: Duration::ZERO }
    }

    /// The seats that have to be free for it.
    pub fn width(&self) -> u32 {
        self.initial.max(self.last)
    }
}

/// A list, or a watch that begins with one. `stock` is `None` for what this server does not hold; `most` is what
/// a level gives to one request, 0 where it does not say.
pub fn list(info: &RequestInfo, query: &Query, stock: Option<Stock>, most: u32) -> Estimate {
    let most = within(most, MOST_OF_A_LIST);
    let Ok(limit) = query.number("limit") else {
        // It will be refused.
        return Estimate::of(most);
    };
    let from_start = matches!(query.text("resourceVersion"), "" | "0");
    let initial_events = query.flag_if_given("sendInitialEvents") == Some(true);
    let (Some(stock), true) = (stock, info.verb == "list" || from_start || initial_events) else {
        return Estimate::ONE;
    };
    let limit = limit.and_then(|limit| u64::try_from(limit).ok()).filter(|limit| *limit > 0);
    let objects = match info.name.as_str() {
        "" => stock.objects.min(limit.unwrap_or(u64::MAX)),
        _ => 1,
    };
    let bytes = objects.saturating_mul(stock.bytes_each).min(MOST_AT_ONCE);
    let seats = u32::try_from(bytes.div_ceil(BYTES_PER_SEAT)).unwrap_or(u32::MAX);
    Estimate::of(seats.clamp(1, most))
}

/// A write of which so many watches may hear. Few of them cost nothing worth counting; many are told after the
/// answer, by seats that are kept for so long.
pub fn write(info: &RequestInfo, watches: usize, most: u32) -> Estimate {
    let token = info.resource == "serviceaccounts" && info.subresource == "token";
    if token || watches < WATCHES_PER_SEAT {
        return Estimate::ONE;
    }
    let wanted = u32::try_from(watches.div_ceil(WATCHES_PER_SEAT)).unwrap_or(u32::MAX);
    let last = wanted.min(within(most, MOST_OF_A_WRITE));
    Estimate { initial: 1, last, latency: (TELLING * wanted) / last }
}

fn within(most: u32, limit: u32) -> u32 {
    if most == 0 { limit } else { most.min(limit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(verb: &str, name: &str) -> RequestInfo {
        RequestInfo {
            verb: verb.into(),
            resource: "pods".into(),
            name: name.into(),
            ..RequestInfo::default()
        }
    }

    #[test]
    fn lists_take_seats_by_what_they_hold() {
        let check =
            |verb: &str, name: &str, query: &str, stock: Option<(u64, u64)>, most: u32, seats: u32| {
                let stock = stock.map(|(objects, bytes_each)| Stock { objects, bytes_each });
                let estimate = list(&info(verb, name), &Query::parse(query), stock, most);
                assert_eq!(estimate, Estimate::of(seats), "{verb} {name} {query} {stock:?} {most}");
            };
        check("list", "", "", None, 0, 1);
        check("list", "", "", Some((0, 0)), 0, 1);
        check("list", "", "", Some((100, 1000)), 0, 1);
        check("list", "", "", Some((101, 1000)), 0, 2);
        check("list", "", "", Some((150_000, 5000)), 0, 10);
        check("list", "", "", Some((150_000, 5000)), 6, 6);
        check("list", "", "limit=50", Some((150_000, 5000)), 0, 3);
        check("list", "a", "", Some((150_000, 5000)), 0, 1);
        check("list", "", "limit=x", Some((1, 1)), 7, 7);
        check("watch", "", "resourceVersion=5", Some((150_000, 5000)), 0, 1);
        check("watch", "", "", Some((150_000, 5000)), 0, 10);
        check("watch", "", "resourceVersion=0", Some((150_000, 5000)), 0, 10);
        check("watch", "", "resourceVersion=5&sendInitialEvents=true", Some((150_000, 5000)), 0, 10);
    }

    #[test]
    fn writes_take_seats_by_who_watches() {
        let check = |watches: usize, most: u32, last: u32, milliseconds: u64| {
            let expected = Estimate { initial: 1, last, latency: Duration::from_millis(milliseconds) };
            assert_eq!(write(&info("update", "a"), watches, most), expected, "{watches} {most}");
        };
        check(0, 0, 0, 0);
        check(9, 0, 0, 0);
        check(10, 0, 1, 5);
        check(100, 0, 10, 5);
        check(1000, 0, 10, 50);
        check(1000, 5, 5, 100);
        let token = RequestInfo {
            resource: "serviceaccounts".into(),
            subresource: "token".into(),
            ..info("create", "a")
        };
        assert_eq!(write(&token, 1000, 0), Estimate::ONE);
    }
}
