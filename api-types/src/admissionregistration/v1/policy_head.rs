//! What policies of both sorts and their bindings say alike, so that whoever minds no more than that need not know the
//! sort.

use super::{
    FailurePolicyType, MatchCondition, MatchResources, MutatingAdmissionPolicy,
    MutatingAdmissionPolicyBinding, ParamKind, ParamRef, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding, Variable,
};

/// A policy but for what it does.
#[derive(Clone, Copy, Debug)]
pub struct PolicyHead<'a> {
    pub failure_policy: Option<&'a FailurePolicyType>,
    pub param_kind: Option<&'a ParamKind>,
    pub constraints: Option<&'a MatchResources>,
    pub conditions: &'a [MatchCondition],
    pub variables: &'a [Variable],
}

impl PolicyHead<'_> {
    /// Whether requests fail where the policy cannot be asked.
    pub fn fails(&self) -> bool {
        self.failure_policy != Some(&FailurePolicyType::Ignore)
    }
}

/// A binding but for what a finding leads to.
#[derive(Clone, Copy, Debug)]
pub struct BindingHead<'a> {
    pub policy: &'a str,
    pub resources: Option<&'a MatchResources>,
    pub param_ref: Option<&'a ParamRef>,
}

/// A policy of either sort.
pub trait AnyPolicy {
    fn head(&self) -> PolicyHead<'_>;
}

/// A binding of either sort.
pub trait AnyBinding {
    fn head(&self) -> BindingHead<'_>;
}

macro_rules! heads {
    ($($policy:ty, $binding:ty;)*) => {$(
        impl AnyPolicy for $policy {
            fn head(&self) -> PolicyHead<'_> {
                let spec = &self.spec;
                PolicyHead {
                    failure_policy: spec.failure_policy.as_ref(),
                    param_kind: spec.param_kind.as_deref(),
                    constraints: spec.match_constraints.as_deref(),
                    conditions: &spec.match_conditions,
                    variables: &spec.variables,
                }
            }
        }

        impl AnyBinding for $binding {
            fn head(&self) -> BindingHead<'_> {
                let spec = &self.spec;
                BindingHead {
                    policy: &spec.policy_name,
                    resources: spec.match_resources.as_deref(),
                    param_ref: spec.param_ref.as_deref(),
                }
            }
        }
    )*};
}

heads! {
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding;
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding;
}
