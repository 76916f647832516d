//! VolumeAttachment: asks a driver to attach a volume to a node.

use std::collections::BTreeMap;

use super::csi_node::validate_driver_name;
use crate::core::v1::PersistentVolumeSpec;
use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, Strategy, Subresource, resource};
use crate::meta::v1::ObjectMeta;
use crate::meta::v1::validate::immutable;
use crate::names;
use crate::value::Time;
use api_types_derive::Api;

/// Asks for a volume to be attached to a node.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.storage.v1")]
pub struct VolumeAttachment {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// Which volume, and where.
    #[api(2, required)]
    pub spec: VolumeAttachmentSpec,
    /// Whether it is attached.
    #[api(3)]
    pub status: VolumeAttachmentStatus,
}

/// A volume and the node to attach it to.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.storage.v1")]
pub struct VolumeAttachmentSpec {
    /// The driver that attaches it.
    #[api(1, required)]
    pub attacher: String,
    /// The volume.
    #[api(2, required)]
    pub source: VolumeAttachmentSource,
    /// The node.
    #[api(3, required)]
    pub node_name: String,
}

/// A volume to attach.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.storage.v1")]
pub struct VolumeAttachmentSource {
    /// Name of a PersistentVolume.
    #[api(1)]
    pub persistent_volume_name: Option<String>,
    /// The volume itself, where it came out of a pod.
    #[api(2)]
    pub inline_volume_spec: Option<Box<PersistentVolumeSpec>>,
}

/// How far an attachment has come.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.storage.v1")]
pub struct VolumeAttachmentStatus {
    /// Whether the volume is attached.
    #[api(1, required)]
    pub attached: bool,
    /// What the driver needs to know to mount it.
    #[api(2)]
    pub attachment_metadata: BTreeMap<String, String>,
    /// Why it could not be attached.
    #[api(3)]
    pub attach_error: Option<Box<VolumeError>>,
    /// Why it could not be detached.
    #[api(4)]
    pub detach_error: Option<Box<VolumeError>>,
}

/// Why something could not be done with a volume.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.storage.v1")]
pub struct VolumeError {
    /// When that was.
    #[api(1, always)]
    pub time: Option<Time>,
    /// What happened, for people. Not a place for secrets.
    #[api(2)]
    pub message: String,
    /// The driver's error code.
    #[api(3)]
    pub error_code: Option<i32>,
}

resource!(
    VolumeAttachment,
    Kind {
        subresources: &[Subresource::status("VolumeAttachment")],
        ..Kind::cluster_wide("storage.k8s.io/v1", "VolumeAttachment", "volumeattachments", "volumeattachment")
    }
);

impl Strategy for VolumeAttachment {
    const UNCONDITIONAL_UPDATE: bool = false;

    fn prepare_for_create(&mut self) {
        self.status = VolumeAttachmentStatus::default();
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
        self.metadata.generation = old.metadata.generation;
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
        self.metadata.keep_for_status(&old.metadata);
    }

    fn validate(&self, errors: &mut Errors) {
        self.spec.validate(errors);
        self.status.validate(errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        immutable(&self.spec, &old.spec, &Path::new("spec"), errors);
    }

    fn validate_status_update(&self, old: &Self, errors: &mut Errors) {
        self.validate(errors);
        self.validate_update(old, errors);
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column {
                    format: "name",
                    ..Column::text("Attacher", "The driver that attaches the volume.", |own: &Self, _| {
                        own.spec.attacher.as_str().into()
                    })
                },
                Column::text("PV", "The volume.", |own, _| {
                    own.spec.source.persistent_volume_name.as_deref().unwrap_or_default().into()
                }),
                Column::text("Node", "Where it is to be attached.", |own, _| {
                    own.spec.node_name.as_str().into()
                }),
                Column {
                    ty: "boolean",
                    ..Column::text("Attached", "Whether it is attached.", |own, _| own.status.attached.into())
                },
                Column::age(),
            ]
        }
    }
}

impl VolumeAttachmentSpec {
    fn validate(&self, errors: &mut Errors) {
        let path = Path::new("spec");
        validate_driver_name(&self.attacher, &path.child("attacher"), errors);
        let source = path.child("source");
        let text = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
        match (&self.source.inline_volume_spec, &self.source.persistent_volume_name) {
            (None, None) => errors.required(&source, text),
            (Some(_), Some(_)) => errors.forbidden(&source, text),
            (None, Some(name)) if name.is_empty() => {
                let text = "must specify non empty persistentVolumeName";
                errors.required(&source.child("persistentVolumeName"), text);
            }
            _ => {}
        }
        errors.wrong(&path.child("nodeName"), &self.node_name, names::dns1123_subdomain(&self.node_name));
        if let Some(name) = &self.source.persistent_volume_name {
            errors.wrong(&source.child("persistentVolumeName"), name, names::dns1123_subdomain(name));
        }
    }
}

impl VolumeAttachmentStatus {
    fn validate(&self, errors: &mut Errors) {
        const LARGEST: usize = 256 * 1024;
        const LONGEST_MESSAGE: usize = 1024;
        let path = Path::new("status");
        let size: usize = self.attachment_metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        if size > LARGEST {
            errors.too_long(&path.child("attachmentMetadata"), LARGEST);
        }
        for (name, error) in [("attachError", &self.attach_error), ("detachError", &self.detach_error)] {
            let (Some(error), path) = (error, path.child(name)) else { continue };
            if error.message.len() > LONGEST_MESSAGE {
                // COMPAT: upstream names another limit than it holds.
                errors.too_long(&path.child("message"), LARGEST);
            }
            if let Some(code) = error.error_code.filter(|code| *code < 0) {
                let text = "must be between 0 and 2147483647, inclusive";
                errors.invalid(&path.child("errorCode"), code, text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, refused_update};

    fn attachment(volume: Option<&str>, node: &str) -> VolumeAttachment {
        let mut own = VolumeAttachment::default();
        own.spec.attacher = "acme.io".into();
        own.spec.node_name = node.into();
        own.spec.source.persistent_volume_name = volume.map(str::to_owned);
        own
    }

    #[test]
    fn what_is_refused() {
        assert!(refused(attachment(Some("a"), "n1")).is_empty());
        assert_eq!(
            refused(attachment(None, "n1")),
            [
                "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"
            ]
        );
        assert!(
            refused_update(attachment(Some("a"), "n2"), attachment(Some("a"), "n1"))[0]
                .ends_with("field is immutable")
        );
    }

    #[test]
    fn errors_are_limited() {
        let mut own = attachment(Some("a"), "n1");
        own.status.attach_error =
            Some(Box::new(VolumeError { error_code: Some(-1), ..VolumeError::default() }));
        assert_eq!(
            refused(own),
            ["status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive"]
        );
    }
}
