//! The `kubernetes` Service: how pods find the apiservers. Each apiserver holds a lease on its own
//! address in the store and keeps Endpoints and EndpointSlice equal to all addresses that are held.
//!
//! `/registry/masterleases/IP` is upstream's key; its etcd lease ends soon after its holder does.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Protocol, Service};
use api_types::core::v1::{IPFamilyPolicy, Namespace, ServiceAffinity, ServicePort, ServiceType};
use api_types::discovery::v1 as discovery;
use api_types::kind::Resource;
use api_types::value::IntOrString;
use daemon::shutdown::Shutdown;

use crate::answer::typed_json;
use crate::bootstrap::{Objects, ObjectsError};
use crate::objects::Registry;
use crate::server::Server;
use crate::steps::Step;
use crate::storage::kv::{KvError, Op};

const NAME: &str = "kubernetes";
const NAMESPACE: &str = "default";
const PORT_NAME: &str = "https";
const EVERY: Duration = Duration::from_secs(10);
/// Seconds that an address outlives its apiserver.
const LEASE: i64 = 15;

/// What this server tells about itself.
#[derive(Debug, Clone, Copy)]
pub struct Own {
    pub ip: IpAddr,
    pub port: u16,
    /// Whether clients are to find this server by the Service; not with `--endpoint-reconciler-type=none`.
    pub advertises: bool,
}

/// Why a round failed; the next one tries again.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    Store(#[from] KvError),
    #[error("{0}")]
    Objects(#[from] ObjectsError),
}

/// Keeps Service, Endpoints and EndpointSlice until shutdown, then takes the own address out. `kept` is
/// told after the first round: whoever waits for this server must not wait for a webhook that refuses its
/// writes, and needs this server to get well.
pub async fn reconcile(server: Arc<Server>, own: Own, kept: Step, shutdown: Shutdown) {
    let objects = Registry(server.clone());
    loop {
        if let Err(error) = round(&server, &objects, own).await {
            tracing::warn!(%error, "Cannot reconcile the kubernetes service");
        }
        kept.ok();
        if shutdown.unless(tokio::time::sleep(EVERY)).await.is_none() {
            break;
        }
    }
    if !own.advertises {
        return;
    }
    let kv = &server.storage.kv;
    let key = kv.key(&format!("masterleases/{}", own.ip));
    let left = async {
        kv.commit(vec![Op::delete(&key, None)]).await?;
        let addresses = held(&server).await?;
        // With nobody left the last address stays: a restart is likelier than an end.
        if !addresses.is_empty() {
            endpoints(&objects, &addresses, own.port).await?;
        }
        Ok::<(), Failed>(())
    };
    if let Err(error) = left.await {
        tracing::warn!(%error, "Cannot take this server out of the kubernetes service");
    }
}

async fn round(server: &Arc<Server>, objects: &Registry, own: Own) -> Result<(), Failed> {
    if own.advertises {
        hold(server, own).await?;
    }
    let namespace = objects.get(Namespace::facts(), "", NAMESPACE).await?;
    if namespace.is_none() {
        return Ok(());
    }
    super::ensure_default(server, objects).await?;
    if objects.get(Service::facts(), NAMESPACE, NAME).await?.is_none() {
        ignore_race(objects.create(Box::new(service(server, own))).await)?;
    }
    if !own.advertises {
        return Ok(());
    }
    endpoints(objects, &held(server).await?, own.port).await
}

/// Renews the lease on the own address.
async fn hold(server: &Server, own: Own) -> Result<(), KvError> {
    let kv = &server.storage.kv;
    let key = kv.key(&format!("masterleases/{}", own.ip));
    let value = typed_json(
        "Endpoints",
        "v1",
        &Endpoints { subsets: subsets(&BTreeSet::from([own.ip]), own.port), ..Endpoints::default() },
    );
    let (present, _) = kv.get(&key).await?;
    let lease = kv.lease(LEASE).await?;
    // Losing means that another process claims the same address; the next round sees it.
    kv.put(&key, value.into(), present.map_or(0, |p| p.revision), lease).await?;
    Ok(())
}

/// The addresses of all apiservers.
async fn held(server: &Server) -> Result<BTreeSet<IpAddr>, KvError> {
    let prefix = server.storage.kv.key("masterleases/");
    let page = server.storage.kv.page(&prefix, prefix.as_bytes(), 0, 0).await?;
    let name = |key: &[u8]| std::str::from_utf8(key.strip_prefix(prefix.as_bytes())?).ok()?.parse().ok();
    Ok(page.items.iter().filter_map(|stored| name(&stored.key)).collect())
}

