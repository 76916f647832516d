//! Which pods may use an image that is on the node already (KEP-2535). Pure.
//!
//! An image that was pulled with a pod's credentials is for pods that have them as well: others have to pull it,
//! and the registry decides. The kubelet's [`records`](super::records) say how an image came here; what they
//! hold against is the [`Policy`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::credentials::{Credential, PullSecret};
use super::name::without_tag;

/// Secrets that are noted for an image although none of them was asked for.
const NOTED_AT_MOST: usize = 100;

/// `imagePullCredentialsVerificationPolicy`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// `NeverVerify`: whatever is there is for all.
    Never,
    /// `NeverVerifyPreloadedImages`: what the kubelet did not pull is for all.
    Preloaded,
    /// `NeverVerifyAllowlistedImages`: these repositories are for all, and those that begin so.
    Allowlisted(Vec<String>, Vec<String>),
    /// `AlwaysVerify`: nothing is for all.
    Always,
}

impl Policy {
    /// Of a configuration; errors are worded as upstream's.
    pub fn parse(name: &str, allowed: &[String]) -> Result<Self, String> {
        let policy = match name {
            "NeverVerify" => Self::Never,
            "" | "NeverVerifyPreloadedImages" => Self::Preloaded,
            "NeverVerifyAllowlistedImages" => Self::Allowlisted(Vec::new(), Vec::new()),
            "AlwaysVerify" => Self::Always,
            other => {
                return Err(format!(
                    "option {other:?} specified for imagePullCredentialsVerificationPolicy. Valid options are \
                     \"NeverVerify\", \"NeverVerifyPreloadedImages\", \"NeverVerifyAllowlistedImages\" or \"AlwaysVerify\""
                ));
            }
        };
        if !matches!(policy, Self::Allowlisted(..)) {
            return match allowed {
                [] => Ok(policy),
                _ => Err("can't set `preloadedImagesVerificationAllowlist` if \
                     `imagePullCredentialsVertificationPolicy` is not \"NeverVerifyAllowlistedImages\""
                    .into()),
            };
        }
        let (mut whole, mut begin) = (Vec::new(), Vec::new());
        for pattern in allowed {
            let text = pattern_of(pattern).map_err(|error| {
                format!("invalid image pattern in `preloadedImagesVerificationAllowlist`: {error}")
            })?;
            if text.ends_with('/') { begin.push(text) } else { whole.push(text) }
        }
        Ok(Self::Allowlisted(whole, begin))
    }

    fn verifies(&self, image: &str, pulled_by_kubelet: bool) -> bool {
        match self {
            Self::Never => false,
            Self::Preloaded => pulled_by_kubelet,
            Self::Always => true,
            Self::Allowlisted(whole, begin) => {
                let name = without_tag(image).unwrap_or(image);
                !whole.iter().any(|one| one == name) && !begin.iter().any(|begin| name.starts_with(begin))
            }
        }
    }
}

/// A repository, or the beginning of one, which ends in a slash.
fn pattern_of(pattern: &str) -> Result<String, String> {
    if pattern.trim() != pattern {
        return Err(format!("leading/trailing spaces are not allowed: {pattern}"));
    }
    let text = if pattern.ends_with("/*") { &pattern[..pattern.len() - 1] } else { pattern };
    if text.is_empty() {
        return Err(format!("the supplied pattern is too short: {pattern}"));
    }
    if text.contains('*') {
        return Err(format!(
            "not a valid wildcard pattern, only patterns ending with '/*' are allowed: {pattern}"
        ));
    }
    if text.len() != pattern.len() {
        return if text == "/" {
            Err("at least registry hostname is required".into())
        } else {
            Ok(text.into())
        };
    }
    match without_tag(text) {
        None => Err("failed to parse as an image name: invalid reference format".into()),
        Some(name) if name != text => {
            Err(format!("neither tag nor digest is accepted in an image reference: {pattern}"))
        }
        Some(_) => Ok(text.into()),
    }
}

/// Who may use an image, by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Access {
    /// Pods with one of these secrets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kubernetes_secrets: Vec<PullSecret>,
    /// Pods of these service accounts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kubernetes_service_accounts: Vec<Account>,
    /// All pods.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub node_pods_accessible: bool,
}

