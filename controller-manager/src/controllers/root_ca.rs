//! root-ca-certificate-publisher-controller: every namespace has the ConfigMap `kube-root-ca.crt` with the
//! authority by which pods verify the apiserver.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use api_types::core::v1::well_known::name;
use api_types::core::v1::{ConfigMap, NamespacePhase};
use api_types::meta::v1::ObjectMeta;
use client::Key;
use client::controller::{Action, Controller, Never, Plan, Wake};
use client::informer::{Caches, Change};
use jiff::Timestamp;

use crate::cached::{NamespaceObject, RootCa};

const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.",
);

/// See the module. Its keys are namespaces.
#[derive(Debug)]
pub struct RootCaPublisher {
    bundle: Arc<str>,
}

impl RootCaPublisher {
    /// Reads the bundle once, as upstream does.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn new(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file)
            .map_err(|e| anyhow::anyhow!("--root-ca-file: cannot read {}: {e}", file.display()))?;
        Ok(Self { bundle: text.into() })
    }
}

/// A namespace that lives.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub namespace: String,
    pub bundle: Arc<str>,
    pub current: Option<ConfigMap>,
}

impl Controller for RootCaPublisher {
    const NAME: &'static str = "root-ca-certificate-publisher-controller";
    const QUEUE: &'static str = "root_ca_cert_publisher";
    type View = View;
    type Own = Never;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::itself::<NamespaceObject>(),
            Wake::on::<RootCa>(|change: &Change<'_, RootCa>, _, keys| {
                keys.push(Key::cluster(change.key.namespace.clone()));
            }),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let namespace = caches.store::<NamespaceObject>().get(key)?;
        let lives = namespace.metadata.deletion_timestamp.is_none()
            && namespace.status.phase != NamespacePhase::Terminating;
        let current = caches.store::<RootCa>().find(&key.name, name::ROOT_CA_CONFIG_MAP);
        lives.then(|| View {
            namespace: key.name.to_string(),
            bundle: self.bundle.clone(),
            current: current.map(|c| c.0.clone()),
        })
    }

    fn plan(view: &View, _: Timestamp) -> Plan {
        let mut plan = Plan::nothing();
        let data = BTreeMap::from([("ca.crt".to_owned(), view.bundle.to_string())]);
        let (annotation, text) = DESCRIPTION;
        match &view.current {
            None => {
                let metadata = ObjectMeta {
                    name: name::ROOT_CA_CONFIG_MAP.into(),
                    namespace: view.namespace.clone(),
                    annotations: BTreeMap::from([(annotation.into(), text.into())]),
                    ..ObjectMeta::default()
                };
                plan.act(Action::create(ConfigMap { metadata, data, ..ConfigMap::default() }));
            }
            Some(current) => {
                let described = current.metadata.annotations.get(annotation).is_some_and(|a| !a.is_empty());
                if current.data != data || !described {
                    let mut updated = ConfigMap { data, ..current.clone() };
                    updated.metadata.annotations.insert(annotation.into(), text.into());
                    plan.act(Action::update(updated));
                }
            }
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(current: Option<ConfigMap>) -> Option<ConfigMap> {
        let view = View { namespace: "ns".into(), bundle: "PEM".into(), current };
        let plan = RootCaPublisher::plan(&view, Timestamp::UNIX_EPOCH);
        plan.actions().first().map(|a| a.effect.object::<ConfigMap>().unwrap().clone())
    }

    #[test]
    fn the_map_is_made_kept_and_repaired() {
        let made = written(None).unwrap();
        assert_eq!((made.metadata.name.as_str(), made.data["ca.crt"].as_str()), ("kube-root-ca.crt", "PEM"));
        assert_eq!(written(Some(made.clone())), None);
        let mut spoiled = made.clone();
        spoiled.data.insert("more".into(), "x".into());
        assert_eq!(written(Some(spoiled)).unwrap().data, made.data);
        let mut bare = made;
        bare.metadata.annotations.clear();
        assert!(written(Some(bare)).is_some());
    }
}
