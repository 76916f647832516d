//! Selectors as objects carry them; matching is in `crate::selector`.

use std::collections::BTreeMap;

use crate::open_enum::open_enum;
use api_types_derive::Api;

/// Selects by labels; all demands must hold, an empty one selects everything.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1", structure = atomic)]
pub struct LabelSelector {
    /// Labels that must have exactly these values.
    #[api(1)]
    pub match_labels: BTreeMap<String, String>,
    /// Further demands on labels.
    #[api(2, list = atomic)]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// One demand on a label.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct LabelSelectorRequirement {
    /// Label that is looked at.
    #[api(1, required)]
    pub key: String,
    /// How it is compared.
    #[api(2, required)]
    pub operator: LabelSelectorOperator,
    /// What it is compared with; none for Exists and DoesNotExist.
    #[api(3, list = atomic)]
    pub values: Vec<String>,
}

open_enum! {
    /// How a label is compared.
    pub enum LabelSelectorOperator {
        In = "In",
        NotIn = "NotIn",
        Exists = "Exists",
        DoesNotExist = "DoesNotExist",
    }
}

/// One demand on a field.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct FieldSelectorRequirement {
    /// Field that is looked at.
    #[api(1, required)]
    pub key: String,
    /// How it is compared.
    #[api(2, required)]
    pub operator: FieldSelectorOperator,
    /// What it is compared with; none for Exists and DoesNotExist.
    #[api(3, list = atomic)]
    pub values: Vec<String>,
}

open_enum! {
    /// How a field is compared.
    pub enum FieldSelectorOperator {
        In = "In",
        NotIn = "NotIn",
        Exists = "Exists",
        DoesNotExist = "DoesNotExist",
    }
}
