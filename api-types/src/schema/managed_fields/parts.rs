//! What two encodings of an object do not have in common. Most writes change little of what is there: of the
//! rest no tree needs to be made.

use crate::codec::json::{Error, Reader, Token};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Both objects without the members, at any depth, whose text is the same in both. Lists are whole: the place
/// of an item means nothing.
///
/// # Errors
/// For what is no JSON object.
pub fn differing(old: &[u8], new: &[u8]) -> Result<(Value, Value), Error> {
    let (old, new) = (members(old)?, members(new)?);
    let (mut left, mut right) = (Map::new(), Map::new());
    let mut missing = vec![true; new.len()];
    // Members mostly come in one order: look from the last hit on.
    let mut hint = 0;
    for (name, text) in &old {
        let is = |member: &(Cow<'_, str>, &[u8])| member.0 == *name;
        let after = new[hint..].iter().position(is).map(|at| at + hint);
        let Some(place) = after.or_else(|| new[..hint].iter().position(is)) else {
            left.insert(name.to_string(), tree(text)?);
            continue;
        };
        hint = place + 1;
        missing[place] = false;
        let other = new[place].1;
        if *text == other {
            continue;
        }
        let (was, is) = match (text, other) {
            ([b'{', ..], [b'{', ..]) => differing(text, other)?,
            _ => (tree(text)?, tree(other)?),
        };
        left.insert(name.to_string(), was);
        right.insert(name.to_string(), is);
    }
    for ((name, text), _) in new.iter().zip(missing).filter(|(_, missing)| *missing) {
        right.insert(name.to_string(), tree(text)?);
    }
    Ok((left.into(), right.into()))
}

/// Names and the texts of their values, in their order.
type Members<'a> = Vec<(Cow<'a, str>, &'a [u8])>;

fn members(object: &[u8]) -> Result<Members<'_>, Error> {
    let mut input = Reader::new(object, false);
    let start = input.token()?;
    if start != Token::ObjectStart {
        return Err(input.mismatch(&start, "object"));
    }
    let mut members = Vec::with_capacity(32);
    while let Some(name) = input.next_key(members.is_empty())? {
        members.push((name, input.raw_value()?));
    }
    Ok(members)
}

fn tree(text: &[u8]) -> Result<Value, Error> {
    Reader::new(text, false).tree()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(old: Value, new: Value, left: Value, right: Value) {
        let parts = |old: &Value, new: &Value| {
            differing(old.to_string().as_bytes(), new.to_string().as_bytes()).expect("objects")
        };
        assert_eq!(parts(&old, &new), (left.clone(), right.clone()));
        assert_eq!(parts(&new, &old), (right, left));
        assert_eq!(parts(&old, &old), (json!({}), json!({})));
    }

    #[test]
    fn what_is_the_same_is_left_out() {
        check(
            json!({"a": 1, "b": {"c": [1, 2], "d": {"e": null}}, "f": {}, "g": {"h": 1}}),
            json!({"f": {}, "b": {"c": [2], "d": {"e": null}, "i": "x"}, "a": 1, "g": [1]}),
            json!({"b": {"c": [1, 2]}, "g": {"h": 1}}),
            json!({"b": {"c": [2], "i": "x"}, "g": [1]}),
        );
        check(json!({}), json!({"a": {}}), json!({}), json!({"a": {}}));
        check(json!({"a": {}}), json!({"a": {"b": 1}}), json!({"a": {}}), json!({"a": {"b": 1}}));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "[]", "1", "{\"a\":1", "{\"a\"}"] {
            assert!(differing(text.as_bytes(), b"{}").is_err(), "{text}");
            assert!(differing(b"{}", text.as_bytes()).is_err(), "{text}");
        }
    }
}
