//! Where a stream goes: URLs on kubelets, for logs, exec, attach, port-forward and proxies.
//!
//! Pure: from the pod, the node and the query to a URL, with upstream's errors.

use api_types::core::v1::{Node, Pod};
use std::borrow::Cow;
use std::fmt::Write as _;

/// Why there is nowhere to go; each is a 400, texts are upstream's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("pod {0} does not have a host assigned")]
    NotScheduled(String),
    #[error("a container name must be specified for pod {pod}, choose one of: [{containers}]{init}")]
    ContainerRequired { pod: String, containers: String, init: String },
    #[error("container {container} is not valid for pod {pod}")]
    NoSuchContainer { pod: String, container: String },
    #[error("no preferred addresses found; known addresses: [{0}]")]
    NoAddress(String),
    #[error("you must specify at least 1 of stdin, stdout, stderr")]
    NoStream,
    #[error("you must specify a command for the container")]
    NoCommand,
}

/// Which container a stream goes to. With one container its name may be left out, and the
/// annotation that kubectl honours decides where there are several.
pub fn container<'a>(pod: &'a Pod, asked: &'a str) -> Result<&'a str, Error> {
    let names = |init: bool| -> Vec<&str> {
        let list = if init { &pod.spec.init_containers } else { &pod.spec.containers };
        list.iter().map(|c| c.name.as_str()).collect()
    };
    let ephemeral: Vec<&str> = pod.spec.ephemeral_containers.iter().map(|c| c.common.name.as_str()).collect();
    let (main, init) = (names(false), names(true));
    if !asked.is_empty() {
        let known = [main, init, ephemeral].concat().contains(&asked);
        let (pod, container) = (pod.metadata.name.clone(), asked.to_owned());
        return if known { Ok(asked) } else { Err(Error::NoSuchContainer { pod, container }) };
    }
    match main.as_slice() {
        [only] => Ok(only),
        several => {
            let init = if init.is_empty() {
                String::new()
            } else {
                format!(" or one of the init containers: [{}]", init.join(" "))
            };
            Err(Error::ContainerRequired {
                pod: pod.metadata.name.clone(),
                containers: several.join(" "),
                init,
            })
        }
    }
}

/// `https://ADDRESS:PORT` of a node's kubelet; `preferred` are address types in order.
pub fn kubelet(node: &Node, preferred: &[&str], default_port: u16) -> Result<String, Error> {
    let addresses = &node.status.addresses;
    let wanted = preferred.iter().find_map(|ty| addresses.iter().find(|a| a.type_ == **ty));
    let Some(address) = wanted else {
        let known: Vec<String> = addresses.iter().map(|a| format!("{{{} {}}}", a.type_, a.address)).collect();
        return Err(Error::NoAddress(known.join(" ")));
    };
    let port = match node.status.daemon_endpoints.kubelet_endpoint.port {
        0 => i32::from(default_port),
        port => port,
    };
    let host = &address.address;
    Ok(if host.contains(':') { format!("https://[{host}]:{port}") } else { format!("https://{host}:{port}") })
}

/// The node that a pod runs on.
pub fn node_of(pod: &Pod) -> Result<&str, Error> {
    if pod.spec.node_name.is_empty() {
        return Err(Error::NotScheduled(pod.metadata.name.clone()));
    }
    Ok(&pod.spec.node_name)
}

/// A client's query, percent-decoded.
pub type Query<'a> = &'a [(String, String)];

fn is_on(query: Query<'_>, name: &str) -> bool {
    query.iter().any(|(key, value)| {
        key == name && matches!(value.as_str(), "true" | "1" | "t" | "T" | "TRUE" | "True")
    })
}

/// `/containerLogs/NS/POD/CONTAINER?…`: the log options pass under their own names.
pub fn log(pod: &Pod, query: Query<'_>) -> Result<String, Error> {
    const PASSED: [&str; 8] = [
        "follow",
        "previous",
        "timestamps",
        "sinceSeconds",
        "sinceTime",
        "tailLines",
        "limitBytes",
        "stream",
    ];
    let container = container(pod, value(query, "container"))?;
    let mut path = format!("/containerLogs/{}/{}/{container}", pod.metadata.namespace, pod.metadata.name);
    let passed = query.iter().filter(|(key, value)| PASSED.contains(&key.as_str()) && !value.is_empty());
    append(&mut path, passed.map(|(key, value)| (key.as_str(), value.as_str())));
    Ok(path)
}

/// `/exec/…` or `/attach/…`: the API's stream names become the kubelet's.
pub fn remote_command(verb: &str, pod: &Pod, query: Query<'_>) -> Result<String, Error> {
    let container = container(pod, value(query, "container"))?;
    let mut options: Vec<(&str, &str)> =
        [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")]
            .into_iter()
            .filter(|(name, _)| is_on(query, name))
            .map(|(_, name)| (name, "1"))
            .collect();
    if !options.iter().any(|(name, _)| *name != "tty") {
        return Err(Error::NoStream);
    }
    let command =
        query.iter().filter(|(key, _)| key == "command").map(|(_, word)| ("command", word.as_str()));
    if verb == "exec" {
        options.extend(command);
        if !options.iter().any(|(name, _)| *name == "command") {
            return Err(Error::NoCommand);
        }
    }
    let mut path = format!("/{verb}/{}/{}/{container}", pod.metadata.namespace, pod.metadata.name);
    append(&mut path, options.into_iter());
    Ok(path)
}

/// `/portForward/NS/POD`.
pub fn port_forward(pod: &Pod, query: Query<'_>) -> String {
    let mut path = format!("/portForward/{}/{}", pod.metadata.namespace, pod.metadata.name);
    let ports = query.iter().filter(|(key, _)| key == "ports").map(|(_, port)| ("port", port.as_str()));
    append(&mut path, ports);
    path
}

fn value<'a>(query: Query<'a>, name: &str) -> &'a str {
    query.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
}

/// A path as it stands in a URL.
pub fn escaped(path: &str) -> Cow<'_, str> {
    let mut out = String::with_capacity(path.len());
    path.split('/').enumerate().for_each(|(n, part)| {
        if n > 0 {
            out.push('/');
        }
        escape(&mut out, part);
    });
    Cow::Owned(out)
}

fn escape(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => write!(out, "%{byte:02X}").expect("a string takes all it is given"),
        }
    }
}

fn append<'a>(path: &mut String, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
    for (i, (key, value)) in pairs.enumerate() {
        path.push(if i == 0 { '?' } else { '&' });
        path.push_str(key);
        path.push('=');
        escape(path, value);
    }
}
