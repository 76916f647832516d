//! Our OpenAPI v2 document beside upstream's: paths, methods, operations and their parameters.
//!
//! What differs is listed here with its reason; anything else fails.

use api_types::schema::openapi;
use serde_json::Value;
use std::collections::BTreeSet;

/// Streams take parameters that the reference spells out; clients build those URLs themselves.
fn is_stream(path: &str) -> bool {
    ["/exec", "/attach", "/portforward", "/proxy", "/log"].iter().any(|end| path.ends_with(end))
}

/// The parameters of an operation, those of its path included.
fn names(item: &Value, method: &str, reference: &Value) -> BTreeSet<String> {
    let list = |owner: &Value| owner["parameters"].as_array().cloned().unwrap_or_default();
    [list(item), list(&item[method])]
        .concat()
        .iter()
        .map(|parameter| match parameter["$ref"].as_str() {
            Some(path) => {
                reference["parameters"][path.rsplit('/').next().expect("a name")]["name"].to_string()
            }
            None => parameter["name"].to_string(),
        })
        .collect()
}

#[test]
fn operations_are_upstreams() {
    let Ok(folder) = std::env::var("K8S_REFERENCE_DIR") else {
        println!("skipped: K8S_REFERENCE_DIR is not set");
        return;
    };
    let text = std::fs::read(format!("{folder}/swagger.json")).expect("the reference document");
    let reference: Value = serde_json::from_slice(&text).expect("JSON");
    let ours = openapi::v2("unversioned");
    let mut wrong = Vec::new();
    for (path, item) in ours["paths"].as_object().expect("paths") {
        let theirs = &reference["paths"][path];
        if theirs.is_null() {
            wrong.push(format!("{path}: unknown upstream"));
            continue;
        }
        let methods = |item: &Value| -> BTreeSet<String> {
            item.as_object().expect("an item").keys().filter(|k| *k != "parameters").cloned().collect()
        };
        let known = methods(theirs);
        for method in methods(item) {
            let (mine, other) = (&item[&method], &theirs[&method]);
            for part in ["operationId", "tags", "x-kubernetes-action", "x-kubernetes-group-version-kind"] {
                if mine[part] != other[part] {
                    wrong.push(format!("{path} {method} {part}: {} instead of {}", mine[part], other[part]));
                }
            }
            if is_stream(path) {
                continue;
            }
            // shardSelector belongs to an alpha feature that is not served.
            let mut expected = names(theirs, &method, &reference);
            expected.remove("\"shardSelector\"");
            if names(item, &method, &reference) != expected {
                wrong.push(format!(
                    "{path} {method}: {:?} instead of {expected:?}",
                    names(item, &method, &reference)
                ));
            }
        }
        // Streams are reached by GET and POST; the other methods of proxies are the same handler.
        if !path.ends_with("/proxy") && !known.is_subset(&methods(item)) {
            wrong.push(format!("{path}: methods {:?} instead of {known:?}", methods(item)));
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}
