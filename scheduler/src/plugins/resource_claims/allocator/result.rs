//! What was found, as claims record it: devices, the configuration that goes with them, and the nodes on which the
//! allocation can be used.

use std::collections::{BTreeSet, HashMap};

use api_types::core::v1::{NodeSelector, NodeSelectorOperator, NodeSelectorRequirement, NodeSelectorTerm};
use api_types::resource::v1::{
    AllocationConfigSource, AllocationResult, DeviceAllocationConfiguration, DeviceClaimConfiguration,
    DeviceRequestAllocationResult, ResourceClaim,
};

use super::Failure;
use super::requests::Demand;
use super::search::{Search, Taken};

impl Search<'_, '_> {
    /// The allocations of all claims. `share_id` gives each share of a device its id.
    ///
    /// # Errors
    /// For slices of a shape that the apiserver does not let in.
    pub fn results(&self, share_id: &mut dyn FnMut() -> String) -> Result<Vec<AllocationResult>, Failure> {
        let mut all = Vec::new();
        for (place, claim) in self.claims.iter().enumerate() {
            let mut result = AllocationResult::default();
            let taken = &self.taken[place];
            let demands = &self.demands[place];
            result.devices.results =
                taken.iter().map(|taken| self.device(taken, demands, share_id)).collect();
            result.devices.config = config(claim, demands);
            result.node_selector = self.nodes(claim, taken)?.map(Box::new);
            all.push(result);
        }
        Ok(all)
    }

    fn device(
        &self,
        taken: &Taken,
        demands: &[Demand<'_>],
        share_id: &mut dyn FnMut() -> String,
    ) -> DeviceRequestAllocationResult {
        let candidate = &self.reach.devices[taken.device];
        let ask = &demands[taken.request].options[taken.option];
        DeviceRequestAllocationResult {
            request: ask.full_name(),
            driver: candidate.slice.spec.driver.clone(),
            pool: candidate.slice.spec.pool.name.clone(),
            device: candidate.device.name.clone(),
            admin_access: ask.admin.then_some(true),
            tolerations: ask.tolerations.to_vec(),
            binding_conditions: candidate.device.binding_conditions.clone(),
            binding_failure_conditions: candidate.device.binding_failure_conditions.clone(),
            share_id: taken.consumed.is_some().then(share_id),
            consumed_capacity: taken.consumed.clone().unwrap_or_default(),
        }
    }

    /// The nodes that reach all devices of a claim; `None` for every node.
    fn nodes(&self, claim: &ResourceClaim, taken: &[Taken]) -> Result<Option<NodeSelector>, Failure> {
        let mut term = NodeSelectorTerm::default();
        for taken in taken {
            let candidate = &self.reach.devices[taken.device];
            let (spec, device) = (&candidate.slice.spec, candidate.device);
            let (name, selector) = if spec.per_device_node_selection == Some(true) {
                (&device.node_name, &device.node_selector)
            } else {
                (&spec.node_name, &spec.node_selector)
            };
            if name.is_some() || device.binds_to_node == Some(true) {
                return Ok(Some(this_node(&self.node.name)));
            }
            match selector.as_ref().map(|selector| selector.node_selector_terms.as_slice()) {
                None | Some([]) => {}
                Some([one]) => {
                    extend(&mut term.match_fields, &one.match_fields);
                    extend(&mut term.match_expressions, &one.match_expressions);
                }
                Some(many) => {
                    return Err(Failure::claim(format!(
                        "create NodeSelector for claim {}: unsupported ResourceSlice.NodeSelector with {} terms",
                        claim.metadata.name,
                        many.len()
                    )));
                }
            }
        }
        let restricts = !term.match_fields.is_empty() || !term.match_expressions.is_empty();
        Ok(restricts.then(|| NodeSelector { node_selector_terms: vec![term] }))
    }
}

fn this_node(name: &str) -> NodeSelector {
    let requirement = NodeSelectorRequirement {
        key: "metadata.name".into(),
        operator: NodeSelectorOperator::In,
        values: vec![name.to_owned()],
    };
    let term = NodeSelectorTerm { match_fields: vec![requirement], ..NodeSelectorTerm::default() };
    NodeSelector { node_selector_terms: vec![term] }
}

fn extend(all: &mut Vec<NodeSelectorRequirement>, more: &[NodeSelectorRequirement]) {
    let values = |r: &NodeSelectorRequirement| r.values.iter().cloned().collect::<BTreeSet<_>>();
    for new in more {
        let known = |old: &NodeSelectorRequirement| {
            old.key == new.key && old.operator == new.operator && values(old) == values(new)
        };
        if !all.iter().any(known) {
            all.push(new.clone());
        }
    }
}

/// First that of the classes, each once, then that of the claim for the requests and alternatives that were taken.
fn config(claim: &ResourceClaim, demands: &[Demand<'_>]) -> Vec<DeviceAllocationConfiguration> {
    let mut all: Vec<DeviceAllocationConfiguration> = Vec::new();
    let mut of_class: HashMap<&str, std::ops::Range<usize>> = HashMap::new();
    for demand in demands {
        let Some(ask) = demand.options.get(demand.chosen) else { continue };
        let class = &ask.class.metadata.name;
        if let Some(range) = of_class.get(class.as_str()) {
            all[range.clone()].iter_mut().for_each(|config| config.requests.push(ask.full_name()));
            continue;
        }
        let start = all.len();
        all.extend(ask.class.spec.config.iter().map(|config| DeviceAllocationConfiguration {
            source: AllocationConfigSource::FromClass,
            requests: vec![ask.full_name()],
            device_configuration: config.device_configuration.clone(),
        }));
        of_class.insert(class, start..all.len());
    }
    let own = |config: &DeviceClaimConfiguration| DeviceAllocationConfiguration {
        source: AllocationConfigSource::FromClaim,
        requests: config.requests.clone(),
        device_configuration: config.device_configuration.clone(),
    };
    for config in &claim.spec.devices.config {
        if config.requests.is_empty() {
            all.push(own(config));
            continue;
        }
        // COMPAT: once for each request that it names.
        for demand in demands {
            let Some(ask) = demand.options.get(demand.chosen) else { continue };
            let (base, _) = ask.names();
            let named = config.requests.iter().any(|name| *name == *base)
                || demand.is_list && config.requests.contains(&ask.full_name());
            if named {
                all.push(own(config));
            }
        }
    }
    all
}
