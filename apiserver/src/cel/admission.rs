//! What expressions about writes share: the variables that they see, and match conditions, which decide
//! whether a webhook or a policy is asked at all (KEP-3716).

use super::authorizer::Asked;
use super::types::{self, Decl, Type};
use super::{Activation, CompileError, Env, EvalError, MATCH_BUDGET, Program, Value};
use crate::admission::{Connection, Request, options};
use crate::authz::Authorizer;
use crate::status::ApiError;
use api_types::kind::{Kind, Object, Row};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// What an expression may name beside `object`, `oldObject` and `request`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Names {
    pub namespace_object: bool,
    pub params: bool,
    pub authorizer: bool,
    pub variables: bool,
}

impl Names {
    /// Of match conditions of webhooks.
    pub const WEBHOOK: Self =
        Self { namespace_object: false, params: false, authorizer: true, variables: false };
}

/// The environment of expressions about writes.
pub fn env(names: Names) -> Env {
    typed_env(names, None, None)
}

/// The same where the types of objects and parameters are known.
pub fn typed_env(names: Names, object: Option<&Arc<Decl>>, params: Option<&Arc<Decl>>) -> Env {
    let typed = |env: Env, name: &str, decl: Option<&Arc<Decl>>| match decl {
        Some(decl) => env.with_decl(name, decl, false),
        None => env.with(name, Type::Dyn),
    };
    let env = typed(typed(Env::default(), "object", object), "oldObject", object);
    let mut env = env.with_decl("request", &REQUEST, false);
    // The rest is always given, in this order; what is not declared has a name that nobody can write.
    let mut add = |declared: bool, name: &str, ty: Type| {
        let hidden = format!("@{name}");
        env = std::mem::take(&mut env).with(if declared { name } else { &hidden }, ty);
    };
    add(names.namespace_object, "namespaceObject", NAMESPACE.ty.clone());
    add(names.params, "params", params.map_or(Type::Dyn, |decl| decl.ty.clone()));
    add(names.authorizer, "authorizer", AUTHORIZER.clone());
    if names.variables { env.with_computed() } else { env }
}

/// `authorizer`, of which `requestResource` is a field.
static AUTHORIZER: LazyLock<Type> = LazyLock::new(|| types::AUTHORIZER);

fn object(name: &str, fields: Vec<(&str, Decl)>) -> Decl {
    let fields = fields
        .into_iter()
        .map(|(name, decl)| (types::escape(name).unwrap_or_else(|| name.to_owned()), Arc::new(decl)));
    Decl::object(name, fields.collect::<BTreeMap<_, _>>(), 2)
}

static REQUEST: LazyLock<Arc<Decl>> = LazyLock::new(|| {
    let text = Decl::string;
    let kind = || {
        object("kubernetes.GroupVersionKind", vec![("group", text()), ("version", text()), ("kind", text())])
    };
    let resource = || {
        object(
            "kubernetes.GroupVersionResource",
            vec![("group", text()), ("version", text()), ("resource", text())],
        )
    };
    let user = object(
        "kubernetes.UserInfo",
        vec![
            ("username", text()),
            ("uid", text()),
            ("groups", Decl::list(text(), None)),
            ("extra", Decl::map(Decl::list(text(), None), None)),
        ],
    );
    Arc::new(object(
        "kubernetes.AdmissionRequest",
        vec![
            ("kind", kind()),
            ("resource", resource()),
            ("subResource", text()),
            ("requestKind", kind()),
            ("requestResource", resource()),
            ("requestSubResource", text()),
            ("name", text()),
            ("namespace", text()),
            ("operation", text()),
            ("userInfo", user),
            ("dryRun", Decl::scalar(Type::Bool, 4)),
            ("options", Decl::scalar(Type::Dyn, 2)),
        ],
    ))
});

static NAMESPACE: LazyLock<Arc<Decl>> = LazyLock::new(|| {
    let text = Decl::string;
    let texts = || Decl::map(Decl::string(), None);
    let metadata = object(
        "kubernetes.NamespaceMetadata",
        vec![
            ("name", text()),
            ("generateName", text()),
            ("namespace", text()),
            ("labels", texts()),
            ("annotations", texts()),
            ("UID", text()),
            ("creationTimestamp", Decl::scalar(Type::Timestamp, 21)),
            ("deletionGracePeriodSeconds", Decl::scalar(Type::Int, 1)),
            ("deletionTimestamp", Decl::scalar(Type::Timestamp, 21)),
            ("generation", Decl::scalar(Type::Int, 1)),
            ("resourceVersion", text()),
            ("finalizers", Decl::list(text(), None)),
        ],
    );
    let spec = object("kubernetes.NamespaceSpec", vec![("finalizers", Decl::list(text(), None))]);
    let status = object("kubernetes.NamespaceStatus", vec![("phase", text())]);
    Arc::new(object("kubernetes.Namespace", vec![("metadata", metadata), ("spec", spec), ("status", status)]))
});

/// A write as expressions see it. Objects are JSON in the version that the expression asked for.
#[derive(Debug)]
pub struct Input {
    pub object: Json,
    pub old_object: Json,
    /// An AdmissionRequest without its objects.
    pub request: Json,
}

impl Input {
    /// `version` is that which was asked for, if it is another than the request's.
    ///
    /// # Errors
    /// When an object does not convert.
    pub fn of(request: &Request<'_>, version: Option<&'static Row>) -> Result<Self, ApiError> {
        let read = |object: Option<&dyn Object>| -> Result<Json, ApiError> {
            let Some(object) = object else { return Ok(Json::Null) };
            serde_json::from_slice(&options::shown_as(object, version)?).map_err(ApiError::internal)
        };
        let connected = request.object.connection();
        let object = match connected {
            Some(connection) => connection.tree(),
            None => read(request.object.get())?,
        };
        let connected = connected.map(Connection::kind);
        Ok(Self { object, old_object: read(request.old)?, request: facts(request, version, connected) })
    }
}

