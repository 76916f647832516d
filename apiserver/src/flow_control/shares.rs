//! How many requests each level may run at a time: its part of the server's seats, what it lends and
//! what it may borrow (KEP-1040, "Dispatching"; API doc "API Priority and Fairness"). Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use api_types::flowcontrol::v1::{PriorityLevelConfiguration, PriorityLevelEnablement};

/// How often seats move between levels.
pub const PERIOD: Duration = Duration::from_secs(10);

/// The seats of one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub exempt: bool,
    /// Its part of the server's seats.
    pub nominal: u32,
    /// What it never lends.
    pub least: u32,
    /// What it has when it borrows all that it may.
    pub most: u32,
}

/// Seats by level, out of the configuration's shares.
pub fn limits(levels: &[PriorityLevelConfiguration], seats: u32) -> BTreeMap<String, Limits> {
    let shares = |level: &PriorityLevelConfiguration| {
        let (exempt, limited) = (level.spec.exempt.as_ref(), level.spec.limited.as_ref());
        let own = exempt
            .and_then(|exempt| exempt.nominal_concurrency_shares)
            .or_else(|| limited.and_then(|limited| limited.nominal_concurrency_shares));
        f64::from(own.unwrap_or_default().max(0))
    };
    let all: f64 = levels.iter().map(&shares).sum::<f64>().max(1.0);
    let percent =
        |nominal: u32, percent: i32| (f64::from(nominal) * f64::from(percent) / 100.0).round() as u32;
    levels
        .iter()
        .map(|level| {
            let exempt = level.spec.type_ == PriorityLevelEnablement::Exempt;
            let nominal = (f64::from(seats) * shares(level) / all).ceil() as u32;
            let (lends, borrows) = match (&level.spec.exempt, &level.spec.limited) {
                (Some(exempt), _) => (exempt.lendable_percent, None),
                (None, Some(limited)) => (limited.lendable_percent, limited.borrowing_limit_percent),
                (None, None) => (None, None),
            };
            let least = nominal.saturating_sub(percent(nominal, lends.unwrap_or_default()));
            let most = nominal + borrows.map_or(seats, |part| percent(nominal, part));
            (level.metadata.name.clone(), Limits { exempt, nominal, least, most })
        })
        .collect()
}

/// Seats by limited level until the next period, given how many each could have used in the last one.
///
/// Each gets what it does not lend and wants; the rest is divided in proportion to what is wanted,
/// within each level's bounds.
pub fn balanced(
    limits: &BTreeMap<String, Limits>,
    demands: &BTreeMap<String, u32>,
    seats: u32,
) -> BTreeMap<String, u32> {
    let demand = |name: &str| demands.get(name).copied().unwrap_or_default();
    let taken: u32 = limits.iter().filter(|(_, l)| l.exempt).map(|(name, l)| demand(name).max(l.least)).sum();
    let left = f64::from(seats.saturating_sub(taken));
    // What is a level's whatever the others want, what it could use, and its bound.
    let wanted: Vec<(&String, f64, f64, f64)> = limits
        .iter()
        .filter(|(_, limits)| !limits.exempt)
        .map(|(name, limits)| {
            let least = limits.least.max(demand(name).min(limits.nominal));
            let target = least.max(demand(name)).max(1);
            (name, f64::from(least), f64::from(target), f64::from(limits.most.max(least)))
        })
        .collect();
    let part = |fraction: f64, least: f64, target: f64, most: f64| (target * fraction).clamp(least, most);
    let (mut low, mut high) = (0.0, f64::from(seats.max(1)) * 2.0);
    for _ in 0..60 {
        let fraction = f64::midpoint(low, high);
        let sum: f64 =
            wanted.iter().map(|&(_, least, target, most)| part(fraction, least, target, most)).sum();
        if sum > left { high = fraction } else { low = fraction }
    }
    wanted
        .into_iter()
        .map(|(name, least, target, most)| (name.clone(), part(low, least, target, most).round() as u32))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::flowcontrol::v1::standard;

    fn standard_limits() -> BTreeMap<String, Limits> {
        let mut levels = standard::mandatory_levels();
        levels.extend(standard::suggested_levels());
        limits(&levels, 600)
    }

    #[test]
    fn shares_become_seats() {
        let all = standard_limits();
        // 245 shares for 600 seats.
        assert_eq!(all["catch-all"], Limits { exempt: false, nominal: 13, least: 13, most: 613 });
        assert_eq!(all["workload-low"], Limits { exempt: false, nominal: 245, least: 24, most: 845 });
        assert_eq!(all["system"], Limits { exempt: false, nominal: 74, least: 50, most: 674 });
        assert!(all["exempt"].exempt && all["exempt"].nominal == 0);
    }

    #[test]
    fn a_busy_level_borrows_what_others_lend_and_no_more() {
        let all = standard_limits();
        let demands = BTreeMap::from([("global-default".to_owned(), 500)]);
        let seats = balanced(&all, &demands, 600);
        let kept: u32 =
            all.iter().filter(|(n, l)| !l.exempt && *n != "global-default").map(|(_, l)| l.least).sum();
        assert!(seats["global-default"] > 2 * all["global-default"].nominal, "{seats:?}");
        assert!(seats["global-default"] <= 600 - kept);
        for (name, limits) in all.iter().filter(|(_, l)| !l.exempt) {
            assert!(seats[name] >= limits.least, "{name}: {seats:?}");
        }
        assert!(seats.values().sum::<u32>() <= 600 + 8, "{seats:?}");
    }

    #[test]
    fn a_borrowing_limit_holds() {
        let mut all = standard_limits();
        all.get_mut("global-default").expect("a level").most = 60;
        let demands = BTreeMap::from([("global-default".to_owned(), 500)]);
        assert_eq!(balanced(&all, &demands, 600)["global-default"], 60);
    }
}
