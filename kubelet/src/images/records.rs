//! What the kubelet remembers of its image pulls, in upstream's files below its directory, so that either kubelet
//! reads what the other wrote:
//!
//! ```text
//! image_manager/pulling/sha256-H(IMAGE)  {"kind":"ImagePullIntent","apiVersion":…,"image":IMAGE}
//! image_manager/pulled/sha256-H(ID)      {"kind":"ImagePulledRecord","apiVersion":…,"lastUpdatedTime":…,
//!                                         "imageRef":ID,"credentialMapping":{NAME:{…}}}
//! ```
//! An intent is there from before a pull until it is known how it ended; a kubelet that was killed in between
//! leaves it, and the image that may have come of it is one that nobody's credentials are known for.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::access::{Access, Policy, Record, Verdict, decide};
use super::credentials::Credential;
use super::name::without_tag;
use crate::csi::sha256;

const API_VERSION: &str = "kubelet.config.k8s.io/v1beta1";
/// A version that upstream wrote before, with the same fields.
const OLDER: &str = "kubelet.config.k8s.io/v1alpha1";
const PREFIX: &str = "sha256-";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Intent {
    kind: String,
    api_version: String,
    image: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Pulled {
    kind: String,
    api_version: String,
    last_updated_time: Option<String>,
    image_ref: String,
    #[serde(default, skip_serializing_if = "Record::is_empty")]
    credential_mapping: Record,
}

impl Pulled {
    fn updated(&self) -> Option<Timestamp> {
        self.last_updated_time.as_ref()?.parse().ok()
    }
}

trait Kind {
    const NAME: &'static str;
    fn stamp(&self) -> (&str, &str);
}

impl Kind for Intent {
    const NAME: &'static str = "ImagePullIntent";
    fn stamp(&self) -> (&str, &str) {
        (&self.kind, &self.api_version)
    }
}

impl Kind for Pulled {
    const NAME: &'static str = "ImagePulledRecord";
    fn stamp(&self) -> (&str, &str) {
        (&self.kind, &self.api_version)
    }
}

/// The files.
pub struct Records {
    pulling: PathBuf,
    pulled: PathBuf,
    policy: Policy,
    /// Pulls under way, by image; one file is one pull or several.
    under_way: Mutex<HashMap<String, usize>>,
}

/// A pull under way, which has failed unless it is said to have succeeded.
pub struct Pulling<'a> {
    records: &'a Records,
    image: String,
}

impl Records {
    /// In the kubelet's directory.
    ///
    /// # Errors
    /// When its own cannot be made there.
    pub fn open(root: &Path, policy: Policy) -> io::Result<Self> {
        let dir = root.join("image_manager");
        let records = Self {
            pulling: dir.join("pulling"),
            pulled: dir.join("pulled"),
            policy,
            under_way: Mutex::default(),
        };
        for dir in [&records.pulling, &records.pulled] {
            make_private(dir)?;
        }
        records.count();
        Ok(records)
    }

    /// Whether a pod with these credentials may use an image that is there.
    pub fn check(&self, image: &str, id: &str, own: &[Credential]) -> Verdict {
        let under_way = self.under_way.lock();
        let pulled = match read::<Pulled>(&self.pulled.join(file_name(id))) {
            Ok(record) => {
                record.filter(|record| record.image_ref == id).map(|record| record.credential_mapping)
            }
            Err(error) => {
                tracing::error!(%error, image, "cannot read how an image was pulled");
                CHECKS.with_label_values(&["error"]).inc();
                return Verdict::Pull;
            }
        };
        let intended = || {
            let known = read::<Intent>(&self.pulling.join(file_name(image)));
            known.is_ok_and(|intent| intent.is_some_and(|intent| intent.image == image))
        };
        let by_kubelet = pulled.is_some() || under_way.contains_key(image) || intended();
        let verdict = decide(&self.policy, image, by_kubelet.then_some(pulled.as_ref()), own);
        if let Verdict::Known(Some(secret)) = &verdict {
            let access = Access { kubernetes_secrets: vec![secret.clone()], ..Access::default() };
            if let Err(error) = self.note(image, id, Some(&access)) {
                tracing::error!(%error, image, "cannot note who may use an image");
            }
        }
        let result = match verdict {
            Verdict::Open => "credentialPolicyAllowed",
            Verdict::Known(_) => "credentialRecordFound",
            Verdict::Pull => "mustAuthenticate",
        };
        CHECKS.with_label_values(&[result]).inc();
        verdict
    }

