//! Every declared type against upstream's golden objects, in which every field is set.
//!
//! The reference folder (`K8S_REFERENCE_DIR`) holds `golden/GROUP.VERSION.KIND.{json,yaml,pb}`.
//! Each is read into its type, strictly, and written again; a field that is missing, misnamed or
//! misnumbered, or a value that does not survive, shows as a difference. Without the folder the
//! tests say that they are skipped.

use api_types::codec::{json, protobuf, transcoder, yaml};
use api_types::value::{Struct, Typed};
use serde_json::Value as Json;
use std::path::PathBuf;

/// A message as we write it, and the object as JSON.
type Written = (Vec<u8>, Json);

/// One golden object and what is done with it, its type erased.
struct Golden {
    name: &'static str,
    /// JSON → typed → JSON; unknown or duplicate fields are errors.
    json: fn(&[u8]) -> Result<Json, String>,
    /// Bare message → typed → bare message and JSON.
    protobuf: fn(&[u8]) -> Result<Written, String>,
    /// JSON → typed → bare message.
    crossed: fn(&[u8]) -> Result<Vec<u8>, String>,
    /// JSON → bare message.
    transcoded: fn(&[u8]) -> Option<Vec<u8>>,
}

fn golden<T: Struct + Typed + Default + Clone + PartialEq + std::fmt::Debug>(name: &'static str) -> Golden {
    Golden {
        name,
        json: |text| {
            let (value, strict) = json::from_slice_strict::<T>(text).map_err(|e| e.to_string())?;
            if !strict.is_empty() {
                return Err(format!("not known: {strict:?}"));
            }
            if value.clone() != value {
                return Err("a clone differs".into());
            }
            parse(&json::value_to_vec(&value))
        },
        protobuf: |message| {
            let value: T = protobuf::from_slice(message).map_err(|e| e.to_string())?;
            Ok((protobuf::to_vec(&value), parse(&json::value_to_vec(&value))?))
        },
        crossed: |text| {
            let value: T = json::from_slice(text).map_err(|e| e.to_string())?;
            Ok(protobuf::to_vec(&value))
        },
        transcoded: |text| transcoder::message(T::type_of().as_struct().expect("a struct"), text),
    }
}

fn parse(text: &[u8]) -> Result<Json, String> {
    serde_json::from_slice(text).map_err(|e| e.to_string())
}

macro_rules! goldens {
    ($($name:literal: $($segment:ident)::+;)*) => {
        fn goldens() -> Vec<Golden> {
            vec![$(golden::<api_types::$($segment)::+>($name)),*]
        }
    };
}