/// An object as JSON, kind and apiVersion included.
pub fn tree(object: &dyn Object) -> Json {
    serde_json::from_slice(&api_types::codec::json::to_vec(object)).unwrap_or_default()
}

fn facts(request: &Request<'_>, version: Option<&'static Row>, connected: Option<&'static str>) -> Json {
    let of = request.kind;
    let own = request.object.get().or(request.old).map_or(of, Object::kind);
    let shown = match version {
        Some(row) if own.kind == row.kind.kind => row.kind,
        _ => own,
    };
    let kind = |kind: &Kind| match connected {
        Some(name) => json!({"group": "", "version": "v1", "kind": name}),
        None => json!({"group": kind.group, "version": kind.version, "kind": kind.kind}),
    };
    let resource =
        |kind: &Kind| json!({"group": kind.group, "version": kind.version, "resource": kind.resource});
    let mut user = Map::new();
    user.insert("username".into(), request.user.name.clone().into());
    user.insert("uid".into(), request.user.uid.clone().into());
    user.insert("groups".into(), request.user.groups.clone().into());
    let extra = request.user.extra.iter().map(|(key, list)| (key.clone(), Json::from(list.clone())));
    user.insert("extra".into(), Json::Object(extra.collect()));
    let name = match request.object.get() {
        Some(object) if request.name.is_empty() => object.meta().name.clone(),
        _ => request.name.to_owned(),
    };
    let options: Json =
        options::options(request).and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    json!({
        "kind": kind(shown),
        "resource": resource(version.map_or(of, |row| row.kind)),
        "subResource": request.subresource,
        "requestKind": kind(own),
        "requestResource": resource(of),
        "requestSubResource": request.subresource,
        "name": name,
        "namespace": request.namespace,
        "operation": request.operation.word(),
        "userInfo": user,
        "dryRun": request.dry_run,
        "options": options,
    })
}

/// What the variables stand for, for one policy and one parameter.
pub fn activation<'a>(
    input: &'a Input,
    namespace: &'a Json,
    params: &'a Json,
    asked: &Request<'_>,
    authorizer: &'a dyn Authorizer,
    computed: &'a [Program],
) -> Activation<'a> {
    let values = vec![
        Value::plain(&input.object),
        Value::plain(&input.old_object),
        Value::plain(&input.request),
        Value::plain(namespace),
        Value::plain(params),
        Asked::value(authorizer, asked.user, asked.info),
    ];
    Activation::new(values, computed)
}

/// Conditions of which all must hold; compiled.
#[derive(Debug, Default)]
pub struct MatchConditions {
    conditions: Vec<Condition>,
}

#[derive(Debug)]
struct Condition {
    name: String,
    expression: String,
    program: Result<Program, String>,
}

/// What match conditions say.
#[derive(Debug, PartialEq)]
pub enum Matched {
    Yes,
    /// With the name of the condition that does not hold.
    No(String),
    /// No condition is false, and these could not be evaluated.
    Failed(String),
}

/// Compiles a condition.
///
/// # Errors
/// With upstream's text when it does not compile or gives no bool.
pub fn compile_condition(env: &Env, expression: &str) -> Result<Program, String> {
    let program =
        env.compile(expression).map_err(|error: CompileError| format!("compilation failed: {error}"))?;
    match program.ty() {
        Type::Bool => Ok(program),
        other => Err(format!("must evaluate to bool but got {other}")),
    }
}

impl MatchConditions {
    /// Compiles names and expressions. What does not compile fails when it is asked.
    pub fn new<'c>(env: &Env, conditions: impl Iterator<Item = (&'c str, &'c str)>) -> Self {
        let compiled = conditions.map(|(name, text)| Condition {
            name: name.to_owned(),
            expression: text.to_owned(),
            program: compile_condition(env, text),
        });
        Self { conditions: compiled.collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Whether all hold. One that is false decides, also beside others that fail; how many did comes along.
    pub fn ask<'a>(&'a self, activation: &Activation<'a>) -> (Matched, u64) {
        let mut budget = MATCH_BUDGET;
        let mut failed: Vec<String> = Vec::new();
        for Condition { name, expression, program } in &self.conditions {
            let program = match program {
                Ok(program) => program,
                Err(text) => {
                    failed.push(text.clone());
                    continue;
                }
            };
            let (result, cost) = program.eval(activation);
            budget = budget.saturating_sub_unsigned(cost);
            if budget < 0 {
                let text = "validation failed due to running out of cost budget, no further validation rules will be run";
                failed.push(text.to_owned());
                break;
            }
            match result {
                Ok(Value::Bool(true)) => {}
                Ok(Value::Bool(false)) => return (Matched::No(name.clone()), failed.len() as u64),
                Ok(_) => failed.push(format!("match condition '{name}' is no bool")),
                Err(error) => {
                    let error = match error {
                        EvalError::CostLimit => "operation cancelled: actual cost limit exceeded".to_owned(),
                        error => error.to_string(),
                    };
                    failed.push(format!("expression '{expression}' resulted in error: {error}"));
                }
            }
        }
        let matched = match failed.as_slice() {
            [] => Matched::Yes,
            [one] => Matched::Failed(one.clone()),
            many => Matched::Failed(format!("[{}]", many.join(", "))),
        };
        (matched, failed.len() as u64)
    }
}
