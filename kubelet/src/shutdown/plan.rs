//! Who is stopped when, as the machine goes down (KEP-2000, KEP-2712). Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use api_types::core::v1::Pod;
use daemon::flags::GoDuration;
use serde::Deserialize;

/// From here on pods are critical.
const CRITICAL: i32 = 2_000_000_000;

/// Pods of at least this priority, and less than the next period's, have so long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Period {
    /// The lowest priority.
    pub priority: i32,
    /// Seconds.
    pub shutdown_grace_period_seconds: i64,
}

/// What the configuration says.
pub struct Settings<'a> {
    /// For all pods together.
    pub whole: Duration,
    /// The part of it that is kept for critical pods.
    pub critical: Duration,
    /// Instead of the two.
    pub by_priority: &'a [Period],
}

/// The periods, lowest priority first; none: pods are not stopped in order. Errors are worded as upstream's.
pub fn periods(settings: &Settings<'_>) -> Result<Vec<Period>, String> {
    let (whole, critical) = (settings.whole, settings.critical);
    if critical > whole {
        let (whole, critical) = (GoDuration(whole), GoDuration(critical));
        return Err(format!(
            "invalid configuration: shutdownGracePeriodCriticalPods {{{critical}}} must be <= shutdownGracePeriod {{{whole}}}"
        ));
    }
    for (name, period) in [("shutdownGracePeriod", whole), ("shutdownGracePeriodCriticalPods", critical)] {
        if !period.is_zero() && period < Duration::from_secs(1) {
            let period = GoDuration(period);
            return Err(format!(
                "invalid configuration: {name} {{{period}}} must be either zero or otherwise >= 1 sec"
            ));
        }
    }
    if !settings.by_priority.is_empty() && !whole.is_zero() {
        return Err(
            "invalid configuration: Cannot specify both shutdownGracePeriodByPodPriority and shutdownGracePeriod at the same time"
                .into(),
        );
    }
    let mut periods = settings.by_priority.to_vec();
    if periods.is_empty() && !whole.is_zero() {
        let seconds = |period: Duration| i64::try_from(period.as_secs()).unwrap_or(i64::MAX);
        periods = vec![
            Period { priority: 0, shutdown_grace_period_seconds: seconds(whole - critical) },
            Period { priority: CRITICAL, shutdown_grace_period_seconds: seconds(critical) },
        ];
    }
    periods.sort_by_key(|period| period.priority);
    Ok(periods)
}

/// How long all of it takes at most.
pub fn requested(periods: &[Period]) -> Duration {
    let seconds = periods.iter().map(|period| period.shutdown_grace_period_seconds.max(0)).sum::<i64>();
    Duration::from_secs(seconds.unsigned_abs())
}

/// One pod to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The pod.
    pub uid: String,
    /// Seconds that it has.
    pub grace: i64,
}

/// Pods that are stopped together; the next step begins when all are, or after `limit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How long to wait for them.
    pub limit: Duration,
    /// Who.
    pub pods: Vec<Stop>,
}

/// The steps, in order. A priority below all periods goes with the lowest.
pub fn steps<'a>(periods: &[Period], pods: impl IntoIterator<Item = &'a Pod>) -> Vec<Step> {
    let mut groups: BTreeMap<usize, Vec<Stop>> = BTreeMap::new();
    for pod in pods {
        let priority = pod.spec.priority.unwrap_or_default();
        let place = periods.iter().rposition(|period| period.priority <= priority).unwrap_or_default();
        let Some(period) = periods.get(place) else { continue };
        let given = period.shutdown_grace_period_seconds;
        let grace = pod.spec.termination_grace_period_seconds.map_or(given, |own| own.min(given));
        groups.entry(place).or_default().push(Stop { uid: pod.metadata.uid.clone(), grace });
    }
    let limit = |place: usize| {
        Duration::from_secs(periods[place].shutdown_grace_period_seconds.max(0).unsigned_abs())
    };
    groups.into_iter().map(|(place, pods)| Step { limit: limit(place), pods }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(whole: u64, critical: u64, by_priority: &[Period]) -> Result<Vec<Period>, String> {
        let (whole, critical) = (Duration::from_millis(whole), Duration::from_millis(critical));
        periods(&Settings { whole, critical, by_priority })
    }

    fn period(priority: i32, seconds: i64) -> Period {
        Period { priority, shutdown_grace_period_seconds: seconds }
    }

    fn pod(uid: &str, priority: Option<i32>, grace: i64) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.uid = uid.into();
        pod.spec.priority = priority;
        pod.spec.termination_grace_period_seconds = Some(grace);
        pod
    }

    #[test]
    fn two_periods_are_two_priorities() {
        assert_eq!(settings(0, 0, &[]), Ok(Vec::new()));
        assert_eq!(settings(30_000, 10_000, &[]), Ok(vec![period(0, 20), period(CRITICAL, 10)]));
        let given = [period(1000, 5), period(-5, 7)];
        assert_eq!(settings(0, 0, &given), Ok(vec![period(-5, 7), period(1000, 5)]));
        assert_eq!(requested(&given), Duration::from_secs(12));
        assert!(settings(30_000, 0, &given).unwrap_err().contains("Cannot specify both"));
        assert!(settings(1_000, 2_000, &[]).unwrap_err().contains("must be <= shutdownGracePeriod {1s}"));
        assert!(settings(500, 0, &[]).unwrap_err().contains("either zero or otherwise >= 1 sec"));
    }

    #[test]
    fn pods_go_by_priority_and_with_the_shorter_grace() {
        let periods = [period(0, 20), period(1000, 10), period(CRITICAL, 5)];
        let pods = [
            pod("critical", Some(CRITICAL + 1000), 30),
            pod("usual", None, 30),
            pod("quick", Some(999), 3),
            pod("below", Some(-10), 0),
        ];
        let stop = |uid: &str, grace| Stop { uid: uid.into(), grace };
        let usual = vec![stop("usual", 20), stop("quick", 3), stop("below", 0)];
        let step = |limit, pods| Step { limit: Duration::from_secs(limit), pods };
        // No one has the priority between: nobody is waited for.
        assert_eq!(steps(&periods, &pods), [step(20, usual), step(5, vec![stop("critical", 5)])]);
        assert_eq!(steps(&[], &pods), []);
    }
}
