//! `Connection`: what exec, attach, port-forward and proxies are asked for, as the object that stands for it in
//! admission. Webhooks and policies may change it; where the connection goes is decided from what they leave.

use api_types::codec::json;
use api_types::core::v1::{
    NodeProxyOptions, PodAttachOptions, PodExecOptions, PodPortForwardOptions, PodProxyOptions,
    ServiceProxyOptions,
};
use api_types::value::Struct;
use serde_json::Value as Json;

use super::change::Unknown;
use crate::answer::typed_json;
use crate::query::Query;
use crate::request::RequestInfo;
use crate::status::ApiError;

/// The options of one connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Connection {
    Exec(PodExecOptions),
    Attach(PodAttachOptions),
    PortForward(PodPortForwardOptions),
    PodProxy(PodProxyOptions),
    ServiceProxy(ServiceProxyOptions),
    NodeProxy(NodeProxyOptions),
}

impl Connection {
    /// What is asked for; `None` for what opens no connection in this sense (logs).
    ///
    /// # Errors
    /// A 400 for a query that cannot be read.
    pub fn asked(info: &RequestInfo, query: &Query) -> Result<Option<Self>, ApiError> {
        let flag = |name: &str| query.flag(name);
        let container = || query.text("container").to_owned();
        Ok(Some(match (info.resource.as_str(), info.subresource.as_str()) {
            ("pods", "exec") => Self::Exec(PodExecOptions {
                stdin: flag("stdin"),
                stdout: flag("stdout"),
                stderr: flag("stderr"),
                tty: flag("tty"),
                container: container(),
                command: query.all("command").map(str::to_owned).collect(),
            }),
            ("pods", "attach") => Self::Attach(PodAttachOptions {
                stdin: flag("stdin"),
                stdout: flag("stdout"),
                stderr: flag("stderr"),
                tty: flag("tty"),
                container: container(),
            }),
            ("pods", "portforward") => {
                let ports = query.all("ports").flat_map(|list| list.split(',')).map(port);
                Self::PortForward(PodPortForwardOptions { ports: ports.collect::<Result<_, _>>()? })
            }
            ("pods", "proxy") => Self::PodProxy(PodProxyOptions { path: behind(info) }),
            ("services", "proxy") => Self::ServiceProxy(ServiceProxyOptions { path: behind(info) }),
            ("nodes", "proxy") => Self::NodeProxy(NodeProxyOptions { path: behind(info) }),
            _ => return Ok(None),
        }))
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Self::Exec(_) => "PodExecOptions",
            Self::Attach(_) => "PodAttachOptions",
            Self::PortForward(_) => "PodPortForwardOptions",
            Self::PodProxy(_) => "PodProxyOptions",
            Self::ServiceProxy(_) => "ServiceProxyOptions",
            Self::NodeProxy(_) => "NodeProxyOptions",
        }
    }

    fn options(&self) -> &dyn Struct {
        match self {
            Self::Exec(own) => own,
            Self::Attach(own) => own,
            Self::PortForward(own) => own,
            Self::PodProxy(own) => own,
            Self::ServiceProxy(own) => own,
            Self::NodeProxy(own) => own,
        }
    }

    fn options_mut(&mut self) -> &mut dyn Struct {
        match self {
            Self::Exec(own) => own,
            Self::Attach(own) => own,
            Self::PortForward(own) => own,
            Self::PodProxy(own) => own,
            Self::ServiceProxy(own) => own,
            Self::NodeProxy(own) => own,
        }
    }

    /// As JSON, kind and apiVersion included.
    pub fn to_json(&self) -> Vec<u8> {
        typed_json(self.kind(), "v1", self.options())
    }

    /// The same as a tree.
    pub fn tree(&self) -> Json {
        serde_json::from_slice(&self.to_json()).unwrap_or_default()
    }

    /// Puts a tree in its place; whether that changed anything.
    ///
    /// # Errors
    /// A 500 for what are no such options.
    pub fn replace(&mut self, tree: &Json, unknown: Unknown) -> Result<bool, ApiError> {
        let said =
            (tree["kind"].as_str().unwrap_or_default(), tree["apiVersion"].as_str().unwrap_or_default());
        if said != (self.kind(), "v1") {
            let (kind, version) = said;
            return Err(ApiError::internal(format!(
                "no kind {kind:?} is registered for version {version:?}"
            )));
        }
        let before = self.clone();
        let mut fields = tree.clone();
        if let Some(fields) = fields.as_object_mut() {
            fields.remove("kind");
            fields.remove("apiVersion");
        }
        let mut found = (unknown == Unknown::Refused).then(Vec::new);
        self.options_mut().reset();
        json::read(self.options_mut(), fields.to_string().as_bytes(), &mut found)
            .map_err(ApiError::internal)?;
        if let Some(found) = found.filter(|found| !found.is_empty()) {
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            return Err(ApiError::internal(format!("strict decoding error: {}", found.join(", "))));
        }
        Ok(*self != before)
    }

    /// The path behind `/proxy`, decoded; empty for anything but proxies.
    pub fn path(&self) -> &str {
        match self {
            Self::PodProxy(own) => &own.path,
            Self::ServiceProxy(own) => &own.path,
            Self::NodeProxy(own) => &own.path,
            Self::Exec(_) | Self::Attach(_) | Self::PortForward(_) => "",
        }
    }

    /// As a query would ask for it.
    pub fn pairs(&self) -> Vec<(String, String)> {
        let streams = |stdin: bool, stdout: bool, stderr: bool, tty: bool| {
            [("stdin", stdin), ("stdout", stdout), ("stderr", stderr), ("tty", tty)]
                .into_iter()
                .filter(|(_, on)| *on)
                .map(|(name, _)| (name.to_owned(), "1".to_owned()))
        };
        let container = |name: &String| ("container".to_owned(), name.clone());
        match self {
            Self::Exec(own) => streams(own.stdin, own.stdout, own.stderr, own.tty)
                .chain([container(&own.container)])
                .chain(own.command.iter().map(|word| ("command".to_owned(), word.clone())))
                .collect(),
            Self::Attach(own) => streams(own.stdin, own.stdout, own.stderr, own.tty)
                .chain([container(&own.container)])
                .collect(),
            Self::PortForward(own) => {
                own.ports.iter().map(|port| ("ports".to_owned(), port.to_string())).collect()
            }
            Self::PodProxy(_) | Self::ServiceProxy(_) | Self::NodeProxy(_) => Vec::new(),
        }
    }
}

