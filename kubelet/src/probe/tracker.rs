//! One probe's state, purely: [`Tracker::before`] says whether to run it now, [`Tracker::after`] what
//! the run's result means. Neither knows the clock or the network.

use super::{Type, Verdict};

/// What the pod's status says about the probed container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// The pod has ended.
    pub pod_ended: bool,
    /// The pod is being deleted.
    pub deleting: bool,
    /// The container's id; empty when it was not made yet.
    pub id: String,
    /// How long it runs, in seconds; `None` when it does not run.
    pub running_for: Option<i64>,
    /// It ended and will not run again.
    pub ended_for_good: bool,
    /// Its startup probe, if any, has succeeded.
    pub started: bool,
    /// It ran before this kubelet did.
    pub older_than_kubelet: bool,
}

/// What the probe's spec says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Seconds after the container's start before the first run.
    pub initial_delay: i64,
    /// Successes in a row that count.
    pub successes: i32,
    /// Failures in a row that count.
    pub failures: i32,
}

/// What to do at a probe's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Run it.
    Probe,
    /// Not now.
    Skip,
    /// Never again.
    Stop,
}

/// A change to the verdict on a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The container's id.
    pub id: String,
    /// `None`: forget the container.
    pub verdict: Option<Verdict>,
}

/// The state of one probe of one container.
#[derive(Clone, Debug)]
pub struct Tracker {
    type_: Type,
    limits: Limits,
    id: String,
    on_hold: bool,
    last: Option<Verdict>,
    run: i32,
}

impl Tracker {
    /// A probe that has not run.
    pub fn new(type_: Type, limits: Limits) -> Self {
        Self { type_, limits, id: String::new(), on_hold: false, last: None, run: 0 }
    }

    /// The container that is probed.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Looks at the container and says what to do, and which verdicts change already.
    pub fn before(&mut self, seen: &Seen) -> (Step, Vec<Change>) {
        let mut changes = Vec::new();
        if seen.pod_ended {
            return (Step::Stop, changes);
        }
        if seen.id.is_empty() {
            return (Step::Skip, changes);
        }
        if self.id != seen.id {
            if !self.id.is_empty() {
                changes.push(Change { id: std::mem::take(&mut self.id), verdict: None });
            }
            self.id = seen.id.clone();
            self.on_hold = false;
            // A container that was up before the kubelet keeps its standing until it is probed.
            if self.type_ == Type::Startup && seen.older_than_kubelet && seen.started {
                changes.push(self.change(Verdict::Success));
            } else if !seen.older_than_kubelet {
                changes.push(self.change(self.type_.initial()));
            }
        }
        if self.on_hold {
            return (Step::Skip, changes);
        }
        let Some(running_for) = seen.running_for else {
            changes.push(self.change(Verdict::Failure));
            return (if seen.ended_for_good { Step::Stop } else { Step::Skip }, changes);
        };
        if seen.deleting && self.type_ != Type::Readiness {
            changes.push(self.change(Verdict::Success));
            return (Step::Stop, changes);
        }
        let startup = self.type_ == Type::Startup;
        if running_for < self.limits.initial_delay || seen.started == startup {
            return (Step::Skip, changes);
        }
        (Step::Probe, changes)
    }

    /// Counts the result of a run on container `id`; a threshold reached gives a verdict.
    pub fn after(&mut self, id: &str, result: Verdict) -> Option<Change> {
        if id != self.id {
            return None;
        }
        if self.last == Some(result) {
            self.run += 1;
        } else {
            self.last = Some(result);
            self.run = 1;
        }
        let needed = match result {
            Verdict::Failure => self.limits.failures,
            Verdict::Success => self.limits.successes,
            Verdict::Unknown => 0,
        };
        if self.run < needed {
            return None;
        }
        // The container will be restarted, or has started: quiet until there is a new one.
        if self.type_ == Type::Startup || (self.type_ == Type::Liveness && result == Verdict::Failure) {
            self.on_hold = true;
            self.run = 0;
        }
        Some(self.change(result))
    }

    fn change(&self, verdict: Verdict) -> Change {
        Change { id: self.id.clone(), verdict: Some(verdict) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { initial_delay: 0, successes: 1, failures: 3 };

    fn running(id: &str, started: bool) -> Seen {
        Seen { id: id.into(), running_for: Some(5), started, ..Default::default() }
    }

    fn verdicts(changes: &[Change]) -> Vec<Option<Verdict>> {
        changes.iter().map(|change| change.verdict).collect()
    }

    #[test]
    fn liveness_needs_its_failures_in_a_row_and_then_rests() {
        let mut tracker = Tracker::new(Type::Liveness, LIMITS);
        let (step, changes) = tracker.before(&running("a", true));
        assert_eq!((step, verdicts(&changes)), (Step::Probe, vec![Some(Verdict::Success)]));
        assert_eq!(tracker.after("a", Verdict::Failure), None);
        assert_eq!(tracker.after("a", Verdict::Failure), None);
        assert_eq!(
            tracker.after("a", Verdict::Success).and_then(|change| change.verdict),
            Some(Verdict::Success)
        );
        for _ in 0..2 {
            assert_eq!(tracker.after("a", Verdict::Failure), None);
        }
        assert_eq!(
            tracker.after("a", Verdict::Failure).and_then(|change| change.verdict),
            Some(Verdict::Failure)
        );
        assert_eq!(tracker.before(&running("a", true)).0, Step::Skip);
        // A new container is probed again, and the old one forgotten.
        let (step, changes) = tracker.before(&running("b", true));
        assert_eq!((step, verdicts(&changes)), (Step::Probe, vec![None, Some(Verdict::Success)]));
    }

    #[test]
    fn others_wait_for_startup_and_startup_ends_with_success() {
        let mut readiness = Tracker::new(Type::Readiness, LIMITS);
        assert_eq!(readiness.before(&running("a", false)).0, Step::Skip);
        assert_eq!(readiness.before(&running("a", true)).0, Step::Probe);
        let mut startup = Tracker::new(Type::Startup, LIMITS);
        assert_eq!(startup.before(&running("a", false)).0, Step::Probe);
        assert!(startup.after("a", Verdict::Success).is_some());
        assert_eq!(startup.before(&running("a", true)).0, Step::Skip);
    }

    #[test]
    fn a_result_for_another_container_is_dropped() {
        let mut tracker = Tracker::new(Type::Readiness, LIMITS);
        tracker.before(&running("a", true));
        tracker.before(&running("b", true));
        assert_eq!(tracker.after("a", Verdict::Success), None);
    }

    #[test]
    fn deletion_ends_liveness_with_success_but_not_readiness() {
        let deleting = Seen { deleting: true, ..running("a", true) };
        assert_eq!(Tracker::new(Type::Liveness, LIMITS).before(&deleting).0, Step::Stop);
        assert_eq!(Tracker::new(Type::Readiness, LIMITS).before(&deleting).0, Step::Probe);
    }

    #[test]
    fn initial_delay_and_ended_containers() {
        let limits = Limits { initial_delay: 10, ..LIMITS };
        assert_eq!(Tracker::new(Type::Readiness, limits).before(&running("a", true)).0, Step::Skip);
        let ended = Seen { running_for: None, ended_for_good: true, ..running("a", true) };
        assert_eq!(Tracker::new(Type::Readiness, LIMITS).before(&ended).0, Step::Stop);
    }

    #[test]
    fn a_container_older_than_the_kubelet_keeps_its_standing() {
        let seen = Seen { older_than_kubelet: true, ..running("a", true) };
        assert_eq!(Tracker::new(Type::Readiness, LIMITS).before(&seen).1, vec![]);
    }
}
