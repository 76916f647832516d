//! Volumes of storage drivers (Container Storage Interface, CSI v1).
//!
//! A driver's registrar makes itself known on a socket ([`crate::plugins`]); the driver then stands in the
//! node's CSINode ([`node_info`]) and is spoken to by [`driver`]. What a pod's volume comes to is a
//! [`request`], made from its spec; what else the driver must be told is read from the API here. The
//! mounting itself, and all that is kept on disk about it, is in [`volumes`].
//!
//! Volumes are mounted as filesystems; block volumes are not there. What is on a volume that has
//! grown grows with it ([`expand`]). Attaching is others' work: with a driver that wants it a volume waits until the node's status and its VolumeAttachment say
//! that it is attached ([`in_use`]).

pub mod devices;
pub mod driver;
pub mod expand;
pub mod in_use;
pub mod node_info;
pub mod request;
pub mod volumes;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Node, Pod, Secret, SecretReference};
use api_types::storage::v1::{CSIDriver, CSIDriverSpec, VolumeAttachment};
use client::Client;
use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::cri::CallError;
use crate::sources::follow::{Event, follow};
use crate::sources::tokens::Tokens;
use crate::volume::VolumeError;
use crate::volume::host::Host;
use crate::volume::kinds::disk::{BEFORE, Disk, Disks};
use crate::volume::kinds::payload::TokenKey;
use in_use::{InUse, unique_name};
use request::{Facts, Request};
use volumes::Volumes;

/// Messages generated from `proto/csi.proto`.
#[allow(clippy::all, clippy::pedantic, missing_docs, dead_code, reason = "generated")]
pub mod proto {
    tonic::include_proto!("csi.v1");
}

/// Disks that could not be let go of are tried again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Why something could not be done with a driver's volume; worded as upstream, for events.
#[derive(Debug, thiserror::Error)]
pub enum CsiError {
    /// No such driver runs on the node (yet).
    #[error("driver name {0} not found in the list of registered CSI drivers")]
    NotRegistered(String),
    /// The driver refused, or did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The driver has no volumes of that sort.
    #[error("{0}")]
    Mode(String),
    /// The volume is not attached to the node (yet).
    #[error("{0}")]
    Attachment(String),
    /// The API could not be asked for something that the driver needs.
    #[error("{what}: {source}")]
    Api {
        /// What was asked for.
        what: String,
        /// What it answered.
        source: client::Error,
    },
    /// A token could not be had.
    #[error("failed to get service account token attributes: {0}")]
    Token(String),
    /// A device could not be given to a pod, or taken from it.
    #[error("{0}")]
    Device(String),
    /// Definitions of drivers were not read yet.
    #[error("CSIDriver objects have not yet been read")]
    NotRead,
    /// The system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl CsiError {
    /// Nothing failed: others are not done yet.
    pub fn is_waiting(&self) -> bool {
        matches!(self, Self::Attachment(_))
    }
}

/// Lower-case hexadecimal SHA-256, as in the names of attachments and directories.
pub fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// The name of the object that says that a volume is attached to a node.
fn attachment_name(handle: &str, driver: &str, node: &str) -> String {
    format!("csi-{}", sha256(&format!("{handle}{driver}{node}")))
}

fn texts(secret: &Secret) -> BTreeMap<String, String> {
    let text = |value: &api_types::ByteString| String::from_utf8_lossy(value).into_owned();
    secret.data.iter().map(|(key, value)| (key.clone(), text(value))).collect()
}

/// Storage drivers and their volumes on this node.
pub struct Csi {
    client: Client,
    node: String,
    tokens: Arc<Tokens>,
    /// Definitions of drivers, once they were read.
    objects: RwLock<Option<HashMap<String, CSIDriverSpec>>>,
    /// What is mounted, and by whom.
    pub volumes: Volumes,
    /// Disks of targets and fabrics, which the controllers attach by name alone.
    pub disks: Disks,
    /// A disk may have become free.
    freed: Notify,
    /// What pods have asked for of the volumes that are to be attached.
    pub in_use: InUse,
}

