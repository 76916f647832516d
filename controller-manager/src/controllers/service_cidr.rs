//! service-cidr-controller: says that ServiceCIDRs are ready, and keeps one that is being deleted as
//! long as addresses were given out of it that no other range holds (KEP-1880).
//!
//! Allocators may not have heard of a deletion yet: the finalizer stays for a grace period even when
//! nothing needs the range.

use std::net::IpAddr;
use std::time::Duration;

use api_types::meta::v1::{Condition, ConditionStatus};
use api_types::networking::v1::{ALLOCATOR, MANAGED_BY_LABEL, READY, ServiceCIDR};
use api_types::value::Time;
use client::Key;
use client::controller::{Action, Controller, Never, Plan, Wake};
use client::informer::{Caches, Change};
use ipnet::IpNet;
use jiff::Timestamp;

use crate::cached::{AddressFacts, CidrObject};

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// How long a deletion may take to reach all allocators.
const GRACE: Duration = Duration::from_secs(10);
const TERMINATING: &str = "Terminating";

/// See the module.
#[derive(Debug)]
pub struct ServiceCidrs;

/// A ServiceCIDR, the ranges of all others, and the addresses that were given out.
#[derive(Debug, Clone, Default)]
pub struct View {
    pub own: ServiceCIDR,
    pub others: Vec<IpNet>,
    pub addresses: Vec<IpAddr>,
}

impl Controller for ServiceCidrs {
    const NAME: &'static str = "service-cidr-controller";
    const QUEUE: &'static str = "ipaddresses";
    type View = View;
    type Own = Never;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            // A range that comes or goes may hold the addresses of another.
            Wake::on::<CidrObject>(|change: &Change<'_, CidrObject>, caches, keys| {
                keys.push(change.key.clone());
                keys.extend(caches.store::<CidrObject>().all().into_iter().map(|(key, _)| key));
            }),
            Wake::on::<AddressFacts>(|change, caches, keys| {
                if change.new.is_none() {
                    let going = |cidr: &CidrObject| cidr.metadata.deletion_timestamp.is_some();
                    let all = caches.store::<CidrObject>().all();
                    keys.extend(all.into_iter().filter(|(_, cidr)| going(cidr)).map(|(key, _)| key));
                }
            }),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let store = caches.store::<CidrObject>();
        let own = store.get(key)?.0.clone();
        let others = store.all().into_iter().filter(|(other, _)| other != key);
        let others = others.flat_map(|(_, cidr)| ranges(&cidr)).collect();
        let addresses = caches.store::<AddressFacts>().all();
        let addresses = addresses.into_iter().filter_map(|(key, _)| key.name.parse().ok()).collect();
        Some(View { own, others, addresses })
    }

    fn plan(view: &View, now: Timestamp) -> Plan {
        let mut plan = Plan::nothing();
        let own = &view.own;
        let protected = own.metadata.finalizers.iter().any(|finalizer| finalizer == FINALIZER);
        let Some(since) = own.metadata.deletion_timestamp else {
            if !protected {
                let mut own = own.clone();
                own.metadata.finalizers.push(FINALIZER.into());
                plan.act(Action::update(own));
            } else {
                let text = "Kubernetes Service CIDR is ready";
                say(own, (ConditionStatus::True, "", text), now, &mut plan);
            }
            return plan;
        };
        if !protected {
            return plan;
        }
        if needed(view) {
            let text = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
            say(own, (ConditionStatus::False, TERMINATING, text), now, &mut plan);
            return plan;
        }
        let over = since.0.as_second() + GRACE.as_secs() as i64 - now.as_second();
        if over > 0 {
            plan.look_again(Duration::from_secs(over.unsigned_abs()));
            return plan;
        }
        let mut own = own.clone();
        own.metadata.finalizers.retain(|finalizer| finalizer != FINALIZER);
        plan.act(Action::update(own));
        plan
    }
}

