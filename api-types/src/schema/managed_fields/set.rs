//! A set of fields, and its form on the wire (`fieldsV1`).
//!
//! A set is a tree of path elements, each written with its prefix:
//!
//! ```text
//! f:NAME            a struct's field or a map's key
//! k:{"name":"x"}    an item of a list that is a map, by its keys (sorted)
//! v:VALUE           an item of a list that is a set
//! .                 beside the elements below: the path itself is a member
//! ```
//!
//! `{"f:labels":{".":{},"f:app":{}}}` has two members: the map and its key `app`.

use crate::codec::json::{Reader, Token};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Levels of a set that are read, as many as of other trees.
const MAX_DEPTH: usize = 128;

/// A set of fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Set(BTreeMap<String, Node>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    member: bool,
    below: Set,
}

impl Node {
    /// One element's value: an object of those below.
    fn read(input: &mut Reader<'_>, depth: usize) -> Option<Self> {
        if depth == 0 || input.token().ok()? != Token::ObjectStart {
            return None;
        }
        let (mut node, mut first) = (Self::default(), true);
        while let Some(element) = input.next_key(first).ok()? {
            first = false;
            if element == "." {
                node.member = true;
                input.skip_value().ok()?;
            } else {
                node.below.0.insert(escaped(&element), Self::read(input, depth - 1)?);
            }
        }
        node.member |= first;
        Some(node)
    }

    fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

impl Set {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the wire form; `None` for anything else.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut input = Reader::new(text, false);
        let node = Node::read(&mut input, MAX_DEPTH)?;
        input.finish().ok()?;
        Some(node.below)
    }

    /// The wire form.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write(false, &mut out);
        out
    }

    /// As an object, `.` first where the path itself is a member beside others.
    fn write(&self, member: bool, out: &mut String) {
        out.push('{');
        if member && !self.is_empty() {
            out.push_str("\".\":{},");
        }
        for (place, (element, node)) in self.0.iter().enumerate() {
            if place > 0 {
                out.push(',');
            }
            if element.contains(|c: char| c < ' ' || matches!(c, '"' | '\\')) {
                out.push_str(&Value::from(element.as_str()).to_string());
            } else {
                out.extend(["\"", element, "\""]);
            }
            out.push(':');
            node.below.write(node.member, out);
        }
        out.push('}');
    }

    pub fn insert(&mut self, path: &[String]) {
        let Some((first, rest)) = path.split_first() else { return };
        let node = self.0.entry(first.clone()).or_default();
        if rest.is_empty() { node.member = true } else { node.below.insert(rest) }
    }

    /// Whether the path itself is a member.
    pub fn contains(&self, path: &[String]) -> bool {
        let Some((first, rest)) = path.split_first() else { return false };
        self.0
            .get(first)
            .is_some_and(|node| if rest.is_empty() { node.member } else { node.below.contains(rest) })
    }

    /// Whether the path or anything below it is a member.
    pub fn reaches(&self, path: &[String]) -> bool {
        let Some((first, rest)) = path.split_first() else { return !self.is_empty() };
        self.0
            .get(first)
            .is_some_and(|node| if rest.is_empty() { !node.is_empty() } else { node.below.reaches(rest) })
    }

    pub fn union(mut self, other: &Self) -> Self {
        for (element, theirs) in &other.0 {
            let mine = self.0.entry(element.clone()).or_default();
            mine.member |= theirs.member;
            mine.below = std::mem::take(&mut mine.below).union(&theirs.below);
        }
        self
    }

    /// The members that are not in `other`.
    pub fn difference(&self, other: &Self) -> Self {
        self.combine(other, |mine, theirs| mine && !theirs)
    }

    /// The members that are in both.
    pub fn intersection(&self, other: &Self) -> Self {
        self.combine(other, |mine, theirs| mine && theirs)
    }

    fn combine(&self, other: &Self, keep: fn(bool, bool) -> bool) -> Self {
        let nothing = Node::default();
        let nodes = self.0.iter().map(|(element, mine)| {
            let theirs = other.0.get(element).unwrap_or(&nothing);
            let node = Node {
                member: keep(mine.member, theirs.member),
                below: mine.below.combine(&theirs.below, keep),
            };
            (element.clone(), node)
        });
        Self(nodes.filter(|(_, node)| !node.is_empty()).collect())
    }

    /// The set without the given paths and all below them.
    pub fn without(&self, paths: &[&[&str]]) -> Self {
        let mut set = self.clone();
        for path in paths {
            set.cut(path);
        }
        set
    }

    fn cut(&mut self, path: &[&str]) {
        match path {
            [] => {}
            [element] => {
                self.0.remove(*element);
            }
            [element, rest @ ..] => {
                if let Some(node) = self.0.get_mut(*element) {
                    node.below.cut(rest);
                    if node.is_empty() {
                        self.0.remove(*element);
                    }
                }
            }
        }
    }

    /// Takes single members out, leaving what is below them.
    pub fn without_members(&self, paths: &[&[&str]]) -> Self {
        let mut gone = Self::default();
        for path in paths {
            gone.insert(&path.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>());
        }
        self.difference(&gone)
    }

    /// All members as paths.
    pub fn members(&self) -> Vec<Vec<String>> {
        let mut out = Vec::new();
        self.collect(&mut Vec::new(), &mut out);
        out
    }

    fn collect(&self, path: &mut Vec<String>, out: &mut Vec<Vec<String>>) {
        for (element, node) in &self.0 {
            path.push(element.clone());
            if node.member {
                out.push(path.clone());
            }
            node.below.collect(path, out);
            path.pop();
        }
    }
}

/// An element as Go writes its JSON, in which a few characters are escaped that need not be.
pub(super) fn escaped(element: &str) -> String {
    const ESCAPES: [(char, &str); 5] = [
        ('<', "\\u003c"),
        ('>', "\\u003e"),
        ('&', "\\u0026"),
        ('\u{2028}', "\\u2028"),
        ('\u{2029}', "\\u2029"),
    ];
    if element.starts_with("f:") || !element.contains(ESCAPES.map(|(plain, _)| plain)) {
        return element.to_owned();
    }
    ESCAPES.iter().fold(element.to_owned(), |text, (plain, escape)| text.replace(*plain, escape))
}

/// A path as conflicts show it: `.spec.containers[name="a"].image`.
pub fn shown(path: &[String]) -> String {
    let mut out = String::new();
    for element in path {
        match element.split_at(2) {
            ("f:", name) => {
                out.push('.');
                out.push_str(name);
            }
            ("k:", keys) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
                out.push_str(&format!("[{}]", keys.join(",")));
            }
            ("v:", value) => out.push_str(&format!("[={value}]")),
            (_, place) => out.push_str(&format!("[{place}]")),
        }
    }
    out
}