impl Csi {
    /// Of the kubelet in this root directory; no driver is known yet.
    pub fn new(client: Client, node: &str, root: &std::path::Path, tokens: Arc<Tokens>) -> Self {
        let volumes = Volumes::new(root);
        let (node, objects) = (node.into(), RwLock::default());
        let disks = Disks::new(root, Host::this());
        Self { client, node, tokens, objects, volumes, disks, freed: Notify::new(), in_use: InUse::default() }
    }

    /// Follows the definitions of drivers; never ends.
    pub async fn run(self: Arc<Self>) {
        follow(self.client.clone().api::<CSIDriver>(), String::new(), |event| {
            let mut objects = self.objects.write();
            match event {
                Event::All(all) => {
                    *objects = Some(all.into_iter().map(|one| (one.metadata.name, one.spec)).collect());
                }
                Event::Set(one) => {
                    objects.get_or_insert_default().insert(one.metadata.name, one.spec);
                }
                Event::Gone(one) => {
                    objects.get_or_insert_default().remove(&one.metadata.name);
                }
                Event::Failed(error) => tracing::warn!(%error, "cannot follow the storage drivers"),
            }
            true
        })
        .await;
    }

    /// The definition of a driver; there may be none.
    fn object(&self, driver: &str) -> Result<Option<CSIDriverSpec>, CsiError> {
        self.objects.read().as_ref().map(|all| all.get(driver).cloned()).ok_or(CsiError::NotRead)
    }

    /// The driver wants to be asked again and again to publish a volume that is published.
    pub fn republishes(&self, driver: &str) -> bool {
        matches!(self.object(driver), Ok(Some(object)) if object.requires_republish == Some(true))
    }

    /// The attached volumes that the node uses, in order; what is known stands until the drivers are.
    /// Blocking: it reads directories.
    pub fn volumes_in_use(&self, known: &[String]) -> Vec<String> {
        let objects = self.objects.read();
        let Some(objects) = objects.as_ref() else { return known.to_vec() };
        let attaches =
            |driver: &str| objects.get(driver).is_none_or(|object| object.attach_required != Some(false));
        let mounted = self.volumes.mounted().into_iter().filter(|(driver, _)| attaches(driver));
        let names = self.in_use.with(mounted.map(|(driver, handle)| unique_name(&driver, &handle)));
        in_use::with_disks(names, &self.disks.uniques(), known)
    }

    /// A pod uses the disk, or is about to: it stays, and stays attached.
    pub fn claim_disk(&self, uid: &str, disk: &Disk) {
        self.in_use.claim(uid, &disk.unique(), Instant::now());
    }

    /// Nothing of the pod is mounted any more.
    pub fn release(&self, uid: &str) {
        self.in_use.release(uid);
        self.freed.notify_one();
    }

