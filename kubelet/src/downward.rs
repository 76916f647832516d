//! Facts about a pod that its containers can read: `fieldRef` and `resourceFieldRef`. Pure.

use std::collections::BTreeMap;

use api_types::core::v1::{Container, Pod, ResourceFieldSelector, ResourceList};

/// A selector that names nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// Not a field that containers may read.
    #[error("unsupported fieldPath: {0}")]
    Path(String),
    /// `['key']` after a field that has no keys.
    #[error("fieldPath {0:?} does not support subscript")]
    Subscript(String),
    /// Not a resource that containers may read.
    #[error("unsupported container resource : {0}")]
    Resource(String),
    /// No such container.
    #[error("container {0} not found")]
    Container(String),
    /// The node has no address yet: its cloud is to choose one.
    #[error("host IP unknown; known addresses: [{{Hostname {0}}}]")]
    HostIp(String),
}

/// What is known of the pod only on its node.
#[derive(Clone, Debug, Default)]
pub struct NodeFacts<'a> {
    /// The node's addresses.
    pub host_ips: &'a [String],
    /// The pod's addresses.
    pub pod_ips: &'a [String],
    /// What the node has to give: the limit of a container without one.
    pub allocatable: Option<&'a ResourceList>,
}

/// The text of a field.
pub fn field(pod: &Pod, path: &str, facts: &NodeFacts<'_>) -> Result<String, FieldError> {
    if let Some((map, key)) = subscript(path) {
        return match map {
            "metadata.annotations" => Ok(pod.metadata.annotations.get(key).cloned().unwrap_or_default()),
            "metadata.labels" => Ok(pod.metadata.labels.get(key).cloned().unwrap_or_default()),
            _ => Err(FieldError::Subscript(path.to_owned())),
        };
    }
    if facts.host_ips.is_empty() && matches!(path, "status.hostIP" | "status.hostIPs") {
        return Err(FieldError::HostIp(pod.spec.node_name.clone()));
    }
    Ok(match path {
        "metadata.name" => pod.metadata.name.clone(),
        "metadata.namespace" => pod.metadata.namespace.clone(),
        "metadata.uid" => pod.metadata.uid.clone(),
        "metadata.labels" => format_map(&pod.metadata.labels),
        "metadata.annotations" => format_map(&pod.metadata.annotations),
        "spec.nodeName" => pod.spec.node_name.clone(),
        "spec.serviceAccountName" => pod.spec.service_account_name.clone(),
        "status.hostIP" => facts.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => facts.host_ips.join(","),
        "status.podIP" => facts.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => facts.pod_ips.join(","),
        _ => return Err(FieldError::Path(path.to_owned())),
    })
}

fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['").filter(|(map, _)| !map.is_empty())
}

/// COMPAT: `key="value"` lines, sorted, values quoted as Go quotes them.
fn format_map(map: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> = map.iter().map(|(key, value)| format!("{key}={}", quote(value))).collect();
    lines.join("\n")
}

fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => quoted.push_str(&format!("\\x{:02x}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The amount of a resource, in units of the divisor, rounded up. `container` is the one that asks.
pub fn resource(
    selector: &ResourceFieldSelector,
    pod: &Pod,
    container: Option<&Container>,
    facts: &NodeFacts<'_>,
) -> Result<String, FieldError> {
    let container = if selector.container_name.is_empty() {
        container.ok_or_else(|| FieldError::Container(String::new()))?
    } else {
        pod.spec
            .containers
            .iter()
            .chain(&pod.spec.init_containers)
            .find(|container| container.name == selector.container_name)
            .ok_or_else(|| FieldError::Container(selector.container_name.clone()))?
    };
    let unknown = || FieldError::Resource(selector.resource.clone());
    let (list, name) = selector.resource.split_once('.').ok_or_else(unknown)?;
    if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !name.starts_with("hugepages-") {
        return Err(unknown());
    }
    let amount = match list {
        // A container without a limit may use all that the node has to give.
        "limits" => container
            .resources
            .limits
            .get(name)
            .filter(|limit| !limit.is_zero())
            .or_else(|| facts.allocatable.and_then(|all| all.get(name))),
        "requests" => container.resources.requests.get(name),
        _ => return Err(unknown()),
    };
    let amount = amount.copied().unwrap_or_default();
    let milli = name == "cpu";
    let read = |quantity: &api_types::Quantity| if milli { quantity.milli_value() } else { quantity.value() };
    let divisor = match read(&selector.divisor) {
        0 if milli => 1000,
        0 => 1,
        divisor => divisor,
    };
    let (amount, divisor) = (i128::from(read(&amount)), i128::from(divisor));
    Ok(((amount + divisor - 1).div_euclid(divisor)).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::Quantity;

    fn pod() -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = "web".into();
        pod.metadata.labels = [("a".into(), "x\"y".into()), ("b".into(), "z".into())].into();
        let mut container = Container { name: "c".into(), ..Default::default() };
        container.resources.limits.insert("cpu".into(), Quantity::parse("1500m").unwrap());
        pod.spec.containers.push(container);
        pod
    }

    #[test]
    fn fields() {
        let ips = ["10.0.0.7".to_owned(), "fd00::7".to_owned()];
        let facts = NodeFacts { pod_ips: &ips, ..Default::default() };
        let check = |path: &str, expected: &str| assert_eq!(field(&pod(), path, &facts).unwrap(), expected);
        check("metadata.name", "web");
        check("metadata.labels", "a=\"x\\\"y\"\nb=\"z\"");
        check("metadata.labels['b']", "z");
        check("status.podIPs", "10.0.0.7,fd00::7");
        assert_eq!(field(&pod(), "spec.x", &facts), Err(FieldError::Path("spec.x".into())));
    }

    #[test]
    fn amounts_are_rounded_up_and_default_to_the_nodes() {
        let pod = pod();
        let allocatable: ResourceList = [("memory".to_owned(), Quantity::parse("1Gi").unwrap())].into();
        let facts = NodeFacts { allocatable: Some(&allocatable), ..Default::default() };
        let check = |name: &str, divisor: &str, expected: &str| {
            let selector = ResourceFieldSelector {
                resource: name.into(),
                divisor: Quantity::parse(divisor).unwrap(),
                ..Default::default()
            };
            assert_eq!(resource(&selector, &pod, pod.spec.containers.first(), &facts).unwrap(), expected);
        };
        check("limits.cpu", "0", "2");
        check("limits.cpu", "1m", "1500");
        check("limits.memory", "1Mi", "1024");
        check("requests.memory", "1", "0");
    }
}
