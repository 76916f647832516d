//! Credentials for registries: those of pull secrets, and the node's own Docker configuration, in the order in
//! which a pull tries them. Pure but for [`of_node`].
//!
//! COMPAT: registries are matched as upstream does it: hosts part by part with wildcards, ports exactly, paths as
//! the beginning of the image's path, whole names or not; the last names in the alphabet first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api_types::core::v1::{Secret, SecretType};
use base64::Engine;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::access::Account;
use crate::cri::v1;
use crate::csi::sha256;

/// What a registry is shown, and whose it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Credential {
    /// For the runtime.
    pub auth: v1::AuthConfig,
    /// The secret that it stands in; `None` for the node's own, which all pods may use.
    pub secret: Option<PullSecret>,
    /// The service account by whose token a plugin gave it; `None` for what all pods may use.
    pub account: Option<Account>,
}

/// A pull secret, and what it said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PullSecret {
    /// Its uid.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// SHA-256 of the credentials in upstream's form.
    pub credential_hash: String,
}

impl PullSecret {
    /// The same object, whatever it said.
    pub fn same_object(&self, other: &Self) -> bool {
        (&self.namespace, &self.name, &self.uid) == (&other.namespace, &other.name, &other.uid)
    }
}

/// Credentials by the registry that they are for: host and beginning of the path.
#[derive(Debug, Default)]
struct Keyring(BTreeMap<String, Vec<Credential>>);