goldens! {
    "admissionregistration.k8s.io.v1.MutatingAdmissionPolicy": admissionregistration::v1::MutatingAdmissionPolicy;
    "admissionregistration.k8s.io.v1.MutatingAdmissionPolicyBinding": admissionregistration::v1::MutatingAdmissionPolicyBinding;
    "admissionregistration.k8s.io.v1.MutatingWebhookConfiguration": admissionregistration::v1::MutatingWebhookConfiguration;
    "admissionregistration.k8s.io.v1.ValidatingAdmissionPolicy": admissionregistration::v1::ValidatingAdmissionPolicy;
    "admissionregistration.k8s.io.v1.ValidatingAdmissionPolicyBinding": admissionregistration::v1::ValidatingAdmissionPolicyBinding;
    "admissionregistration.k8s.io.v1.ValidatingWebhookConfiguration": admissionregistration::v1::ValidatingWebhookConfiguration;
    "apps.v1.ControllerRevision": apps::v1::ControllerRevision;
    "apps.v1.DaemonSet": apps::v1::DaemonSet;
    "apps.v1.Deployment": apps::v1::Deployment;
    "apps.v1.ReplicaSet": apps::v1::ReplicaSet;
    "apps.v1.StatefulSet": apps::v1::StatefulSet;
    "authentication.k8s.io.v1.SelfSubjectReview": authentication::v1::SelfSubjectReview;
    "authentication.k8s.io.v1.TokenRequest": authentication::v1::TokenRequest;
    "authentication.k8s.io.v1.TokenReview": authentication::v1::TokenReview;
    "authorization.k8s.io.v1.LocalSubjectAccessReview": authorization::v1::LocalSubjectAccessReview;
    "authorization.k8s.io.v1.SelfSubjectAccessReview": authorization::v1::SelfSubjectAccessReview;
    "authorization.k8s.io.v1.SelfSubjectRulesReview": authorization::v1::SelfSubjectRulesReview;
    "authorization.k8s.io.v1.SubjectAccessReview": authorization::v1::SubjectAccessReview;
    "autoscaling.v1.HorizontalPodAutoscaler": autoscaling::v1::HorizontalPodAutoscaler;
    "autoscaling.v1.Scale": autoscaling::v1::Scale;
    "autoscaling.v2.HorizontalPodAutoscaler": autoscaling::v2::HorizontalPodAutoscaler;
    "batch.v1.CronJob": batch::v1::CronJob;
    "batch.v1.Job": batch::v1::Job;
    "certificates.k8s.io.v1.CertificateSigningRequest": certificates::v1::CertificateSigningRequest;
    "coordination.k8s.io.v1.Lease": coordination::v1::Lease;
    "core.v1.APIGroup": meta::v1::APIGroup;
    "core.v1.APIVersions": meta::v1::APIVersions;
    "core.v1.Binding": core::v1::Binding;
    "core.v1.ConfigMap": core::v1::ConfigMap;
    "core.v1.CreateOptions": meta::v1::CreateOptions;
    "core.v1.DeleteOptions": meta::v1::DeleteOptions;
    "core.v1.Endpoints": core::v1::Endpoints;
    "core.v1.Event": core::v1::Event;
    "core.v1.GetOptions": meta::v1::GetOptions;
    "core.v1.LimitRange": core::v1::LimitRange;
    "core.v1.ListOptions": meta::v1::ListOptions;
    "core.v1.Namespace": core::v1::Namespace;
    "core.v1.Node": core::v1::Node;
    "core.v1.NodeProxyOptions": core::v1::NodeProxyOptions;
    "core.v1.PatchOptions": meta::v1::PatchOptions;
    "core.v1.PersistentVolume": core::v1::PersistentVolume;
    "core.v1.PersistentVolumeClaim": core::v1::PersistentVolumeClaim;
    "core.v1.Pod": core::v1::Pod;
    "core.v1.PodAttachOptions": core::v1::PodAttachOptions;
    "core.v1.PodExecOptions": core::v1::PodExecOptions;
    "core.v1.PodLogOptions": core::v1::PodLogOptions;
    "core.v1.PodPortForwardOptions": core::v1::PodPortForwardOptions;
    "core.v1.PodProxyOptions": core::v1::PodProxyOptions;
    "core.v1.PodTemplate": core::v1::PodTemplate;
    "core.v1.RangeAllocation": core::v1::RangeAllocation;
    "core.v1.ReplicationController": core::v1::ReplicationController;
    "core.v1.ResourceQuota": core::v1::ResourceQuota;
    "core.v1.Secret": core::v1::Secret;
    "core.v1.SerializedReference": core::v1::SerializedReference;
    "core.v1.Service": core::v1::Service;
    "core.v1.ServiceAccount": core::v1::ServiceAccount;
    "core.v1.ServiceProxyOptions": core::v1::ServiceProxyOptions;
    "core.v1.Status": meta::v1::Status;
    "core.v1.UpdateOptions": meta::v1::UpdateOptions;
    "discovery.k8s.io.v1.EndpointSlice": discovery::v1::EndpointSlice;
    "events.k8s.io.v1.Event": events::v1::Event;
    "networking.k8s.io.v1.IPAddress": networking::v1::IPAddress;
    "networking.k8s.io.v1.Ingress": networking::v1::Ingress;
    "networking.k8s.io.v1.IngressClass": networking::v1::IngressClass;
    "networking.k8s.io.v1.NetworkPolicy": networking::v1::NetworkPolicy;
    "networking.k8s.io.v1.ServiceCIDR": networking::v1::ServiceCIDR;
    "node.k8s.io.v1.RuntimeClass": node::v1::RuntimeClass;
    "policy.v1.Eviction": policy::v1::Eviction;
    "policy.v1.PodDisruptionBudget": policy::v1::PodDisruptionBudget;
    "rbac.authorization.k8s.io.v1.ClusterRole": rbac::v1::ClusterRole;
    "rbac.authorization.k8s.io.v1.ClusterRoleBinding": rbac::v1::ClusterRoleBinding;
    "rbac.authorization.k8s.io.v1.Role": rbac::v1::Role;
    "rbac.authorization.k8s.io.v1.RoleBinding": rbac::v1::RoleBinding;
    "resource.k8s.io.v1.DeviceClass": resource::v1::DeviceClass;
    "resource.k8s.io.v1.ResourceClaim": resource::v1::ResourceClaim;
    "resource.k8s.io.v1.ResourceClaimTemplate": resource::v1::ResourceClaimTemplate;
    "resource.k8s.io.v1.ResourceSlice": resource::v1::ResourceSlice;
    "flowcontrol.apiserver.k8s.io.v1.FlowSchema": flowcontrol::v1::FlowSchema;
    "flowcontrol.apiserver.k8s.io.v1.PriorityLevelConfiguration": flowcontrol::v1::PriorityLevelConfiguration;
    "scheduling.k8s.io.v1.PriorityClass": scheduling::v1::PriorityClass;
    "storage.k8s.io.v1.CSIDriver": storage::v1::CSIDriver;
    "storage.k8s.io.v1.CSINode": storage::v1::CSINode;
    "storage.k8s.io.v1.CSIStorageCapacity": storage::v1::CSIStorageCapacity;
    "storage.k8s.io.v1.StorageClass": storage::v1::StorageClass;
    "storage.k8s.io.v1.VolumeAttachment": storage::v1::VolumeAttachment;
    "storage.k8s.io.v1.VolumeAttributesClass": storage::v1::VolumeAttributesClass;
}

