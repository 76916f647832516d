//! The claims of a pod: made from their templates, entered into the pod's status, and reserved for a
//! pod that has a node without a scheduler having seen to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::Pod;
use api_types::meta::v1::{ObjectMeta, OwnerReference, Status, StatusReason};
use api_types::resource::v1::{ResourceClaim, ResourceClaimConsumerReference, ResourceClaimTemplate};
use client::Key;
use client::controller::{Action, Controller, Failure, Hands, Plan, Step, Target, Wake};
use client::informer::Caches;
use client::{Error, Patch};
use jiff::Timestamp;
use serde_json::json;

use super::{POD_CLAIM, metrics};
use crate::cached::{
    ClaimTemplateObject, DeviceClaim, DeviceClaimObject, MadeClaim, PodFacts, controller_of,
};
use crate::service_pods::reference;

/// Owns the entries in pods' status.
const MANAGER: &str = "ResourceClaimController";
const FAILED: &str = "FailedResourceClaimCreation";

/// See the module. Its keys are pods.
#[derive(Debug)]
pub struct PodClaims;

/// A pod and its entries.
#[derive(Debug)]
pub struct View {
    pub key: Key,
    pub pod: Arc<PodFacts>,
    pub entries: Vec<Entry>,
}

/// An entry of a pod's `resourceClaims` with what is there of it.
#[derive(Debug)]
pub struct Entry {
    pub entry: DeviceClaim,
    /// The claim that the pod's status or spec names.
    pub named: Option<Arc<DeviceClaimObject>>,
    /// A claim that was made for the entry, whether or not the status says so.
    pub made: Option<Arc<DeviceClaimObject>>,
    pub template: Option<Arc<ClaimTemplateObject>>,
}

/// Claims to make, and what the pod's status is to say then.
#[derive(Debug, PartialEq)]
pub struct Make {
    pub key: Key,
    pub pod: Arc<PodFacts>,
    pub claims: Vec<ResourceClaim>,
    /// Entries by name; none for one that needs no claim.
    pub statuses: BTreeMap<String, Option<String>>,
    /// An entry whose template is not there: its name and the template's.
    pub missing: Option<(Box<str>, Box<str>)>,
}

impl Controller for PodClaims {
    const NAME: &'static str = "resourceclaim-controller";
    const QUEUE: &'static str = "resource_claim";
    type View = View;
    type Own = Make;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::on::<PodFacts>(|change, _, keys| {
                let said = |pod: &Arc<PodFacts>| (pod.uid.clone(), pod.devices.clone(), pod.node.clone());
                let Some(new) = change.new.filter(|pod| pod.devices.is_some()) else { return };
                if change.old.map(said) != Some(said(new)) {
                    keys.push(change.key.clone());
                }
            }),
            Wake::on::<DeviceClaimObject>(|change, caches, keys| {
                let pods = caches.store::<PodFacts>().by_index("resource claim", &change.key.to_string());
                keys.extend(pods.into_iter().map(|(key, _)| key));
            }),
            Wake::on::<ClaimTemplateObject>(|change, caches, keys| {
                if change.new.is_some() {
                    let pods = caches.store::<PodFacts>().by_index("claim template", &change.key.to_string());
                    keys.extend(pods.into_iter().map(|(key, _)| key));
                }
            }),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let pod = caches.store::<PodFacts>().get(key)?;
        if pod.deleting.is_some() || pod.is_finished() {
            return None;
        }
        let (claims, templates) =
            (caches.store::<DeviceClaimObject>(), caches.store::<ClaimTemplateObject>());
        let own = claims.by_index("owner", &pod.uid);
        let look = |entry: &DeviceClaim| {
            let meant = |claim: &DeviceClaimObject| {
                claim.metadata.annotations.get(POD_CLAIM).is_some_and(|name| **name == *entry.name)
            };
            Entry {
                entry: entry.clone(),
                named: entry.made().and_then(|name| claims.find(&key.namespace, name)),
                made: own.iter().find(|(_, claim)| meant(claim)).map(|(_, claim)| claim.clone()),
                template: entry.template.as_ref().and_then(|name| templates.find(&key.namespace, name)),
            }
        };
        let entries = pod.devices.as_ref()?.entries.iter().map(look).collect();
        Some(View { key: key.clone(), pod, entries })
    }

    fn plan(view: &View, _: Timestamp) -> Plan<Make> {
        plan(view)
    }

    async fn perform(&self, make: Make, hands: &Hands) -> Result<Option<Duration>, Failure> {
        let about = reference(&make.key, &make.pod);
        let fail = |entry: &str, text: String, error: Error| {
            let message = format!("PodResourceClaim {entry}: {text}");
            hands.recorder.event(&about, client::events::WARNING, FAILED, &message);
            Err(Failure::new(format!("claim {entry} of pod {}", make.key), error))
        };
        let mut statuses = make.statuses;
        for claim in make.claims {
            let entry = claim.metadata.annotations.get(POD_CLAIM).cloned().unwrap_or_default();
            let made = hands.client.create_object(&claim).await;
            metrics::created(&claim, made.is_ok());
            match made {
                Ok(stored) => {
                    hands.wrote(&*stored);
                    statuses.insert(entry, Some(stored.meta().name.clone()));
                }
                // COMPAT: the name is not known yet; upstream's text has none either.
                Err(error) => return fail(&entry, format!("create ResourceClaim : {error}"), error),
            }
        }
        if let Some((entry, template)) = make.missing {
            let message = format!("resourceclaimtemplate.resource.k8s.io {template:?} not found");
            let status = Status { message, reason: StatusReason::NotFound, code: 404, ..Status::default() };
            let error = Error::Status(Box::new(status));
            return fail(&entry, format!("resource claim template {template:?}: {error}"), error);
        }
        let mut plan = Plan::nothing();
        plan.act(applied(&make.key, &make.pod, &statuses));
        hands.all(plan).await.failures.into_iter().next().map_or(Ok(None), Err)
    }
}