fn ignore_race(result: Result<(), ObjectsError>) -> Result<(), ObjectsError> {
    match result {
        Err(ObjectsError::Changed { .. }) => Ok(()),
        other => other,
    }
}

async fn endpoints(objects: &Registry, addresses: &BTreeSet<IpAddr>, port: u16) -> Result<(), Failed> {
    let wanted = wanted_endpoints(addresses, port);
    ensure(objects, wanted, |found: &mut Endpoints, wanted| {
        let same = found.subsets == wanted.subsets;
        found.subsets = wanted.subsets;
        let marked = found.metadata.labels.insert(SKIP_MIRROR.into(), "true".into());
        same && marked.is_some_and(|value| value == "true")
    })
    .await?;
    let wanted = wanted_slice(addresses, port);
    ensure(objects, wanted, |found: &mut discovery::EndpointSlice, wanted| {
        let same = found.endpoints == wanted.endpoints && found.ports == wanted.ports;
        found.endpoints = wanted.endpoints;
        found.ports = wanted.ports;
        same
    })
    .await
}

/// Creates `wanted`, or lets `merge` bring what is there in line; `merge` says whether it was.
async fn ensure<T: Resource>(
    objects: &Registry,
    wanted: T,
    merge: impl FnOnce(&mut T, T) -> bool,
) -> Result<(), Failed> {
    let found = objects.get(T::facts(), NAMESPACE, NAME).await?;
    let found = found.as_ref().and_then(|object| object.as_any().downcast_ref::<T>()).cloned();
    let written = match found {
        None => objects.create(Box::new(wanted)).await,
        Some(mut found) => {
            if merge(&mut found, wanted) {
                return Ok(());
            }
            objects.update(Box::new(found)).await
        }
    };
    Ok(ignore_race(written)?)
}

const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";

fn service(server: &Server, own: Own) -> Service {
    let mut service = Service::default();
    service.metadata.name = NAME.into();
    service.metadata.namespace = NAMESPACE.into();
    service.metadata.labels.insert("component".into(), "apiserver".into());
    service.metadata.labels.insert("provider".into(), "kubernetes".into());
    service.spec.ports = vec![ServicePort {
        name: PORT_NAME.into(),
        port: 443,
        target_port: IntOrString::Int(i32::from(own.port)),
        protocol: Protocol::Tcp,
        ..ServicePort::default()
    }];
    service.spec.cluster_ip = server.service_ranges.ips.first().to_string();
    service.spec.ip_family_policy = Some(IPFamilyPolicy::SingleStack);
    service.spec.session_affinity = ServiceAffinity::None;
    service.spec.type_ = ServiceType::ClusterIP;
    service
}

fn subsets(addresses: &BTreeSet<IpAddr>, port: u16) -> Vec<EndpointSubset> {
    vec![EndpointSubset {
        addresses: addresses
            .iter()
            .map(|ip| EndpointAddress { ip: ip.to_string(), ..EndpointAddress::default() })
            .collect(),
        ports: vec![EndpointPort {
            name: PORT_NAME.into(),
            port: i32::from(port),
            protocol: Protocol::Tcp,
            ..EndpointPort::default()
        }],
        ..EndpointSubset::default()
    }]
}

fn wanted_endpoints(addresses: &BTreeSet<IpAddr>, port: u16) -> Endpoints {
    let mut endpoints = Endpoints { subsets: subsets(addresses, port), ..Endpoints::default() };
    endpoints.metadata.name = NAME.into();
    endpoints.metadata.namespace = NAMESPACE.into();
    // Its slice is written here and not mirrored.
    endpoints.metadata.labels.insert(SKIP_MIRROR.into(), "true".into());
    endpoints
}

fn wanted_slice(addresses: &BTreeSet<IpAddr>, port: u16) -> discovery::EndpointSlice {
    let mut slice = discovery::EndpointSlice::default();
    let v6 = addresses.iter().next().is_some_and(IpAddr::is_ipv6);
    slice.address_type = if v6 { discovery::AddressType::IPv6 } else { discovery::AddressType::IPv4 };
    slice.endpoints = addresses
        .iter()
        .map(|ip| discovery::Endpoint {
            addresses: vec![ip.to_string()],
            conditions: discovery::EndpointConditions { ready: Some(true), ..Default::default() },
            ..discovery::Endpoint::default()
        })
        .collect();
    slice.ports = vec![discovery::EndpointPort {
        name: Some(PORT_NAME.into()),
        protocol: Some(Protocol::Tcp),
        port: Some(i32::from(port)),
        ..discovery::EndpointPort::default()
    }];
    slice.metadata.name = NAME.into();
    slice.metadata.namespace = NAMESPACE.into();
    slice.metadata.labels.insert("kubernetes.io/service-name".into(), NAME.into());
    slice
}
