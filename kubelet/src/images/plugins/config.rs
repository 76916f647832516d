//! `--image-credential-provider-config` (CredentialProviderConfig): one file, or a folder of them, whose providers are
//! taken together.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use api_types::names;
use daemon::config_file::{self, Expected};
use daemon::flags::GoDuration;
use serde::Deserialize;
use sha2::{Digest, Sha256};

const EXPECTED: Expected = Expected {
    kind: "CredentialProviderConfig",
    api_versions: &[
        "kubelet.config.k8s.io/v1",
        "kubelet.config.k8s.io/v1beta1",
        "kubelet.config.k8s.io/v1alpha1",
    ],
};
/// The versions that plugins speak.
pub const V1: &str = "credentialprovider.kubelet.k8s.io/v1";
const SPOKEN: [&str; 3] =
    [V1, "credentialprovider.kubelet.k8s.io/v1alpha1", "credentialprovider.kubelet.k8s.io/v1beta1"];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct File {
    providers: Vec<Provider>,
}

/// A plugin.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Provider {
    /// Name of the program in the folder of plugins.
    pub name: String,
    /// Images that it is asked for.
    pub match_images: Vec<String>,
    /// How long its answers hold that do not say so themselves.
    pub default_cache_duration: Option<String>,
    /// The version that it speaks.
    pub api_version: String,
    /// What it is called with.
    pub args: Vec<String>,
    /// What its environment has beside the kubelet's.
    pub env: Vec<Variable>,
    /// It gets a token of the pod's service account (KEP-4412).
    pub token_attributes: Option<TokenAttributes>,
}

/// `NAME=value`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Which token, and what of the service account the plugin is told.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TokenAttributes {
    /// Whom the token is meant for.
    pub service_account_token_audience: String,
    /// `ServiceAccount` or `Token`: what answers are kept by.
    pub cache_type: String,
    /// It is not asked for pods without one.
    pub require_service_account: Option<bool>,
    /// It is not asked for service accounts without these.
    pub required_service_account_annotation_keys: Vec<String>,
    /// It is told these as well.
    pub optional_service_account_annotation_keys: Vec<String>,
}

impl Provider {
    /// How long answers hold that do not say so themselves.
    pub fn cache_duration(&self) -> std::time::Duration {
        let text = self.default_cache_duration.as_deref().unwrap_or_default();
        text.parse::<GoDuration>().map(|parsed| parsed.0).unwrap_or_default()
    }
}

/// What the files say, and the hash by which they can be told apart.
#[derive(Debug)]
pub struct Loaded {
    /// In the order of the files.
    pub providers: Vec<Provider>,
    /// `sha256:…`
    pub hash: String,
}

/// Reads and checks the configuration.
///
/// # Errors
/// Worded as upstream's.
pub fn load(path: &Path) -> Result<Loaded, String> {
    if path.as_os_str().is_empty() {
        return Err("credential provider config path is empty".into());
    }
    let named = |path: &Path| format!("{:?}", path.display().to_string());
    let go = |error: &std::io::Error| daemon::go_words::of(error);
    let found = std::fs::metadata(path).map_err(|error| {
        format!("unable to access path {}: stat {}: {}", named(path), path.display(), go(&error))
    })?;
    let files = if found.is_dir() { files(path)? } else { vec![path.to_owned()] };
    let mut hasher = Sha256::new();
    let mut providers: Vec<Provider> = Vec::new();
    for file in files {
        let content = std::fs::read(&file).map_err(|error| {
            format!("unable to read file {}: open {}: {}", named(&file), file.display(), go(&error))
        })?;
        // COMPAT: with its length before it, so that files cannot run into each other.
        hasher.update((content.len() as u64).to_be_bytes());
        hasher.update(&content);
        let parsed: Result<File, _> = config_file::parse(&String::from_utf8_lossy(&content), &file, EXPECTED);
        let parsed = parsed.map_err(|error| format!("error decoding config {}: {error}", named(&file)))?;
        for provider in parsed.providers {
            if providers.iter().any(|known| known.name == provider.name) {
                return Err(format!(
                    "duplicate provider name {:?} found in configuration file(s)",
                    provider.name
                ));
            }
            providers.push(provider);
        }
    }
    let errors = errors(&providers);
    match errors.as_slice() {
        [] => Ok(Loaded { providers, hash: format!("sha256:{}", hex::encode(hasher.finalize())) }),
        [one] => Err(format!("failed to validate credential provider config: {one}")),
        several => Err(format!("failed to validate credential provider config: [{}]", several.join(", "))),
    }
}