/// The credentials for a repository (`docker.io/library/busybox`): those of the secrets, then the node's.
pub fn lookup(repository: &str, secrets: &[Arc<Secret>], node: Option<&Value>) -> Vec<Credential> {
    let mut ring = Keyring::default();
    for secret in secrets {
        let parsed = |key: &str| serde_json::from_slice::<Value>(secret.data.get(key)?).ok();
        let registries = match secret.type_ {
            SecretType::DockerConfigJson => {
                parsed(".dockerconfigjson").and_then(|config| config.get("auths").cloned())
            }
            SecretType::Dockercfg => parsed(".dockercfg"),
            _ => None,
        };
        let meta = &secret.metadata;
        let owner = PullSecret {
            uid: meta.uid.clone(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            credential_hash: String::new(),
        };
        if let Some(registries) = registries {
            ring.add(&registries, Some(&owner));
        }
    }
    let mut own = Keyring::default();
    if let Some(registries) = node {
        own.add(registries, None);
    }
    let mut found = ring.lookup(repository);
    found.append(&mut own.lookup(repository));
    found
}

/// Those that plugins know for a repository; `known` has their answers, each by registry, and for whose token.
pub fn of_plugins(repository: &str, known: Vec<(Value, Option<Account>)>) -> Vec<Credential> {
    let mut ring = Keyring::default();
    for (registries, account) in known {
        let mut own = Keyring::default();
        own.add(&registries, None);
        for (key, all) in own.0 {
            let all = all.into_iter().map(|one| Credential { account: account.clone(), ..one });
            ring.0.entry(key).or_default().extend(all);
        }
    }
    ring.lookup(repository)
}

/// The node's own registries: of the first Docker configuration that can be read, the kubelet's directory first.
pub fn of_node(root: &Path) -> Option<Value> {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let read = |path: PathBuf| serde_json::from_slice::<Value>(&std::fs::read(path).ok()?).ok();
    let (here, top) = (Path::new(""), Path::new("/"));
    let new = [root.to_owned(), here.to_owned(), home.join(".docker"), top.join(".docker")];
    let old = [root.to_owned(), here.to_owned(), home, top.to_owned()];
    let auths = |config: Value| config.get("auths").cloned().unwrap_or_default();
    let mut new = new.into_iter().filter_map(|dir| read(dir.join("config.json")).map(auths));
    new.next().or_else(|| old.into_iter().find_map(|dir| read(dir.join(".dockercfg"))))
}

impl Keyring {
    fn add(&mut self, registries: &Value, owner: Option<&PullSecret>) {
        for (registry, entry) in registries.as_object().into_iter().flatten() {
            let Some((auth, hash)) = credential(entry) else { continue };
            let secret = owner.map(|owner| PullSecret { credential_hash: hash, ..owner.clone() });
            self.0.entry(key(registry)).or_default().push(Credential { auth, secret, account: None });
        }
    }

    fn lookup(&self, repository: &str) -> Vec<Credential> {
        let fitting = self.0.iter().rev().filter(|(key, _)| fits(key, repository));
        let found: Vec<Credential> = fitting.flat_map(|(_, all)| all.iter().cloned()).collect();
        // Docker Hub's registry has two names.
        if found.is_empty() && repository.starts_with("docker.io/") {
            return self.0.get("index.docker.io").cloned().unwrap_or_default();
        }
        found
    }
}

/// Host and path of a registry that may be written as a URL, without a version of the API.
fn key(registry: &str) -> String {
    let name = registry.strip_prefix("https://").or(registry.strip_prefix("http://")).unwrap_or(registry);
    let (host, path) = name.find('/').map_or((name, ""), |at| name.split_at(at));
    let path = path
        .strip_prefix("/v1/")
        .or(path.strip_prefix("/v2/"))
        .map_or_else(|| path.to_owned(), |rest| format!("/{rest}"));
    if path == "/" { host.to_owned() } else { format!("{host}{path}") }
}

/// Whether a registry, with wildcards in its host, and the beginning of a path are those of a repository.
pub fn fits(key: &str, repository: &str) -> bool {
    let parse = |name: &str| {
        let (host, path) = name.find('/').map_or((name, ""), |at| name.split_at(at));
        let (host, port) = host.rsplit_once(':').unwrap_or((host, ""));
        (host.to_owned(), port.to_owned(), path.to_owned())
    };
    let ((glob, glob_port, begin), (host, port, path)) = (parse(key), parse(repository));
    let (globs, parts): (Vec<&str>, Vec<&str>) = (glob.split('.').collect(), host.split('.').collect());
    glob_port == port
        && globs.len() == parts.len()
        && path.starts_with(&begin)
        && globs.iter().zip(parts).all(|(glob, part)| matches(glob.as_bytes(), part.as_bytes()))
}

/// `*` stands for any text, `?` for one character.
fn matches(glob: &[u8], text: &[u8]) -> bool {
    match glob {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|skipped| matches(rest, &text[skipped..])),
        [b'?', rest @ ..] => !text.is_empty() && matches(rest, &text[1..]),
        [one, rest @ ..] => text.first() == Some(one) && matches(rest, &text[1..]),
    }
}

/// User and password of an entry, and their hash; `None` when the entry cannot be read.
fn credential(entry: &Value) -> Option<(v1::AuthConfig, String)> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
    let (mut username, mut password) = (text("username").to_owned(), text("password").to_owned());
    let field = text("auth");
    if !field.is_empty() {
        let decoded = if field.trim().ends_with('=') {
            base64::engine::general_purpose::STANDARD.decode(field.trim())
        } else {
            base64::engine::general_purpose::STANDARD_NO_PAD.decode(field.trim())
        };
        let pair = String::from_utf8(decoded.ok()?).ok()?;
        let (user, secret) = pair.split_once(':')?;
        (username, password) = (user.to_owned(), secret.to_owned());
    }
    let hash = hash(&username, &password, text("email"));
    Some((v1::AuthConfig { username, password, ..Default::default() }, hash))
}

/// COMPAT: of what Go writes as JSON, so that records of either kubelet say the same.
fn hash(username: &str, password: &str, email: &str) -> String {
    let fields = [("username", username), ("password", password), ("email", email)];
    let written: Vec<String> = fields
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("\"{name}\":{}", go_string(value)))
        .collect();
    sha256(&format!("{{{}}}", written.join(",")))
}