/// A service account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Account {
    /// Its uid.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Access {
    /// As it was pulled: with a pod's secret, by its service account, or with what is every pod's.
    pub fn by(used: Option<&Credential>) -> Self {
        let Some(used) = used else { return Self { node_pods_accessible: true, ..Self::default() } };
        match (used.secret.clone(), used.account.clone()) {
            (Some(secret), _) => Self { kubernetes_secrets: vec![secret], ..Self::default() },
            (None, Some(account)) => Self { kubernetes_service_accounts: vec![account], ..Self::default() },
            (None, None) => Self { node_pods_accessible: true, ..Self::default() },
        }
    }

    /// Adds what is new; `false` when nothing is.
    pub fn merge(&mut self, new: &Self) -> bool {
        if self.node_pods_accessible {
            return false;
        }
        if new.node_pods_accessible {
            *self = Self { node_pods_accessible: true, ..Self::default() };
            return true;
        }
        let before = self.kubernetes_secrets.clone();
        for secret in &new.kubernetes_secrets {
            self.kubernetes_secrets.retain(|known| !known.same_object(secret));
            self.kubernetes_secrets.push(secret.clone());
        }
        let key = |one: &PullSecret| (one.namespace.clone(), one.name.clone(), one.uid.clone());
        self.kubernetes_secrets.sort_by_key(key);
        let accounts = self.kubernetes_service_accounts.len();
        for account in &new.kubernetes_service_accounts {
            if !self.kubernetes_service_accounts.contains(account) {
                self.kubernetes_service_accounts.push(account.clone());
            }
        }
        let key = |one: &Account| (one.namespace.clone(), one.name.clone(), one.uid.clone());
        self.kubernetes_service_accounts.sort_by_key(key);
        self.kubernetes_secrets != before || self.kubernetes_service_accounts.len() != accounts
    }
}

/// Who may use an image, by the names under which it was pulled.
pub type Record = BTreeMap<String, Access>;

/// Whether a pod may use an image that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The policy does not ask.
    Open,
    /// It may; the secret, when there is one, is to be noted.
    Known(Option<PullSecret>),
    /// The registry is to be asked.
    Pull,
}

