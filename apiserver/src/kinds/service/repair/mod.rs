//! The repair of cluster IPs: follows Services and IPAddresses and mends what others broke. Runs in every
//! apiserver; a repair is guarded by what it was decided from, so that two do no harm.
//!
//! `plan` decides from the caches. Before anything is written both halves are read from the store.

mod plan;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Event, ObjectReference, Service};
use api_types::kind::Resource;
use api_types::networking::v1::{IPAddress, ServiceCIDR};
use api_types::value::{MicroTime, Time};
use daemon::shutdown::Shutdown;

use super::allocation::{belongs, put};
use crate::bootstrap::Objects;
use crate::objects::Registry;
use crate::server::Server;
use crate::steps::Step;
use crate::storage::kv::{KvError, Op, Versioned};
use crate::storage::log::{Batch, Cursor};
use crate::storage::{Collection, Entry};
use plan::{Finding, Repair, Verdict};

/// Everything is looked at this often, as upstream does.
const EVERY: Duration = Duration::from_secs(180);
/// Changes are looked at this much later: both halves are in the caches by then.
const DELAY: Duration = Duration::from_secs(1);
const BATCH: usize = 512;
const REPORTER: &str = "ipallocator-repair-controller";

/// What is to be looked at.
#[derive(Default)]
struct Pending {
    services: BTreeSet<String>,
    addresses: BTreeSet<String>,
}

/// Repairs until shutdown. `looked` is told once everything has been looked at.
pub async fn repair(server: Arc<Server>, looked: Step, shutdown: Shutdown) {
    shutdown
        .unless(async {
            loop {
                followed(&server, &looked).await;
            }
        })
        .await;
}

/// Looks at everything and then at what changes, until a log breaks off or it is time for all again.
async fn followed(server: &Arc<Server>, looked: &Step) {
    let (services, addresses) = (server.storage.of::<Service>(), server.storage.of::<IPAddress>());
    let (of_services, of_addresses) = (services.start_now(None), addresses.start_now(None));
    let mut pending = Pending {
        services: of_services.snapshot.iter().map(|entry| entry.key.to_string()).collect(),
        addresses: of_addresses.snapshot.iter().map(|entry| entry.key.to_string()).collect(),
    };
    let (mut of_services, mut of_addresses) = (of_services.cursor, of_addresses.cursor);
    let end = tokio::time::Instant::now() + EVERY;
    loop {
        look(server, &mut pending).await;
        looked.ok();
        let idle = pending.addresses.is_empty();
        tokio::select! {
            () = of_services.appended() => {}
            () = of_addresses.appended() => {}
            () = tokio::time::sleep(DELAY), if !idle => {}
            () = tokio::time::sleep_until(end) => return,
        }
        tokio::time::sleep(DELAY).await;
        let complete = drain(&mut of_services, &mut |entry| {
            pending.services.insert(entry.key.to_string());
            pending.addresses.extend(service(entry).map(|s| s.spec.cluster_ips).unwrap_or_default());
        }) && drain(&mut of_addresses, &mut |entry| {
            pending.addresses.insert(entry.key.to_string());
            pending.services.extend(entry.typed::<IPAddress>().ok().and_then(|address| {
                let parent = address.spec.parent_ref?;
                Some(format!("{}/{}", parent.namespace, parent.name))
            }));
        });
        if !complete {
            return;
        }
    }
}

fn service(entry: &Entry) -> Option<Service> {
    entry.typed().ok()
}

/// Takes the events that are there; `false` when some are lost.
fn drain(cursor: &mut Cursor, see: &mut dyn FnMut(&Entry)) -> bool {
    loop {
        match cursor.take(BATCH) {
            Batch::Events(events) => {
                for event in events {
                    [&event.old, &event.new].into_iter().flatten().for_each(|entry| see(entry));
                }
            }
            Batch::Empty | Batch::Ended => return true,
            Batch::FellOff => return false,
        }
    }
}

/// Looks at what is pending; what has to wait stays.
async fn look(server: &Arc<Server>, pending: &mut Pending) {
    for key in std::mem::take(&mut pending.services) {
        let Some(own) = cached::<Service>(server, &key) else { continue };
        let ips = &own.spec.cluster_ips;
        let addresses: Vec<IPAddress> = ips.iter().filter_map(|ip| cached(server, ip)).collect();
        let parents: Vec<Service> = addresses
            .iter()
            .filter_map(|address| address.spec.parent_ref.as_ref())
            .filter_map(|parent| cached(server, &format!("{}/{}", parent.namespace, parent.name)))
            .collect();
        let found = plan::of_service(
            &own,
            &all_ranges(server),
            |name| addresses.iter().find(|address| address.metadata.name == name),
            |namespace, name| {
                parents.iter().find(|s| s.metadata.namespace == namespace && s.metadata.name == name)
            },
        );
        for finding in found {
            let ip = if let Repair::Assign(ip) = finding.repair { Some(ip) } else { None };
            let done = match ip {
                Some(ip) => assign(server, &key, ip).await,
                None => Ok(true),
            };
            report(server, &own, &finding, done).await;
        }
    }
    for key in std::mem::take(&mut pending.addresses) {
        let Some(own) = cached::<IPAddress>(server, &key) else { continue };
        let parent = own.spec.parent_ref.as_ref();
        let service: Option<Service> =
            parent.and_then(|parent| cached(server, &format!("{}/{}", parent.namespace, parent.name)));
        match plan::of_address(&own, jiff::Timestamp::now(), |_, _| service.as_ref()) {
            Verdict::Fine => {}
            Verdict::Later => {
                pending.addresses.insert(key);
            }
            Verdict::Wrong(finding) => {
                let done = remove(server, &key).await;
                report(server, &own, &finding, done).await;
            }
        }
    }
}