    /// An image is about to be pulled.
    ///
    /// # Errors
    /// When that cannot be noted: it must not be pulled then.
    pub fn begin(&self, image: &str) -> io::Result<Pulling<'_>> {
        let mut under_way = self.under_way.lock();
        let intent =
            Intent { kind: Intent::NAME.into(), api_version: API_VERSION.into(), image: image.into() };
        write(&self.pulling.join(file_name(image)), &intent)?;
        *under_way.entry(image.to_owned()).or_default() += 1;
        drop(under_way);
        self.count();
        Ok(Pulling { records: self, image: image.to_owned() })
    }

    /// Pulls that an earlier kubelet did not see the end of, when the runtime has these images: `(id, names)`.
    pub fn settle(&self, images: &[(String, Vec<String>)]) {
        for intent in entries::<Intent>(&self.pulling) {
            let Some((id, _)) = images.iter().find(|(_, names)| names.contains(&intent.image)) else {
                continue;
            };
            let under_way = self.under_way.lock();
            match self.note(&intent.image, id, None) {
                Ok(()) => remove(&self.pulling.join(file_name(&intent.image))),
                Err(error) => {
                    tracing::error!(%error, image = intent.image, "cannot note that an image was pulled")
                }
            }
            drop(under_way);
        }
        self.count();
    }

    /// No pull was under way when the kubelet before this one ended.
    pub fn is_settled(&self) -> bool {
        entries::<Intent>(&self.pulling).is_empty()
    }

    /// Forgets images that the runtime does not have, unless they were noted later than `since`.
    pub fn prune(&self, has: impl Fn(&str) -> bool, since: Timestamp) {
        let under_way = self.under_way.lock();
        for record in entries::<Pulled>(&self.pulled) {
            if !has(&record.image_ref) && record.updated().is_none_or(|at| at < since) {
                remove(&self.pulled.join(file_name(&record.image_ref)));
            }
        }
        drop(under_way);
        self.count();
    }

    /// Adds to what is known of an image, under the lock of the caller.
    fn note(&self, image: &str, id: &str, access: Option<&Access>) -> io::Result<()> {
        let path = self.pulled.join(file_name(id));
        let name =
            without_tag(image).ok_or_else(|| io::Error::other(format!("invalid image name {image:?}")))?;
        let known = read::<Pulled>(&path).unwrap_or_else(|error| {
            tracing::warn!(%error, image, "what was known of an image is lost");
            None
        });
        let fresh = known.is_none();
        let mut record = known.unwrap_or_else(|| Pulled {
            kind: Pulled::NAME.into(),
            api_version: API_VERSION.into(),
            last_updated_time: None,
            image_ref: id.into(),
            credential_mapping: Record::new(),
        });
        let changed = access.is_some_and(|access| match record.credential_mapping.get_mut(name) {
            Some(known) => known.merge(access),
            None => record.credential_mapping.insert(name.to_owned(), access.clone()).is_none(),
        });
        if !changed && !fresh {
            return Ok(());
        }
        record.api_version = API_VERSION.into();
        record.last_updated_time = Some(Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        write(&path, &record)
    }

    fn count(&self) {
        INTENTS.set(i64::try_from(names(&self.pulling).count()).unwrap_or(i64::MAX));
        PULLED.set(i64::try_from(names(&self.pulled).count()).unwrap_or(i64::MAX));
    }
}

impl Pulling<'_> {
    /// It was pulled, with this.
    pub fn succeeded(self, id: &str, used: Option<&Credential>) {
        let under_way = self.records.under_way.lock();
        let noted = self.records.note(&self.image, id, Some(&Access::by(used)));
        drop(under_way);
        if let Err(error) = noted {
            tracing::error!(%error, image = self.image, "cannot note how an image was pulled");
            // The intent stays, so that the image is not taken for one that was there before.
            std::mem::forget(self);
        }
    }
}

impl Drop for Pulling<'_> {
    fn drop(&mut self) {
        let mut under_way = self.records.under_way.lock();
        match under_way.get_mut(&self.image) {
            Some(pulls) if *pulls > 1 => *pulls -= 1,
            _ => {
                remove(&self.records.pulling.join(file_name(&self.image)));
                under_way.remove(&self.image);
            }
        }
        drop(under_way);
        self.records.count();
    }
}

fn file_name(name: &str) -> String {
    format!("{PREFIX}{}", sha256(name))
}

fn make_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// The file's content; `None` when there is none.
fn read<T: DeserializeOwned + Kind>(path: &Path) -> io::Result<Option<T>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let record: T = serde_json::from_slice(&bytes)?;
    let (kind, version) = record.stamp();
    if kind != T::NAME || !matches!(version, API_VERSION | OLDER) {
        return Err(io::Error::other(format!("{}: no {} of a known version", path.display(), T::NAME)));
    }
    Ok(Some(record))
}

/// A crash in between leaves the old file or the new one.
fn write<T: Serialize>(path: &Path, record: &T) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let beside = path.with_extension("tmp");
    let written = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| {
            let mut bytes = serde_json::to_vec(record)?;
            bytes.push(b'\n');
            file.write_all(&bytes)
        })
        .and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::error!(%error, path = %path.display(), "cannot remove what is known of an image");
    }
}

fn names(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(PREFIX) && !name.ends_with(".tmp")
    };
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).filter(ours)
}

