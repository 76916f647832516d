//! A plugin is a program: it reads a CredentialProviderRequest and writes a CredentialProviderResponse.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use daemon::flags::GoDuration;
use daemon::metrics::HistogramVec;
use prometheus::IntCounterVec;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::config::{Provider, V1};

/// COMPAT: how long a plugin may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    kind: &'a str,
    api_version: &'a str,
    image: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    service_account_token: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    service_account_annotations: &'a BTreeMap<String, String>,
}

/// What a plugin answers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Response {
    kind: String,
    #[serde(rename = "apiVersion")]
    _api_version: String,
    /// `Image`, `Registry` or `Global`: what the answer is kept by.
    pub cache_key_type: String,
    cache_duration: Option<String>,
    /// By the images that they are for.
    pub auth: BTreeMap<String, Auth>,
}

/// User and password.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
}

impl Response {
    /// How long it holds, where it says so.
    pub fn cache_duration(&self) -> Option<Duration> {
        self.cache_duration.as_ref()?.parse::<GoDuration>().ok().map(|parsed| parsed.0)
    }
}

/// The program of a plugin.
#[derive(Clone, Debug)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// What it is called with, and how it speaks.
    pub provider: Provider,
}

impl Program {
    /// Asks for an image.
    ///
    /// # Errors
    /// What went wrong, worded as upstream's. Never with what the plugin wrote to its output.
    pub async fn ask(
        &self,
        image: &str,
        token: &str,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Response, String> {
        let version = self.provider.api_version.as_str();
        let none = BTreeMap::new();
        let newest = version == V1;
        let request = Request {
            kind: "CredentialProviderRequest",
            api_version: version,
            image,
            service_account_token: if newest { token } else { "" },
            service_account_annotations: if newest { annotations } else { &none },
        };
        let mut input = serde_json::to_vec(&request)
            .map_err(|error| format!("failed to encode auth request: error encoding request: {error}"))?;
        input.push(b'\n');
        decode(&self.run(image, input).await?, version)
    }

    async fn run(&self, image: &str, input: Vec<u8>) -> Result<Vec<u8>, String> {
        let name = self.provider.name.as_str();
        let began = Instant::now();
        let ran = tokio::time::timeout(PATIENCE, self.spawn(input)).await;
        TOOK.with_label_values(&[name]).observe(began.elapsed().as_secs_f64());
        let failed = |why: &str, told: &[u8]| {
            ERRORS.with_label_values(&[name]).inc();
            let told = String::from_utf8_lossy(told);
            Err(format!("error execing credential provider plugin {name} for image {image}: {why}: {told}"))
        };
        match ran {
            Err(_) => failed("context deadline exceeded", b""),
            Ok(Err(error)) => {
                failed(&format!("fork/exec {}: {}", self.path.display(), daemon::go_words::of(&error)), b"")
            }
            Ok(Ok(output)) if output.status.success() => Ok(output.stdout),
            Ok(Ok(output)) => failed(&ended(output.status), &output.stderr),
        }
    }

    async fn spawn(&self, input: Vec<u8>) -> std::io::Result<std::process::Output> {
        let mut child = Command::new(&self.path)
            .args(&self.provider.args)
            .envs(self.provider.env.iter().map(|one| (one.name.as_str(), one.value.as_str())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take();
        let write = async move {
            if let Some(mut stdin) = stdin {
                // One that does not read what it is asked is no error.
                let _ = stdin.write_all(&input).await;
            }
        };
        let (output, ()) = tokio::join!(child.wait_with_output(), write);
        output
    }
}

/// COMPAT: as Go words it.
fn ended(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    let signal = status.signal().and_then(|number| nix::sys::signal::Signal::try_from(number).ok());
    match (status.code(), signal) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(nix::sys::signal::Signal::SIGKILL)) => "signal: killed".into(),
        (None, Some(signal)) => format!("signal: {}", signal.as_str()),
        (None, None) => "exit status unknown".into(),
    }
}

fn decode(output: &[u8], version: &str) -> Result<Response, String> {
    let value: Value = serde_json::from_slice(output).map_err(|error| {
        format!("error reading GVK from response: couldn't get version/kind; json parse error: {error}")
    })?;
    let actual = value.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    if actual != version {
        return Err(format!(
            "apiVersion from credential plugin response did not match expected apiVersion:{version}, actual \
             apiVersion:{actual}"
        ));
    }
    let bad = || "error decoding credential provider plugin response from stdout".to_owned();
    let response: Response = serde_json::from_value(value).map_err(|_| bad())?;
    let unreadable = response.cache_duration.is_some() && response.cache_duration().is_none();
    if response.kind != "CredentialProviderResponse" || unreadable {
        return Err(bad());
    }
    Ok(response)
}

static ERRORS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    daemon::metrics::global().counter_vec(
        "kubelet_credential_provider_plugin_errors_total",
        "[ALPHA] Number of errors from credential provider plugin",
        &["plugin_name"],
    )
});

