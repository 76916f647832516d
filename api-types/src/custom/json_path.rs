//! The JSON paths of printer columns and selectable fields: `.spec.replicas`, `.status.conditions[?(@.type=="Ready")].status`,
//! `.metadata.annotations['a/b']`, `[0]`, `[1:3]`, `[*]`, `['a','b']`, `..name` (API doc "JSONPath Support").

use serde_json::Value as Json;
use std::cmp::Ordering;

/// A path into a tree.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    All,
    /// What is there and everything below it.
    Below,
    /// From, to and step of a list's places.
    Slice(Slice),
    Union(Vec<JsonPath>),
    /// Items for which the comparison holds; those that the path finds anything in where there is none.
    Filter(JsonPath, Option<(String, JsonPath)>),
    /// A value that is written in the path.
    Value(Json),
    /// What is parsed and means nothing outside of templates.
    Word,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Slice {
    from: Option<i64>,
    to: Option<i64>,
    step: Option<i64>,
    /// Whether `to` follows from `from`: one place alone.
    single: bool,
}

/// A path that does not fit the value.
struct Misfit;

type Found<'a> = Result<Vec<&'a Json>, Misfit>;

/// Whether a name ends here.
fn ends_name(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n' | '.' | ',' | '[' | ']' | '$' | '@' | '{' | '}')
}

impl JsonPath {
    /// Reads a path; `None` for what is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut steps = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("[?(") {
                let (condition, after) = condition(after)?;
                steps.push(filter(condition)?);
                rest = after;
            } else if let Some(after) = rest.strip_prefix("..") {
                if steps.last() == Some(&Step::Below) {
                    return None;
                }
                steps.push(Step::Below);
                rest = after;
                if rest.starts_with(|c: char| c == '_' || c.is_alphanumeric()) {
                    rest = field(rest, &mut steps);
                }
            } else {
                let after = &rest[first.len_utf8()..];
                rest = match first {
                    ' ' | '@' | '$' => after,
                    '.' => field(after, &mut steps),
                    '[' => {
                        let (inner, after) = after.split_once(']')?;
                        brackets(inner, &mut steps)?;
                        after
                    }
                    '"' | '\'' => {
                        let end = quote_end(after, first)?;
                        steps.push(Step::Value(after[..end].replace('\\', "").into()));
                        &after[end + 1..]
                    }
                    '+' | '-' | '0'..='9' => {
                        let end = after.find(|c: char| c != '.' && !c.is_ascii_digit());
                        let end = end.map_or(rest.len(), |end| end + 1);
                        let number = rest[..end].trim_start_matches('+');
                        let number = number.parse::<i64>().map(Json::from);
                        let number = number.or_else(|_| rest[..end].parse::<f64>().map(Json::from));
                        steps.push(Step::Value(number.ok()?));
                        &rest[end..]
                    }
                    c if c == '_' || c.is_alphabetic() => {
                        let end = rest.find(ends_name).unwrap_or(rest.len());
                        steps.push(match &rest[..end] {
                            "true" => Step::Value(true.into()),
                            "false" => Step::Value(false.into()),
                            _ => Step::Word,
                        });
                        &rest[end..]
                    }
                    _ => return None,
                };
            }
        }
        Some(Self(steps))
    }

    /// Everything that the path leads to; nothing where it does not fit the value.
    pub fn find<'a>(&'a self, root: &'a Json) -> Vec<&'a Json> {
        self.walk(vec![root]).unwrap_or_default()
    }

    fn walk<'a>(&'a self, mut here: Vec<&'a Json>) -> Found<'a> {
        for step in &self.0 {
            here = step.from(here)?;
        }
        Ok(here)
    }
}

/// Reads a field's name; a backslash takes a character as it is.
fn field<'a>(text: &'a str, steps: &mut Vec<Step>) -> &'a str {
    let mut escaped = false;
    let end = text.find(|c: char| {
        let ends = !escaped && ends_name(c);
        escaped = !escaped && c == '\\';
        ends
    });
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    steps.push(if name == "*" { Step::All } else { Step::Field(name.replace('\\', "")) });
    rest
}

fn quote_end(text: &str, quote: char) -> Option<usize> {
    let bytes = text.as_bytes();
    text.char_indices().find(|(at, c)| *c == quote && (*at == 0 || bytes[at - 1] != b'\\')).map(|(at, _)| at)
}

