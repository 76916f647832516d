//! Label and field selectors: parsed, checked and matched.
//!
//! Texts of errors are upstream's; they reach users as the message of a 400
//! (API docs "Labels and Selectors", "Field Selectors").

use crate::field::{Errors, Path};
use crate::meta::v1::LabelSelector as LabelSelectorSpec;
use crate::names;
use std::collections::BTreeMap;
use std::fmt;

/// Why a selector cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("unable to parse requirement: {0}")]
    Requirement(String),
    #[error("{0}")]
    Syntax(String),
    #[error("invalid selector: '{selector}'; can't understand '{part}'")]
    FieldSyntax { selector: String, part: String },
    #[error("{0:?} is not a valid label selector operator")]
    Operator(String),
}

/// What one requirement asks of one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operator {
    /// As `In` with one value, and written otherwise.
    Equals(String),
    NotEquals(String),
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    GreaterThan(i64),
    LessThan(i64),
}

/// One condition of a label selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
}

impl Requirement {
    fn matches(&self, value: Option<&str>) -> bool {
        let number = |text: Option<&str>| text.and_then(|t| t.parse::<i64>().ok());
        match &self.operator {
            Operator::Equals(wanted) => value == Some(wanted.as_str()),
            Operator::NotEquals(other) => value != Some(other.as_str()),
            Operator::In(values) => value.is_some_and(|v| values.iter().any(|x| x == v)),
            Operator::NotIn(values) => value.is_none_or(|v| values.iter().all(|x| x != v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan(bound) => number(value).is_some_and(|n| n > *bound),
            Operator::LessThan(bound) => number(value).is_some_and(|n| n < *bound),
        }
    }
}

/// A conjunction of requirements; without any it selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl Labels {
    /// Selects nothing at all (what a nil LabelSelector means).
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Selects what carries all the given labels.
    pub fn from_map(labels: &BTreeMap<String, String>) -> Self {
        let requirements = labels
            .iter()
            .map(|(key, value)| Requirement { key: key.clone(), operator: Operator::Equals(value.clone()) })
            .collect();
        Self { requirements, nothing: false }
    }

    /// From the API's struct; no struct selects nothing, an empty one everything.
    pub fn from_spec(spec: Option<&LabelSelectorSpec>) -> Result<Self, Error> {
        let Some(spec) = spec else { return Ok(Self::nothing()) };
        let mut own = Self::from_map(&spec.match_labels);
        for expression in &spec.match_expressions {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In(expression.values.clone()),
                "NotIn" => Operator::NotIn(expression.values.clone()),
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(Error::Operator(other.to_owned())),
            };
            own.requirements.push(Requirement { key: expression.key.clone(), operator });
        }
        Ok(own)
    }

    /// Parses `app=web,tier in (a,b),!legacy`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let requirements = Parser { lexemes: lex(text), at: 0 }.selector()?;
        Ok(Self { requirements, nothing: false })
    }

    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_by(|key| labels.get(key).map(String::as_str))
    }

    /// As `matches`, for labels in any container.
    pub fn matches_by<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(label(&r.key)))
    }
}

