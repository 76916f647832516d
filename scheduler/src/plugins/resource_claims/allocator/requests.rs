//! What claims ask for, made ready for the search: requests with their classes, and for those that ask for all devices,
//! which ones these are on the node.

use std::sync::Arc;

use api_types::resource::v1::{
    CapacityRequirements, DeviceAllocationMode, DeviceRequest, DeviceSelector, DeviceToleration,
    ResourceClaim,
};

use super::Failure;
use super::pools::Fault;
use super::search::Search;
use crate::devices::Class;

/// Most devices of a claim.
pub const MOST_RESULTS: usize = 32;

/// One thing to ask for: a request, or one of its alternatives.
#[derive(Debug)]
pub struct Ask<'a> {
    /// Among all of the attempt.
    pub id: usize,
    /// The request whose alternative it is.
    pub parent: Option<&'a str>,
    pub name: &'a str,
    pub class: Arc<Class>,
    pub selectors: &'a [DeviceSelector],
    pub tolerations: &'a [DeviceToleration],
    pub capacity: Option<&'a CapacityRequirements>,
    pub admin: bool,
    /// The devices, when all are asked for.
    pub all: Option<Vec<usize>>,
    pub wanted: usize,
}

/// A request of a claim: one thing, or the first of several that can be had.
#[derive(Debug)]
pub struct Demand<'a> {
    pub is_list: bool,
    pub options: Vec<Ask<'a>>,
    /// The alternative that was taken.
    pub chosen: usize,
}

impl Ask<'_> {
    /// `REQUEST` or `REQUEST/ALTERNATIVE`.
    pub fn full_name(&self) -> String {
        match self.parent {
            Some(parent) => format!("{parent}/{}", self.name),
            None => self.name.to_owned(),
        }
    }

    /// The names of the request and of the alternative, as constraints know them.
    pub fn names(&self) -> (&str, Option<&str>) {
        self.parent.map_or((self.name, None), |parent| (parent, Some(self.name)))
    }
}

/// `namespace/name`.
pub fn key(claim: &ResourceClaim) -> String {
    format!("{}/{}", claim.metadata.namespace, claim.metadata.name)
}

/// What a request or an alternative says.
struct Said<'a> {
    parent: Option<&'a str>,
    name: &'a str,
    class: &'a str,
    selectors: &'a [DeviceSelector],
    tolerations: &'a [DeviceToleration],
    capacity: Option<&'a CapacityRequirements>,
    mode: &'a DeviceAllocationMode,
    count: i64,
    admin: bool,
}

fn said(request: &DeviceRequest) -> Vec<Said<'_>> {
    if let Some(exactly) = request.exactly.as_deref()
        && request.first_available.is_empty()
    {
        return vec![Said {
            parent: None,
            name: &request.name,
            class: &exactly.device_class_name,
            selectors: &exactly.selectors,
            tolerations: &exactly.tolerations,
            capacity: exactly.capacity.as_deref(),
            mode: &exactly.allocation_mode,
            count: exactly.count,
            admin: exactly.admin_access == Some(true),
        }];
    }
    let options = request.first_available.iter().map(|option| Said {
        parent: Some(&request.name),
        name: &option.name,
        class: &option.device_class_name,
        selectors: &option.selectors,
        tolerations: &option.tolerations,
        capacity: option.capacity.as_deref(),
        mode: &option.allocation_mode,
        count: option.count,
        admin: false,
    });
    options.collect()
}

impl<'a> Search<'a, '_> {
    /// Makes a claim's requests ready.
    ///
    /// # Errors
    /// When the claim cannot be allocated anywhere as things are: in upstream's words.
    pub fn prepare(&mut self, claim: &'a ResourceClaim) -> Result<Vec<Demand<'a>>, Failure> {
        let mut demands = Vec::new();
        let mut least = 0usize;
        for request in &claim.spec.devices.requests {
            let mut options = Vec::new();
            for said in said(request) {
                options.push(self.ask(claim, said)?);
            }
            least = least.saturating_add(options.iter().map(|option| option.wanted).min().unwrap_or(0));
            demands.push(Demand { is_list: !request.first_available.is_empty(), options, chosen: 0 });
        }
        if least > MOST_RESULTS {
            let key = key(claim);
            return Err(Failure::claim(format!(
                "claim {key}: number of requested devices {least} exceeds the claim limit of {MOST_RESULTS}"
            )));
        }
        Ok(demands)
    }

    fn ask(&mut self, claim: &'a ResourceClaim, said: Said<'a>) -> Result<Ask<'a>, Failure> {
        let failed =
            |why: String| Failure::claim(format!("claim {}, request {}{why}", key(claim), said.name));
        if let Some(place) = said.selectors.iter().position(|selector| selector.cel.is_none()) {
            let why = format!(", selector #{place}: CEL expression empty (unsupported selector type?)");
            return Err(failed(why));
        }
        if said.class.is_empty() {
            return Err(failed(": missing device class name (unsupported request type?)".into()));
        }
        let Some(class) = self.classes.get(said.class).cloned() else {
            let class = said.class;
            return Err(failed(format!(
                ": could not retrieve device class {class}: deviceclass.resource.k8s.io {class:?} not found"
            )));
        };
        let mut ask = Ask {
            id: self.next_id(),
            parent: said.parent,
            name: said.name,
            class,
            selectors: said.selectors,
            tolerations: said.tolerations,
            capacity: said.capacity,
            admin: said.admin,
            all: None,
            wanted: 0,
        };
        match said.mode {
            DeviceAllocationMode::ExactCount => {
                ask.wanted = usize::try_from(said.count)
                    .map_err(|_| failed(format!(": exact count {} is too large", said.count)))?;
            }
            DeviceAllocationMode::All => {
                let all = self.every_device(claim, &ask, &failed)?;
                ask.wanted = all.len();
                ask.all = Some(all);
            }
            other => return Err(failed(format!(": unsupported count mode {}", other.as_str()))),
        }
        Ok(ask)
    }

    /// All devices that the node reaches and the request picks.
    fn every_device(
        &mut self,
        claim: &ResourceClaim,
        ask: &Ask<'_>,
        failed: &dyn Fn(String) -> Failure,
    ) -> Result<Vec<usize>, Failure> {
        let mut all = Vec::new();
        for pool in 0..self.reach.pools.len() {
            let own = &self.reach.pools[pool];
            let state = match own.fault {
                None => None,
                Some(Fault::Incomplete) => Some("being updated"),
                Some(Fault::Invalid) => Some("invalid"),
            };
            if let Some(state) = state {
                return Err(failed(format!(
                    ": asks for all devices, but resource pool {}/{} is currently {state}",
                    own.driver, own.name
                )));
            }
            for device in own.devices.clone() {
                if self.picks(claim, ask, device)? && self.has_capacity(ask, device) {
                    all.push(device);
                }
            }
        }
        Ok(all)
    }
}
