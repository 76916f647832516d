//! CSIDriver: what a storage driver can do and wants to be told.

use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, Strategy, resource, set_generation};
use crate::meta::v1::ObjectMeta;
use crate::meta::v1::validate::immutable;
use crate::open_enum::open_enum;
use api_types_derive::Api;

/// A storage driver that is installed in the cluster. Its name is the driver's.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.storage.v1")]
pub struct CSIDriver {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// What the driver can do and wants.
    #[api(2, required)]
    pub spec: CSIDriverSpec,
}

/// What a storage driver can do and wants.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.storage.v1")]
pub struct CSIDriverSpec {
    /// Whether volumes are attached to a node before they are mounted; yes when not given.
    #[api(1)]
    pub attach_required: Option<bool>,
    /// Whether the driver is told which pod a volume is for.
    #[api(2)]
    pub pod_info_on_mount: Option<bool>,
    /// Sorts of volumes it supports; persistent ones when not given.
    #[api(3, list = set)]
    pub volume_lifecycle_modes: Vec<VolumeLifecycleMode>,
    /// Whether the scheduler looks at CSIStorageCapacity objects of the driver.
    #[api(4)]
    pub storage_capacity: Option<bool>,
    /// When files of a volume are given to the pod's group.
    #[api(5)]
    pub fs_group_policy: Option<FSGroupPolicy>,
    /// Tokens of the pod's service account that the driver gets.
    #[api(6, list = atomic)]
    pub token_requests: Vec<TokenRequest>,
    /// Whether the driver wants to be asked again and again to mount a mounted volume.
    #[api(7)]
    pub requires_republish: Option<bool>,
    /// Whether the driver can mount with an SELinux label.
    #[api(8)]
    pub se_linux_mount: Option<bool>,
    /// Seconds between looks at how many volumes a node can have.
    #[api(9)]
    pub node_allocatable_update_period_seconds: Option<i64>,
    /// Whether the tokens come among the secrets instead of the volume context.
    #[api(10)]
    pub service_account_token_in_secrets: Option<bool>,
    /// Whether pods stay away from nodes on which the driver does not run.
    #[api(11)]
    pub prevent_pod_scheduling_if_missing: Option<bool>,
}

open_enum! {
    /// When files of a volume are given to the pod's group.
    pub enum FSGroupPolicy {
        ReadWriteOnceWithFSType = "ReadWriteOnceWithFSType",
        File = "File",
        None = "None",
    }
}

open_enum! {
    /// A sort of volumes that a driver supports.
    pub enum VolumeLifecycleMode {
        Persistent = "Persistent",
        Ephemeral = "Ephemeral",
    }
}

/// A token that a driver gets.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.storage.v1")]
pub struct TokenRequest {
    /// Whom the token is for; the apiserver when empty.
    #[api(1, required)]
    pub audience: String,
    /// How long the token lasts.
    #[api(2)]
    pub expiration_seconds: Option<i64>,
}

resource!(CSIDriver, Kind::cluster_wide("storage.k8s.io/v1", "CSIDriver", "csidrivers", "csidriver"));

const TOKENS_IN_SECRETS: &str = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes";

impl Strategy for CSIDriver {
    const UNCONDITIONAL_UPDATE: bool = false;

    fn set_defaults(&mut self) {
        let spec = &mut self.spec;
        spec.attach_required.get_or_insert(true);
        spec.pod_info_on_mount.get_or_insert(false);
        spec.storage_capacity.get_or_insert(false);
        spec.fs_group_policy.get_or_insert(FSGroupPolicy::ReadWriteOnceWithFSType);
        if spec.volume_lifecycle_modes.is_empty() {
            spec.volume_lifecycle_modes.push(VolumeLifecycleMode::Persistent);
        }
        spec.requires_republish.get_or_insert(false);
        spec.se_linux_mount.get_or_insert(false);
    }

    // COMPAT: a field of a feature that is off (VolumeLimitScaling) is dropped without a word.
    fn prepare_for_create(&mut self) {
        self.spec.prevent_pod_scheduling_if_missing = None;
    }