/// Splits a filter's condition from what comes behind it.
fn condition(text: &str) -> Option<(&str, &str)> {
    let (mut quote, mut closed, mut before) = (None, false, '\0');
    for (at, c) in text.char_indices() {
        match c {
            '\n' => return None,
            '"' | '\'' if quote.is_none() => quote = Some(c),
            _ if quote == Some(c) && before != '\\' => closed = true,
            ')' if quote.is_some() == closed => {
                return Some((&text[..at], text[at + 1..].strip_prefix(']')?));
            }
            _ => {}
        }
        before = c;
    }
    None
}

fn filter(condition: &str) -> Option<Step> {
    let is_operator = |c: char| matches!(c, '!' | '<' | '>' | '=');
    let compared = condition.find(is_operator).filter(|at| *at > 0).and_then(|at| {
        let (left, rest) = condition.split_at(at);
        let end = rest.find(|c| !is_operator(c))?;
        Some((left, &rest[..end], &rest[end..]))
    });
    Some(match compared {
        None => Step::Filter(JsonPath::parse(condition)?, None),
        Some((left, operator, right)) => {
            Step::Filter(JsonPath::parse(left)?, Some((operator.to_owned(), JsonPath::parse(right)?)))
        }
    })
}

fn brackets(inner: &str, steps: &mut Vec<Step>) -> Option<()> {
    if inner.contains(',') {
        let parts = inner.split(',').map(|part| JsonPath::parse(&format!("[{}]", part.trim_matches(' '))));
        steps.push(Step::Union(parts.collect::<Option<_>>()?));
        return Some(());
    }
    let quoted = inner.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    if let Some(key) = quoted.filter(|key| !key.contains('\'')) {
        // COMPAT: a dot parts names also in quotes, unless it is escaped.
        steps.extend(JsonPath::parse(&format!(".{key}"))?.0);
        return Some(());
    }
    let inner = if inner == "*" { ":" } else { inner };
    let mut parts = [None; 3];
    let mut count = 0;
    for part in inner.split(':') {
        let number = match part {
            "" => None,
            digits => Some(digits.parse::<i64>().ok().filter(|_| !digits.starts_with('+'))?),
        };
        *parts.get_mut(count)? = number;
        count += 1;
    }
    let single = count == 1;
    let to = if single { Some(parts[0].unwrap_or_default() + 1) } else { parts[1] };
    steps.push(Step::Slice(Slice { from: parts[0], to, step: parts[2], single }));
    Some(())
}

fn children(value: &Json) -> Vec<&Json> {
    match value {
        Json::Object(map) => map.values().collect(),
        Json::Array(items) => items.iter().collect(),
        _ => Vec::new(),
    }
}

impl Step {
    fn from<'a>(&'a self, here: Vec<&'a Json>) -> Found<'a> {
        match self {
            Self::Value(value) => Ok(here.iter().map(|_| value).collect()),
            Self::Word => Err(Misfit),
            Self::Field(name) => {
                Ok(here.into_iter().filter_map(|value| value.as_object()?.get(name)).collect())
            }
            Self::All => Ok(here.into_iter().flat_map(children).collect()),
            Self::Below => {
                let mut found = Vec::new();
                here.into_iter().for_each(|value| below(value, &mut found));
                Ok(found)
            }
            Self::Union(paths) => {
                let found: Result<Vec<_>, _> = paths.iter().map(|path| path.walk(here.clone())).collect();
                Ok(found?.into_iter().flatten().collect())
            }
            Self::Slice(slice) => {
                let mut found = Vec::new();
                for value in here.into_iter().filter(|value| !value.is_null()) {
                    found.extend(slice.of(value.as_array().ok_or(Misfit)?)?);
                }
                Ok(found)
            }
            Self::Filter(left, comparison) => {
                let mut found = Vec::new();
                for value in here {
                    for item in value.as_array().ok_or(Misfit)? {
                        if holds(item, left, comparison.as_ref())? {
                            found.push(item);
                        }
                    }
                }
                Ok(found)
            }
        }
    }
}

fn below<'a>(value: &'a Json, found: &mut Vec<&'a Json>) {
    let inside = children(value);
    if !inside.is_empty() {
        found.push(value);
        inside.into_iter().for_each(|value| below(value, found));
    }
}

