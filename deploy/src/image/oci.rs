//! OCI image archives (image-spec 1.0): a tar of `oci-layout`, `index.json` and blobs named by their
//! SHA-256: one uncompressed layer, the image's configuration, the manifest that joins them. The index
//! names the one manifest once per tag, in the annotation that containerd reads names from.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::tar::Archive;

/// What an image runs by default.
#[derive(Clone, Debug, Default)]
pub struct Process {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub env: Vec<String>,
    /// `UID:GID`; root when empty.
    pub user: String,
}

/// An archive of one image under `tags` (full names, `docker.io/library/busybox:latest`).
pub fn archive(layer: Vec<u8>, process: &Process, tags: &[String]) -> Vec<u8> {
    let mut blobs = Vec::new();
    let layer_descriptor = blob(&mut blobs, "application/vnd.oci.image.layer.v1.tar", layer);
    let mut config = json!({
        "Env": process.env, "Entrypoint": process.entrypoint, "Cmd": process.cmd, "User": process.user, "WorkingDir": "/",
    });
    // An empty list is not the same as none: it would clear the other one.
    config.as_object_mut().expect("made above").retain(|_, v| v.as_array().is_none_or(|a| !a.is_empty()));
    let config = json!({
        "created": "1970-01-01T00:00:00Z",
        "architecture": daemon::version::ARCH,
        "os": "linux",
        "config": config,
        // The digest of an uncompressed layer is that of its blob.
        "rootfs": { "type": "layers", "diff_ids": [layer_descriptor["digest"]] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "kubeforge" }],
    });
    let config_descriptor = blob(&mut blobs, "application/vnd.oci.image.config.v1+json", bytes(&config));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config_descriptor,
        "layers": [layer_descriptor],
    });
    let manifest_descriptor =
        blob(&mut blobs, "application/vnd.oci.image.manifest.v1+json", bytes(&manifest));
    let manifests: Vec<Value> = tags
        .iter()
        .map(|tag| {
            let mut descriptor = manifest_descriptor.clone();
            descriptor["platform"] = json!({ "architecture": daemon::version::ARCH, "os": "linux" });
            descriptor["annotations"] = json!({ "io.containerd.image.name": tag });
            descriptor
        })
        .collect();
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests,
    });
    let mut tar = Archive::default();
    tar.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
    tar.file("index.json", 0o644, &bytes(&index));
    tar.folder("blobs", 0o755);
    tar.folder("blobs/sha256", 0o755);
    for (digest, content) in blobs {
        tar.file(&format!("blobs/sha256/{digest}"), 0o644, &content);
    }
    tar.finish()
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn blob(blobs: &mut Vec<(String, Vec<u8>)>, media_type: &str, content: Vec<u8>) -> Value {
    let digest = hex::encode(Sha256::digest(&content));
    let descriptor =
        json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": content.len() });
    blobs.push((digest, content));
    descriptor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_to_a_blob_of_that_digest_and_size() {
        let tags = ["docker.io/library/a:1".to_owned(), "docker.io/library/a:2".to_owned()];
        let archive =
            archive(b"layer".to_vec(), &Process { cmd: vec!["sh".into()], ..Process::default() }, &tags);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.tar"), archive).unwrap();
        let tar = std::process::Command::new("tar")
            .current_dir(dir.path())
            .args(["-xf", "a.tar"])
            .status()
            .unwrap();
        assert!(tar.success());
        let read = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
            let content = std::fs::read(dir.path().join("blobs/sha256").join(&digest)).unwrap();
            assert_eq!(hex::encode(Sha256::digest(&content)), digest);
            assert_eq!(descriptor["size"], content.len());
            content
        };
        let index: Value =
            serde_json::from_slice(&std::fs::read(dir.path().join("index.json")).unwrap()).unwrap();
        let names: Vec<_> = index["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| &m["annotations"]["io.containerd.image.name"])
            .collect();
        assert_eq!(names, tags.iter().collect::<Vec<_>>());
        let manifest: Value = serde_json::from_slice(&read(&index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(&read(&manifest["config"])).unwrap();
        assert_eq!(read(&manifest["layers"][0]), b"layer");
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        assert_eq!(config["config"]["Cmd"][0], "sh");
        assert!(config["config"].get("Entrypoint").is_none());
    }
}
