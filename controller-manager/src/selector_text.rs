//! A label selector as Go prints it: events and conditions of several controllers carry that text.

use api_types::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// `&LabelSelector{MatchLabels:map[string]string{app: web,},MatchExpressions:[]LabelSelectorRequirement{},}`, or
/// `nil`.
pub(crate) fn of(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else { return "nil".into() };
    let labels: String = selector.match_labels.iter().map(|(k, v)| format!("{k}: {v},")).collect();
    let requirement = |r: &LabelSelectorRequirement| {
        let (key, operator, values) = (&r.key, r.operator.as_str(), r.values.join(" "));
        format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},")
    };
    let expressions: String = selector.match_expressions.iter().map(requirement).collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_spelt_as_go_spells_them() {
        assert_eq!(of(None), "nil");
        let expression = LabelSelectorRequirement {
            key: "tier".into(),
            operator: "In".into(),
            values: vec!["a".into(), "b".into()],
        };
        let selector = LabelSelector {
            match_labels: [("app".into(), "web".into())].into(),
            match_expressions: vec![expression],
        };
        let text = "&LabelSelector{MatchLabels:map[string]string{app: web,},MatchExpressions:[]LabelSelectorRequirement{\
                    LabelSelectorRequirement{Key:tier,Operator:In,Values:[a b],},},}";
        assert_eq!(of(Some(&selector)), text);
    }
}
