//! The two conditions that tell of a resize: `PodResizePending` (Deferred, Infeasible) and
//! `PodResizeInProgress` (with the reason Error when it does not get on). Pure but for the caller's clock.

use api_types::core::v1::{ConditionStatus, Pod, PodCondition, PodConditionType};
use api_types::meta::Time;
use jiff::Timestamp;

/// What the conditions of a pod are now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conditions {
    pending: Option<PodCondition>,
    in_progress: Option<PodCondition>,
}

fn condition(
    type_: PodConditionType,
    old: Option<&PodCondition>,
    (reason, message): (&str, &str),
    generation: i64,
    now: Timestamp,
) -> PodCondition {
    let now = Some(Time::whole(now));
    let kept = old.filter(|old| old.reason == reason);
    // An unchanged condition stays as it is: the time of the probe alone is no news.
    if let Some(old) = kept
        && old.message == message
        && old.observed_generation == generation
    {
        return old.clone();
    }
    PodCondition {
        type_,
        status: ConditionStatus::True,
        last_probe_time: now,
        last_transition_time: kept.map_or(now, |old| old.last_transition_time),
        observed_generation: generation,
        reason: reason.into(),
        message: message.into(),
    }
}

impl Conditions {
    /// What an earlier kubelet wrote.
    pub fn of(pod: &Pod) -> Self {
        let find = |type_: &PodConditionType| {
            pod.status.conditions.iter().find(|condition| condition.type_ == *type_).cloned()
        };
        Self {
            pending: find(&PodConditionType::PodResizePending),
            in_progress: find(&PodConditionType::PodResizeInProgress),
        }
    }

    /// For the status.
    pub fn list(&self) -> Vec<PodCondition> {
        self.pending.iter().chain(&self.in_progress).cloned().collect()
    }

    /// Since when the resize waits.
    pub fn pending_since(&self) -> Option<Timestamp> {
        self.pending.as_ref()?.last_transition_time.map(|time| time.0)
    }

    /// The resize waits, or cannot be; answers whether that is news.
    pub fn set_pending(&mut self, reason: &str, message: &str, generation: i64, now: Timestamp) -> bool {
        let old = self.pending.take();
        let news =
            old.as_ref().is_none_or(|old| old.reason != reason || old.observed_generation != generation);
        let type_ = PodConditionType::PodResizePending;
        self.pending = Some(condition(type_, old.as_ref(), (reason, message), generation, now));
        news
    }

    /// Nothing waits.
    pub fn clear_pending(&mut self) {
        self.pending = None;
    }

    /// A resize was admitted and begins: errors of one before are over.
    pub fn start(&mut self, generation: i64, now: Timestamp) {
        let type_ = PodConditionType::PodResizeInProgress;
        self.in_progress = Some(condition(type_, None, ("", ""), generation, now));
    }

    /// The resize is under way; what went wrong with it is kept.
    pub fn continue_(&mut self, generation: i64, now: Timestamp) {
        if self.in_progress.is_none() {
            self.start(generation, now);
        }
    }

    /// The resize does not get on. Answers the generation that it is for, when this is news.
    pub fn fail(&mut self, message: &str, generation: i64, now: Timestamp) -> Option<i64> {
        let old = self.in_progress.take();
        let generation = old.as_ref().map_or(generation, |old| old.observed_generation);
        let news = old.as_ref().is_none_or(|old| old.reason != "Error" || old.message != message);
        let type_ = PodConditionType::PodResizeInProgress;
        self.in_progress = Some(condition(type_, old.as_ref(), ("Error", message), generation, now));
        news.then_some(generation)
    }

    /// The resize is done; answers the generation that it was for, when there was one.
    pub fn complete(&mut self) -> Option<i64> {
        self.in_progress.take().map(|condition| condition.observed_generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_resize_from_waiting_to_done() {
        let mut conditions = Conditions::default();
        assert!(conditions.set_pending("Deferred", "no room", 2, at(1)));
        let before = conditions.clone();
        assert!(!conditions.set_pending("Deferred", "no room", 2, at(5)));
        assert_eq!(conditions, before, "nothing new is no change");
        assert!(conditions.set_pending("Deferred", "no room", 3, at(9)), "another generation is news");
        assert_eq!(conditions.pending_since(), Some(at(1)));
        conditions.clear_pending();
        conditions.start(3, at(10));
        assert_eq!(conditions.fail("cannot", 4, at(11)), Some(3), "it is for the generation that began it");
        assert_eq!(conditions.fail("cannot", 4, at(12)), None);
        conditions.continue_(4, at(13));
        assert_eq!(conditions.list()[0].reason, "Error");
        assert_eq!(conditions.complete(), Some(3));
        assert_eq!(conditions.complete(), None);
    }

    #[test]
    fn what_was_written_before_a_restart_is_known_again() {
        let mut conditions = Conditions::default();
        conditions.set_pending("Infeasible", "m", 2, at(1));
        let mut pod = Pod::default();
        pod.status.conditions = conditions.list();
        assert_eq!(Conditions::of(&pod), conditions);
    }
}
