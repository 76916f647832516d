//! GET and LIST of ComponentStatus: each process of the control plane is asked there and then.
//!
//! COMPAT: controller manager and scheduler are looked for on this machine and under their default ports, whatever
//! certificate they show; of the store each of `--etcd-servers` is one component, `etcd-0` and so on.

use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{ComponentCondition, ComponentStatus, ConditionStatus};
use daemon::tls::{ClientMaterial, ClientTls, TlsError};
use futures::future::join_all;
use http::{Request, Uri};
use http_body_util::BodyExt;

use crate::answer::{Answer, List, Served, Source};
use crate::body;
use crate::call::{Call, Target};
use crate::registry;
use crate::status::{ApiError, Qualified};
use crate::storage::Entry;
use crate::storage::kv::{Kv, KvError, KvOptions};
use crate::stream::Backend;

/// How long one may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
const PROCESSES: [(&str, &str); 2] = [
    ("scheduler", "https://127.0.0.1:10259/healthz"),
    ("controller-manager", "https://127.0.0.1:10257/healthz"),
];

/// Whom there is to ask.
pub struct Components {
    processes: Backend,
    stores: Vec<Arc<Kv>>,
}

/// Why they cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum Unaskable {
    #[error("cannot make TLS connections")]
    Tls(#[from] TlsError),
    #[error("cannot use an endpoint of the store")]
    Store(#[from] KvError),
}

impl Components {
    /// # Errors
    /// When an endpoint of the store cannot be used.
    pub fn new(store: &KvOptions) -> Result<Self, Unaskable> {
        let material = ClientMaterial {
            insecure_skip_verify: true,
            alpn: vec!["http/1.1"],
            ..ClientMaterial::default()
        };
        let tls = ClientTls::load(material)?;
        let one = |server: &String| {
            Kv::connect(&KvOptions { servers: vec![server.clone()], ..store.clone() }).map(Arc::new)
        };
        Ok(Self {
            processes: Backend::new(Arc::new(move || tls.config())),
            stores: store.servers.iter().map(one).collect::<Result<_, _>>()?,
        })
    }

    fn names(&self) -> Vec<String> {
        let stores = (0..self.stores.len()).map(|place| format!("etcd-{place}"));
        PROCESSES.iter().map(|(name, _)| (*name).to_owned()).chain(stores).collect()
    }

    async fn of(&self, name: &str) -> Option<ComponentStatus> {
        let healthy = match PROCESSES.iter().find(|(known, _)| *known == name) {
            Some((_, url)) => self.process(url).await,
            None => self.store(self.stores.get(name.strip_prefix("etcd-")?.parse::<usize>().ok()?)?).await,
        };
        let mut status = ComponentStatus::default();
        status.metadata.name = name.to_owned();
        status.conditions = vec![ComponentCondition { type_: "Healthy".to_owned(), ..healthy }];
        Some(status)
    }

    async fn process(&self, url: &str) -> ComponentCondition {
        let asked = tokio::time::timeout(PATIENCE, self.ask(url));
        let (well, message) = match asked.await {
            Ok(Ok((code, text))) if (200..400).contains(&code) => (true, text),
            Ok(Ok((code, _))) => (false, format!("HTTP probe failed with statuscode: {code}")),
            Ok(Err(why)) => (false, format!("Get {url:?}: {why}")),
            Err(_) => (false, format!("Get {url:?}: context deadline exceeded")),
        };
        ComponentCondition { status: condition(well), message, ..ComponentCondition::default() }
    }

    async fn ask(&self, url: &str) -> Result<(u16, String), String> {
        let uri: Uri = url.parse().map_err(|error| format!("{error}"))?;
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        let request = Request::get(uri.path())
            .header(http::header::HOST, &host)
            .header(http::header::USER_AGENT, "kube-probe/1.36")
            .body(body::empty())
            .map_err(|error| error.to_string())?;
        let refused = |error: crate::stream::Error| match &error {
            crate::stream::Error::Dial(why) if why.kind() == std::io::ErrorKind::ConnectionRefused => {
                format!("dial tcp {host}: connect: connection refused")
            }
            _ => error.to_string(),
        };
        let answer = self.processes.send(&uri, request).await.map_err(refused)?;
        let code = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok((code, String::from_utf8_lossy(&body).into_owned()))
    }

    async fn store(&self, kv: &Arc<Kv>) -> ComponentCondition {
        let error = match tokio::time::timeout(PATIENCE, kv.revision()).await {
            Ok(Ok(_)) => {
                let message = "ok".to_owned();
                return ComponentCondition {
                    status: condition(true),
                    message,
                    ..ComponentCondition::default()
                };
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "context deadline exceeded".to_owned(),
        };
        ComponentCondition { status: condition(false), error, ..ComponentCondition::default() }
    }
}

fn condition(well: bool) -> ConditionStatus {
    if well { ConditionStatus::True } else { ConditionStatus::False }
}

fn entry(target: &Target, status: &ComponentStatus) -> Arc<Entry> {
    Arc::new(Entry::of(target.row, status.metadata.name.as_str().into(), status, 0))
}

/// Answers one component.
///
/// # Errors
/// 404 for one that there is not.
pub async fn get(components: &Components, target: &Target) -> Result<Answer, ApiError> {
    match components.of(&target.name).await {
        Some(status) => Ok(Answer::stored(200, target.row, entry(target, &status))),
        None => Err(ApiError::NotFound {
            of: Qualified::new("", target.row.kind.singular),
            name: target.name.clone(),
        }),
    }
}

/// Answers all of them that are selected.
///
/// # Errors
/// 400 for selectors that make no sense.
pub async fn list(components: &Components, call: &Call, target: &Target) -> Result<Answer, ApiError> {
    let filter = registry::list::filter(call, target.row)?;
    let names = components.names();
    let found = join_all(names.iter().map(|name| components.of(name))).await;
    let page = found.iter().flatten().map(|status| entry(target, status));
    let page = page.filter(|entry| filter.matches(entry)).collect();
    Ok(Answer::List(List {
        served: Served::of(target.row),
        source: Source::Page(page),
        filter,
        revision: 0,
        next: String::new(),
        remaining: None,
    }))
}
