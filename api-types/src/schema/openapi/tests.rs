//! The documents hold together; what they say of each type is compared with upstream's elsewhere.

use super::*;
use std::collections::BTreeSet;

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get("$ref") {
                found.insert(reference.rsplit('/').next().expect("a name").to_owned());
            }
            object.values().for_each(|inner| references(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| references(inner, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_to_a_definition() {
    let document = v2("v1");
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for name in found {
        assert!(document["definitions"][&name].is_object(), "{name}");
    }
    for (group, version) in v3_groups() {
        let document = v3(group, version, "v1").expect("a document");
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for name in found {
            assert!(document["components"]["schemas"][&name].is_object(), "{group}/{version} {name}");
        }
    }
    assert_eq!(v3("apps", "v9", "v1"), None);
}

#[test]
fn a_kind_is_found_by_path_and_by_schema() {
    let document = v3("apps", "v1", "v1").expect("a document");
    let get = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["get"];
    assert_eq!(get["operationId"], "readAppsV1NamespacedDeployment");
    assert_eq!(get["x-kubernetes-group-version-kind"]["kind"], "Deployment");
    let schema = &document["components"]["schemas"]["io.k8s.api.apps.v1.DeploymentSpec"];
    assert_eq!(schema["required"], json!(["selector", "template"]));
    assert_eq!(schema["properties"]["strategy"]["x-kubernetes-patch-strategy"], "retainKeys");
    let all = &document["paths"]["/apis/apps/v1/deployments"]["get"];
    assert_eq!(all["operationId"], "listAppsV1DeploymentForAllNamespaces");
}

#[test]
fn streams_and_scale_are_there() {
    let document = v2("v1");
    let scale = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"];
    assert_eq!(scale["get"]["x-kubernetes-group-version-kind"]["kind"], "Scale");
    let exec = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/exec"];
    assert_eq!(exec["post"]["x-kubernetes-action"], "connect");
    assert_eq!(exec["get"]["operationId"], "connectCoreV1GetNamespacedPodExec");
}
