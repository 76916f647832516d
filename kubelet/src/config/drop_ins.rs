//! `--config-dir` (KEP-3983): files ending in `.conf`, in the order of their names and folder by folder, each merged over
//! what there was before (RFC 7386). Files of other names are passed over.

use std::path::{Path, PathBuf};

use daemon::config_file::{self, ConfigFileError};
use serde_json::{Map, Value, json};

use super::EXPECTED;
use crate::eviction::thresholds::DEFAULT_HARD;

/// Why the folder cannot be used; worded as upstream.
#[derive(Debug, thiserror::Error)]
pub enum DropInError {
    /// It, or a folder in it, cannot be read.
    #[error(
        "failed to walk through kubelet dropin directory {folder:?}: {what} {path}: {}",
        daemon::go_words::of(source)
    )]
    Walk {
        /// `--config-dir`
        folder: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Where.
        path: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file of it is none.
    #[error(
        "failed to walk through kubelet dropin directory {folder:?}: failed to load kubelet dropin file, path: {path}, \
         error: {source}"
    )]
    File {
        /// `--config-dir`
        folder: PathBuf,
        /// Which.
        path: String,
        /// Why.
        source: Box<ConfigFileError>,
    },
}

/// Merges the folder's files over the fields of the configuration file.
pub fn merge(fields: &mut Map<String, Value>, folder: &Path) -> Result<(), DropInError> {
    let mut files = Vec::new();
    walk(folder, folder, &mut files)?;
    let mut all = Value::Object(std::mem::take(fields));
    settle(&mut all);
    for path in files {
        let failed = |source| DropInError::File {
            folder: folder.to_owned(),
            path: path.display().to_string(),
            source: Box::new(source),
        };
        let patch = config_file::load_leniently(&path, EXPECTED).map_err(failed)?;
        // COMPAT: a field that is there twice is refused here.
        if let Some(message) = patch.findings.into_iter().next() {
            return Err(failed(ConfigFileError::Field { path: path.clone(), message }));
        }
        patched(&mut all, Value::Object(patch.fields));
    }
    if let Value::Object(merged) = all {
        *fields = merged;
    }
    Ok(())
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), DropInError> {
    let failed = |what: &'static str| {
        move |source| DropInError::Walk {
            folder: root.to_owned(),
            what,
            path: folder.display().to_string(),
            source,
        }
    };
    let itself = std::fs::symlink_metadata(folder).map_err(failed("lstat"))?;
    if !itself.is_dir() {
        files.extend(Some(folder.to_owned()).filter(|path| is_ours(path)));
        return Ok(());
    }
    let entries = std::fs::read_dir(folder).map_err(failed("open"))?;
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(failed("readdirent"))?.path());
    }
    paths.sort();
    for path in paths {
        walk(root, &path, files)?;
    }
    Ok(())
}

fn is_ours(path: &Path) -> bool {
    // COMPAT: as Go cuts an extension off, from the last dot on: `.conf` alone counts.
    path.file_name().is_some_and(|name| name.as_encoded_bytes().ends_with(b".conf"))
}

/// COMPAT: upstream fills in its defaults before it merges. Where one follows from another field it has been settled by
/// then, and a map of a drop-in is merged into the default one.
fn settle(fields: &mut Value) {
    let is_set = |name: &str| !super::inert::asks_nothing(&fields[name]);
    let in_turn = fields["maxParallelImagePulls"].as_i64().is_none_or(|most| most < 2);
    let report = if is_set("nodeStatusUpdateFrequency") {
        fields["nodeStatusUpdateFrequency"].clone()
    } else {
        json!("5m0s")
    };
    let reports = is_set("nodeStatusReportFrequency");
    let merges_defaults = fields["mergeDefaultEvictionSettings"] == true;
    if fields["serializeImagePulls"].is_null() {
        fields["serializeImagePulls"] = json!(in_turn);
    }
    if !reports {
        fields["nodeStatusReportFrequency"] = report;
    }
    let hard = &mut fields["evictionHard"];
    if hard.is_null() || (merges_defaults && hard.is_object()) {
        for (signal, value) in DEFAULT_HARD {
            if hard[signal].is_null() {
                hard[signal] = json!(value);
            }
        }
    }
}