fn ranges(cidr: &ServiceCIDR) -> Vec<IpNet> {
    cidr.spec.cidrs.iter().filter_map(|range| range.parse().ok()).collect()
}

/// Whether an address was given out of these ranges that no other range holds.
fn needed(view: &View) -> bool {
    let own = ranges(&view.own);
    let alone = |address: &IpAddr| {
        own.iter().any(|range| range.contains(address))
            && !view.others.iter().any(|range| range.contains(address))
    };
    view.addresses.iter().any(alone)
}

/// Sets the condition unless it says so already.
fn say(
    own: &ServiceCIDR,
    (status, reason, message): (ConditionStatus, &str, &str),
    now: Timestamp,
    plan: &mut Plan,
) {
    let said = own.status.conditions.iter().position(|condition| condition.type_ == READY);
    if let Some(said) = said.map(|place| &own.status.conditions[place])
        && said.status == status
        && said.reason == reason
        && said.message == message
    {
        return;
    }
    let condition = Condition {
        type_: READY.into(),
        status,
        reason: reason.into(),
        message: message.into(),
        last_transition_time: Some(Time::whole(now)),
        ..Condition::default()
    };
    let mut own = own.clone();
    match said {
        Some(place) => own.status.conditions[place] = condition,
        None => own.status.conditions.push(condition),
    }
    plan.act(Action::update_status(own));
}

/// Whether Services' allocators made the address.
pub fn is_allocated(labels: &std::collections::BTreeMap<String, String>) -> bool {
    labels.get(MANAGED_BY_LABEL).is_some_and(|by| by == ALLOCATOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn going(range: &str, others: &[&str], addresses: &[&str]) -> View {
        let mut own = ServiceCIDR::default();
        own.metadata.deletion_timestamp = Some(Time(at(100)));
        own.metadata.finalizers = vec![FINALIZER.into()];
        own.spec.cidrs = vec![range.into()];
        View {
            own,
            others: others.iter().map(|range| range.parse().unwrap()).collect(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        }
    }

    fn condition(plan: &Plan) -> Option<(ConditionStatus, String)> {
        let changed = plan.actions().first()?.effect.object::<ServiceCIDR>()?;
        let said = changed.status.conditions.first()?;
        Some((said.status.clone(), said.reason.clone()))
    }

    #[test]
    fn a_range_is_protected_first_and_ready_then() {
        let mut view = View::default();
        let plan = ServiceCidrs::plan(&view, at(0));
        let changed = plan.actions()[0].effect.object::<ServiceCIDR>().unwrap();
        assert_eq!(changed.metadata.finalizers, [FINALIZER]);
        view.own = changed.clone();
        let plan = ServiceCidrs::plan(&view, at(0));
        assert_eq!(condition(&plan), Some((ConditionStatus::True, String::new())));
        view.own = plan.actions()[0].effect.object::<ServiceCIDR>().unwrap().clone();
        assert!(ServiceCidrs::plan(&view, at(5)).is_nothing());
    }

    #[test]
    fn a_range_stays_while_it_alone_holds_an_address() {
        let view = going("10.1.0.0/24", &[], &["10.1.0.7"]);
        assert_eq!(
            condition(&ServiceCidrs::plan(&view, at(500))),
            Some((ConditionStatus::False, TERMINATING.into()))
        );
        for held_elsewhere in
            [going("10.1.0.0/24", &["10.1.0.0/16"], &["10.1.0.7"]), going("10.1.0.0/24", &[], &["10.2.0.7"])]
        {
            let early = ServiceCidrs::plan(&held_elsewhere, at(104));
            assert_eq!((early.actions().len(), early.again), (0, Some(Duration::from_secs(6))));
            let late = ServiceCidrs::plan(&held_elsewhere, at(110));
            let changed = late.actions()[0].effect.object::<ServiceCIDR>().unwrap();
            assert!(changed.metadata.finalizers.is_empty());
        }
    }
}
