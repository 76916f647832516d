//! The paths: collections, objects and subresources of every kind, and what their methods take.

use super::{Format, definitions::Definitions, gvk};
use crate::kind::{Resource as _, Row, Subresource};
use crate::kinds;
use crate::meta::v1::{DeleteOptions, Status};
use serde_json::{Map, Value, json};

const PRODUCES: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// COMPAT: kubectl patches by what it reads here. Custom objects have no merge keys and no protobuf.
const CUSTOM: [&str; 2] = ["application/json", "application/yaml"];
const CUSTOM_PATCHES: [&str; 3] =
    ["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];

/// A query parameter.
struct Query(&'static str, &'static str, &'static str);

const PRETTY: Query = Query("pretty", "string", "Whether the output is indented.");
const DRY_RUN: Query = Query("dryRun", "string", "All: everything is done but the write.");
const MANAGER: Query = Query("fieldManager", "string", "Name of the actor that makes the change.");
const VALIDATION: Query = Query(
    "fieldValidation",
    "string",
    "What to do with unknown and duplicate fields: Ignore, Warn or Strict.",
);
const FORCE: Query = Query("force", "boolean", "Take over fields that other managers own.");
const DELETION: [Query; 4] = [
    Query("gracePeriodSeconds", "integer", "Seconds until the object goes; zero at once."),
    Query("propagationPolicy", "string", "What happens to dependents: Orphan, Background or Foreground."),
    Query("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    Query(
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
        "Delete an object that cannot be read.",
    ),
];
const LISTING: [Query; 10] = [
    Query("allowWatchBookmarks", "boolean", "Send bookmarks in a watch."),
    Query("continue", "string", "Token of the next page."),
    Query("fieldSelector", "string", "Only objects whose fields match."),
    Query("labelSelector", "string", "Only objects whose labels match."),
    Query("limit", "integer", "Objects in a page at most."),
    Query("resourceVersion", "string", "Revision to read at or to watch from."),
    Query("resourceVersionMatch", "string", "How resourceVersion applies to a list: Exact or NotOlderThan."),
    Query("sendInitialEvents", "boolean", "Begin a watch with the objects that exist."),
    Query("timeoutSeconds", "integer", "Seconds until the call ends."),
    Query("watch", "boolean", "Watch the objects rather than list them."),
];

/// What a method answers or takes.
enum Body {
    None,
    /// A definition's reference.
    Reference(Value),
    Text,
}

struct Operation<'a> {
    action: &'a str,
    id: String,
    tag: String,
    query: Vec<&'a Query>,
    takes: Body,
    consumes: &'a [&'a str],
    produces: &'a [&'a str],
    gives: Vec<(&'a str, Body)>,
    gvk: Value,
    doc: String,
}

/// The paths of the given rows.
pub(super) fn of<'a>(rows: impl Iterator<Item = &'a Row>, definitions: &mut Definitions) -> Value {
    let mut paths = Map::new();
    for row in rows {
        Paths { row, definitions, out: &mut paths }.write();
    }
    let mut sorted: Vec<(String, Value)> = paths.into_iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    Value::Object(sorted.into_iter().collect())
}

struct Paths<'a> {
    row: &'a Row,
    definitions: &'a mut Definitions,
    out: &'a mut Map<String, Value>,
}

