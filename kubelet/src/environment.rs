//! The environment of a container: `$(VAR)` expansion, variables of Services, and every source of
//! `env` and `envFrom`. Objects come in through [`Objects`]; nothing here does I/O by itself.

use std::collections::BTreeMap;

use api_types::core::v1::{ConfigMap, Container, EnvVar, Pod, Secret, Service};

use crate::downward::{self, FieldError, NodeFacts};

/// The ConfigMaps and Secrets that a pod refers to.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// By name, in the pod's namespace.
    pub config_maps: BTreeMap<String, std::sync::Arc<ConfigMap>>,
    /// By name, in the pod's namespace.
    pub secrets: BTreeMap<String, std::sync::Arc<Secret>>,
}

/// Why a container's environment cannot be made; worded as upstream.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// No such object.
    #[error("{0} {1:?} not found")]
    Missing(&'static str, String),
    /// No such key in it.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    Key {
        /// ConfigMap or Secret.
        kind: &'static str,
        /// The key.
        key: String,
        /// The pod's namespace.
        namespace: String,
        /// The object's name.
        name: String,
    },
    /// A field that does not exist.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// A source that this kubelet does not know.
    #[error("environment variable {0:?}: fileKeyRef is not supported")]
    FileKey(String),
}

/// Replaces `$(NAME)` where `lookup` knows the name; `$$` is a dollar sign, all else stays.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// Expands a command by the literal variables of the container only: what probes may use.
pub fn expand_static(command: &[String], env: &[EnvVar]) -> Vec<String> {
    let lookup = |name: &str| {
        env.iter().rev().find(|var| var.name == name && var.value_from.is_none()).map(|var| var.value.clone())
    };
    command.iter().map(|word| expand(word, lookup)).collect()
}

/// Makes the variables of a container, in the order that the process sees them.
pub fn variables(
    pod: &Pod,
    container: &Container,
    objects: &Objects,
    services: &BTreeMap<String, String>,
    facts: &NodeFacts<'_>,
) -> Result<Vec<(String, String)>, EnvironmentError> {
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    for source in &container.env_from {
        if let Some(from) = &source.config_map_ref {
            match objects.config_maps.get(&from.reference.name) {
                Some(object) => values
                    .extend(object.data.iter().map(|(k, v)| (format!("{}{k}", source.prefix), v.clone()))),
                None if from.optional == Some(true) => {}
                None => {
                    return Err(EnvironmentError::Missing("configmap", from.reference.name.clone()));
                }
            }
        } else if let Some(from) = &source.secret_ref {
            match objects.secrets.get(&from.reference.name) {
                Some(object) => values.extend(object.data.iter().map(|(k, v)| {
                    (format!("{}{k}", source.prefix), String::from_utf8_lossy(v).into_owned())
                })),
                None if from.optional == Some(true) => {}
                None => return Err(EnvironmentError::Missing("secret", from.reference.name.clone())),
            }
        }
    }
    for var in &container.env {
        let value = if !var.value.is_empty() || var.value_from.is_none() {
            Some(expand(&var.value, |name| values.get(name).or_else(|| services.get(name)).cloned()))
        } else {
            resolve(pod, container, var, objects, facts)?
        };
        if let Some(value) = value {
            values.insert(var.name.clone(), value);
        }
    }
    for (name, value) in services {
        values.entry(name.clone()).or_insert_with(|| value.clone());
    }
    Ok(values.into_iter().collect())
}

/// The value from a variable's source; `None` when it is optional and absent.
fn resolve(
    pod: &Pod,
    container: &Container,
    var: &EnvVar,
    objects: &Objects,
    facts: &NodeFacts<'_>,
) -> Result<Option<String>, EnvironmentError> {
    let Some(source) = &var.value_from else { return Ok(None) };
    if let Some(selector) = &source.field_ref {
        return Ok(Some(downward::field(pod, &selector.field_path, facts)?));
    }
    if let Some(selector) = &source.resource_field_ref {
        return Ok(Some(downward::resource(selector, pod, Some(container), facts)?));
    }
    if source.file_key_ref.is_some() {
        return Err(EnvironmentError::FileKey(var.name.clone()));
    }
    let missing_key = |kind, key: &str, name: &str| EnvironmentError::Key {
        kind,
        key: key.into(),
        namespace: pod.metadata.namespace.clone(),
        name: name.into(),
    };
    if let Some(selector) = &source.config_map_key_ref {
        let optional = selector.optional == Some(true);
        let name = &selector.reference.name;
        return match objects.config_maps.get(name) {
            None if optional => Ok(None),
            None => Err(EnvironmentError::Missing("configmap", name.clone())),
            Some(object) => match object.data.get(&selector.key) {
                Some(value) => Ok(Some(value.clone())),
                None if optional => Ok(None),
                None => Err(missing_key("ConfigMap", &selector.key, name)),
            },
        };
    }
    if let Some(selector) = &source.secret_key_ref {
        let optional = selector.optional == Some(true);
        let name = &selector.reference.name;
        return match objects.secrets.get(name) {
            None if optional => Ok(None),
            None => Err(EnvironmentError::Missing("secret", name.clone())),
            Some(object) => match object.data.get(&selector.key) {
                Some(value) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
                None if optional => Ok(None),
                None => Err(missing_key("Secret", &selector.key, name)),
            },
        };
    }
    Ok(Some(String::new()))
}

