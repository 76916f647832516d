//! Which nodes a DaemonSet's pods belong on: those that its template's nodeName, selector and
//! affinity allow and whose taints it tolerates, the node conditions' taints always included.

use api_types::apps::v1::DaemonSet;
use api_types::core::v1::node::selection::NodeSelection;
use api_types::core::v1::well_known::taint;
use api_types::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorOperator, NodeSelectorRequirement, NodeSelectorTerm,
    PodSpec, TaintEffect, Toleration, TolerationOperator,
};

use crate::cached::NodeFacts;

/// A DaemonSet's demands, read once for all nodes.
#[derive(Debug)]
pub(super) struct Fit {
    node: String,
    selection: Option<NodeSelection>,
    tolerations: Vec<Toleration>,
}

/// Whether a pod should be made for a node, and whether one that is there may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub run: bool,
    pub stay: bool,
}

impl Fit {
    pub(super) fn of(set: &DaemonSet) -> Self {
        let spec = &set.spec.template.spec;
        let mut tolerations = spec.tolerations.clone();
        tolerate(&mut tolerations, spec.host_network);
        Self { node: spec.node_name.clone(), selection: NodeSelection::of(spec), tolerations }
    }

    pub(super) fn verdict(&self, name: &str, node: &NodeFacts) -> Verdict {
        let here = self.node.is_empty() || self.node == name;
        if !here || !self.selection.as_ref().is_none_or(|s| s.matches(name, &node.labels)) {
            return Verdict { run: false, stay: false };
        }
        let repels = |effect: &TaintEffect| {
            let taints = node.taints.iter().filter(|t| t.effect == *effect);
            taints.into_iter().any(|taint| !self.tolerations.iter().any(|t| t.tolerates(taint)))
        };
        let evicts = repels(&TaintEffect::NoExecute);
        Verdict { run: !evicts && !repels(&TaintEffect::NoSchedule), stay: !evicts }
    }
}

/// Adds what the pods of every DaemonSet tolerate: nodes that are not well, and cordoned ones.
pub(super) fn tolerate(tolerations: &mut Vec<Toleration>, host_network: bool) {
    use TaintEffect::{NoExecute, NoSchedule};
    let always = [
        (taint::NOT_READY, NoExecute),
        (taint::UNREACHABLE, NoExecute),
        (taint::DISK_PRESSURE, NoSchedule),
        (taint::MEMORY_PRESSURE, NoSchedule),
        (taint::PID_PRESSURE, NoSchedule),
        (taint::UNSCHEDULABLE, NoSchedule),
    ];
    let network = host_network.then_some((taint::NETWORK_UNAVAILABLE, NoSchedule));
    for (key, effect) in always.into_iter().chain(network) {
        let added = Toleration {
            key: key.into(),
            operator: TolerationOperator::Exists,
            effect,
            ..Toleration::default()
        };
        // One that is given already is replaced where it stands.
        let same = |t: &&mut Toleration| {
            (&t.key, &t.operator, &t.effect, &t.value)
                == (&added.key, &added.operator, &added.effect, &added.value)
        };
        match tolerations.iter_mut().find(same) {
            Some(known) => *known = added,
            None => tolerations.push(added),
        }
    }
}

/// Makes a pod for one node only, which the scheduler then binds it to.
pub(super) fn aim(spec: &mut PodSpec, node: &str) {
    let name = NodeSelectorRequirement {
        key: "metadata.name".into(),
        operator: NodeSelectorOperator::In,
        values: vec![node.to_owned()],
    };
    let term = NodeSelectorTerm { match_fields: vec![name], ..NodeSelectorTerm::default() };
    let affinity = spec.affinity.get_or_insert_with(|| Box::new(Affinity::default()));
    let affinity = affinity.node_affinity.get_or_insert_with(|| Box::new(NodeAffinity::default()));
    affinity.required_during_scheduling_ignored_during_execution =
        Some(Box::new(NodeSelector { node_selector_terms: vec![term] }));
}