impl Paths<'_> {
    fn write(&mut self) {
        let kind = self.row.kind;
        let root = if kind.group.is_empty() {
            format!("/api/{}", kind.version)
        } else {
            format!("/apis/{}/{}", kind.group, kind.version)
        };
        let collection = if kind.namespaced {
            format!("{root}/namespaces/{{namespace}}/{}", kind.resource)
        } else {
            format!("{root}/{}", kind.resource)
        };
        self.collection(&collection);
        if kind.namespaced && kind.verbs.contains(&"list") {
            let list = self.list_operation("ForAllNamespaces");
            self.path(&format!("{root}/{}", kind.resource), vec![("get", list)]);
        }
        if kind.verbs.contains(&"get") {
            self.object(&format!("{collection}/{{name}}"));
        }
        for subresource in kind.subresources {
            self.subresource(&format!("{collection}/{{name}}/{}", subresource.name), subresource);
        }
    }

    fn collection(&mut self, path: &str) {
        let kind = self.row.kind;
        let mut methods = Vec::new();
        if kind.verbs.contains(&"list") {
            methods.push(("get", self.list_operation("")));
        }
        if kind.verbs.contains(&"create") {
            let own = self.own();
            let mut operation = self.operation("post", "create", "", format!("Creates a {}.", kind.kind));
            operation.query = vec![&DRY_RUN, &MANAGER, &VALIDATION];
            operation.takes = Body::Reference(own.clone());
            operation.gives = ["200", "201", "202"].map(|code| (code, Body::Reference(own.clone()))).into();
            methods.push(("post", operation));
        }
        if kind.verbs.contains(&"deletecollection") {
            let mut operation = self.operation(
                "deletecollection",
                "delete Collection",
                "",
                format!("Deletes many {}.", kind.resource),
            );
            operation.query = vec![&DRY_RUN];
            operation.query.extend(&DELETION);
            operation
                .query
                .extend(LISTING.iter().filter(|q| !matches!(q.0, "watch" | "allowWatchBookmarks")));
            operation.takes = Body::Reference(self.definitions.of(DeleteOptions::schema()));
            operation.gives = vec![("200", Body::Reference(self.definitions.of(Status::schema())))];
            methods.push(("delete", operation));
        }
        self.path(path, methods);
    }

    fn object(&mut self, path: &str) {
        let kind = self.row.kind;
        let own = self.own();
        let mut methods = Vec::new();
        let mut read = self.operation("get", "read", "", format!("Reads a {}.", kind.kind));
        read.gives = vec![("200", Body::Reference(own.clone()))];
        methods.push(("get", read));
        if kind.verbs.contains(&"update") {
            methods.push(("put", self.replace_operation("", &own)));
        }
        if kind.verbs.contains(&"patch") {
            methods.push(("patch", self.patch_operation("", &own)));
        }
        if kind.verbs.contains(&"delete") {
            let mut operation = self.operation("delete", "delete", "", format!("Deletes a {}.", kind.kind));
            operation.query = vec![&DRY_RUN];
            operation.query.extend(&DELETION);
            operation.takes = Body::Reference(self.definitions.of(DeleteOptions::schema()));
            let status = self.definitions.of(Status::schema());
            operation.gives = ["200", "202"].map(|code| (code, Body::Reference(status.clone()))).into();
            methods.push(("delete", operation));
        }
        self.path(path, methods);
    }

    fn subresource(&mut self, path: &str, subresource: &'static Subresource) {
        let kind = self.row.kind;
        let suffix = camel(subresource.name);
        let (group, version) = if subresource.version.is_empty() {
            (kind.group, kind.version)
        } else {
            (subresource.group, subresource.version)
        };
        let Some(own) = self.subresource_schema(group, version, subresource.kind) else {
            // Streams: they answer with text or an upgraded connection.
            let methods = subresource.verbs.iter().filter_map(|verb| {
                let method = method_of(verb)?;
                let mut operation =
                    self.operation("connect", &format!("connect {}", camel(method)), &suffix, String::new());
                operation.doc = format!("Connects to {} of a {}.", subresource.name, kind.kind);
                operation.gives = vec![("200", Body::Text)];
                operation.gvk = gvk(group, version, subresource.kind);
                Some((method, operation))
            });
            let methods = methods.collect();
            return self.path(path, methods);
        };
        let mut methods = Vec::new();
        for verb in subresource.verbs {
            let mut operation = match *verb {
                "get" => {
                    let doc = format!("Reads {} of a {}.", subresource.name, kind.kind);
                    let mut read = self.operation("get", "read", &suffix, doc);
                    let text = subresource.name == "log";
                    read.gives = vec![("200", if text { Body::Text } else { Body::Reference(own.clone()) })];
                    read
                }
                "update" => self.replace_operation(&suffix, &own),
                "patch" => self.patch_operation(&suffix, &own),
                "create" => {
                    let doc = format!("Creates {} of a {}.", subresource.name, kind.kind);
                    let mut create = self.operation("post", "create", &suffix, doc);
                    create.query = vec![&DRY_RUN, &MANAGER, &VALIDATION];
                    create.takes = Body::Reference(own.clone());
                    create.gives =
                        ["200", "201", "202"].map(|code| (code, Body::Reference(own.clone()))).into();
                    create
                }
                _ => continue,
            };
            operation.gvk = gvk(group, version, subresource.kind);
            if let Some(method) = method_of(verb) {
                methods.push((method, operation));
            }
        }
        self.path(path, methods);
    }

    fn subresource_schema(&mut self, group: &str, version: &str, kind: &str) -> Option<Value> {
        use crate::{authentication::v1::TokenRequest, autoscaling::v1::Scale, policy::v1::Eviction};
        if let Some(row) = kinds::by_kind(group, version, kind) {
            return Some(self.definitions.of_row(row));
        }
        Some(match kind {
            "Scale" => self.definitions.of_kind(Scale::schema(), Scale::facts()),
            "Eviction" => self.definitions.of_kind(Eviction::schema(), Eviction::facts()),
            "TokenRequest" => self.definitions.of_kind(TokenRequest::schema(), TokenRequest::facts()),
            _ => return None,
        })
    }

    fn own(&mut self) -> Value {
        self.definitions.of_row(self.row)
    }

    fn list_operation<'b>(&mut self, suffix: &str) -> Operation<'b> {
        let kind = self.row.kind;
        let list = self.definitions.of_list(self.row);
        self.definitions.watch_event();
        let mut operation =
            self.operation("list", "list", suffix, format!("Lists or watches {}.", kind.resource));
        operation.query = LISTING.iter().collect();
        operation.gives = vec![("200", Body::Reference(list))];
        operation
    }

    fn replace_operation<'b>(&mut self, suffix: &str, own: &Value) -> Operation<'b> {
        let doc = format!("Replaces a {}.", self.row.kind.kind);
        let mut operation = self.operation("put", "replace", suffix, doc);
        operation.query = vec![&DRY_RUN, &MANAGER, &VALIDATION];
        operation.takes = Body::Reference(own.clone());
        operation.gives = ["200", "201"].map(|code| (code, Body::Reference(own.clone()))).into();
        operation
    }

    fn patch_operation<'b>(&mut self, suffix: &str, own: &Value) -> Operation<'b> {
        let doc = format!("Patches a {}.", self.row.kind.kind);
        let mut operation = self.operation("patch", "patch", suffix, doc);
        operation.query = vec![&DRY_RUN, &MANAGER, &VALIDATION, &FORCE];
        operation.takes = Body::Reference(self.definitions.of(&PATCH_BODY));
        operation.consumes = if self.row.custom.is_some() { &CUSTOM_PATCHES } else { &PATCHES };
        operation.gives = ["200", "201"].map(|code| (code, Body::Reference(own.clone()))).into();
        operation
    }

    /// `listAppsV1NamespacedDeployment` and the like. The part of `verb` behind a space follows the
    /// version: `deleteAppsV1CollectionNamespacedDeployment`.
    fn operation<'b>(&self, action: &'b str, verb: &str, suffix: &str, doc: String) -> Operation<'b> {
        let kind = self.row.kind;
        let group = if kind.group.is_empty() { "core" } else { kind.group.trim_end_matches(".k8s.io") };
        let group_id: String = group.split('.').map(camel).collect();
        let all = suffix == "ForAllNamespaces";
        let scope = if kind.namespaced && !all { "Namespaced" } else { "" };
        let (verb, object) = verb.split_once(' ').unwrap_or((verb, ""));
        Operation {
            action,
            id: format!("{verb}{group_id}{}{object}{scope}{}{suffix}", camel(kind.version), kind.kind),
            tag: format!("{}_{}", camel_low(&group_id), kind.version),
            query: Vec::new(),
            takes: Body::None,
            consumes: if self.row.custom.is_some() { &CUSTOM } else { &["*/*"] },
            produces: if self.row.custom.is_some() { &CUSTOM } else { &PRODUCES },
            gives: Vec::new(),
            gvk: gvk(kind.group, kind.version, kind.kind),
            doc,
        }
    }

    fn path(&mut self, path: &str, methods: Vec<(&str, Operation<'_>)>) {
        let format = self.definitions.format;
        let mut item = Map::new();
        for (method, operation) in methods {
            item.insert(method.to_owned(), operation.write(format));
        }
        let mut parameters: Vec<Value> = ["namespace", "name"]
            .into_iter()
            .filter(|name| path.contains(&format!("{{{name}}}")))
            .map(|name| path_parameter(name, format))
            .collect();
        parameters.push(query_parameter(&PRETTY, format));
        item.insert("parameters".to_owned(), parameters.into());
        self.out.insert(path.to_owned(), Value::Object(item));
    }
}

