//! resourcequota-controller: keeps the status of ResourceQuotas. Admission adds to what is used as
//! objects come; here it is summed up anew when objects go or change, and every few minutes.
//!
//! What an object counts for is known to `api_types::quota`, which admission goes by as well. Sums are
//! made of what the server lists and not of caches: they are rare, and need whole objects.

mod sum;

use std::time::Duration;

use api_types::core::v1::{ConfigMap, ResourceQuota, Secret};
use client::Key;
use client::controller::{Controller, Failure, Hands, Plan, Step, Wake};
use client::informer::{Caches, Change, Projection};
use jiff::Timestamp;

use crate::cached::{
    ClaimObject, ControllerObject, CronJobObject, DaemonSetObject, DeploymentObject, JobObject, PodFacts,
    Presence, QuotaObject, ReplicaSetObject, ServiceObject, StatefulSetObject,
};

/// See the module.
#[derive(Debug)]
pub struct ResourceQuotas {
    /// Between sums that nothing asked for.
    pub period: Duration,
    /// Tells of kinds that no cache holds.
    pub presence: crate::presence::Presence,
}

impl Controller for ResourceQuotas {
    const NAME: &'static str = "resourcequota-controller";
    const QUEUE: &'static str = "resourcequota_primary";
    type View = ResourceQuota;
    /// The quota is to be summed up.
    type Own = ResourceQuota;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::on::<QuotaObject>(|change, _, keys| {
                let spec = |quota: Option<&std::sync::Arc<QuotaObject>>| quota.map(|q| q.spec.clone());
                if spec(change.old) != spec(change.new) {
                    keys.push(change.key.clone());
                }
            }),
            Wake::on::<PodFacts>(|change, caches, keys| {
                let counts = |pod: &PodFacts| (pod.is_finished(), pod.deleting.is_some(), pod.counted);
                let same = change.old.zip(change.new).is_some_and(|(old, new)| counts(old) == counts(new));
                if !same {
                    quotas(change, caches, keys);
                }
            }),
            Wake::on::<ServiceObject>(quotas),
            Wake::on::<ClaimObject>(quotas),
            presence::<ControllerObject>(),
            presence::<ReplicaSetObject>(),
            presence::<DeploymentObject>(),
            presence::<StatefulSetObject>(),
            presence::<DaemonSetObject>(),
            presence::<JobObject>(),
            presence::<CronJobObject>(),
            presence::<Presence<ConfigMap>>(),
            presence::<Presence<Secret>>(),
            self.any_kind(),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<ResourceQuota> {
        let quota = caches.store::<QuotaObject>().get(key)?.0.clone();
        quota.metadata.deletion_timestamp.is_none().then_some(quota)
    }

    fn plan(quota: &ResourceQuota, _: Timestamp) -> Plan<ResourceQuota> {
        let mut plan = Plan::nothing();
        plan.step(Step::Own(quota.clone()));
        plan
    }

    async fn perform(&self, quota: ResourceQuota, hands: &Hands) -> Result<Option<Duration>, Failure> {
        let used = sum::used(&quota, hands).await;
        let used = used.map_err(|error| Failure::new("sum up what is used", error))?;
        let mut plan = Plan::nothing();
        if let Some(action) = sum::settle(&quota, used) {
            plan.act(action);
        }
        hands.all(plan).await.failures.into_iter().next().map_or(Ok(Some(self.period)), Err)
    }
}

impl ResourceQuotas {
    /// Objects of any kind that come or go wake the quotas that count them.
    fn any_kind(&self) -> Wake {
        let presence = self.presence.clone();
        Wake::by(move |caches, queue| {
            let (caches, queue) = (caches.clone(), queue.clone());
            presence.subscribe(move |resource, namespace| {
                for (key, quota) in caches.store::<QuotaObject>().in_namespace(namespace) {
                    if sum::counts(&quota.spec, resource) {
                        queue.add(key);
                    }
                }
            });
        })
    }
}

/// Objects that come or go wake the quotas of their namespace.
fn presence<P: Projection>() -> Wake {
    Wake::on::<P>(|change, caches, keys| {
        if change.old.is_none() || change.new.is_none() {
            quotas(change, caches, keys);
        }
    })
}

fn quotas<P>(change: &Change<'_, P>, caches: &Caches, keys: &mut Vec<Key>) {
    let quotas = caches.store::<QuotaObject>().in_namespace(&change.key.namespace);
    keys.extend(quotas.into_iter().map(|(key, _)| key));
}
