//! Which thresholds are met and what is to be reclaimed, from what was observed now and before. Pure.
//!
//! A threshold that was met stays met until what it says is free, and the reclaim beyond. A condition of
//! the node stays for the transition period after its last threshold, so that it does not flap.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::thresholds::{Pressure, Signal, Threshold};

/// How much there is of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Left.
    pub available: i64,
    /// In all.
    pub capacity: i64,
}

/// What was observed, by signal.
pub type Observations = BTreeMap<Signal, Observation>;

/// What is remembered from one look to the next.
#[derive(Clone, Debug, Default)]
pub struct State {
    first_met: Vec<(Threshold, Timestamp)>,
    last_pressed: BTreeMap<Pressure, Timestamp>,
    acted_on: Vec<Threshold>,
}

/// What a look came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// The node's conditions.
    pub pressures: Vec<Pressure>,
    /// The thresholds that are met for as long as their grace, the most urgent first.
    pub met: Vec<Threshold>,
}

/// The thresholds that are met, whatever their grace; `reclaim` asks for their reclaim as well.
pub fn met(thresholds: &[Threshold], observations: &Observations, reclaim: bool) -> Vec<Threshold> {
    thresholds
        .iter()
        .filter(|threshold| {
            observations
                .get(&threshold.signal)
                .is_some_and(|seen| threshold.quantity(seen.capacity, reclaim).value() > seen.available)
        })
        .cloned()
        .collect()
}

impl State {
    /// Looks at what was observed.
    pub fn look(
        &mut self,
        thresholds: &[Threshold],
        observations: &Observations,
        transition: Duration,
        now: Timestamp,
    ) -> Verdict {
        let mut current = met(thresholds, observations, false);
        for unresolved in met(&self.acted_on, observations, true) {
            if !current.contains(&unresolved) {
                current.push(unresolved);
            }
        }
        self.first_met = current
            .iter()
            .map(|threshold| {
                let before = self.first_met.iter().find(|(known, _)| known == threshold);
                (threshold.clone(), before.map_or(now, |(_, since)| *since))
            })
            .collect();
        for threshold in &current {
            self.last_pressed.insert(threshold.signal.pressure(), now);
        }
        let elapsed = |since: Timestamp| now.duration_since(since).max(SignedDuration::ZERO).unsigned_abs();
        let pressures: Vec<Pressure> = self
            .last_pressed
            .iter()
            .filter(|(_, last)| elapsed(**last) < transition || **last == now)
            .map(|(pressure, _)| *pressure)
            .collect();
        self.last_pressed.retain(|pressure, _| pressures.contains(pressure));
        let mut due: Vec<Threshold> = self
            .first_met
            .iter()
            .filter(|(threshold, since)| elapsed(*since) >= threshold.grace)
            .map(|(threshold, _)| threshold.clone())
            .collect();
        self.acted_on.clone_from(&due);
        due.sort_by_key(|threshold| threshold.signal.pressure() != Pressure::Memory);
        Verdict { pressures, met: due }
    }
}

#[cfg(test)]
mod tests {
    use super::super::thresholds::Amount;
    use super::*;
    use api_types::Quantity;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn threshold(signal: Signal, value: i64, grace: u64, reclaim: Option<i64>) -> Threshold {
        let amount = |value: i64| Amount::Quantity(Quantity::parse(&value.to_string()).unwrap());
        Threshold {
            signal,
            value: amount(value),
            grace: Duration::from_secs(grace),
            min_reclaim: reclaim.map(amount),
        }
    }

    fn memory(available: i64) -> Observations {
        [(Signal::Memory, Observation { available, capacity: 1000 })].into()
    }

    const TRANSITION: Duration = Duration::from_secs(300);

    #[test]
    fn a_hard_threshold_is_acted_on_at_once_and_its_condition_stays_for_a_while() {
        let thresholds = [threshold(Signal::Memory, 100, 0, None)];
        let mut state = State::default();
        let mut look =
            |available, second| state.look(&thresholds, &memory(available), TRANSITION, at(second));
        assert_eq!(look(100, 0), Verdict::default());
        let verdict = look(99, 10);
        assert_eq!((verdict.pressures, verdict.met.len()), (vec![Pressure::Memory], 1));
        let verdict = look(500, 20);
        assert_eq!((verdict.pressures, verdict.met.len()), (vec![Pressure::Memory], 0));
        assert_eq!(look(500, 309).pressures, [Pressure::Memory]);
        assert_eq!(look(500, 310).pressures, []);
    }

    #[test]
    fn a_soft_threshold_waits_for_its_grace_without_a_break() {
        let thresholds = [threshold(Signal::Memory, 100, 60, None)];
        let mut state = State::default();
        let mut look =
            |available, second| state.look(&thresholds, &memory(available), TRANSITION, at(second)).met.len();
        assert_eq!(look(50, 0), 0);
        assert_eq!(look(50, 59), 0);
        assert_eq!(look(50, 60), 1);
        assert_eq!(look(150, 70), 0);
        assert_eq!(look(50, 80), 0, "the grace begins anew");
    }

    #[test]
    fn what_is_acted_on_is_reclaimed_beyond_the_threshold() {
        let thresholds = [threshold(Signal::Memory, 100, 0, Some(50))];
        let mut state = State::default();
        let mut look =
            |available, second| state.look(&thresholds, &memory(available), TRANSITION, at(second)).met.len();
        assert_eq!(look(120, 0), 0);
        assert_eq!(look(90, 10), 1);
        assert_eq!(look(120, 20), 1);
        assert_eq!(look(150, 30), 0);
        assert_eq!(look(120, 40), 0);
    }

    #[test]
    fn memory_comes_first_and_what_was_not_observed_is_not_met() {
        let thresholds = [
            threshold(Signal::NodeFs, 100, 0, None),
            threshold(Signal::Memory, 100, 0, None),
            threshold(Signal::Pids, 100, 0, None),
        ];
        let mut seen = memory(1);
        seen.insert(Signal::NodeFs, Observation { available: 1, capacity: 1000 });
        let verdict = State::default().look(&thresholds, &seen, Duration::ZERO, at(0));
        let signals: Vec<Signal> = verdict.met.iter().map(|threshold| threshold.signal).collect();
        assert_eq!(signals, [Signal::Memory, Signal::NodeFs]);
        assert_eq!(verdict.pressures, [Pressure::Memory, Pressure::Disk]);
    }
}