impl fmt::Display for Labels {
    /// The text form, as it stands in `status.selector` and in URLs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Requirement { key, operator }) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            let sorted = |values: &[String]| {
                let mut values = values.to_vec();
                values.sort();
                values.join(",")
            };
            match operator {
                Operator::Equals(value) => write!(f, "{key}={value}")?,
                Operator::NotEquals(value) => write!(f, "{key}!={value}")?,
                Operator::In(values) => write!(f, "{key} in ({})", sorted(values))?,
                Operator::NotIn(values) => write!(f, "{key} notin ({})", sorted(values))?,
                Operator::Exists => f.write_str(key)?,
                Operator::DoesNotExist => write!(f, "!{key}")?,
                Operator::GreaterThan(bound) => write!(f, "{key}>{bound}")?,
                Operator::LessThan(bound) => write!(f, "{key}<{bound}")?,
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Lexeme {
    Word(String),
    Symbol(&'static str),
}

impl Lexeme {
    fn text(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Symbol(symbol) => symbol,
        }
    }
}

fn lex(text: &str) -> Vec<Lexeme> {
    const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];
    let mut lexemes = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(symbol) = SYMBOLS.into_iter().find(|s| rest.starts_with(s)) {
            lexemes.push(Lexeme::Symbol(symbol));
            rest = &rest[symbol.len()..];
        } else {
            let stop = |c: char| c.is_whitespace() || "=!(),><".contains(c);
            let end = rest.find(stop).unwrap_or(rest.len());
            lexemes.push(Lexeme::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    lexemes
}

struct Parser {
    lexemes: Vec<Lexeme>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Lexeme> {
        self.lexemes.get(self.at)
    }

    fn next(&mut self) -> Option<Lexeme> {
        let lexeme = self.lexemes.get(self.at).cloned();
        self.at += 1;
        lexeme
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.peek(), Some(Lexeme::Symbol(s)) if *s == symbol)
    }

    fn at_end_of_requirement(&self) -> bool {
        self.peek().is_none() || self.is(",")
    }

    fn found(&self, expected: &str) -> String {
        let text = self.peek().map_or("", Lexeme::text);
        format!("found '{text}', expected: {expected}")
    }

    fn selector(mut self) -> Result<Vec<Requirement>, Error> {
        let mut requirements = Vec::new();
        if self.peek().is_none() {
            return Ok(requirements);
        }
        loop {
            if !(matches!(self.peek(), Some(Lexeme::Word(_))) || self.is("!")) {
                return Err(Error::Syntax(self.found("!, identifier, or 'end of string'")));
            }
            requirements.push(self.requirement().map_err(Error::Requirement)?);
            if self.peek().is_none() {
                return Ok(requirements);
            }
            if !self.is(",") {
                return Err(Error::Syntax(self.found("',' or 'end of string'")));
            }
            self.at += 1;
            if !(matches!(self.peek(), Some(Lexeme::Word(_))) || self.is("!")) {
                return Err(Error::Syntax(self.found("identifier after ','")));
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let negated = self.is("!");
        if negated {
            self.at += 1;
        }
        let Some(Lexeme::Word(key)) = self.peek().cloned() else { return Err(self.found("identifier")) };
        self.at += 1;
        checked(names::qualified_name(&key), &Path::default(), &key)?;
        if negated {
            return Ok(Requirement { key, operator: Operator::DoesNotExist });
        }
        if self.at_end_of_requirement() {
            return Ok(Requirement { key, operator: Operator::Exists });
        }
        const OPERATORS: [&str; 7] = ["in", "notin", "=", "==", "!=", ">", "<"];
        let word = self.peek().map(|l| l.text().to_owned()).unwrap_or_default();
        if !OPERATORS.contains(&word.as_str()) {
            return Err(self.found("in, notin, =, ==, !=, gt, lt"));
        }
        self.at += 1;
        let operator = match word.as_str() {
            "in" => Operator::In(self.values()?),
            "notin" => Operator::NotIn(self.values()?),
            "=" | "==" => Operator::Equals(self.value()?),
            "!=" => Operator::NotEquals(self.value()?),
            sign => {
                let text = self.value()?;
                let bound = text.parse().map_err(|_| {
                    let mut errors = Errors::default();
                    errors.invalid(
                        &Path::new("values").index(0),
                        &text,
                        "for 'Gt', 'Lt' operators, the value must be an integer",
                    );
                    errors.to_string()
                })?;
                if sign == ">" { Operator::GreaterThan(bound) } else { Operator::LessThan(bound) }
            }
        };
        let values = match &operator {
            Operator::In(values) | Operator::NotIn(values) => values.as_slice(),
            Operator::Equals(value) | Operator::NotEquals(value) => std::slice::from_ref(value),
            _ => &[],
        };
        for (place, value) in values.iter().enumerate() {
            let path = Path::new("values").index(place).key(&key);
            checked(names::label_value(value), &path, value)?;
        }
        Ok(Requirement { key, operator })
    }

    /// `(a,b)`, possibly with empty values between the commas.
    fn values(&mut self) -> Result<Vec<String>, String> {
        if !self.is("(") {
            let text = self.peek().map_or("", Lexeme::text);
            return Err(format!("found '{text}' expected: '('"));
        }
        self.at += 1;
        let mut values = Vec::new();
        if self.is(")") {
            self.at += 1;
            return Err(empty_set());
        }
        loop {
            match self.peek().cloned() {
                Some(Lexeme::Word(word)) => {
                    self.at += 1;
                    values.push(word);
                }
                Some(Lexeme::Symbol("," | ")")) => values.push(String::new()),
                _ => return Err(self.found("',', ')' or identifier")),
            }
            match self.next() {
                Some(Lexeme::Symbol(")")) => break,
                Some(Lexeme::Symbol(",")) => {}
                other => {
                    let text = other.as_ref().map_or("", Lexeme::text);
                    return Err(format!("found '{text}', expected: ',' or ')'"));
                }
            }
        }
        values.sort();
        values.dedup();
        Ok(values)
    }

    fn value(&mut self) -> Result<String, String> {
        if self.at_end_of_requirement() {
            return Ok(String::new());
        }
        match self.peek().cloned() {
            Some(Lexeme::Word(word)) => {
                self.at += 1;
                Ok(word)
            }
            _ => Err(self.found("identifier")),
        }
    }
}

fn empty_set() -> String {
    "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty".to_owned()
}

fn checked(wrong: Vec<String>, path: &Path, value: &str) -> Result<(), String> {
    if wrong.is_empty() {
        return Ok(());
    }
    let mut errors = Errors::default();
    errors.invalid(path, value, wrong.join("; "));
    Err(errors.to_string())
}

/// One condition of a field selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRequirement {
    pub field: String,
    pub value: String,
    pub equal: bool,
}

/// A field selector: `metadata.name=a,status.phase!=Running`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    requirements: Vec<FieldRequirement>,
}

impl Fields {
    /// Parses the text; `\`, `,` and `=` in values are escaped with a backslash.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut requirements = Vec::new();
        for part in split_unescaped(text) {
            if part.is_empty() {
                continue;
            }
            let broken = || Error::FieldSyntax { selector: text.to_owned(), part: part.to_owned() };
            let (field, value, equal) = split_condition(part).ok_or_else(broken)?;
            let value = unescape(value).ok_or_else(broken)?;
            requirements.push(FieldRequirement { field: field.to_owned(), value, equal });
        }
        Ok(Self { requirements })
    }

    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.requirements
    }

    /// The same conditions on fields of other names.
    #[must_use]
    pub fn renamed(mut self, name: impl Fn(&str) -> String) -> Self {
        self.requirements.iter_mut().for_each(|requirement| requirement.field = name(&requirement.field));
        self
    }

    /// The value that a field must have, if the selector says so exactly.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.requirements.iter().find(|r| r.equal && r.field == field).map(|r| r.value.as_str())
    }

    /// Whether all conditions hold; `value` gives a field's text.
    pub fn matches_by<'a>(&self, value: impl Fn(&str) -> &'a str) -> bool {
        self.requirements.iter().all(|r| (value(&r.field) == r.value) == r.equal)
    }
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn split_condition(part: &str) -> Option<(&str, &str, bool)> {
    let at = part.find('=')?;
    if at > 0 && part.as_bytes()[at - 1] == b'!' {
        return Some((&part[..at - 1], &part[at + 1..], false));
    }
    let value = part[at + 1..].strip_prefix('=').unwrap_or(&part[at + 1..]);
    Some((&part[..at], value, true))
}