/// The files of a folder, in the order of their names.
fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(|error| {
            let shown = folder.display();
            format!(
                "unable to read directory {:?}: open {shown}: {}",
                shown.to_string(),
                daemon::go_words::of(&error)
            )
        })?
        .filter_map(Result::ok)
        .filter(|entry| !entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension().is_some_and(|end| ["json", "yaml", "yml"].into_iter().any(|known| end == known))
        })
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(format!("no configuration files found in directory {:?}", folder.display().to_string()));
    }
    Ok(files)
}

/// What is wrong.
fn errors(providers: &[Provider]) -> Vec<String> {
    let mut errors = Vec::new();
    if providers.is_empty() {
        errors.push("providers: Required value: at least 1 item in plugins is required".into());
    }
    for provider in providers {
        let name = &provider.name;
        for (bad, why) in [
            (name.contains('/'), "cannot contain '/'"),
            (name.contains(' '), "cannot contain spaces"),
            (name == ".", "cannot be '.'"),
            (name == "..", "cannot be '..'"),
        ] {
            if bad {
                errors.push(format!("providers.name: Invalid value: {name:?}: provider name {why}"));
            }
        }
        if provider.api_version.is_empty() {
            errors.push("providers.apiVersion: Required value".into());
        } else if !SPOKEN.contains(&provider.api_version.as_str()) {
            let known: Vec<String> = SPOKEN.iter().map(|version| format!("{version:?}")).collect();
            errors.push(format!(
                "providers.apiVersion: Unsupported value: {:?}: supported values: {}",
                provider.api_version,
                known.join(", ")
            ));
        }
        if provider.match_images.is_empty() {
            errors.push(
                "providers.matchImages: Required value: at least 1 item in matchImages is required".into(),
            );
        }
        for image in &provider.match_images {
            if let Some(why) = url_error(image) {
                errors.push(format!(
                    "providers.matchImages: Invalid value: {image:?}: match image is invalid: {why}"
                ));
            }
        }
        duration(provider.default_cache_duration.as_deref(), &mut errors);
        if let Some(attributes) = &provider.token_attributes {
            tokens(provider, attributes, &mut errors);
        }
    }
    errors
}

fn duration(text: Option<&str>, errors: &mut Vec<String>) {
    const FIELD: &str = "providers.defaultCacheDuration";
    match text {
        None => errors.push(format!("{FIELD}: Required value")),
        Some(text) => match (text.strip_prefix('-'), text.parse::<GoDuration>()) {
            (_, Ok(_)) => {}
            (Some(length), Err(_)) if length.parse::<GoDuration>().is_ok() => {
                errors.push(format!("{FIELD}: Invalid value: {text}: must be greater than or equal to 0"))
            }
            (_, Err(error)) => errors.push(format!("{FIELD}: Invalid value: {text:?}: {error}")),
        },
    }
}