/// All entries that have templates: what is left out of an applied configuration would be taken away.
fn applied(key: &Key, pod: &PodFacts, statuses: &BTreeMap<String, Option<String>>) -> Action {
    let status = |(name, claim): (&String, &Option<String>)| match claim {
        Some(claim) => json!({"name": name, "resourceClaimName": claim}),
        None => json!({"name": name}),
    };
    let statuses: Vec<_> = statuses.iter().map(status).collect();
    let object = json!({
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": &*key.name, "namespace": &*key.namespace},
        "status": {"resourceClaimStatuses": statuses},
    });
    let patch = Patch::Apply { manager: MANAGER.into(), force: true, object };
    Action::patch_status(Target::new::<Pod>(key.clone(), &pod.uid), patch)
}

pub(super) fn plan(view: &View) -> Plan<Make> {
    let mut plan = Plan::nothing();
    let (key, pod) = (view.key.clone(), view.pod.clone());
    let mut make = Make { key, pod, claims: Vec::new(), statuses: BTreeMap::new(), missing: None };
    let mut changed = false;
    for entry in view.entries.iter().filter(|e| e.entry.template.is_some()) {
        let name = &entry.entry.name;
        let of_pod = |claim: &&Arc<DeviceClaimObject>| {
            controller_of(&claim.metadata).is_some_and(|owner| *owner.uid == *view.pod.uid)
        };
        if entry.entry.claim == MadeClaim::None {
            make.statuses.insert(name.to_string(), None);
            continue;
        }
        if let Some(claim) = entry.named.as_ref().filter(of_pod) {
            make.statuses.insert(name.to_string(), Some(claim.metadata.name.clone()));
            continue;
        }
        changed = true;
        if let Some(claim) = &entry.made {
            make.statuses.insert(name.to_string(), Some(claim.metadata.name.clone()));
        } else if let Some(template) = &entry.template {
            make.claims.push(claim(view, name, template));
        } else {
            make.missing = entry.entry.template.clone().map(|template| (name.clone(), template));
            break;
        }
    }
    if changed {
        plan.step(Step::Own(make));
    }
    if !view.pod.node.is_empty() {
        // Without a node the scheduler sees to it.
        plan.steps.extend(view.entries.iter().filter_map(|e| reserve(view, e)).map(Step::Do));
    }
    plan
}

fn claim(view: &View, entry: &str, template: &ResourceClaimTemplate) -> ResourceClaim {
    let wanted = &template.spec.metadata;
    let mut annotations = wanted.annotations.clone();
    annotations.insert(POD_CLAIM.into(), entry.into());
    let metadata = ObjectMeta {
        generate_name: generated_name(&view.key.name, entry),
        namespace: view.key.namespace.to_string(),
        labels: wanted.labels.clone(),
        annotations,
        owner_references: vec![OwnerReference {
            api_version: "v1".into(),
            kind: "Pod".into(),
            name: view.key.name.to_string(),
            uid: view.pod.uid.to_string(),
            controller: Some(true),
            block_owner_deletion: None,
        }],
        ..ObjectMeta::default()
    };
    ResourceClaim { metadata, spec: template.spec.spec.clone(), ..ResourceClaim::default() }
}

/// `POD-ENTRY-`; both are cut in proportion when that leaves no room for five more characters.
pub(super) fn generated_name(pod: &str, entry: &str) -> String {
    const LONGEST: usize = 57;
    let whole = format!("{pod}-{entry}-");
    if whole.len() <= LONGEST {
        return whole;
    }
    let cut = |part: &str| part.chars().take(part.len() * LONGEST / whole.len()).collect::<String>();
    format!("{}-{}", cut(pod), cut(entry))
}

/// Enters the pod as a user of what is allocated.
fn reserve(view: &View, entry: &Entry) -> Option<Action> {
    let named = entry.named.as_ref().filter(|claim| claim.status.allocation.is_some())?;
    let own = controller_of(&named.metadata).is_some_and(|owner| *owner.uid == *view.pod.uid);
    let known = named.status.reserved_for.iter().any(|user| *user.uid == *view.pod.uid);
    if known || (entry.entry.template.is_some() && !own) {
        return None;
    }
    let mut claim = named.0.clone();
    claim.status.reserved_for.push(ResourceClaimConsumerReference {
        api_group: String::new(),
        resource: "pods".into(),
        name: view.key.name.to_string(),
        uid: view.pod.uid.to_string(),
    });
    Some(Action::update_status(claim))
}
