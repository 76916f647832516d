//! Lists in a strategic merge patch: merged by key, or as sets of primitives, then put in order.

use super::{Error, PATCH, Shape, merge_object};
use crate::schema::{Field, Type};
use serde_json::{Map, Value};

/// How one list field is merged.
pub(super) struct Rules {
    /// The field that tells items apart; `None` for lists of primitives.
    key: Option<&'static str>,
    item: Shape,
}

impl Rules {
    pub(super) fn of(field: &'static Field) -> Self {
        let item = match (field.ty)() {
            Type::List(item) => Shape::of(item()),
            _ => Shape::Unknown,
        };
        Self { key: field.patch.key, item }
    }

    /// The original's items with the patch's merged in, in `order` if one is given.
    pub(super) fn merge(
        &self,
        original: Vec<Value>,
        patch: Vec<Value>,
        order: Option<&Value>,
    ) -> Result<Vec<Value>, Error> {
        let mut items = match self.key {
            Some(key) => self.merge_by_key(key, original, patch)?,
            None => merge_primitives(original, patch),
        };
        if let Some(order) = order {
            self.reorder(&mut items, order);
        }
        Ok(items)
    }

    fn merge_by_key(&self, key: &str, mut items: Vec<Value>, patch: Vec<Value>) -> Result<Vec<Value>, Error> {
        let directive = |item: &Value| item.get(PATCH).and_then(Value::as_str).map(str::to_owned);
        // An item that says "replace" stands for the whole list.
        if patch.iter().any(|item| directive(item).as_deref() == Some("replace")) {
            return Ok(patch.into_iter().filter(|item| item.get(PATCH).is_none()).collect());
        }
        for change in patch {
            let Value::Object(mut change) = change else {
                return Err(Error::Format("list of objects"));
            };
            let Some(id) = change.get(key).cloned() else {
                let item = Value::Object(change).to_string();
                return Err(Error::MergeKey { item, key: key.to_owned() });
            };
            let place = items.iter().position(|item| item.get(key) == Some(&id));
            match change.get(PATCH).and_then(Value::as_str) {
                Some("delete") => items.retain(|item| item.get(key) != Some(&id)),
                Some("merge") | None => {
                    change.remove(PATCH);
                    match place.map(|at| (at, items[at].take())) {
                        Some((at, Value::Object(old))) => {
                            items[at] = Value::Object(merge_object(self.item, old, change)?);
                        }
                        Some((at, _)) => items[at] = Value::Object(change),
                        None => items.push(Value::Object(merge_object(self.item, Map::new(), change)?)),
                    }
                }
                Some(other) => return Err(Error::Directive(other.to_owned())),
            }
        }
        Ok(items)
    }

    /// Puts the items that `order` names into its order. Items it does not name keep their place
    /// behind the named item that they followed.
    pub(super) fn reorder(&self, items: &mut Vec<Value>, order: &Value) {
        let Some(order) = order.as_array() else { return };
        let rank = |item: &Value| {
            order.iter().position(|wanted| match self.key {
                Some(key) => item.get(key).is_some() && item.get(key) == wanted.get(key),
                None => item == wanted,
            })
        };
        let mut named: Vec<(usize, Value)> = Vec::new();
        // (the named item it follows, the item)
        let mut others: Vec<(Option<usize>, Value)> = Vec::new();
        let mut last = None;
        for item in items.drain(..) {
            match rank(&item) {
                Some(at) => {
                    last = Some(at);
                    named.push((at, item));
                }
                None => others.push((last, item)),
            }
        }
        named.sort_by_key(|(at, _)| *at);
        let followers = |of: Option<usize>, others: &mut Vec<(Option<usize>, Value)>| -> Vec<Value> {
            let (mine, rest) = std::mem::take(others).into_iter().partition(|(after, _)| *after == of);
            *others = rest;
            let mine: Vec<(Option<usize>, Value)> = mine;
            mine.into_iter().map(|(_, item)| item).collect()
        };
        items.extend(followers(None, &mut others));
        for (at, item) in named {
            items.push(item);
            items.extend(followers(Some(at), &mut others));
        }
    }
}

fn merge_primitives(mut items: Vec<Value>, patch: Vec<Value>) -> Vec<Value> {
    for item in patch {
        if !items.contains(&item) {
            items.push(item);
        }
    }
    items
}
