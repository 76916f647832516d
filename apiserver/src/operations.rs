//! JSON patch (RFC 6902) as upstream's library does it: laxer than the RFC in ways that clients and webhooks rely on.
//!
//! - A key of an object that is not there can be replaced, and is copied as null.
//! - Places of lists may be counted from their end: `-1` is the last.
//! - What is not there passes a test for null.

use json_patch::jsonptr::{Pointer, PointerBuf};
use json_patch::{AddOperation, PatchError, PatchOperation};
use serde_json::Value;

/// Carries out one operation.
///
/// # Errors
/// When it does not fit the tree, which may be changed in part then.
pub fn operate(tree: &mut Value, operation: &PatchOperation) -> Result<(), PatchError> {
    if let PatchOperation::Test(test) = operation
        && test.value.is_null()
        && test.path.resolve(tree).is_err()
    {
        return Ok(());
    }
    json_patch::patch(tree, &[strict(operation, tree)])
}

/// The operation as the RFC has it.
fn strict(operation: &PatchOperation, tree: &Value) -> PatchOperation {
    let mut own = operation.clone();
    match &mut own {
        PatchOperation::Add(own) => own.path = counted(&own.path, tree, 1),
        PatchOperation::Remove(own) => own.path = counted(&own.path, tree, 0),
        PatchOperation::Replace(own) => own.path = counted(&own.path, tree, 0),
        PatchOperation::Test(own) => own.path = counted(&own.path, tree, 0),
        PatchOperation::Move(own) => {
            own.from = counted(&own.from, tree, 0);
            own.path = counted(&own.path, tree, 1);
        }
        PatchOperation::Copy(own) => {
            own.from = counted(&own.from, tree, 0);
            own.path = counted(&own.path, tree, 1);
        }
    }
    match own {
        PatchOperation::Replace(own) if is_free(&own.path, tree) => {
            PatchOperation::Add(AddOperation { path: own.path, value: own.value })
        }
        PatchOperation::Copy(own) if is_free(&own.from, tree) => {
            PatchOperation::Add(AddOperation { path: own.path, value: Value::Null })
        }
        own => own,
    }
}

/// Whether the path is a key that an object could have and has not.
fn is_free(path: &Pointer, tree: &Value) -> bool {
    let Some((above, key)) = path.split_back() else { return false };
    matches!(above.resolve(tree), Ok(Value::Object(map)) if !map.contains_key(&*key.decoded()))
}

/// The path with a place that is counted from the end of a list counted from its start. `more` is what the list grows by.
fn counted(path: &Pointer, tree: &Value, more: usize) -> PointerBuf {
    let Some((above, place)) = path.split_back() else { return path.to_buf() };
    let back = place.encoded().strip_prefix('-').and_then(|digits| digits.parse::<usize>().ok());
    let (Some(back), Ok(Value::Array(items))) = (back, above.resolve(tree)) else { return path.to_buf() };
    let Some(place) = (items.len() + more).checked_sub(back) else { return path.to_buf() };
    let mut path = above.to_buf();
    path.push_back(place);
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What becomes of the tree; `None` where the operation does not fit.
    fn check(operation: Value, expected: Option<Value>) {
        let mut tree = json!({"data": {"a": "1"}, "list": ["x", "y"]});
        let operation: PatchOperation = serde_json::from_value(operation).expect("an operation");
        let found = operate(&mut tree, &operation).ok().map(|()| tree);
        assert_eq!(found, expected, "{operation}");
    }

    #[test]
    fn keys_that_are_not_there() {
        let list = json!(["x", "y"]);
        let with = |data: Value| Some(json!({"data": data, "list": list}));
        check(json!({"op": "replace", "path": "/data/b", "value": "2"}), with(json!({"a": "1", "b": "2"})));
        check(
            json!({"op": "copy", "from": "/data/b", "path": "/data/c"}),
            with(json!({"a": "1", "c": null})),
        );
        check(json!({"op": "test", "path": "/data/b", "value": null}), with(json!({"a": "1"})));
        check(json!({"op": "remove", "path": "/data/b"}), None);
        check(json!({"op": "move", "from": "/data/b", "path": "/data/c"}), None);
        check(json!({"op": "replace", "path": "/none/b", "value": "2"}), None);
    }

    #[test]
    fn places_from_the_end() {
        let with = |list: Value| Some(json!({"data": {"a": "1"}, "list": list}));
        check(json!({"op": "remove", "path": "/list/-1"}), with(json!(["x"])));
        check(json!({"op": "replace", "path": "/list/-2", "value": "z"}), with(json!(["z", "y"])));
        check(json!({"op": "add", "path": "/list/-1", "value": "z"}), with(json!(["x", "y", "z"])));
        check(json!({"op": "add", "path": "/list/-", "value": "z"}), with(json!(["x", "y", "z"])));
        check(json!({"op": "remove", "path": "/list/-3"}), None);
        check(json!({"op": "replace", "path": "/list/2", "value": "z"}), None);
    }
}
