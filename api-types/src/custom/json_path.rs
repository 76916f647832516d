//! The JSON paths of printer columns and selectable fields: `.spec.replicas`, `.status.conditions[?(@.type=="Ready")].status`,
//! `.metadata.annotations['a/b']`, `[0]`, `[*]` (API doc "JSONPath Support").

use serde_json::Value as Json;

/// A path into a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    /// Items whose field at the path has (or has not) the text.
    Filter {
        path: Vec<String>,
        equal: bool,
        value: String,
    },
}

impl JsonPath {
    /// Reads a path; `None` for what it does not know.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                if after.is_empty() && steps.is_empty() {
                    return Some(Self(steps));
                }
                let (name, more) = name(after);
                if name.is_empty() {
                    return None;
                }
                steps.push(if name == "*" { Step::All } else { Step::Field(name) });
                rest = more;
            } else {
                let inner = rest.strip_prefix('[')?;
                let end = closing(inner)?;
                steps.push(bracket(&inner[..end])?);
                rest = &inner[end + 1..];
            }
        }
        Some(Self(steps))
    }

    /// The fields of a path that has nothing else.
    pub fn fields(&self) -> Option<Vec<&str>> {
        self.0
            .iter()
            .map(|step| match step {
                Step::Field(name) => Some(name.as_str()),
                _ => None,
            })
            .collect()
    }

    /// Everything that the path leads to.
    pub fn find<'a>(&self, root: &'a Json) -> Vec<&'a Json> {
        let mut here = vec![root];
        for step in &self.0 {
            here = here.into_iter().flat_map(|value| step.from(value)).collect();
        }
        here
    }
}

impl Step {
    fn from<'a>(&self, value: &'a Json) -> Vec<&'a Json> {
        match (self, value) {
            (Self::Field(name), Json::Object(map)) => map.get(name).into_iter().collect(),
            (Self::Index(place), Json::Array(items)) => {
                let place = if *place < 0 { items.len() as i64 + place } else { *place };
                usize::try_from(place).ok().and_then(|place| items.get(place)).into_iter().collect()
            }
            (Self::All, Json::Array(items)) => items.iter().collect(),
            (Self::All, Json::Object(map)) => map.values().collect(),
            (Self::Filter { path, equal, value }, Json::Array(items)) => items
                .iter()
                .filter(|item| {
                    let found = path.iter().try_fold(*item, |at, name| at.get(name));
                    let text = found.map(|found| match found {
                        Json::String(text) => text.clone(),
                        other => other.to_string(),
                    });
                    text.is_some_and(|text| (text == *value) == *equal)
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// A name up to the next dot or bracket; a backslash takes a character as it is.
fn name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => name.extend(characters.next().map(|(_, escaped)| escaped)),
            '.' | '[' => return (name, &text[at..]),
            _ => name.push(character),
        }
    }
    (name, "")
}

/// Where the bracket that is open ends.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0usize, None);
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn bracket(inner: &str) -> Option<Step> {
    if inner == "*" {
        return Some(Step::All);
    }
    if let Ok(place) = inner.parse() {
        return Some(Step::Index(place));
    }
    if let Some(condition) = inner.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        let (path, value, equal) = match condition.split_once("!=") {
            Some((path, value)) => (path, value, false),
            None => condition.split_once("==").map(|(path, value)| (path, value, true))?,
        };
        let path = JsonPath::parse(path.trim().strip_prefix('@')?)?;
        let path = path.fields()?.into_iter().map(str::to_owned).collect();
        return Some(Step::Filter { path, equal, value: unquoted(value.trim()).to_owned() });
    }
    let name = unquoted(inner);
    (name.len() + 2 == inner.len()).then(|| Step::Field(name.to_owned()))
}

fn unquoted(text: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_values() {
        let tree = json!({
            "metadata": {"annotations": {"a.io/b": "c"}},
            "spec": {"replicas": 3, "ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "No"}]},
        });
        let check = |path: &str, expected: serde_json::Value| {
            let found = JsonPath::parse(path).expect(path);
            assert_eq!(json!(found.find(&tree)), expected, "{path}");
        };
        check(".spec.replicas", json!([3]));
        check(".spec.ports[1].port", json!([2]));
        check(".spec.ports[*].name", json!(["a", "b"]));
        check(".status.conditions[?(@.type==\"Ready\")].status", json!(["True"]));
        check(".status.conditions[?(@.type=='Ready')].status", json!(["True"]));
        check(".metadata.annotations['a.io/b']", json!(["c"]));
        check(".metadata.annotations.a\\.io/b", json!(["c"]));
        check(".spec.none", json!([]));
        assert_eq!(JsonPath::parse("spec"), None);
        assert_eq!(JsonPath::parse(".spec[?(@.a<1)]"), None);
    }
}
