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

    /// The original's items with the patch's merged in, in `order` if one is given, else in the
    /// patch's own: see [`Rules::reorder`].
    pub(super) fn merge(
        &self,
        original: Vec<Value>,
        patch: Vec<Value>,
        order: Option<&Value>,
    ) -> Result<Vec<Value>, Error> {
        let before: Vec<Value> = original.iter().map(|item| self.identity(item)).collect();
        let order: Vec<Value> = match order.and_then(Value::as_array) {
            Some(order) => order.iter().map(|item| self.identity(item)).collect(),
            None => patch.iter().map(|item| self.identity(item)).collect(),
        };
        let merged = match self.key {
            Some(key) => self.merge_by_key(key, original, patch)?,
            None => merge_primitives(original, patch),
        };
        Ok(self.put_in_order(merged, &order, &before))
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

    /// Puts the items of a list that the patch does not change into `order`.
    pub(super) fn reorder(&self, items: Vec<Value>, order: &[Value]) -> Vec<Value> {
        let before: Vec<Value> = items.iter().map(|item| self.identity(item)).collect();
        let order: Vec<Value> = order.iter().map(|item| self.identity(item)).collect();
        self.put_in_order(items, &order, &before)
    }

    /// What tells an item from the others: the value of its key, or itself.
    fn identity(&self, item: &Value) -> Value {
        self.key.map_or_else(|| item.clone(), |key| item.get(key).cloned().unwrap_or_default())
    }

    /// The items that `order` names, in its order, and between them the others: one stands before a
    /// named item only if both stood so in the list `before`. COMPAT: so a new item that a patch
    /// adds comes first.
    fn put_in_order(&self, items: Vec<Value>, order: &[Value], before: &[Value]) -> Vec<Value> {
        let place = |list: &[Value], item: &Value| {
            let identity = self.identity(item);
            list.iter().position(|other| *other == identity)
        };
        let (mut named, others): (Vec<Value>, Vec<Value>) =
            items.into_iter().partition(|item| place(order, item).is_some());
        named.sort_by_key(|item| place(order, item));
        let mut ordered = Vec::with_capacity(named.len() + others.len());
        let mut others = others.into_iter().peekable();
        for item in named {
            let own = place(before, &item);
            while let Some(other) = others.next_if(|other| own.is_some() && place(before, other) < own) {
                ordered.push(other);
            }
            ordered.push(item);
        }
        ordered.extend(others);
        ordered
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
