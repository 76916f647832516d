//! Which requests a flow schema means, and what separates its flows. Pure.

use api_types::flowcontrol::v1::{
    ALL, FlowDistinguisherMethodType, FlowSchemaSpec, NonResourcePolicyRule, ResourcePolicyRule, Subject,
    SubjectKind,
};

use crate::request::{RequestInfo, User};

/// Whether any rule of the schema means the request.
pub fn matches(spec: &FlowSchemaSpec, user: &User, info: &RequestInfo) -> bool {
    spec.rules.iter().any(|rule| {
        rule.subjects.iter().any(|subject| is_by(subject, user))
            && if info.is_resource {
                rule.resource_rules.iter().any(|rule| is_for(rule, info))
            } else {
                rule.non_resource_rules.iter().any(|rule| is_at(rule, info))
            }
    })
}

/// What tells the flow of this request from others of its schema.
pub fn distinguisher<'a>(spec: &FlowSchemaSpec, user: &'a User, info: &'a RequestInfo) -> &'a str {
    match spec.distinguisher_method.as_ref().map(|method| &method.type_) {
        Some(FlowDistinguisherMethodType::ByUser) => &user.name,
        Some(FlowDistinguisherMethodType::ByNamespace) => &info.namespace,
        _ => "",
    }
}

fn is_by(subject: &Subject, user: &User) -> bool {
    match &subject.kind {
        SubjectKind::User => {
            subject.user.as_ref().is_some_and(|wanted| wanted.name == ALL || wanted.name == user.name)
        }
        SubjectKind::Group => {
            subject.group.as_ref().is_some_and(|wanted| wanted.name == ALL || user.is_in(&wanted.name))
        }
        SubjectKind::ServiceAccount => subject.service_account.as_ref().is_some_and(|wanted| {
            let account =
                user.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
            account.is_some_and(|(namespace, name)| {
                namespace == wanted.namespace && (wanted.name == ALL || wanted.name == name)
            })
        }),
        _ => false,
    }
}

fn any(list: &[String], value: &str) -> bool {
    list.iter().any(|entry| entry == ALL || entry == value)
}

fn is_for(rule: &ResourcePolicyRule, info: &RequestInfo) -> bool {
    let resource = if info.subresource.is_empty() {
        info.resource.clone()
    } else {
        format!("{}/{}", info.resource, info.subresource)
    };
    any(&rule.verbs, &info.verb)
        && any(&rule.api_groups, &info.group)
        && any(&rule.resources, &resource)
        && if info.namespace.is_empty() { rule.cluster_scope } else { any(&rule.namespaces, &info.namespace) }
}

fn is_at(rule: &NonResourcePolicyRule, info: &RequestInfo) -> bool {
    any(&rule.verbs, &info.verb)
        && rule.non_resource_urls.iter().any(|url| match url.strip_suffix('*') {
            Some(start) => info.path.starts_with(start),
            None => *url == info.path,
        })
}