    /// Lets go of the disks that no pod has or asks for; never ends. One that hangs holds up no other.
    pub async fn let_go_of_disks(self: Arc<Self>) {
        loop {
            let all = Arc::clone(&self);
            let looked = move || all.disks.unasked(|name| all.in_use.is_asked(name));
            let unasked = match tokio::task::spawn_blocking(looked).await {
                Ok(Ok(places)) => places,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "cannot look for disks that no pod uses");
                    Vec::new()
                }
                Err(_) => Vec::new(),
            };
            for place in unasked {
                let all = Arc::clone(&self);
                tokio::task::spawn_blocking(move || {
                    if let Err(error) = all.disks.let_go(&place) {
                        tracing::warn!(%error, "cannot let go of a disk");
                    }
                });
            }
            let _ = tokio::time::timeout(LOOK_AGAIN, self.freed.notified()).await;
        }
    }

    /// The controllers have attached the disk; with what it takes to log in to it.
    pub async fn prepare_disk(&self, pod: &Pod, disk: &mut Disk) -> Result<(), VolumeError> {
        self.check_attached(&pod.metadata.uid, &disk.unique()).await?;
        if let Disk::Iscsi(disk) = disk
            && let Some(at) = &disk.secret_at
        {
            let found = self.client.api::<Secret>().namespace(&at.namespace).get(&at.name).await;
            let secret = found.map_err(|error| VolumeError::Step {
                step: BEFORE,
                error: format!("couldn't get secret {}/{} error: {error}", at.namespace, at.name),
            })?;
            disk.secret = texts(&secret);
        }
        Ok(())
    }

    /// Waits for `work` on a thread that may block.
    pub fn wait<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Handle::current().block_on(work)
    }

    /// What the driver is to be told beside the request.
    pub async fn facts(&self, pod: &Pod, request: &Request) -> Result<Facts, CsiError> {
        let object = self.object(&request.driver)?;
        request.check_mode(object.as_ref())?;
        let mut facts = Facts { attributes: request.attributes.clone(), ..Default::default() };
        facts.attachment = attachment_name(&request.handle, &request.driver, &self.node);
        facts.node.clone_from(&self.node);
        let attaches = object.as_ref().is_none_or(|object| object.attach_required != Some(false));
        if !request.ephemeral && attaches {
            let name = unique_name(&request.driver, &request.handle);
            self.check_attached(&pod.metadata.uid, &name).await?;
            facts.publish_context = self.attachment(request, &facts.attachment).await?;
        }
        if let Some(secret) = &request.publish_secret {
            facts.publish_secrets = self.secret(secret, "NodePublishSecretRef").await?;
        }
        if let Some(secret) = &request.stage_secret {
            facts.stage_secrets = self.secret(secret, "NodeStageSecretRef").await?;
        }
        let Some(object) = object else { return Ok(facts) };
        if object.pod_info_on_mount == Some(true) {
            facts.attributes.extend(request::pod_info(pod, request.ephemeral));
        }
        if !object.token_requests.is_empty() {
            let tokens = self.service_account_tokens(pod, &object).await?;
            let key = "csi.storage.k8s.io/serviceAccount.tokens".to_owned();
            if object.service_account_token_in_secrets == Some(true) {
                facts.publish_secrets.insert(key, tokens);
            } else {
                facts.attributes.insert(key, tokens);
            }
        }
        facts.group_policy = object.fs_group_policy.clone();
        Ok(facts)
    }

    /// The node says that it uses the volume, and the controllers that they know and have attached it. In
    /// this order no one detaches it while it is mounted.
    async fn check_attached(&self, uid: &str, name: &str) -> Result<(), CsiError> {
        if !self.in_use.claim(uid, name, Instant::now()) {
            return Err(CsiError::Attachment(
                "Volume has not been added to the list of VolumesInUse in the node's volume status".into(),
            ));
        }
        let node = self
            .client
            .api::<Node>()
            .get(&self.node)
            .await
            .map_err(|source| CsiError::Api { what: "failed to get the node".into(), source })?;
        if node.status.volumes_attached.iter().any(|volume| volume.name == name) {
            return Ok(());
        }
        Err(CsiError::Attachment("Volume not attached according to node status".into()))
    }

    /// What the attaching side has to say, once the volume is attached.
    async fn attachment(&self, request: &Request, name: &str) -> Result<BTreeMap<String, String>, CsiError> {
        let found = self.client.api::<VolumeAttachment>().get(name).await.map_err(|source| {
            CsiError::Api { what: format!("failed to get volume attachment {name}"), source }
        })?;
        if !found.status.attached {
            return Err(CsiError::Attachment(format!(
                "volume {} has not been attached to this node yet (VolumeAttachment {name})",
                request.handle
            )));
        }
        Ok(found.status.attachment_metadata)
    }

    async fn secret(&self, at: &SecretReference, field: &str) -> Result<BTreeMap<String, String>, CsiError> {
        let secret =
            self.client.api::<Secret>().namespace(&at.namespace).get(&at.name).await.map_err(|source| {
                CsiError::Api {
                    what: format!("fetching {field} {}/{} failed", at.namespace, at.name),
                    source,
                }
            })?;
        Ok(texts(&secret))
    }

    /// COMPAT: `{AUDIENCE: {"token": …, "expirationTimestamp": …}}`, as drivers read it.
    async fn service_account_tokens(&self, pod: &Pod, object: &CSIDriverSpec) -> Result<String, CsiError> {
        let mut all = serde_json::Map::new();
        for wanted in &object.token_requests {
            let key = TokenKey {
                audience: wanted.audience.clone(),
                seconds: wanted.expiration_seconds.unwrap_or(3600),
            };
            let (token, expires) = self.tokens.get(pod, &key).await.map_err(CsiError::Token)?;
            let expires = expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            all.insert(key.audience, serde_json::json!({"token": token, "expirationTimestamp": expires}));
        }
        Ok(serde_json::Value::Object(all).to_string())
    }
}
