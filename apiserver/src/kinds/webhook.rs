//! Webhook configurations, as far as writing them needs more than their strategy: match conditions have to
//! compile.

use api_types::admissionregistration::v1::{
    MatchCondition, MutatingWebhookConfiguration, ValidatingWebhookConfiguration, Webhook,
};
use api_types::field::{Errors, Path};
use api_types::kind::Object;

use crate::cel::admission::{Names, compile_condition, env};

/// COMPAT: conditions that an update leaves alone are not looked at again.
pub fn check(object: &dyn Object, old: Option<&dyn Object>, errors: &mut Errors) {
    let Some(hooks) = hooks(object) else { return };
    let all = |hooks: &[Webhook<'_>]| -> Vec<Vec<MatchCondition>> {
        hooks.iter().map(|hook| hook.match_conditions.to_vec()).collect()
    };
    if old.and_then(self::hooks).is_some_and(|old| all(&old) == all(&hooks)) {
        return;
    }
    let env = env(Names::WEBHOOK);
    for (n, hook) in hooks.iter().enumerate() {
        for (k, condition) in hook.match_conditions.iter().enumerate() {
            let expression = condition.expression.trim();
            if expression.is_empty() {
                continue;
            }
            if let Err(why) = compile_condition(&env, expression) {
                let path = Path::new("webhooks").index(n).child("matchConditions").index(k);
                errors.invalid(&path.child("expression"), expression, why);
            }
        }
    }
}

fn hooks(object: &dyn Object) -> Option<Vec<Webhook<'_>>> {
    let any = object.as_any();
    if let Some(own) = any.downcast_ref::<MutatingWebhookConfiguration>() {
        return Some(own.hooks());
    }
    any.downcast_ref::<ValidatingWebhookConfiguration>().map(ValidatingWebhookConfiguration::hooks)
}