fn tokens(provider: &Provider, attributes: &TokenAttributes, errors: &mut Vec<String>) {
    const FIELD: &str = "providers.tokenAttributes";
    let (required, optional) = (
        &attributes.required_service_account_annotation_keys,
        &attributes.optional_service_account_annotation_keys,
    );
    if attributes.service_account_token_audience.is_empty() {
        errors.push(format!("{FIELD}.serviceAccountTokenAudience: Required value"));
    }
    if attributes.require_service_account.is_none() {
        errors.push(format!("{FIELD}.requireServiceAccount: Required value"));
    }
    if provider.api_version != V1 {
        errors.push(format!("{FIELD}: Forbidden: tokenAttributes is only supported for {V1} API version"));
    }
    if attributes.require_service_account == Some(false) && !required.is_empty() {
        errors.push(format!(
            "{FIELD}.requiredServiceAccountAnnotationKeys: Forbidden: requireServiceAccount cannot be false when \
             requiredServiceAccountAnnotationKeys is set"
        ));
    }
    for (name, keys) in [
        ("requiredServiceAccountAnnotationKeys", required),
        ("optionalServiceAccountAnnotationKeys", optional),
    ] {
        let mut seen = BTreeSet::new();
        for key in keys {
            for why in names::qualified_name(&key.to_lowercase()) {
                errors.push(format!("{FIELD}.{name}: Invalid value: {key:?}: {why}"));
            }
            if !seen.insert(key) {
                errors.push(format!("{FIELD}.{name}: Duplicate value: {key:?}"));
            }
        }
    }
    let both: BTreeSet<&String> = required.iter().filter(|key| optional.contains(key)).collect();
    if !both.is_empty() {
        let keys = serde_json::to_string(&both).unwrap_or_default();
        errors.push(format!(
            "{FIELD}: Invalid value: {keys}: annotation keys cannot be both required and optional"
        ));
    }
    match attributes.cache_type.as_str() {
        "ServiceAccount" | "Token" => {}
        "" => errors.push(format!(
            "{FIELD}.cacheType: Required value: cacheType is required to be set when tokenAttributes is specified. \
             Supported values are: ServiceAccount, Token"
        )),
        other => errors.push(format!(
            "{FIELD}.cacheType: Unsupported value: {other:?}: supported values: \"ServiceAccount\", \"Token\""
        )),
    }
}