    fn prepare_for_update(&mut self, old: &Self) {
        if old.spec.prevent_pod_scheduling_if_missing.is_none() {
            self.spec.prevent_pod_scheduling_if_missing = None;
        }
        set_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn validate(&self, errors: &mut Errors) {
        let (spec, path) = (&self.spec, Path::new("spec"));
        if let Some(policy) = &spec.fs_group_policy {
            let known = ["File", "None", "ReadWriteOnceWithFSType"];
            errors.choice(&path.child("fsGroupPolicy"), policy.as_str(), &known);
        }
        validate_token_requests(&spec.token_requests, &path.child("tokenRequests"), errors);
        for mode in &spec.volume_lifecycle_modes {
            errors.choice(&path.child("volumeLifecycleModes"), mode.as_str(), &["Persistent", "Ephemeral"]);
        }
        if let Some(seconds) = spec.node_allocatable_update_period_seconds.filter(|seconds| *seconds < 10) {
            let path = path.child("nodeAllocatableUpdatePeriodSeconds");
            errors.invalid(&path, seconds, "must be greater than or equal to 10 seconds");
        }
        if let Some(given) = spec.service_account_token_in_secrets.filter(|_| spec.token_requests.is_empty())
        {
            let text = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
            errors.invalid(&path.child("serviceAccountTokenInSecrets"), given, text);
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        let (new, old, path) = (&self.spec, &old.spec, Path::new("spec"));
        // COMPAT: upstream misspells the field's path.
        immutable(&new.attach_required, &old.attach_required, &path.child("attachedRequired"), errors);
        let modes = path.child("volumeLifecycleModes");
        immutable(&new.volume_lifecycle_modes, &old.volume_lifecycle_modes, &modes, errors);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let spec = &self.spec;
        let changed = old.is_none_or(|old| old.spec.token_requests != spec.token_requests);
        if changed && !spec.token_requests.is_empty() && spec.service_account_token_in_secrets.is_none() {
            return vec![TOKENS_IN_SECRETS.to_owned()];
        }
        Vec::new()
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                boolean("AttachRequired", "Whether volumes are attached first.", |driver, _| {
                    driver.spec.attach_required.unwrap_or(true).into()
                }),
                boolean("PodInfoOnMount", "Whether the driver is told of the pod.", |driver, _| {
                    driver.spec.pod_info_on_mount.unwrap_or(false).into()
                }),
                boolean("StorageCapacity", "Whether the scheduler looks at its capacity.", |driver, _| {
                    driver.spec.storage_capacity.unwrap_or(false).into()
                }),
                Column::text("TokenRequests", "Audiences of its tokens.", |driver: &Self, _| {
                    let requests = &driver.spec.token_requests;
                    let audiences: Vec<&str> = requests.iter().map(|r| r.audience.as_str()).collect();
                    if audiences.is_empty() { "<unset>".into() } else { audiences.join(",").into() }
                }),
                boolean("RequiresRepublish", "Whether it is asked again and again.", |driver, _| {
                    driver.spec.requires_republish.unwrap_or(false).into()
                }),
                Column::text("Modes", "Sorts of volumes it supports.", |driver, _| {
                    let modes: Vec<&str> =
                        driver.spec.volume_lifecycle_modes.iter().map(|mode| mode.as_str()).collect();
                    if modes.is_empty() { "<none>".into() } else { modes.join(",").into() }
                }),
                Column::age(),
            ]
        }
    }
}

const fn boolean(
    name: &'static str,
    description: &'static str,
    cell: fn(&CSIDriver, jiff::Timestamp) -> serde_json::Value,
) -> Column<CSIDriver> {
    Column { name, ty: "boolean", format: "", description, priority: 0, cell }
}

fn validate_token_requests(requests: &[TokenRequest], path: &Path, errors: &mut Errors) {
    for (place, request) in requests.iter().enumerate() {
        let path = path.index(place);
        if requests[..place].iter().any(|before| before.audience == request.audience) {
            errors.duplicate(&path.child("audience"), &request.audience);
            continue;
        }
        let Some(seconds) = request.expiration_seconds else { continue };
        let path = path.child("expirationSeconds");
        if seconds < 600 {
            errors.invalid(&path, seconds, "may not specify a duration less than 10 minutes");
        }
        if seconds > 1 << 32 {
            errors.invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{defaulted, refused, refused_update};

    fn driver(change: impl FnOnce(&mut CSIDriverSpec)) -> CSIDriver {
        let mut own = CSIDriver::default();
        change(&mut own.spec);
        own
    }

    #[test]
    fn defaults() {
        let spec = defaulted(driver(|_| {})).spec;
        assert_eq!((spec.attach_required, spec.pod_info_on_mount), (Some(true), Some(false)));
        assert_eq!(spec.volume_lifecycle_modes, [VolumeLifecycleMode::Persistent]);
    }

    #[test]
    fn what_is_refused() {
        let request = |audience: &str, seconds| TokenRequest {
            audience: audience.into(),
            expiration_seconds: Some(seconds),
        };
        assert!(refused(driver(|_| {})).is_empty());
        assert_eq!(
            refused(driver(|spec| {
                spec.token_requests = vec![request("a", 60), request("a", 600)];
                spec.node_allocatable_update_period_seconds = Some(5);
            })),
            [
                "spec.tokenRequests[0].expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes",
                r#"spec.tokenRequests[1].audience: Duplicate value: "a""#,
                "spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 5: must be greater than or equal to 10 seconds",
            ]
        );
        assert_eq!(
            refused(driver(|spec| spec.service_account_token_in_secrets = Some(true))),
            [
                "spec.serviceAccountTokenInSecrets: Invalid value: true: serviceAccountTokenInSecrets is set but no tokenRequests are specified"
            ]
        );
        assert_eq!(
            refused_update(driver(|spec| spec.attach_required = Some(false)), driver(|_| {})),
            ["spec.attachedRequired: Invalid value: false: field is immutable"]
        );
    }
}
