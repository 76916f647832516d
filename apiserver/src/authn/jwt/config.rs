//! AuthenticationConfiguration (apiserver.config.k8s.io): whose tokens are taken, and what is read out of them. The
//! flags `--oidc-*` are one issuer of it.

use std::path::Path;

use anyhow::{Context as _, ensure};
use daemon::config_file::{self, ConfigFileError, Expected};
use serde::Deserialize;

use crate::flags::Oidc;

const EXPECTED: Expected = Expected {
    kind: "AuthenticationConfiguration",
    api_versions: &[
        "apiserver.config.k8s.io/v1",
        "apiserver.config.k8s.io/v1beta1",
        "apiserver.config.k8s.io/v1alpha1",
    ],
};

/// All of the file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Configuration {
    pub jwt: Vec<Jwt>,
    pub anonymous: Option<AnonymousConfig>,
}

/// Who may come without credentials.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct AnonymousConfig {
    pub enabled: bool,
    /// Where; everywhere when empty.
    pub conditions: Vec<AnonymousCondition>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct AnonymousCondition {
    pub path: String,
}

/// One issuer.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Jwt {
    pub issuer: Issuer,
    pub claim_validation_rules: Vec<ClaimRule>,
    pub claim_mappings: Mappings,
    pub user_validation_rules: Vec<UserRule>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Issuer {
    pub url: String,
    #[serde(rename = "discoveryURL")]
    pub discovery_url: String,
    /// PEM.
    pub certificate_authority: String,
    pub audiences: Vec<String>,
    pub audience_match_policy: String,
    pub egress_selector_type: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ClaimRule {
    pub claim: String,
    pub required_value: String,
    pub expression: String,
    pub message: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Mappings {
    pub username: Prefixed,
    pub groups: Prefixed,
    pub uid: ClaimOrExpression,
    pub extra: Vec<Extra>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Prefixed {
    pub claim: String,
    pub prefix: Option<String>,
    pub expression: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ClaimOrExpression {
    pub claim: String,
    pub expression: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Extra {
    pub key: String,
    pub value_expression: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct UserRule {
    pub expression: String,
    pub message: String,
}

impl Configuration {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// For what is no such document.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigFileError> {
        config_file::parse(text, path, EXPECTED)
    }

    /// The issuer that flags name; none without.
    ///
    /// # Errors
    /// For flags that do not go together, and an authority that cannot be read.
    pub fn of_flags(own: &Oidc) -> anyhow::Result<Self> {
        let (url, client) = (text(&own.oidc_issuer_url), text(&own.oidc_client_id));
        ensure!(
            !own.is_given() || (!url.is_empty() && !client.is_empty()),
            "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set"
        );
        if url.is_empty() {
            return Ok(Self::default());
        }
        let prefix = match text(&own.oidc_username_prefix) {
            // COMPAT: all names but addresses of mail are told apart by their issuer.
            "" if own.oidc_username_claim != "email" => format!("{url}#"),
            "-" => String::new(),
            given => given.to_owned(),
        };
        let mut jwt = Jwt::default();
        jwt.issuer.url = url.to_owned();
        jwt.issuer.audiences = vec![client.to_owned()];
        if let Some(path) = own.oidc_ca_file.as_ref().filter(|path| !path.as_os_str().is_empty()) {
            jwt.issuer.certificate_authority =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        }
        jwt.claim_mappings.username =
            Prefixed { claim: own.oidc_username_claim.clone(), prefix: Some(prefix), ..Prefixed::default() };
        let groups = text(&own.oidc_groups_claim);
        if !groups.is_empty() {
            let prefix = Some(text(&own.oidc_groups_prefix).to_owned());
            jwt.claim_mappings.groups = Prefixed { claim: groups.to_owned(), prefix, ..Prefixed::default() };
        }
        for pair in &own.oidc_required_claim {
            let (claim, value) = pair
                .split_once('=')
                .with_context(|| format!("malformed pair, expect string=string: {pair:?}"))?;
            let rule = ClaimRule {
                claim: claim.trim().to_owned(),
                required_value: value.trim().to_owned(),
                ..ClaimRule::default()
            };
            // As in a map, the last one counts.
            jwt.claim_validation_rules.retain(|known| known.claim != rule.claim);
            jwt.claim_validation_rules.push(rule);
        }
        Ok(Self { jwt: vec![jwt], anonymous: None })
    }
}

fn text(flag: &Option<String>) -> &str {
    flag.as_deref().unwrap_or_default()
}