fn cached<T: Resource>(server: &Server, key: &str) -> Option<T> {
    server.storage.of::<T>().get(key)?.typed().ok()
}

/// The ranges of all ServiceCIDRs, open or not.
fn all_ranges(server: &Server) -> Vec<ipnet::IpNet> {
    let (all, _) = server.storage.of::<ServiceCIDR>().snapshot();
    let own = all.iter().filter_map(|entry| entry.typed::<ServiceCIDR>().ok()).flat_map(|c| c.spec.cidrs);
    let own: Vec<ipnet::IpNet> = own.filter_map(|cidr| cidr.parse().ok()).collect();
    if own.is_empty() { server.service_ranges.ips.all().to_vec() } else { own }
}

async fn stored<T: Resource>(known: &Collection, key: &str) -> Result<Option<(Versioned, T)>, KvError> {
    let (found, _) = known.kv.get(&format!("{}{key}", known.prefix)).await?;
    Ok(found.and_then(|stored| {
        let object = known.entry(&stored).ok()?.typed().ok()?;
        Some((stored, object))
    }))
}

/// Gives a Service its address; `false` when the store shows that nothing is wrong.
async fn assign(server: &Server, key: &str, ip: IpAddr) -> Result<bool, KvError> {
    let addresses = server.storage.of::<IPAddress>();
    let present = stored::<IPAddress>(addresses, &ip.to_string()).await?;
    let Some((_, own)) = stored::<Service>(server.storage.of::<Service>(), key).await? else {
        return Ok(false);
    };
    if !own.spec.cluster_ips.contains(&ip.to_string()) {
        return Ok(false);
    }
    let labelled = |address: &IPAddress| address.metadata.labels.len() >= 2;
    if present.as_ref().is_some_and(|(_, address)| {
        belongs(address, &own.metadata.namespace, &own.metadata.name) && labelled(address)
    }) {
        return Ok(false);
    }
    let expected = present.map_or(0, |(stored, _)| stored.revision);
    server.storage.kv.commit(vec![put(addresses, ip, &own, expected)]).await?;
    Ok(true)
}

/// Takes an address away that no Service has; `false` when the store shows that one has it.
async fn remove(server: &Server, key: &str) -> Result<bool, KvError> {
    let addresses = server.storage.of::<IPAddress>();
    let Some((present, own)) = stored::<IPAddress>(addresses, key).await? else { return Ok(false) };
    if let Some(parent) = &own.spec.parent_ref {
        let service = format!("{}/{}", parent.namespace, parent.name);
        let service = stored::<Service>(server.storage.of::<Service>(), &service).await?;
        if service.is_some_and(|(_, service)| service.spec.cluster_ips.iter().any(|ip| ip == key)) {
            return Ok(false);
        }
    }
    let path = addresses.key("", key);
    server.storage.kv.commit(vec![Op::delete(&path, Some(present.revision))]).await?;
    Ok(true)
}

async fn report<T: Resource>(
    server: &Arc<Server>,
    about: &T,
    finding: &Finding,
    done: Result<bool, KvError>,
) {
    match done {
        Ok(false) => return,
        Ok(true) => tracing::warn!(reason = finding.reason, "{}", finding.note),
        Err(error) => {
            tracing::warn!(reason = finding.reason, %error, "Cannot repair: {}", finding.note);
            return;
        }
    }
    let event = event(about, finding);
    if let Err(error) = Registry(server.clone()).create(Box::new(event)).await {
        tracing::warn!(%error, "Cannot record an event");
    }
}

fn event<T: Resource>(about: &T, finding: &Finding) -> Event {
    let (kind, meta) = (T::facts(), about.metadata());
    let now = jiff::Timestamp::now();
    let mut event = Event::default();
    let namespace = if meta.namespace.is_empty() { "default" } else { &meta.namespace };
    event.metadata.namespace = namespace.to_owned();
    event.metadata.name = format!("{}.{:x}", meta.name, now.as_nanosecond());
    event.involved_object = ObjectReference {
        kind: kind.kind.into(),
        api_version: kind.api_version.into(),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        ..ObjectReference::default()
    };
    event.reason = finding.reason.into();
    event.action = finding.action.into();
    event.message = finding.note.clone();
    event.type_ = "Warning".into();
    event.event_time = Some(MicroTime(now));
    event.first_timestamp = Some(Time::whole(now));
    event.last_timestamp = Some(Time::whole(now));
    event.count = 1;
    event.reporting_component = REPORTER.into();
    event.reporting_instance = format!("{REPORTER}-apiserver");
    event
}
