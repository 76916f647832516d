//! Cells of `kubectl get`: additionalPrinterColumns.

use super::Custom;
use super::definition::{Column, Definition};
use crate::columns::since;
use crate::kind::ColumnHead;
use crate::value::Time;
use jiff::Timestamp;
use serde_json::Value as Json;

/// Name first, then the columns that the version declares, or the age.
pub(super) fn heads(definition: &Definition) -> Vec<ColumnHead> {
    let mut heads = vec![ColumnHead {
        name: "Name",
        ty: "string",
        format: "name",
        description: "Name of the object, unique among its kind in its namespace.",
        priority: 0,
    }];
    heads.extend(definition.columns.iter().map(|column| ColumnHead {
        name: column.name,
        ty: column.type_,
        format: column.format,
        description: column.description,
        priority: column.priority,
    }));
    heads
}

pub(super) fn cells(object: &Custom, now: Timestamp) -> Vec<Json> {
    let tree = object.tree();
    let mut cells = vec![Json::from(object.metadata.name.as_str())];
    cells.extend(object.definition.columns.iter().map(|column| cell(column, &tree, now)));
    cells
}

fn cell(column: &Column, tree: &Json, now: Timestamp) -> Json {
    let found = column.path.as_ref().map(|path| path.find(tree)).unwrap_or_default();
    let Some(first) = found.first() else { return Json::Null };
    match column.type_ {
        // COMPAT: of several values the first is shown.
        "string" => text(first).into(),
        "integer" => match first {
            Json::Number(number) => number.as_i64().map_or(Json::Null, Json::from),
            Json::String(text) => text.parse::<i64>().map_or(Json::Null, Json::from),
            _ => Json::Null,
        },
        "number" => match first {
            Json::Number(_) => (*first).clone(),
            Json::String(text) => text.parse::<f64>().map_or(Json::Null, Json::from),
            _ => Json::Null,
        },
        "boolean" => first.as_bool().map_or(Json::Null, Json::from),
        "date" => match first {
            Json::String(text) => match text.parse::<Timestamp>() {
                Ok(at) => since(Some(Time(at)), now).into(),
                Err(_) => "<invalid>".into(),
            },
            _ => Json::Null,
        },
        _ => Json::Null,
    }
}

fn text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null => "<nil>".to_owned(),
        other => other.to_string(),
    }
}
