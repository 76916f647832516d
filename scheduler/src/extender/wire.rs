//! What is sent to extenders and read from them. COMPAT: names are Go's and begin with capitals; answers
//! may write them in any case, as Go's decoder takes them.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{Filtered, Victims};

/// Nodes as an extender wants them: by name, or whole.
pub enum Nodes {
    Names(Vec<String>),
    Whole(Vec<Value>),
}

/// The body of a call to filter or to prioritize.
pub fn args(pod: Value, nodes: Nodes) -> Value {
    let (names, whole) = match nodes {
        Nodes::Names(names) => (json!(names), Value::Null),
        Nodes::Whole(items) => (Value::Null, json!({ "metadata": {}, "items": items })),
    };
    json!({ "Pod": pod, "Nodes": whole, "NodeNames": names })
}

/// A field of an object, whatever the case of its name.
fn field<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let found = object.get(name);
    found
        .or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
        .filter(|value| !value.is_null())
}

fn object(value: &Value) -> Result<&Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("json: cannot unmarshal {value} into an object"))
}

fn text(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("json: cannot unmarshal {value} into a string"))
}

fn number(value: &Value) -> Result<i64, String> {
    value.as_i64().ok_or_else(|| format!("json: cannot unmarshal {value} into an integer"))
}

fn array(value: &Value) -> Result<&Vec<Value>, String> {
    value.as_array().ok_or_else(|| format!("json: cannot unmarshal {value} into an array"))
}

/// The error that an answer carries.
pub fn refusal(answer: &Value) -> Result<(), String> {
    match object(answer).map(|fields| field(fields, "Error"))? {
        None => Ok(()),
        Some(error) => match text(error)?.as_str() {
            "" => Ok(()),
            error => Err(error.to_owned()),
        },
    }
}

/// The answer to filter. `by_name`: nodes were sent by their names.
pub fn filtered(answer: &Value, by_name: bool) -> Result<Filtered, String> {
    refusal(answer)?;
    let fields = object(answer)?;
    let reasons = |name: &str| -> Result<HashMap<String, String>, String> {
        let Some(reasons) = field(fields, name) else { return Ok(HashMap::new()) };
        object(reasons)?.iter().map(|(node, why)| Ok((node.clone(), text(why)?))).collect()
    };
    let names = field(fields, "NodeNames").filter(|_| by_name);
    let nodes = match (names, field(fields, "Nodes")) {
        (Some(names), _) => array(names)?.iter().map(text).collect::<Result<_, _>>()?,
        (None, Some(list)) => match field(object(list)?, "items") {
            None => Vec::new(),
            Some(items) => array(items)?.iter().map(node_name).collect::<Result<_, _>>()?,
        },
        // COMPAT: nothing said of any node lets none pass.
        (None, None) => Vec::new(),
    };
    Ok(Filtered {
        nodes,
        failed: reasons("FailedNodes")?,
        unresolvable: reasons("FailedAndUnresolvableNodes")?,
    })
}

fn node_name(node: &Value) -> Result<String, String> {
    let name = node.pointer("/metadata/name").ok_or("a node of the extender's answer has no name")?;
    text(name)
}

/// The answer to prioritize.
pub fn scores(answer: &Value) -> Result<HashMap<String, i64>, String> {
    let score = |entry: &Value| -> Result<(String, i64), String> {
        let fields = object(entry)?;
        let host = field(fields, "Host").map(text).transpose()?.unwrap_or_default();
        Ok((host, field(fields, "Score").map(number).transpose()?.unwrap_or(0)))
    };
    if answer.is_null() {
        return Ok(HashMap::new());
    }
    array(answer)?.iter().map(score).collect()
}

/// The answer to preempt.
pub fn victims(answer: &Value) -> Result<Vec<Victims>, String> {
    let Some(nodes) = field(object(answer)?, "NodeNameToMetaVictims") else { return Ok(Vec::new()) };
    let of = |(node, victims): (&String, &Value)| -> Result<Victims, String> {
        let none = Map::new();
        let fields = if victims.is_null() { &none } else { object(victims)? };
        let uid = |pod: &Value| field(object(pod)?, "UID").map_or(Ok(String::new()), text);
        let uids = match field(fields, "Pods") {
            None => Vec::new(),
            Some(pods) => array(pods)?.iter().map(uid).collect::<Result<_, _>>()?,
        };
        let violations = field(fields, "NumPDBViolations").map(number).transpose()?.unwrap_or(0);
        Ok(Victims { node: node.clone(), uids, violations: usize::try_from(violations).unwrap_or(0) })
    };
    object(nodes)?.iter().map(of).collect()
}