fn go_string(text: &str) -> String {
    let escaped = |c: char| match c {
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => format!("\\u{:04x}", u32::from(c)),
        _ => c.to_string(),
    };
    Value::from(text).to_string().chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::name::repository;

    fn secret(name: &str, registries: Value) -> Arc<Secret> {
        let mut secret = Secret { type_: SecretType::DockerConfigJson, ..Default::default() };
        secret.metadata.name = name.into();
        let config = serde_json::json!({"auths": registries});
        let data = api_types::ByteString(config.to_string().into_bytes());
        secret.data.insert(".dockerconfigjson".into(), data);
        Arc::new(secret)
    }

    fn users(image: &str, secrets: &[Arc<Secret>], node: Option<&Value>) -> Vec<String> {
        let found = lookup(&repository(image).unwrap(), secrets, node);
        found.into_iter().map(|one| one.auth.username).collect()
    }

    #[test]
    fn credentials_fit_by_registry_and_path() {
        let registries = serde_json::json!({
            "https://index.docker.io/v1/": {"auth": "dTpw"},
            "r.io": {"username": "a", "password": "1"},
            "r.io/team": {"username": "b", "password": "2"},
            "*.wild.io": {"username": "w", "password": "3"},
            "port.io:5000": {"username": "p", "password": "4"},
        });
        let all = [secret("s", registries)];
        let check = |image: &str, expected: &[&str]| assert_eq!(users(image, &all, None), expected);
        check("busybox:1", &["u"]);
        check("r.io/team/app", &["b", "a"]);
        check("r.io/teams/app", &["b", "a"]);
        check("r.io/tea/app", &["a"]);
        check("x.wild.io/app", &["w"]);
        check("x.y.wild.io/app", &[]);
        check("port.io/app", &[]);
        check("port.io:5000/app", &["p"]);
        check("other.io/app", &[]);
    }

    #[test]
    fn the_nodes_own_come_after_those_of_secrets() {
        let node = serde_json::json!({"r.io": {"username": "node", "password": "1"}});
        let pods = [secret("s", serde_json::json!({"r.io": {"username": "pod", "password": "1"}}))];
        assert_eq!(users("r.io/a", &pods, Some(&node)), ["pod", "node"]);
        let found = lookup("r.io/a", &pods, Some(&node));
        assert_eq!(found[0].secret.as_ref().map(|secret| secret.name.as_str()), Some("s"));
        assert_eq!(found[1].secret, None);
    }

    #[test]
    fn plugins_answer_by_registry_and_for_an_account() {
        let account = Account { name: "robot".into(), ..Default::default() };
        let auths = |user: &str| serde_json::json!({"r.io": {"username": user, "password": "1"}});
        let known = vec![(auths("first"), None), (auths("second"), Some(account.clone()))];
        let found = of_plugins("r.io/a", known);
        let shown: Vec<_> =
            found.iter().map(|one| (one.auth.username.as_str(), one.account.clone())).collect();
        assert_eq!(shown, [("first", None), ("second", Some(account))]);
        assert!(of_plugins("s.io/a", vec![(auths("first"), None)]).is_empty());
    }

    /// COMPAT: SHA-256 of what Go's encoding/json writes.
    #[test]
    fn hashes_are_upstreams() {
        let expected = sha256(r#"{"username":"a","password":"\u003cb\u0026\"","email":"c"}"#);
        assert_eq!(hash("a", "<b&\"", "c"), expected);
        assert_eq!(hash("", "p", ""), sha256(r#"{"password":"p"}"#));
    }

    #[test]
    fn an_entry_that_cannot_be_read_is_none() {
        assert_eq!(credential(&serde_json::json!({"auth": "!"})), None);
        assert_eq!(credential(&serde_json::json!({"auth": "dQ=="})), None);
        let (auth, _) = credential(&serde_json::json!({"auth": "dTpwOnE"})).unwrap();
        assert_eq!((auth.username.as_str(), auth.password.as_str()), ("u", "p:q"));
    }
}
