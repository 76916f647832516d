//! Reads a JSON value into a type that knows its fields, and tells of fields that it does not know instead of failing:
//! derived structs name their fields to the deserializer, which leaves out all others. Enums are read as they come.

use std::cell::RefCell;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Map, Value};

/// The value as a `T`, and what a strict reader says of fields that a `T` has not, by their paths:
/// `unknown field "registerWithTaints[0].colour"`.
///
/// # Errors
/// For a known field of another type, with its path.
pub fn read<T: DeserializeOwned>(value: Value) -> Result<(T, Vec<String>), Error> {
    let unknown = RefCell::default();
    let read = T::deserialize(Part { value, path: String::new(), unknown: &unknown })?;
    Ok((read, unknown.into_inner()))
}

struct Part<'a> {
    value: Value,
    path: String,
    unknown: &'a RefCell<Vec<String>>,
}

impl Part<'_> {
    fn field(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn placed<T>(result: Result<T, Error>, path: &str) -> Result<T, Error> {
        // The innermost place is the one that helps.
        result.map_err(|error| match error.to_string() {
            text if text.starts_with(path) => error,
            text => Error::custom(format!("{path}: {text}")),
        })
    }
}

impl<'de> Deserializer<'de> for Part<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let (path, unknown) = (self.path, self.unknown);
        match self.value {
            Value::Array(items) => {
                visitor.visit_seq(Items { items: items.into_iter(), at: 0, path, unknown })
            }
            Value::Object(fields) => {
                visitor.visit_map(Fields { fields: fields.into_iter(), next: None, path, unknown })
            }
            plain => Self::placed(plain.deserialize_any(visitor), &path),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        Self::placed(self.value.deserialize_enum(name, variants, visitor), &self.path)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        // COMPAT: null leaves a field as it is by default.
        if self.value.is_null() {
            self.value = Value::Object(Map::new());
        }
        let Value::Object(fields) = &mut self.value else {
            let error = Error::custom(format!("invalid type: {}, expected an object", self.value));
            return Part::placed(Err(error), &self.path);
        };
        let all = std::mem::take(fields);
        let (mut kept, left): (Map<_, _>, Map<_, _>) =
            all.into_iter().partition(|(name, _)| known.contains(&name.as_str()));
        kept.retain(|_, value| !value.is_null());
        *fields = kept;
        self.unknown
            .borrow_mut()
            .extend(left.keys().map(|name| format!("unknown field {:?}", self.field(name))));
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

struct Items<'a> {
    items: std::vec::IntoIter<Value>,
    at: usize,
    path: String,
    unknown: &'a RefCell<Vec<String>>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(value) = self.items.next() else { return Ok(None) };
        let path = format!("{}[{}]", self.path, self.at);
        self.at += 1;
        seed.deserialize(Part { value, path, unknown: self.unknown }).map(Some)
    }
}

struct Fields<'a> {
    fields: serde_json::map::IntoIter,
    next: Option<Part<'a>>,
    path: String,
    unknown: &'a RefCell<Vec<String>>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((name, value)) = self.fields.next() else { return Ok(None) };
        let path = if self.path.is_empty() { name.clone() } else { format!("{}.{name}", self.path) };
        self.next = Some(Part { value, path, unknown: self.unknown });
        seed.deserialize(Value::String(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let part = self.next.take().ok_or_else(|| Error::custom("a value without its key"))?;
        let path = part.path.clone();
        Part::placed(seed.deserialize(part), &path)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase", default)]
    struct Outer {
        max_pods: u16,
        inner: Inner,
        list: Vec<Inner>,
        map: BTreeMap<String, Option<Inner>>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase", default)]
    struct Inner {
        enabled: bool,
    }

    #[test]
    fn unknown_fields_are_told_by_their_paths() {
        let value = json!({
            "foo": 1, "maxPods": 7, "MaxPods": 8,
            "inner": {"enabled": true, "bar": {"baz": 1}},
            "list": [{}, {"enabled": true, "q": null}],
            "map": {"a": null, "b": {"w": 1}},
        });
        let (read, unknown) = read::<Outer>(value).unwrap();
        let on = Inner { enabled: true };
        let map = [("a".to_owned(), None), ("b".to_owned(), Some(Inner::default()))];
        let expected = Outer {
            max_pods: 7,
            inner: on,
            list: vec![Inner::default(), Inner { enabled: true }],
            map: map.into(),
        };
        assert_eq!(read, expected);
        let paths = ["foo", "MaxPods", "inner.bar", "list[1].q", "map.b.w"];
        assert_eq!(unknown, paths.map(|path| format!("unknown field {path:?}")));
    }

    #[test]
    fn wrong_types_are_refused_by_path() {
        let check = |value: Value, expected: &str| {
            let error = read::<Outer>(value).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        check(json!({"maxPods": "x"}), "maxPods: invalid type: string");
        check(json!({"list": [{"enabled": 1}]}), "list[0].enabled: invalid type: integer");
        check(json!([]), "invalid type: [], expected an object");
        check(json!({"inner": [true]}), "inner: invalid type: [true], expected an object");
        let nothing = json!({"inner": null, "maxPods": null, "list": [null]});
        let expected = Outer { list: vec![Inner::default()], ..Default::default() };
        assert_eq!(read::<Outer>(nothing).unwrap(), (expected, Vec::new()));
    }
}