fn unescape(value: &str) -> Option<String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next()? {
                escaped @ ('\\' | ',' | '=') => out.push(escaped),
                _ => return None,
            },
            ',' | '=' => return None,
            plain => out.push(plain),
        }
    }
    Some(out)
}

/// Checks a LabelSelector of an object's spec.
pub fn validate(spec: &LabelSelectorSpec, path: &Path, errors: &mut Errors) {
    for (key, value) in &spec.match_labels {
        let path = path.child("matchLabels");
        for wrong in names::qualified_name(key) {
            errors.invalid(&path, key, wrong);
        }
        for wrong in names::label_value(value) {
            errors.invalid(&path.key(key), value, wrong);
        }
    }
    for (place, expression) in spec.match_expressions.iter().enumerate() {
        let path = path.child("matchExpressions").index(place);
        match expression.operator.as_str() {
            "In" | "NotIn" if expression.values.is_empty() => {
                errors.required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'")
            }
            "Exists" | "DoesNotExist" if !expression.values.is_empty() => errors.forbidden(
                &path.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
        }
        for wrong in names::qualified_name(&expression.key) {
            errors.invalid(&path.child("key"), &expression.key, wrong);
        }
        for (i, value) in expression.values.iter().enumerate() {
            for wrong in names::label_value(value) {
                errors.invalid(&path.child("values").index(i), value, wrong);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn check(selector: &str, given: &[(&str, &str)], expected: bool) {
        let parsed = Labels::parse(selector).expect(selector);
        assert_eq!(parsed.matches(&labels(given)), expected, "{selector} on {given:?}");
    }

    #[test]
    fn selectors_match() {
        check("", &[], true);
        check("a=1", &[("a", "1")], true);
        check("a==1,b", &[("a", "1"), ("b", "")], true);
        check("a!=1", &[], true);
        check("a in (1, 2)", &[("a", "2")], true);
        check("a notin (1,2)", &[("a", "3")], true);
        check("!a", &[("a", "1")], false);
        check("a>4", &[("a", "5")], true);
        check("a<4", &[("a", "x")], false);
        check("a=", &[("a", "")], true);
        check("in in (in)", &[("in", "in")], true);
    }

    #[test]
    fn what_cannot_be_parsed_is_told_in_upstreams_words() {
        for (text, error) in [
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("a=1,", "found '', expected: identifier after ','"),
            ("=1", "found '=', expected: !, identifier, or 'end of string'"),
            ("a in 1", "unable to parse requirement: found '1' expected: '('"),
            ("a=1 b", "found 'b', expected: ',' or 'end of string'"),
        ] {
            assert_eq!(Labels::parse(text).expect_err(text).to_string(), error);
        }
        let text = Labels::parse("a=-x-").expect_err("a bad value").to_string();
        assert!(
            text.starts_with("unable to parse requirement: values[0][a]: Invalid value: \"-x-\": "),
            "{text}"
        );
    }

    #[test]
    fn text_form_is_stable() {
        for text in ["a=1", "a in (1,2)", "a!=1", "!a", "a", "a notin (1,2)", "a in (1)", "a notin (1)"] {
            assert_eq!(Labels::parse(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn field_selectors() {
        let parsed = Fields::parse("metadata.name=a,status.phase!=Running,x==a\\,b").expect("parsable");
        let value = |field: &str| match field {
            "metadata.name" => "a",
            "x" => "a,b",
            _ => "Pending",
        };
        assert!(parsed.matches_by(value));
        assert_eq!(parsed.exact("metadata.name"), Some("a"));
        assert_eq!(
            Fields::parse("a").expect_err("no operator").to_string(),
            "invalid selector: 'a'; can't understand 'a'"
        );
    }
}