/// RFC 7386.
fn patched(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            fields.shift_remove(&name);
        } else {
            patched(fields.entry(name).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KubeletConfiguration;

    const HEAD: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";

    struct Folder(PathBuf);

    impl Folder {
        fn new(files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("kubelet-drop-ins-{}", uuid::Uuid::new_v4()));
            for (name, body) in files {
                let path = root.join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, body).unwrap();
            }
            Self(root)
        }

        fn load(&self) -> Result<KubeletConfiguration, String> {
            let config = self.0.join("config.yaml");
            let loaded = KubeletConfiguration::load(Some(&config), Some(&self.0.join("d")));
            loaded.map_err(|error| error.to_string().replace(self.0.to_str().unwrap(), "T"))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn with(body: &str) -> String {
        format!("{HEAD}{body}")
    }

    #[test]
    fn later_names_win_and_other_files_are_passed_over() {
        let folder = Folder::new(&[
            ("config.yaml", &with("maxPods: 50\nclusterDNS: [10.0.0.1]\nstaticPodPath: manifests\n")),
            ("d/10-a.conf", &with("maxPods: 60\npodsPerCore: 7\n")),
            ("d/20/b.conf", &with("clusterDNS: [10.0.0.2]\npodsPerCore: null\n")),
            (
                "d/30-c.conf",
                &with("maxPods: 70\nevictionHard: {memory.available: 1Gi, nodefs.available: null}\n"),
            ),
            ("d/40-d.yaml", "maxPods: 80\n"),
        ]);
        let config = folder.load().unwrap();
        assert_eq!((config.max_pods, config.pods_per_core), (70, 0));
        assert_eq!(config.cluster_dns, ["10.0.0.2"]);
        assert_eq!(config.static_pod_path, folder.0.join("manifests").to_str().unwrap());
        let hard = config.eviction_hard.unwrap();
        assert_eq!(hard.get("memory.available").map(String::as_str), Some("1Gi"));
        assert_eq!(hard.get("imagefs.available").map(String::as_str), Some("15%"));
        assert_eq!(hard.get("nodefs.available"), None);
    }

    /// Defaults that follow from other fields have been settled before a drop-in changes those.
    #[test]
    fn defaults_come_before_the_folder() {
        let folder = Folder::new(&[
            ("config.yaml", &with("nodeStatusUpdateFrequency: 5s\n")),
            ("d/a.conf", &with("nodeStatusUpdateFrequency: 20s\nmaxParallelImagePulls: 4\n")),
        ]);
        let config = folder.load().unwrap();
        assert_eq!(config.node_status_report_frequency, Some(std::time::Duration::from_secs(5)));
        let refused = config.check().unwrap_err().to_string();
        assert!(refused.contains("maxParallelImagePulls cannot be larger than 1"), "{refused}");
    }

    #[test]
    fn what_is_no_configuration_is_refused_by_path() {
        let check = |file: &str, expected: &str| {
            let folder = Folder::new(&[("config.yaml", HEAD), ("d/a.conf", file)]);
            let error = folder.load().unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        let place = "failed to merge kubelet configs: failed to walk through kubelet dropin directory \"T/d\": failed \
                     to load kubelet dropin file, path: T/d/a.conf, error: ";
        check("apiVersion: v1\nkind: Pod\n", place);
        check("maxPods: 1\n", place);
        check(
            &with("maxPods: 1\nmaxPods: 2\n"),
            "strict decoding error: yaml: unmarshal errors:\n  line 4: key \"maxPods\" already set in map",
        );
        let folder = Folder::new(&[("config.yaml", HEAD)]);
        assert_eq!(
            folder.load().unwrap_err(),
            "failed to merge kubelet configs: failed to walk through kubelet dropin directory \"T/d\": lstat T/d: no \
             such file or directory"
        );
    }
}
