//! Which labels a kubelet may give its node (`--node-labels`). Pure.

use std::collections::BTreeMap;

use api_types::names;

/// Of the project's own namespaces, these alone.
const OWN: [&str; 11] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
/// And whatever is under these.
const BELOW: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

fn is_under(namespace: &str, domain: &str) -> bool {
    namespace.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Refuses labels that the API server would refuse from a node, and what is no label; worded as upstream.
///
/// # Errors
/// Which, and why.
pub fn check(labels: &BTreeMap<String, String>) -> Result<(), String> {
    let is_foreign = |key: &&str| {
        let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
        ["kubernetes.io", "k8s.io"].iter().any(|domain| is_under(namespace, domain))
            && !OWN.contains(key)
            && !BELOW.iter().any(|domain| is_under(namespace, domain))
    };
    let foreign: Vec<&str> = labels.keys().map(String::as_str).filter(is_foreign).collect();
    if !foreign.is_empty() {
        return Err(format!(
            "unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-labels: [{}]\n--node-labels in the \
             'kubernetes.io' namespace must begin with an allowed prefix ({}) or be in the specifically allowed set ({})",
            foreign.join(" "),
            BELOW.join(", "),
            OWN.join(", ")
        ));
    }
    let of_keys = labels.keys().map(|key| (key, names::qualified_name(key)));
    let of_values = labels.values().map(|value| (value, names::label_value(value)));
    let wrong: Vec<String> = of_keys
        .chain(of_values)
        .filter(|(_, errors)| !errors.is_empty())
        .map(|(text, errors)| format!("'{text}' - {}", errors.join(", ")))
        .collect();
    match wrong.as_slice() {
        [] => Ok(()),
        wrong => Err(format!("invalid node labels: {}", wrong.join("; "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_a_node_may_have() {
        let check = |key: &str, value: &str, expected: Option<&str>| {
            let error = check(&[(key.to_owned(), value.to_owned())].into()).err();
            match expected {
                None => assert_eq!(error, None, "{key}"),
                Some(part) => {
                    assert!(error.as_ref().is_some_and(|error| error.starts_with(part)), "{error:?}")
                }
            }
        };
        check("topology.kubernetes.io/zone", "a", None);
        check("node.kubernetes.io/pool", "a", None);
        check("x.node.kubernetes.io/pool", "a", None);
        check("example.com/a", "", None);
        let foreign = "unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-labels: [";
        check(
            "node-role.kubernetes.io/worker",
            "",
            Some(&format!("{foreign}node-role.kubernetes.io/worker]\n")),
        );
        check("x.k8s.io/a", "", Some(foreign));
        check("a_b!", "1", Some("invalid node labels: 'a_b!' - name part must consist of"));
        check("a", "bad value", Some("invalid node labels: 'bad value' - a valid label must be"));
    }
}