impl Slice {
    fn of<'a>(&self, items: &'a [Json]) -> Result<Vec<&'a Json>, Misfit> {
        let length = items.len() as i64;
        let mut from = self.from.unwrap_or(0);
        let mut to = self.to.unwrap_or(length);
        if from < 0 {
            from += length;
        }
        if to < 0 || (to == 0 && self.single) {
            to += length;
        }
        if from == to {
            return Ok(Vec::new());
        }
        let step = usize::try_from(self.step.unwrap_or(1)).ok().filter(|step| *step > 0).ok_or(Misfit)?;
        let (from, to) =
            (usize::try_from(from).map_err(|_| Misfit)?, usize::try_from(to).map_err(|_| Misfit)?);
        Ok(items.get(from..to).ok_or(Misfit)?.iter().step_by(step).collect())
    }
}

fn holds(item: &Json, left: &JsonPath, comparison: Option<&(String, JsonPath)>) -> Result<bool, Misfit> {
    let lefts = left.walk(vec![item]);
    let Some((operator, right)) = comparison else { return Ok(lefts.is_ok_and(|found| !found.is_empty())) };
    let one = |found: Vec<&Json>| match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some((*one).clone())),
        _ => Err(Misfit),
    };
    let (Some(left), Some(right)) = (one(lefts?)?, one(right.walk(vec![item])?)?) else { return Ok(false) };
    let order = match (&left, &right) {
        (Json::String(left), Json::String(right)) => Some(left.cmp(right)),
        (Json::Number(left), Json::Number(right)) if left.is_f64() == right.is_f64() => {
            left.as_f64().partial_cmp(&right.as_f64())
        }
        (Json::Bool(left), Json::Bool(right)) if matches!(operator.as_str(), "==" | "!=") => {
            Some(left.cmp(right))
        }
        _ => return Err(Misfit),
    };
    Ok(match operator.as_str() {
        "==" => order == Some(Ordering::Equal),
        "!=" => order != Some(Ordering::Equal),
        "<" => order == Some(Ordering::Less),
        ">" => order == Some(Ordering::Greater),
        "<=" => order.is_some_and(Ordering::is_le),
        ">=" => order.is_some_and(Ordering::is_ge),
        _ => return Err(Misfit),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_values() {
        let tree = json!({
            "metadata": {"annotations": {"a.io/b": "c"}},
            "spec": {"replicas": 3, "ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2, "x": true}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "No"}]},
        });
        let check = |path: &str, expected: serde_json::Value| {
            let found = JsonPath::parse(path).expect(path);
            assert_eq!(json!(found.find(&tree)), expected, "{path}");
        };
        check(".spec.replicas", json!([3]));
        check(".spec.ports[1].port", json!([2]));
        check(".spec.ports[-1].port", json!([2]));
        check(".spec.ports[2].port", json!([]));
        check(".spec.ports[*].name", json!(["a", "b"]));
        check(".spec.ports[0:2].name", json!(["a", "b"]));
        check(".spec.ports[1:].name", json!(["b"]));
        check(".spec.ports[:-1].name", json!(["a"]));
        check(".spec.ports[::2].name", json!(["a"]));
        check(".spec.ports[0,1].name", json!(["a", "b"]));
        check(".spec..name", json!(["a", "b"]));
        check(".spec['replicas','none']", json!([3]));
        check(".status.conditions[?(@.type==\"Ready\")].status", json!(["True"]));
        check(".status.conditions[?(@.type=='Ready')].status", json!(["True"]));
        check(".status.conditions[?(@.type != 'Ready')].status", json!(["No"]));
        check(".spec.ports[?(@.port>1)].name", json!(["b"]));
        check(".spec.ports[?(@.port<=1)].name", json!(["a"]));
        check(".spec.ports[?(@.x)].name", json!(["b"]));
        check(".spec.ports[?(@.x==true)].name", json!(["b"]));
        check(".spec.ports[?(@.port=='1')].name", json!([]));
        check(".metadata.annotations['a\\.io/b']", json!(["c"]));
        check(".metadata.annotations['a.io/b']", json!([]));
        check(".metadata.annotations.a\\.io/b", json!(["c"]));
        check(".spec.none", json!([]));
        check(".spec.replicas[0]", json!([]));
        for wrong in [".spec[", ".spec[a]", ".a[?(@.b==1]", ".a[1:2:3:4]", "....a", ".a{b"] {
            assert_eq!(JsonPath::parse(wrong), None, "{wrong}");
        }
    }
}
