//! serviceaccount-controller: every namespace has the service account `default`.

use api_types::core::v1::well_known::name;
use api_types::core::v1::{NamespacePhase, ServiceAccount};
use api_types::meta::v1::ObjectMeta;
use client::Key;
use client::controller::{Action, Controller, Never, Plan, Wake};
use client::informer::{Caches, Change};
use jiff::Timestamp;

use crate::cached::{AccountFacts, NamespaceObject};

/// See the module. Its keys are namespaces.
#[derive(Debug)]
pub struct ServiceAccounts;

/// A namespace that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub namespace: String,
    pub has_account: bool,
}

impl Controller for ServiceAccounts {
    const NAME: &'static str = "serviceaccount-controller";
    const QUEUE: &'static str = "serviceaccount";
    type View = View;
    type Own = Never;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::itself::<NamespaceObject>(),
            Wake::on::<AccountFacts>(|change: &Change<'_, AccountFacts>, _, keys| {
                if change.new.is_none() {
                    keys.push(Key::cluster(change.key.namespace.clone()));
                }
            }),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let namespace = caches.store::<NamespaceObject>().get(key)?;
        let lives = namespace.metadata.deletion_timestamp.is_none()
            && namespace.status.phase != NamespacePhase::Terminating;
        let has_account =
            caches.store::<AccountFacts>().find(&key.name, name::DEFAULT_SERVICE_ACCOUNT).is_some();
        lives.then(|| View { namespace: key.name.to_string(), has_account })
    }

    fn plan(view: &View, _: Timestamp) -> Plan {
        let mut plan = Plan::nothing();
        if !view.has_account {
            let metadata = ObjectMeta {
                name: name::DEFAULT_SERVICE_ACCOUNT.into(),
                namespace: view.namespace.clone(),
                ..ObjectMeta::default()
            };
            plan.act(Action::create(ServiceAccount { metadata, ..ServiceAccount::default() }));
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::Namespace;

    use super::*;

    fn view(phase: NamespacePhase, account: bool) -> Option<View> {
        let caches = Caches::detached();
        let mut namespace = Namespace::default();
        namespace.metadata.name = "ns".into();
        namespace.status.phase = phase;
        caches.store::<NamespaceObject>().put(namespace);
        if account {
            let mut account = ServiceAccount::default();
            account.metadata.name = "default".into();
            account.metadata.namespace = "ns".into();
            caches.store::<AccountFacts>().put(account);
        }
        ServiceAccounts.observe(&Key::cluster("ns"), &caches)
    }

    fn created(view: &View) -> Vec<String> {
        let plan = ServiceAccounts::plan(view, Timestamp::UNIX_EPOCH);
        plan.actions().iter().map(|a| a.effect.describe()).collect()
    }

    #[test]
    fn a_missing_account_is_created() {
        let view = view(NamespacePhase::Active, false).unwrap();
        assert_eq!(created(&view), ["create ServiceAccount ns/default"]);
    }

    #[test]
    fn where_it_is_or_all_goes_nothing_is_done() {
        assert!(created(&view(NamespacePhase::Active, true).unwrap()).is_empty());
        assert_eq!(view(NamespacePhase::Terminating, false), None);
    }
}
