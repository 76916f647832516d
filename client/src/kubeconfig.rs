//! kubeconfig files (`kind: Config, apiVersion: v1`) as far as daemons use them: clusters with
//! authorities, users with certificates or tokens, by path or inline, contexts.
//!
//! Exec plugins, auth providers, passwords and proxies are refused by name. Fields that only
//! matter to people at a terminal (preferences, extensions) are skipped, as upstream does.

use std::path::{Path, PathBuf};

use api_types::codec::yaml;
use base64::Engine as _;
use daemon::tls::Pem;
use serde::Deserialize;
use serde_json::Value;

use crate::config::{Config, ConfigError};
use crate::token::TokenSource;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
    contexts: Vec<NamedContext>,
    current_context: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: String,
    tls_server_name: String,
    insecure_skip_tls_verify: bool,
    certificate_authority: String,
    certificate_authority_data: String,
    proxy_url: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    client_certificate: String,
    client_certificate_data: String,
    client_key: String,
    client_key_data: String,
    token: String,
    #[serde(rename = "tokenFile")]
    token_file: String,
    #[serde(rename = "as")]
    impersonate: String,
    username: String,
    exec: Option<Value>,
    auth_provider: Option<Value>,
}

// Not derived: a user holds keys and tokens.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("User")
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
    namespace: String,
}

/// Reads the file's current context.
pub(crate) fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(&text, path)
}

fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
    let bad = |message: String| ConfigError::Parse { path: path.to_owned(), message };
    let document = yaml::to_value(text).map_err(|e| bad(e.to_string()))?;
    let file: File = serde_json::from_value(document).map_err(|e| bad(e.to_string()))?;
    let missing =
        |what, name: &str| ConfigError::Missing { path: path.to_owned(), what, name: name.to_owned() };

    let wanted = &file.current_context;
    let context = match file.contexts.iter().find(|c| c.name == *wanted) {
        Some(found) => &found.context,
        None => return Err(missing("context", wanted)),
    };
    let cluster = file.clusters.iter().find(|c| c.name == context.cluster);
    let cluster = &cluster.ok_or_else(|| missing("cluster", &context.cluster))?.cluster;
    let nobody = User::default();
    let user = match file.users.iter().find(|u| u.name == context.user) {
        Some(found) => &found.user,
        None if context.user.is_empty() => &nobody,
        None => return Err(missing("user", &context.user)),
    };
    refuse_unsupported(cluster, user, path)?;

    let pem = |file: &str, data: &str, field| pem(file, data, field, path);
    Ok(Config {
        tls_server_name: Some(cluster.tls_server_name.clone()).filter(|n| !n.is_empty()),
        ca: pem(
            &cluster.certificate_authority,
            &cluster.certificate_authority_data,
            "certificate-authority-data",
        )?,
        insecure_skip_tls_verify: cluster.insecure_skip_tls_verify,
        cert: pem(&user.client_certificate, &user.client_certificate_data, "client-certificate-data")?,
        key: pem(&user.client_key, &user.client_key_data, "client-key-data")?,
        token: token(user, path),
        impersonate_user: Some(user.impersonate.clone()).filter(|u| !u.is_empty()),
        namespace: if context.namespace.is_empty() { "default".into() } else { context.namespace.clone() },
        ..Config::new(cluster.server.trim_end_matches('/'))
    })
}

fn refuse_unsupported(cluster: &Cluster, user: &User, path: &Path) -> Result<(), ConfigError> {
    let refused = [
        (!cluster.proxy_url.is_empty(), "proxy-url"),
        (user.exec.is_some(), "exec"),
        (user.auth_provider.is_some(), "auth-provider"),
        (!user.username.is_empty(), "username"),
    ];
    match refused.into_iter().find(|(given, _)| *given) {
        Some((_, field)) => Err(ConfigError::Unsupported { path: path.to_owned(), field }),
        None => Ok(()),
    }
}

/// Inline data wins over a file, as in client-go.
fn pem(file: &str, data: &str, field: &'static str, path: &Path) -> Result<Option<Pem>, ConfigError> {
    if !data.is_empty() {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(data)
            .map_err(|source| ConfigError::Base64 { path: path.to_owned(), field, source })?;
        return Ok(Some(Pem::Data(bytes)));
    }
    Ok((!file.is_empty()).then(|| Pem::File(beside(path, file))))
}

/// A token's file wins over an inline token, as in client-go: the file may be renewed.
fn token(user: &User, path: &Path) -> TokenSource {
    if !user.token_file.is_empty() {
        TokenSource::file(beside(path, &user.token_file))
    } else if !user.token.is_empty() {
        TokenSource::fixed(user.token.clone())
    } else {
        TokenSource::None
    }
}

/// Paths in a kubeconfig are relative to it.
fn beside(kubeconfig: &Path, file: &str) -> PathBuf {
    kubeconfig.parent().unwrap_or(Path::new("")).join(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts:\n- name: c\n  context: {cluster: k, user: u, namespace: ns}\n";

    fn config(rest: &str) -> Result<Config, String> {
        parse(&format!("{HEAD}{rest}"), Path::new("/etc/kubernetes/x.conf")).map_err(|e| e.to_string())
    }

    #[test]
    fn paths_are_relative_to_the_file_and_data_wins() {
        let c = config(
            "clusters:\n- name: k\n  cluster: {server: 'https://h:6443/', certificate-authority: pki/ca.crt}\nusers:\n- name: u\n  user: {client-certificate-data: YWJj, client-certificate: no.crt, client-key: /abs.key, tokenFile: t}\n",
        )
        .unwrap();
        assert_eq!(c.server, "https://h:6443");
        assert_eq!(c.ca, Some(Pem::File("/etc/kubernetes/pki/ca.crt".into())));
        assert_eq!(c.cert, Some(Pem::Data(b"abc".to_vec())));
        assert_eq!(c.key, Some(Pem::File("/abs.key".into())));
        assert_eq!(c.namespace, "ns");
        assert!(matches!(c.token, TokenSource::File(_)));
    }

    #[test]
    fn what_is_missing_or_not_supported_is_named() {
        let cluster = "clusters:\n- name: k\n  cluster: {server: 'https://h'}\n";
        let check = |rest: &str, expected: &str| assert_eq!(config(rest).unwrap_err(), expected);
        check("", "kubeconfig /etc/kubernetes/x.conf: cluster \"k\" does not exist");
        check(cluster, "kubeconfig /etc/kubernetes/x.conf: user \"u\" does not exist");
        check(
            &format!("{cluster}users:\n- name: u\n  user: {{exec: {{command: aws}}}}\n"),
            "kubeconfig /etc/kubernetes/x.conf: exec is not supported",
        );
    }
}