/// A port as Go's parser takes it: digits only, 16 bits.
fn port(text: &str) -> Result<i32, ApiError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let why = match text.parse::<u16>() {
        Ok(port) if digits => return Ok(i32::from(port)),
        _ if digits => "value out of range",
        _ => "invalid syntax",
    };
    Err(ApiError::BadRequest(format!(
        "cannot convert to []int32: strconv.ParseUint: parsing {text:?}: {why}"
    )))
}

/// The path behind the subresource. COMPAT: a slash at the end of the request's path is kept.
fn behind(info: &RequestInfo) -> String {
    let mut path = match info.rest.as_str() {
        "" => String::new(),
        rest if rest.starts_with('/') => rest.to_owned(),
        rest => format!("/{rest}"),
    };
    if info.path.ends_with('/') && !path.ends_with('/') {
        path.push('/');
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::request_info;
    use serde_json::json;

    fn asked(url: &str) -> Result<Connection, String> {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let query = Query::parse(query);
        let info = request_info(&http::Method::GET, path, &query);
        let asked = Connection::asked(&info, &query).map_err(|error| error.status().message)?;
        Ok(asked.expect("a connection"))
    }

    const POD: &str = "/api/v1/namespaces/a/pods/p";

    #[test]
    fn queries_become_options() {
        let exec = asked(&format!("{POD}/exec?stdout=true&stderr=0&tty=False&stdin&command=ls&command=-l"));
        assert_eq!(
            exec.expect("read").tree(),
            json!({"kind": "PodExecOptions", "apiVersion": "v1", "stdin": true, "stdout": true, "command": ["ls", "-l"]})
        );
        let forward = asked(&format!("{POD}/portforward?ports=80,81&ports=82")).expect("read");
        assert_eq!(forward.tree()["ports"], json!([80, 81, 82]));
        let error = "cannot convert to []int32: strconv.ParseUint: parsing \"+1\": invalid syntax";
        assert_eq!(asked(&format!("{POD}/portforward?ports=%2B1")), Err(error.to_owned()));
        let error = "cannot convert to []int32: strconv.ParseUint: parsing \"70000\": value out of range";
        assert_eq!(asked(&format!("{POD}/portforward?ports=70000")), Err(error.to_owned()));
        for (url, path) in [("", ""), ("/", "/"), ("/x/y", "/x/y"), ("/x/", "/x/")] {
            assert_eq!(asked(&format!("/api/v1/nodes/n/proxy{url}")).expect("read").path(), path);
        }
    }

    #[test]
    fn changes_are_options_again() {
        let mut exec = asked(&format!("{POD}/exec?stdout=1&command=ls")).expect("read");
        let mut tree = exec.tree();
        assert_eq!(exec.replace(&tree, Unknown::Dropped), Ok(false));
        tree["container"] = json!("side");
        tree["odd"] = json!(1);
        assert_eq!(exec.clone().replace(&tree, Unknown::Dropped), Ok(true));
        let refused = exec.replace(&tree, Unknown::Refused).map_err(|error| error.status().message);
        assert!(refused.expect_err("refused").contains("unknown field \"odd\""));
        assert_eq!(
            exec.replace(&json!({"kind": "X", "apiVersion": "v1"}), Unknown::Dropped).map_err(|_| ()),
            Err(())
        );
        let pairs =
            |own: &Connection| own.pairs().into_iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>();
        assert_eq!(pairs(&exec), ["stdout=1", "container=side", "command=ls"]);
    }
}