/// Runs `check` on every golden object and fails with all differences.
fn for_each(extension: &str, check: impl Fn(&Golden, Vec<u8>, Json) -> Result<(), String>) {
    let Some(folder) = std::env::var_os("K8S_REFERENCE_DIR") else {
        eprintln!("skipped: K8S_REFERENCE_DIR is not set, so there are no golden objects");
        return;
    };
    let read = |golden: &Golden, extension: &str| {
        let path = PathBuf::from(&folder).join("golden").join(format!("{}.{extension}", golden.name));
        std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    let mut failures = Vec::new();
    for golden in goldens() {
        let mut expected = parse(&read(&golden, "json")).expect("golden JSON is well-formed");
        let object = expected.as_object_mut().expect("golden JSON is an object");
        object.shift_remove("kind");
        object.shift_remove("apiVersion");
        // The golden object was made without conversion, which names the kind of inner objects.
        for claim in expected
            .pointer_mut("/spec/volumeClaimTemplates")
            .and_then(Json::as_array_mut)
            .into_iter()
            .flatten()
        {
            let claim = claim.as_object_mut().expect("a claim is an object");
            claim.shift_insert(0, "kind".to_owned(), "PersistentVolumeClaim".into());
            claim.shift_insert(1, "apiVersion".to_owned(), "v1".into());
        }
        if let Err(why) = check(&golden, read(&golden, extension), expected) {
            failures.push(format!("{}: {why}", golden.name));
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
}

/// The paths at which two JSON values differ.
fn same(actual: &Json, expected: &Json) -> Result<(), String> {
    fn walk(path: &str, a: &Json, b: &Json, out: &mut Vec<String>) {
        match (a, b) {
            (Json::Object(x), Json::Object(y)) => {
                for key in x.keys().chain(y.keys().filter(|k| !x.contains_key(*k))) {
                    let (p, null) = (format!("{path}.{key}"), Json::Null);
                    match (x.get(key), y.get(key)) {
                        (Some(a), Some(b)) => walk(&p, a, b, out),
                        (a, b) => out.push(format!("{p}: {} / {}", a.unwrap_or(&null), b.unwrap_or(&null))),
                    }
                }
            }
            (Json::Array(x), Json::Array(y)) if x.len() == y.len() => {
                for (i, (a, b)) in x.iter().zip(y).enumerate() {
                    walk(&format!("{path}[{i}]"), a, b, out);
                }
            }
            _ if a != b => out.push(format!("{path}: {a} / {b}")),
            _ => {}
        }
    }
    let mut out = Vec::new();
    walk("", actual, expected, &mut out);
    if out.is_empty() { Ok(()) } else { Err(format!("ours / upstream's:\n  {}", out.join("\n  "))) }
}

fn message(envelope: &[u8]) -> Result<Vec<u8>, String> {
    protobuf::open_envelope(envelope).map(|e| e.raw.to_vec()).map_err(|e| e.to_string())
}

/// Where two byte strings part.
fn same_bytes(actual: &[u8], expected: &[u8]) -> Result<(), String> {
    if actual == expected {
        return Ok(());
    }
    let at = actual.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let near = |bytes: &[u8]| {
        String::from_utf8_lossy(&bytes[at.saturating_sub(30)..bytes.len().min(at + 30)]).into_owned()
    };
    Err(format!(
        "{} bytes / {}; they part at {at}: {:?} / {:?}",
        actual.len(),
        expected.len(),
        near(actual),
        near(expected)
    ))
}

#[test]
fn json_survives() {
    for_each("json", |golden, text, expected| same(&(golden.json)(&text)?, &expected));
}

#[test]
fn json_keeps_upstream_order_of_fields() {
    for_each("json", |golden, text, expected| {
        let (ours, expected) = ((golden.json)(&text)?.to_string(), expected.to_string());
        same_bytes(ours.as_bytes(), expected.as_bytes())
    });
}

#[test]
fn yaml_reads_as_json_does() {
    for_each("yaml", |golden, text, expected| {
        let text = String::from_utf8(text).map_err(|e| e.to_string())?;
        let text = yaml::to_json(&text).map_err(|e| e.to_string())?;
        same(&(golden.json)(&text)?, &expected)
    });
}

#[test]
fn protobuf_survives_byte_for_byte() {
    for_each("pb", |golden, envelope, _| {
        let message = message(&envelope)?;
        same_bytes(&(golden.protobuf)(&message)?.0, &message)
    });
}

#[test]
fn protobuf_reads_as_json_does() {
    for_each("pb", |golden, envelope, expected| same(&(golden.protobuf)(&message(&envelope)?)?.1, &expected));
}

#[test]
fn json_becomes_upstream_protobuf() {
    for_each("pb", |golden, envelope, mut expected| {
        let message = message(&envelope)?;
        let text = expected.take().to_string();
        same_bytes(&(golden.crossed)(text.as_bytes())?, &message)
    });
}

/// In it a null stands in a map, which is left to the codecs.
const HAS_NULLS: &str = "policy.v1.PodDisruptionBudget";

#[test]
fn json_is_transcoded_to_upstream_protobuf() {
    for_each("pb", |golden, envelope, mut expected| {
        let message = message(&envelope)?;
        let text = expected.take().to_string();
        match (golden.transcoded)(text.as_bytes()) {
            Some(transcoded) => same_bytes(&transcoded, &message),
            None if golden.name == HAS_NULLS => Ok(()),
            None => Err("left to the codecs".to_owned()),
        }
    });
}

/// Fields that are not there, null, in another order or twice, and values of other fields: what is transcoded is
/// what the codecs make of it, and most of what has all its values in place is transcoded.
#[test]
fn what_is_left_of_objects_is_transcoded_as_the_codecs_read_it() {
    for_each("json", |golden, _, whole| {
        let mut dice = Dice(golden.name.len() as u64);
        let mut done = 0;
        for round in 0..40 {
            let (mut tree, strange) = (whole.clone(), round % 2 == 1);
            dice.disturb(&mut tree, strange);
            let text = tree.to_string();
            let Some(message) = (golden.transcoded)(text.as_bytes()) else { continue };
            let typed = (golden.crossed)(text.as_bytes()).map_err(|e| format!("{e}: {text}"))?;
            same_bytes(&message, &typed).map_err(|e| format!("{e}: {text}"))?;
            done += usize::from(!strange);
        }
        if done == 20 || golden.name == HAS_NULLS {
            Ok(())
        } else {
            Err(format!("only {done} of 20 are transcoded"))
        }
    });
}

/// Numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn one_of(&mut self, sides: u64) -> bool {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33).is_multiple_of(sides)
    }

    /// Takes members away or makes them null; with `strange`, also what no writer writes.
    fn disturb(&mut self, tree: &mut Json, strange: bool) {
        match tree {
            Json::Object(members) => {
                let names: Vec<String> = members.keys().cloned().collect();
                // Of a map's keys the order counts.
                let is_map = names.iter().is_sorted();
                for name in names {
                    if self.one_of(6) {
                        members.shift_remove(&name);
                    } else if self.one_of(12) && !is_map {
                        members[&name] = Json::Null;
                    } else if strange && self.one_of(8) && !is_map {
                        let value = members.shift_remove(&name).unwrap_or_default();
                        members.insert(name, value);
                    } else if strange && self.one_of(60) {
                        let others =
                            [1.into(), (-1.5).into(), "".into(), "1e3".into(), Json::Null, true.into()];
                        let place = (self.0 >> 40) as usize % others.len();
                        members[&name] = others[place].clone();
                    }
                }
                members.values_mut().for_each(|value| self.disturb(value, strange));
            }
            Json::Array(items) => {
                items.retain(|_| !self.one_of(8));
                items.iter_mut().for_each(|item| self.disturb(item, strange));
            }
            Json::String(text) if strange && self.one_of(30) => text.push_str("\"<\u{e9}\n"),
            _ => {}
        }
    }
}

#[test]
fn envelopes_are_upstream_s() {
    for_each("pb", |_, bytes, _| {
        let open = protobuf::open_envelope(&bytes).map_err(|e| e.to_string())?;
        same_bytes(&protobuf::envelope(open.api_version, open.kind, open.raw), &bytes)
    });
}