/// What a patch's body is called in the documents; any JSON.
static PATCH_BODY: crate::schema::StructType = crate::schema::StructType {
    package: "io.k8s.apimachinery.pkg.apis.meta.v1",
    name: "Patch",
    doc: "A change to an object, in the format that the content type names.",
    structure: crate::schema::Structure::Unsaid,
    fields: &[],
    index: std::sync::OnceLock::new(),
};

impl Operation<'_> {
    fn write(self, format: Format) -> Value {
        let mut parameters: Vec<Value> =
            self.query.iter().map(|query| query_parameter(query, format)).collect();
        let mut out = json!({
            "description": self.doc,
            "operationId": self.id,
            "tags": [self.tag],
            "x-kubernetes-action": self.action,
            "x-kubernetes-group-version-kind": self.gvk,
        });
        let mut responses = Map::new();
        for (code, body) in self.gives {
            let schema = match body {
                Body::Reference(reference) => Some(reference),
                Body::Text => Some(json!({"type": "string"})),
                Body::None => None,
            };
            let text = if code == "201" {
                "Created"
            } else if code == "202" {
                "Accepted"
            } else {
                "OK"
            };
            let mut response = json!({"description": text});
            match (format, schema) {
                (Format::V2, Some(schema)) => response["schema"] = schema,
                (Format::V3, Some(schema)) => {
                    let content =
                        self.produces.iter().map(|media| ((*media).to_owned(), json!({"schema": schema})));
                    response["content"] = Value::Object(content.into_iter().collect());
                }
                (_, None) => {}
            }
            responses.insert(code.to_owned(), response);
        }
        responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
        out["responses"] = Value::Object(responses);
        match (format, self.takes) {
            (Format::V2, takes) => {
                if let Body::Reference(schema) = takes {
                    let required = self.action != "delete" && self.action != "deletecollection";
                    let mut body = json!({"name": "body", "in": "body", "schema": schema});
                    if required {
                        body["required"] = true.into();
                    }
                    parameters.insert(0, body);
                }
                out["consumes"] = json!(self.consumes);
                out["produces"] = json!(self.produces);
                out["schemes"] = json!(["https"]);
            }
            (Format::V3, Body::Reference(schema)) => {
                let content =
                    self.consumes.iter().map(|media| ((*media).to_owned(), json!({"schema": schema})));
                out["requestBody"] = json!({"content": Value::Object(content.collect())});
            }
            (Format::V3, _) => {}
        }
        if !parameters.is_empty() {
            out["parameters"] = parameters.into();
        }
        out
    }
}

fn query_parameter(Query(name, ty, doc): &Query, format: Format) -> Value {
    match format {
        Format::V2 => {
            json!({"name": name, "in": "query", "type": ty, "uniqueItems": true, "description": doc})
        }
        Format::V3 => {
            json!({"name": name, "in": "query", "schema": {"type": ty, "uniqueItems": true}, "description": doc})
        }
    }
}

fn path_parameter(name: &str, format: Format) -> Value {
    let doc = if name == "name" { "Name of the object." } else { "Namespace of the object." };
    match format {
        Format::V2 => json!({
            "name": name, "in": "path", "required": true, "type": "string", "uniqueItems": true, "description": doc,
        }),
        Format::V3 => json!({
            "name": name, "in": "path", "required": true, "description": doc,
            "schema": {"type": "string", "uniqueItems": true},
        }),
    }
}

fn method_of(verb: &str) -> Option<&'static str> {
    Some(match verb {
        "get" => "get",
        "create" => "post",
        "update" => "put",
        "patch" => "patch",
        "delete" => "delete",
        _ => return None,
    })
}

fn camel(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn camel_low(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}