static TOOK: LazyLock<HistogramVec> = LazyLock::new(|| {
    daemon::metrics::global().histogram_vec(
        "kubelet_credential_provider_plugin_duration",
        "[ALPHA] Duration of execution in seconds for credential provider plugin",
        &["plugin_name"],
        prometheus::DEFAULT_BUCKETS,
    )
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::plugins::config::Variable;
    use std::os::unix::fs::PermissionsExt;

    struct Script(PathBuf);

    impl Script {
        fn new(body: &str) -> Self {
            let path = std::env::temp_dir().join(format!("kubelet-plugin-{}", uuid::Uuid::new_v4()));
            std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            Self(path)
        }

        async fn ask(&self, version: &str) -> Result<Response, String> {
            let env = vec![Variable { name: "WHO".into(), value: "me".into() }];
            let provider = Provider {
                name: "p".into(),
                api_version: version.into(),
                args: vec!["one".into()],
                env,
                ..Default::default()
            };
            let annotations = [("a".to_owned(), "b".to_owned())].into();
            Program { path: self.0.clone(), provider }.ask("r.io/a", "secret", &annotations).await
        }
    }

    impl Drop for Script {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn answer(version: &str, auth: &str) -> String {
        format!(
            r#"{{"kind":"CredentialProviderResponse","apiVersion":"{version}","cacheKeyType":"Image","cacheDuration":"10s","auth":{auth}}}"#
        )
    }

    #[tokio::test]
    async fn what_it_reads_and_what_it_answers() {
        let request = format!(
            r#"{{"kind":"CredentialProviderRequest","apiVersion":"{V1}","image":"r.io/a","serviceAccountToken":"secret","serviceAccountAnnotations":{{"a":"b"}}}}"#
        );
        let auth = r#"{"r.io":{"username":"'$WHO'","password":"'$1'"}}"#;
        let body = format!(
            "read asked\n[ \"$asked\" = '{request}' ] || {{ echo \"$asked\" >&2; exit 3; }}\necho '{}'",
            answer(V1, auth)
        );
        let response = Script::new(&body).ask(V1).await.unwrap();
        assert_eq!(response.auth["r.io"], Auth { username: "me".into(), password: "one".into() });
        assert_eq!(
            (response.cache_key_type.as_str(), response.cache_duration()),
            ("Image", Some(Duration::from_secs(10)))
        );
    }

    #[tokio::test]
    async fn older_versions_get_no_token() {
        let version = "credentialprovider.kubelet.k8s.io/v1beta1";
        let body = format!("grep -q secret && exit 1\necho '{}'", answer(version, "{}"));
        assert!(Script::new(&body).ask(version).await.unwrap().auth.is_empty());
    }

    #[tokio::test]
    async fn failures_are_worded_as_upstreams() {
        let begin = "error execing credential provider plugin p for image r.io/a: ";
        let check = async |body: &str, expected: &str| {
            let error = Script::new(body).ask(V1).await.unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        };
        check("echo no >&2; exit 2", &format!("{begin}exit status 2: no\n")).await;
        check("kill -9 $$", &format!("{begin}signal: killed: ")).await;
        check("echo words", "error reading GVK from response: couldn't get version/kind; json parse error: ")
            .await;
        check(
            &format!("echo '{}'", answer("v1", "{}")),
            "apiVersion from credential plugin response did not match expected \
             apiVersion:credentialprovider.kubelet.k8s.io/v1, actual apiVersion:v1",
        )
        .await;
        // What it wrote may be a password, and is not told.
        check(
            &format!("echo '{}'", answer(V1, r#"{"r.io":{"pass":"x"}}"#)),
            "error decoding credential provider plugin response from stdout",
        )
        .await;
    }

    #[tokio::test]
    async fn a_program_that_is_gone() {
        let script = Script::new("");
        std::fs::remove_file(&script.0).unwrap();
        let error = script.ask(V1).await.unwrap_err();
        assert!(error.contains("no such file or directory"), "{error}");
    }
}