/// The decision. `pulled` is what is known of how the kubelet pulled it: `None` when it did not, `Some(None)` when
/// nothing is known of with what.
pub fn decide(policy: &Policy, image: &str, pulled: Option<Option<&Record>>, own: &[Credential]) -> Verdict {
    if !policy.verifies(image, pulled.is_some()) {
        return Verdict::Open;
    }
    let named = without_tag(image);
    let Some(access) = pulled.flatten().and_then(|record| record.get(named?)) else { return Verdict::Pull };
    if access.node_pods_accessible {
        return Verdict::Known(None);
    }
    let room = access.kubernetes_secrets.len() < NOTED_AT_MOST;
    for secret in own.iter().filter_map(|credential| credential.secret.as_ref()) {
        for known in &access.kubernetes_secrets {
            let same_hash =
                !known.credential_hash.is_empty() && known.credential_hash == secret.credential_hash;
            let same_object = known.same_object(secret);
            if same_hash {
                return Verdict::Known(Some(secret.clone()).filter(|_| !same_object && room));
            }
            if same_object && room {
                return Verdict::Known(Some(secret.clone()));
            }
        }
    }
    let known = |account: &Account| access.kubernetes_service_accounts.contains(account);
    match own.iter().filter_map(|credential| credential.account.as_ref()).any(known) {
        true => Verdict::Known(None),
        false => Verdict::Pull,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, hash: &str) -> PullSecret {
        PullSecret { name: name.into(), credential_hash: hash.into(), ..Default::default() }
    }

    fn with(secret: PullSecret) -> Credential {
        Credential { secret: Some(secret), ..Default::default() }
    }

    fn pulled(access: Access) -> Record {
        [("r.io/a".to_owned(), access)].into()
    }

    #[test]
    fn policies_ask_for_what_they_say() {
        let check = |policy: &str, allowed: &[&str], preloaded: bool, by_kubelet: bool| {
            let allowed: Vec<String> = allowed.iter().map(|one| (*one).to_owned()).collect();
            let policy = Policy::parse(policy, &allowed).unwrap();
            assert_eq!(policy.verifies("r.io/a:1", false), preloaded, "{policy:?}");
            assert_eq!(policy.verifies("r.io/a:1", true), by_kubelet, "{policy:?}");
        };
        check("", &[], false, true);
        check("NeverVerify", &[], false, false);
        check("AlwaysVerify", &[], true, true);
        check("NeverVerifyAllowlistedImages", &["r.io/a"], false, false);
        check("NeverVerifyAllowlistedImages", &["r.io/*"], false, false);
        check("NeverVerifyAllowlistedImages", &["r.io/ab", "s.io/*"], true, true);
    }

    #[test]
    fn refusals_are_upstreams() {
        let check = |policy: &str, allowed: &str, expected: &str| {
            let error = Policy::parse(policy, &[allowed.to_owned()]).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check("Some", "a", "option \"Some\" specified for imagePullCredentialsVerificationPolicy");
        check("AlwaysVerify", "a", "can't set `preloadedImagesVerificationAllowlist`");
        let list = "NeverVerifyAllowlistedImages";
        check(list, " a", "leading/trailing spaces are not allowed:  a");
        check(list, "a:1", "neither tag nor digest is accepted in an image reference: a:1");
        check(list, "a*", "only patterns ending with '/*' are allowed: a*");
        check(list, "/*", "at least registry hostname is required");
    }

    #[test]
    fn a_pod_needs_the_credentials_that_the_image_was_pulled_with() {
        let check = |record: Option<Option<&Record>>, own: &[Credential], expected: Verdict| {
            assert_eq!(decide(&Policy::Preloaded, "r.io/a:1", record, own), expected);
        };
        let known = pulled(Access::by(Some(&with(secret("s", "h")))));
        let record = Some(Some(&known));
        check(None, &[], Verdict::Open);
        check(Some(None), &[], Verdict::Pull);
        check(record, &[], Verdict::Pull);
        check(record, &[with(secret("other", "x"))], Verdict::Pull);
        check(record, &[with(secret("s", "h"))], Verdict::Known(None));
        // The same credentials in another secret, and the same secret with other credentials.
        check(record, &[with(secret("other", "h"))], Verdict::Known(Some(secret("other", "h"))));
        check(record, &[with(secret("s", "new"))], Verdict::Known(Some(secret("s", "new"))));
        let robot = Account { name: "robot".into(), ..Default::default() };
        let by_robot = Credential { account: Some(robot.clone()), ..Default::default() };
        let other = Credential { account: Some(Account { uid: "1".into(), ..robot }), ..Default::default() };
        let pulled_by_robot = pulled(Access::by(Some(&by_robot)));
        check(Some(Some(&pulled_by_robot)), &[by_robot], Verdict::Known(None));
        check(Some(Some(&pulled_by_robot)), &[other], Verdict::Pull);
        // What the node has is no secret of the pod's.
        check(record, &[Credential::default()], Verdict::Pull);
        let open = pulled(Access::by(None));
        check(Some(Some(&open)), &[], Verdict::Known(None));
        assert_eq!(
            decide(&Policy::Preloaded, "r.io/b", Some(Some(&open)), &[]),
            Verdict::Pull,
            "another name"
        );
    }

    #[test]
    fn what_is_for_all_stays_so() {
        let account = Account { name: "robot".into(), ..Default::default() };
        let by_account = Credential { account: Some(account.clone()), ..Default::default() };
        let mut access = Access::by(Some(&by_account));
        assert_eq!(access.kubernetes_service_accounts, [account]);
        assert!(!access.merge(&Access::by(Some(&by_account))));
        assert!(access.merge(&Access::by(Some(&with(secret("s", "h"))))));
        assert_eq!(access.kubernetes_service_accounts.len(), 1);
        let mut access = Access::by(Some(&with(secret("s", "h"))));
        assert!(!access.merge(&Access::by(Some(&with(secret("s", "h"))))));
        assert!(access.merge(&Access::by(Some(&with(secret("a", "h"))))));
        assert_eq!(access.kubernetes_secrets[0].name, "a");
        assert!(access.merge(&Access::by(Some(&with(secret("s", "new"))))));
        assert_eq!(access.kubernetes_secrets.len(), 2);
        assert!(access.merge(&Access::by(None)));
        assert_eq!(access, Access { node_pods_accessible: true, ..Default::default() });
        assert!(!access.merge(&Access::by(Some(&with(secret("s", "h"))))));
    }
}
