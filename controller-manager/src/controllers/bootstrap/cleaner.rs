//! token-cleaner-controller: deletes bootstrap tokens that have expired.

use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::Secret;
use client::Key;
use client::controller::{Action, Controller, Never, Plan, Target, Wake};
use client::informer::Caches;
use jiff::Timestamp;

use super::{Left, left};
use crate::cached::BootstrapToken;

/// See the module. Its keys are Secrets.
#[derive(Debug)]
pub struct TokenCleaner;

impl Controller for TokenCleaner {
    const NAME: &'static str = "token-cleaner-controller";
    const QUEUE: &'static str = "token_cleaner";
    type View = (Key, Arc<BootstrapToken>);
    type Own = Never;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![Wake::itself::<BootstrapToken>()]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<Self::View> {
        Some((key.clone(), caches.store::<BootstrapToken>().get(key)?))
    }

    fn plan((key, token): &Self::View, now: Timestamp) -> Plan {
        let mut plan = Plan::nothing();
        match left(token, now) {
            Left::Forever => {}
            Left::Until(end) => {
                plan.look_again(Duration::try_from(end.duration_since(now)).unwrap_or_default());
            }
            Left::Nothing => {
                plan.act(Action::delete(Target::new::<Secret>(key.clone(), &token.uid)));
            }
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expired_tokens_go_and_others_are_waited_for() {
        let plan = |expiration: &str| {
            let token = BootstrapToken { expiration: expiration.into(), ..BootstrapToken::default() };
            let now = "2026-01-01T00:00:00Z".parse().unwrap();
            let plan = TokenCleaner::plan(&(Key::new("kube-system", "t"), Arc::new(token)), now);
            (plan.actions().len(), plan.again.map(|after| after.as_secs()))
        };
        assert_eq!(plan(""), (0, None));
        assert_eq!(plan("2026-01-01T00:01:00Z"), (0, Some(60)));
        assert_eq!(plan("2026-01-01T02:01:00+02:00"), (0, Some(60)));
        assert_eq!(plan("2025-12-31T23:59:59Z"), (1, None));
        assert_eq!(plan("tomorrow"), (1, None));
    }
}