/// Names of the ConfigMaps and Secrets that a container's environment refers to.
pub fn references(container: &Container) -> (Vec<&str>, Vec<&str>) {
    let (mut config_maps, mut secrets) = (Vec::new(), Vec::new());
    for source in &container.env_from {
        config_maps.extend(source.config_map_ref.iter().map(|from| from.reference.name.as_str()));
        secrets.extend(source.secret_ref.iter().map(|from| from.reference.name.as_str()));
    }
    for source in container.env.iter().filter_map(|var| var.value_from.as_ref()) {
        config_maps.extend(source.config_map_key_ref.iter().map(|from| from.reference.name.as_str()));
        secrets.extend(source.secret_key_ref.iter().map(|from| from.reference.name.as_str()));
    }
    (config_maps, secrets)
}

/// Variables that tell a container where Services are; `links` adds those of its own namespace.
///
/// COMPAT: the API server's own Service is always there, whatever `enableServiceLinks` says.
pub fn of_services<'a>(
    services: impl Iterator<Item = &'a Service>,
    namespace: &str,
    links: bool,
) -> BTreeMap<String, String> {
    let mut chosen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        if matches!(service.spec.cluster_ip.as_str(), "" | "None") || service.spec.ports.is_empty() {
            continue;
        }
        let meta = &service.metadata;
        let own = meta.namespace == namespace && links;
        let master = meta.namespace == "default" && meta.name == "kubernetes";
        if own || (master && !chosen.contains_key("kubernetes")) {
            chosen.insert(&meta.name, service);
        }
    }
    let mut vars = BTreeMap::new();
    for service in chosen.values() {
        add_service(service, &mut vars);
    }
    vars
}

fn add_service(service: &Service, vars: &mut BTreeMap<String, String>) {
    let upper = |name: &str| name.replace('-', "_").to_uppercase();
    let (prefix, ip) = (upper(&service.metadata.name), &service.spec.cluster_ip);
    vars.insert(format!("{prefix}_SERVICE_HOST"), ip.clone());
    for (index, port) in service.spec.ports.iter().enumerate() {
        let number = port.port.to_string();
        if index == 0 {
            vars.insert(format!("{prefix}_SERVICE_PORT"), number.clone());
        }
        if !port.name.is_empty() {
            vars.insert(format!("{prefix}_SERVICE_PORT_{}", upper(&port.name)), number.clone());
        }
        let protocol = if port.protocol.is_unset() { "TCP" } else { port.protocol.as_str() };
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
        let url = format!("{}://{host}:{number}", protocol.to_lowercase());
        if index == 0 {
            vars.insert(format!("{prefix}_PORT"), url.clone());
        }
        let link = format!("{prefix}_PORT_{number}_{}", protocol.to_uppercase());
        vars.insert(format!("{link}_PROTO"), protocol.to_lowercase());
        vars.insert(format!("{link}_PORT"), number);
        vars.insert(format!("{link}_ADDR"), ip.clone());
        vars.insert(link, url);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::core::v1::ServicePort;

    #[test]
    fn expansion() {
        let lookup = |name: &str| (name == "A").then(|| "1".to_owned());
        let check = |text: &str, expected: &str| assert_eq!(expand(text, lookup), expected);
        check("$(A)-$(B)", "1-$(B)");
        check("$$(A) $A $(A", "$(A) $A $(A");
        check("100%$", "100%$");
    }

    #[test]
    fn service_variables() {
        let mut service = Service::default();
        service.metadata.name = "my-db".into();
        service.metadata.namespace = "x".into();
        service.spec.cluster_ip = "10.0.0.1".into();
        service.spec.ports.push(ServicePort { name: "sql".into(), port: 5432, ..Default::default() });
        let vars = of_services([&service].into_iter(), "x", true);
        let get = |name: &str| vars.get(name).map(String::as_str);
        assert_eq!(get("MY_DB_SERVICE_HOST"), Some("10.0.0.1"));
        assert_eq!(get("MY_DB_SERVICE_PORT_SQL"), Some("5432"));
        assert_eq!(get("MY_DB_PORT_5432_TCP"), Some("tcp://10.0.0.1:5432"));
        assert!(of_services([&service].into_iter(), "y", true).is_empty());
        assert!(of_services([&service].into_iter(), "x", false).is_empty());
    }

    #[test]
    fn later_variables_see_earlier_ones_and_missing_objects_are_named() {
        let var =
            |name: &str, value: &str| EnvVar { name: name.into(), value: value.into(), value_from: None };
        let mut container = Container {
            env: vec![var("A", "1"), var("B", "$(A)2$(C)"), var("C", "3")],
            ..Default::default()
        };
        let services = BTreeMap::new();
        let make = |container: &Container| {
            variables(&Pod::default(), container, &Objects::default(), &services, &NodeFacts::default())
        };
        let made = make(&container).unwrap();
        assert_eq!(made[1], ("B".into(), "12$(C)".into()));
        let source = api_types::core::v1::EnvFromSource {
            config_map_ref: Some(Box::new(api_types::core::v1::ConfigMapEnvSource {
                reference: api_types::core::v1::LocalObjectReference { name: "cm".into() },
                optional: None,
            })),
            ..Default::default()
        };
        container.env_from.push(source);
        assert_eq!(make(&container).unwrap_err().to_string(), "configmap \"cm\" not found");
    }
}
