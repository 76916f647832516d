//! The projected volume: several sources in one folder, whose files must not collide.

use super::volume::{downward_file, file_path, items};
use crate::core::v1::*;
use crate::field::{Errors, Path};
use crate::value::Value;
use crate::{names, selector};
use std::collections::BTreeSet;

/// Files made so far; `path` is the volume's.
struct Files<'a> {
    taken: BTreeSet<&'a str>,
    path: &'a Path,
}

impl<'a> Files<'a> {
    fn add(&mut self, file: &'a str, shown: &str, errors: &mut Errors) {
        if !self.taken.insert(file) {
            errors.invalid(self.path, shown, "conflicting duplicate paths");
        }
    }
}

pub(super) fn sources<'a>(volume: &'a ProjectedVolumeSource, path: &'a Path, errors: &mut Errors) {
    let mut files = Files { taken: BTreeSet::new(), path };
    for (place, source) in volume.sources.iter().enumerate() {
        let here = path.child("sources").index(place);
        let mut count = 0;
        for (name, object) in [
            ("secret", source.secret.as_ref().map(|s| (&s.reference.name, &s.items))),
            ("configMap", source.config_map.as_ref().map(|m| (&m.reference.name, &m.items))),
        ] {
            let Some((object, keys)) = object else { continue };
            count += 1;
            let path = here.child(name);
            errors.need(&path, "name", object);
            items(keys, &path, errors);
            for key in keys.iter().filter(|key| !key.path.is_empty()) {
                files.add(&key.path, object, errors);
            }
        }
        if let Some(downward) = &source.downward_api {
            count += 1;
            for file in &downward.items {
                downward_file(file, &here.child("downwardAPI"), errors);
                if !file.path.is_empty() {
                    files.add(&file.path, &file.path, errors);
                }
            }
        }
        if let Some(token) = &source.service_account_token {
            count += 1;
            service_account_token(token, &here.child("serviceAccountToken"), path, errors);
        }
        if let Some(bundle) = &source.cluster_trust_bundle {
            count += 1;
            trust_bundle(bundle, &here.child("clusterTrustBundle"), errors);
            files.add(&bundle.path, &bundle.path, errors);
        }
        if let Some(certificate) = &source.pod_certificate {
            count += 1;
            pod_certificate(certificate, &mut files, &here.child("podCertificate"), errors);
        }
        if count > 1 {
            errors.forbidden(&here, "may not specify more than 1 volume type per source");
        }
    }
}

/// COMPAT: mistakes in the token's path are told at the volume.
fn service_account_token(
    token: &ServiceAccountTokenProjection,
    path: &Path,
    volume: &Path,
    errors: &mut Errors,
) {
    let seconds = token.expiration_seconds.unwrap_or_default();
    let expiration = path.child("expirationSeconds");
    if seconds < 600 {
        errors.invalid(&expiration, seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > 1 << 32 {
        errors.invalid(&expiration, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    errors.need(volume, "path", &token.path);
    file_path(&token.path, &volume.child("path"), errors);
}

fn trust_bundle(bundle: &ClusterTrustBundleProjection, path: &Path, errors: &mut Errors) {
    match (&bundle.name, &bundle.signer_name) {
        (Some(_), Some(_)) => {
            errors.invalid(path, bundle as &dyn Value, "only one of name and signerName may be used");
        }
        (Some(name), None) => {
            let path_of_name = path.child("name");
            if name.is_empty() {
                errors.required(&path_of_name, "must be a valid object name");
            }
            // SIGNER:NAME, the signer with colons for slashes; the part behind the last colon counts.
            let plain = name.rsplit(':').next().unwrap_or_default();
            for wrong in names::dns1123_subdomain(plain) {
                errors.invalid(&path_of_name, name, format!("not a valid clustertrustbundlename: {wrong}"));
            }
            if let Some(selector) = &bundle.label_selector {
                let text = "labelSelector must be unset if name is specified";
                errors.invalid(&path.child("labelSelector"), &**selector as &dyn Value, text);
            }
        }
        (None, Some(signer)) => {
            if signer.is_empty() {
                errors.required(&path.child("signerName"), "must be a valid signer name");
            }
            names::validate_signer(signer, &path.child("signerName"), errors);
            if let Some(own) = &bundle.label_selector {
                selector::validate(own, &path.child("labelSelector"), errors);
            }
        }
        (None, None) => errors.required(path, "either name or signerName must be specified"),
    }
    errors.need(path, "path", &bundle.path);
    file_path(&bundle.path, &path.child("path"), errors);
}

fn pod_certificate<'a>(
    source: &'a PodCertificateProjection,
    files: &mut Files<'a>,
    path: &Path,
    errors: &mut Errors,
) {
    const KEY_TYPES: [&str; 6] = ["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
    const LIMIT: i32 = 91 * 24 * 3600;
    const KUBERNETES_LIMIT: i32 = 24 * 3600;
    names::validate_signer(&source.signer_name, &path.child("signerName"), errors);
    errors.choice(&path.child("keyType"), &source.key_type, &KEY_TYPES);
    if let Some(seconds) = source.max_expiration_seconds {
        let path = path.child("maxExpirationSeconds");
        if seconds < 3600 {
            errors.invalid(&path, seconds, "if provided, maxExpirationSeconds must be >= 3600");
        }
        let host = source.signer_name.split('/').next().unwrap_or_default();
        let own = host == "kubernetes.io" || host.ends_with(".kubernetes.io");
        let limit = if own { KUBERNETES_LIMIT } else { LIMIT };
        if seconds > limit {
            errors.invalid(&path, seconds, format!("if provided, maxExpirationSeconds must be <= {limit}"));
        }
    }
    let mut any = false;
    for (name, file) in [
        ("credentialBundlePath", &source.credential_bundle_path),
        ("keyPath", &source.key_path),
        ("certificateChainPath", &source.certificate_chain_path),
    ] {
        if !file.is_empty() {
            any = true;
            file_path(file, &path.child(name), errors);
            files.add(file, file, errors);
        }
    }
    if !any {
        let text = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.required(path, text);
    }
}