/// All that can be read.
fn entries<T: DeserializeOwned + Kind>(dir: &Path) -> Vec<T> {
    let one = |path: PathBuf| {
        read(&path).unwrap_or_else(|error| {
            tracing::error!(%error, path = %path.display(), "cannot read how an image was pulled");
            None
        })
    };
    names(dir).filter_map(one).collect()
}

static CHECKS: std::sync::LazyLock<prometheus::IntCounterVec> = std::sync::LazyLock::new(|| {
    daemon::metrics::global().counter_vec(
        "kubelet_imagemanager_image_mustpull_checks_total",
        "[ALPHA] Counter for how many times kubelet checked whether credentials need to be re-verified to access an image",
        &["result"],
    )
});
static INTENTS: std::sync::LazyLock<prometheus::IntGauge> = std::sync::LazyLock::new(|| {
    daemon::metrics::global().int_gauge(
        "kubelet_imagemanager_ondisk_pullintents",
        "[ALPHA] Number of ImagePullIntents stored on disk.",
    )
});
static PULLED: std::sync::LazyLock<prometheus::IntGauge> = std::sync::LazyLock::new(|| {
    daemon::metrics::global().int_gauge(
        "kubelet_imagemanager_ondisk_pulledrecords",
        "[ALPHA] Number of ImagePulledRecords stored on disk.",
    )
});

#[cfg(test)]
mod tests {
    use super::super::credentials::PullSecret;
    use super::*;

    fn records() -> (PathBuf, Records) {
        let root = std::env::temp_dir().join(format!("kubelet-images-{}", uuid::Uuid::new_v4()));
        let records = Records::open(&root, Policy::Preloaded).unwrap();
        (root, records)
    }

    fn credential(name: &str, hash: &str) -> Credential {
        let secret = PullSecret { name: name.into(), credential_hash: hash.into(), ..Default::default() };
        Credential { secret: Some(secret), ..Default::default() }
    }

    #[test]
    fn a_pull_is_noted_from_its_beginning_to_its_end() {
        let (root, records) = records();
        let image = "r.io/a:1";
        assert_eq!(records.check(image, "id", &[]), Verdict::Open, "it was there before");
        let (first, second) = (records.begin(image).unwrap(), records.begin(image).unwrap());
        assert_eq!(records.check(image, "id", &[]), Verdict::Pull);
        drop(second);
        assert!(!records.is_settled());
        let own = [credential("s", "h")];
        first.succeeded("id", Some(&own[0]));
        assert!(records.is_settled());
        assert_eq!(records.check(image, "id", &[]), Verdict::Pull);
        assert_eq!(records.check(image, "id", &own), Verdict::Known(None));
        let changed = [credential("s", "new")];
        assert!(matches!(records.check(image, "id", &changed), Verdict::Known(Some(_))));
        assert_eq!(records.check(image, "id", &changed), Verdict::Known(None), "it was noted");
        records.prune(|id| id == "id", Timestamp::MAX);
        assert_eq!(records.check(image, "id", &changed), Verdict::Known(None));
        records.prune(|_| false, Timestamp::UNIX_EPOCH);
        assert_eq!(records.check(image, "id", &changed), Verdict::Known(None), "it is too new");
        records.prune(|_| false, Timestamp::MAX);
        assert_eq!(records.check(image, "id", &[]), Verdict::Open);
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_kubelet_that_was_killed_while_it_pulled_trusts_nobody() {
        let (root, records) = records();
        std::mem::forget(records.begin("r.io/a:1").unwrap());
        let records = Records::open(&root, Policy::Preloaded).unwrap();
        assert!(!records.is_settled());
        assert_eq!(records.check("r.io/a:1", "id", &[credential("s", "h")]), Verdict::Pull);
        records.settle(&[("id".into(), vec!["r.io/a:1".into()])]);
        assert!(records.is_settled());
        assert_eq!(records.check("r.io/a:1", "id", &[credential("s", "h")]), Verdict::Pull);
        std::fs::remove_dir_all(root).unwrap();
    }

    /// COMPAT: a file as upstream's kubelet writes it.
    #[test]
    fn upstreams_files_are_read() {
        let (root, records) = records();
        let text = concat!(
            r#"{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","#,
            r#""lastUpdatedTime":"2026-11-22T12:00:00Z","imageRef":"id","credentialMapping":{"r.io/a":"#,
            r#"{"kubernetesSecrets":[{"uid":"u","namespace":"n","name":"s","credentialHash":"h"}]}}}"#,
            "\n"
        );
        let path = root.join("image_manager/pulled").join(file_name("id"));
        std::fs::write(&path, text).unwrap();
        assert_eq!(records.check("r.io/a", "id", &[]), Verdict::Pull);
        let record = read::<Pulled>(&path).unwrap().unwrap();
        write(&path, &record).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        std::fs::write(&path, text.replace("v1beta1", "v9")).unwrap();
        assert_eq!(records.check("r.io/a", "id", &[credential("s", "h")]), Verdict::Pull);
        std::fs::remove_dir_all(root).unwrap();
    }
}
