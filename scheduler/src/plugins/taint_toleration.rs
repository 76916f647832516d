//! TaintToleration: NoSchedule and NoExecute taints keep pods away that do not tolerate them,
//! PreferNoSchedule taints lower the score.

use std::sync::Arc;

use api_types::core::v1::{Taint, TaintEffect, Toleration};

use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{
    ClusterEvent, CycleState, Filter, Plugin, PreScore, Rejection, Score, Verdict, normalize_to_max,
};
use crate::pod::PodView;

/// The first taint that keeps a pod with these tolerations away.
pub fn untolerated<'a>(tolerations: &[Toleration], taints: &'a [Taint]) -> Option<&'a Taint> {
    taints
        .iter()
        .filter(|t| matches!(t.effect, TaintEffect::NoSchedule | TaintEffect::NoExecute))
        .find(|taint| !tolerations.iter().any(|t| t.tolerates(taint)))
}

pub struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn wakes(&self, pod: &PodView, event: &ClusterEvent) -> bool {
        let fits = |taints| untolerated(&pod.tolerations, taints).is_none();
        match event {
            ClusterEvent::PodUpdated { old, new } => new.uid == pod.uid && old.tolerations != new.tolerations,
            _ => event
                .node()
                .is_some_and(|(old, new)| fits(&new.taints) && old.is_none_or(|o| !fits(&o.taints))),
        }
    }
}

impl Filter for TaintToleration {
    fn filter(&self, _: &CycleState, pod: &PodView, node: &NodeInfo) -> Verdict {
        match untolerated(&pod.tolerations, &node.node().taints) {
            None => Ok(()),
            Some(_) => Err(Rejection::unresolvable("node(s) had untolerated taint(s)")),
        }
    }
}

impl PreScore for TaintToleration {
    fn pre_score(&self, _: &mut CycleState, _: &PodView, _: &Snapshot, _: &[Arc<NodeInfo>]) -> bool {
        true
    }
}

impl Score for TaintToleration {
    /// How many PreferNoSchedule taints the pod does not tolerate.
    fn score(&self, _: &CycleState, pod: &PodView, node: &NodeInfo, _: &Snapshot) -> i64 {
        let soft = node.node().taints.iter().filter(|t| t.effect == TaintEffect::PreferNoSchedule);
        soft.filter(|taint| !pod.tolerations.iter().any(|t| t.tolerates(taint))).count() as i64
    }

    fn normalize(&self, _: &CycleState, _: &[Arc<NodeInfo>], scores: &mut [i64]) {
        normalize_to_max(scores, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_filter, node, pod};

    const NO: Option<&str> = Some("node(s) had untolerated taint(s)");

    #[test]
    fn taints_need_a_toleration_of_key_value_and_effect() {
        let tainted = node("a").taint("dedicated", "db", "NoSchedule");
        check_filter(&TaintToleration, &pod("p"), &node("a"), None);
        check_filter(&TaintToleration, &pod("p"), &tainted, NO);
        let check = |toleration: (&str, &str, &str, &str), expected| {
            let (key, operator, value, effect) = toleration;
            check_filter(
                &TaintToleration,
                &pod("p").toleration(key, operator, value, effect),
                &tainted,
                expected,
            );
        };
        check(("dedicated", "Equal", "db", "NoSchedule"), None);
        check(("dedicated", "", "db", ""), None);
        check(("dedicated", "Equal", "web", "NoSchedule"), NO);
        check(("dedicated", "Exists", "", "NoExecute"), NO);
        check(("dedicated", "Exists", "", ""), None);
        check(("", "Exists", "", ""), None);
        check(("other", "Exists", "", ""), NO);
    }

    #[test]
    fn soft_taints_count_against_a_node_and_never_exclude_it() {
        let soft = node("a").taint("x", "", "PreferNoSchedule").taint("y", "", "PreferNoSchedule");
        check_filter(&TaintToleration, &pod("p"), &soft, None);
        let info = NodeInfo::new(Arc::new(soft.view()));
        let score = |pod: crate::testing::PodBuilder| {
            TaintToleration.score(&CycleState::default(), &pod.view(), &info, &Snapshot::default())
        };
        assert_eq!(score(pod("p")), 2);
        assert_eq!(score(pod("p").toleration("x", "Exists", "", "")), 1);
    }
}