/// Why this is no URL behind `https://`; worded as Go words it.
fn url_error(text: &str) -> Option<String> {
    let bad = |why: String| Some(format!("parse \"https://{text}\": {why}"));
    let host = text.split('/').next().unwrap_or_default();
    if let Some(odd) = host.chars().find(|c| c.is_ascii_whitespace() || "\"<>\\^`{|}".contains(*c)) {
        return bad(format!("invalid character {:?} in host name", odd.to_string()));
    }
    if let Some((_, port)) = host.rsplit_once(':')
        && !port.chars().all(|c| c.is_ascii_digit())
    {
        return bad(format!("invalid port {:?} after host", format!(":{port}")));
    }
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let escape: String = rest[at..].chars().take(3).collect();
        if escape.len() < 3 || !escape[1..].bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return bad(format!("invalid URL escape {escape:?}"));
        }
        rest = &rest[at + 3..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("kubelet-providers-{}", uuid::Uuid::new_v4()));
            std::fs::create_dir_all(&root).unwrap();
            for (name, body) in files {
                std::fs::write(root.join(name), body).unwrap();
            }
            Self(root)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn file(providers: &str) -> String {
        format!(
            "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n{providers}"
        )
    }

    fn one(name: &str) -> String {
        format!("- {{name: {name}, matchImages: [r.io], defaultCacheDuration: 1h, apiVersion: {V1}}}\n")
    }

    #[test]
    fn files_of_a_folder_are_taken_together() {
        let folder = Folder::new(&[
            ("b.yaml", &file(&one("second"))),
            ("a.yml", &file(&one("first"))),
            ("c.txt", "no"),
        ]);
        let loaded = load(&folder.0).unwrap();
        let names: Vec<&str> = loaded.providers.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["first", "second"]);
        assert_eq!(loaded.providers[0].cache_duration(), std::time::Duration::from_secs(3600));
        let mut expected = Vec::new();
        for body in [file(&one("first")), file(&one("second"))] {
            expected.extend((body.len() as u64).to_be_bytes());
            expected.extend(body.bytes());
        }
        assert_eq!(loaded.hash, format!("sha256:{}", hex::encode(Sha256::digest(expected))));
        std::fs::write(folder.0.join("d.json"), file(&one("first"))).unwrap();
        let twice = "duplicate provider name \"first\" found in configuration file(s)";
        assert_eq!(load(&folder.0).unwrap_err(), twice);
        let none = Folder::new(&[]);
        assert!(load(&none.0).unwrap_err().starts_with("no configuration files found in directory"));
    }

    #[test]
    fn refusals_are_upstreams() {
        let check = |providers: &str, expected: &str| {
            let folder = Folder::new(&[("a.yaml", &file(providers))]);
            let error = load(&folder.0.join("a.yaml")).unwrap_err();
            assert_eq!(error, format!("failed to validate credential provider config: {expected}"));
        };
        check("  []\n", "providers: Required value: at least 1 item in plugins is required");
        check(
            "- {name: a/b}\n",
            "[providers.name: Invalid value: \"a/b\": provider name cannot contain '/', providers.apiVersion: Required \
             value, providers.matchImages: Required value: at least 1 item in matchImages is required, \
             providers.defaultCacheDuration: Required value]",
        );
        check(
            "- {name: a, matchImages: [\"%z\"], defaultCacheDuration: -1m, apiVersion: v1}\n",
            "[providers.apiVersion: Unsupported value: \"v1\": supported values: \
             \"credentialprovider.kubelet.k8s.io/v1\", \"credentialprovider.kubelet.k8s.io/v1alpha1\", \
             \"credentialprovider.kubelet.k8s.io/v1beta1\", providers.matchImages: Invalid value: \"%z\": match image \
             is invalid: parse \"https://%z\": invalid URL escape \"%z\", providers.defaultCacheDuration: Invalid \
             value: -1m: must be greater than or equal to 0]",
        );
        let with_tokens = |rest: &str| {
            format!(
                "- {{name: a, matchImages: [r.io], defaultCacheDuration: 0s, apiVersion: {V1}, tokenAttributes: \
                 {{serviceAccountTokenAudience: x, {rest}}}}}\n"
            )
        };
        check(
            &with_tokens("requireServiceAccount: true"),
            "providers.tokenAttributes.cacheType: Required value: cacheType is required to be set when \
             tokenAttributes is specified. Supported values are: ServiceAccount, Token",
        );
        check(
            &with_tokens(
                "cacheType: Token, requireServiceAccount: false, requiredServiceAccountAnnotationKeys: [a.io/b], \
                 optionalServiceAccountAnnotationKeys: [a.io/b]",
            ),
            "[providers.tokenAttributes.requiredServiceAccountAnnotationKeys: Forbidden: requireServiceAccount cannot \
             be false when requiredServiceAccountAnnotationKeys is set, providers.tokenAttributes: Invalid value: \
             [\"a.io/b\"]: annotation keys cannot be both required and optional]",
        );
    }

    #[test]
    fn what_is_no_configuration() {
        let folder = Folder::new(&[("a.yaml", "apiVersion: v1\nkind: Pod\n")]);
        let path = folder.0.join("a.yaml");
        let error = load(&path).unwrap_err();
        assert!(
            error.starts_with(&format!("error decoding config {:?}: ", path.display().to_string())),
            "{error}"
        );
        assert_eq!(load(Path::new("")).unwrap_err(), "credential provider config path is empty");
        let gone = folder.0.join("b");
        let expected =
            format!("unable to access path {:?}: stat {0}: no such file or directory", gone.display());
        assert_eq!(load(&gone).unwrap_err().replace('"', ""), expected.replace('"', ""));
    }
}
