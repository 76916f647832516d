//! Fields cut out of stored JSON before it is read into a type.
//!
//! Of each object that comes out of the store a handful of fields decides how it is found; reading all of a
//! pod for them is what filling the cache would mostly cost. `skim` copies those fields, at the depth at
//! which they stand, and passes over the rest as text. What it passes over is not checked beyond its
//! brackets and quotes: it was checked when it was written. A text that it does not see through
//! is `None`, and its caller reads it whole.

use api_types::codec::json::plain;

/// What is kept of a value.
#[derive(Debug, Clone, Copy)]
pub enum Keep {
    All,
    /// The value where it is plain: no object, no list.
    Leaf,
    /// Of an object its plain members, and those whole that stand last in one of these paths (`status.podIPs`).
    Plain(&'static [&'static str]),
    /// These members of an object.
    Members(&'static [(&'static str, Keep)]),
}

/// The object with what is kept of its members.
pub fn skim(text: &[u8], keep: impl Fn(&str) -> Option<Keep>) -> Option<Vec<u8>> {
    // What is passed over is shown to clients as it is.
    let text = std::str::from_utf8(text).ok()?;
    let mut scan = Scan { text, at: 0, out: Vec::with_capacity(512) };
    scan.space();
    scan.members(keep)?;
    scan.space();
    (scan.at == text.len()).then_some(scan.out)
}

struct Scan<'t> {
    text: &'t str,
    at: usize,
    out: Vec<u8>,
}

impl<'t> Scan<'t> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// What stands between quotes, as it is written.
    fn string(&mut self) -> Option<&'t str> {
        self.take(b'"')?;
        let start = self.at;
        loop {
            self.at += plain(self.text.as_bytes().get(self.at..)?);
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return self.text.get(start..self.at - 1);
                }
                // What is escaped is no end.
                b'\\' => self.at += 2,
                _ => return None,
            }
        }
    }

    /// Passes over a value.
    fn value(&mut self) -> Option<&'t str> {
        let start = self.at;
        match self.peek()? {
            b'"' => {
                self.string()?;
            }
            b'{' | b'[' => {
                let mut depth = 0_usize;
                loop {
                    match self.peek()? {
                        b'"' => {
                            self.string()?;
                            continue;
                        }
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        _ => {}
                    }
                    self.at += 1;
                    if depth == 0 {
                        break;
                    }
                }
            }
            _ => {
                while !matches!(self.peek()?, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t') {
                    self.at += 1;
                }
                if self.at == start {
                    return None;
                }
            }
        }
        self.text.get(start..self.at)
    }

    /// Copies what is kept of an object.
    fn members(&mut self, keep: impl Fn(&str) -> Option<Keep>) -> Option<()> {
        self.take(b'{')?;
        self.out.push(b'{');
        self.space();
        if self.peek()? == b'}' {
            self.at += 1;
            self.out.push(b'}');
            return Some(());
        }
        let mut first = true;
        loop {
            self.space();
            let name = self.string()?;
            // Nobody writes names so; who does is read whole.
            if name.contains('\\') {
                return None;
            }
            self.space();
            self.take(b':')?;
            self.space();
            let before = self.out.len();
            if let Some(keep) = keep(name) {
                if !first {
                    self.out.push(b',');
                }
                self.out.push(b'"');
                self.out.extend_from_slice(name.as_bytes());
                self.out.extend_from_slice(b"\":");
                if self.kept(keep)? {
                    first = false;
                } else {
                    self.out.truncate(before);
                }
            } else {
                self.value()?;
            }
            self.space();
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    self.out.push(b'}');
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    /// Copies what is kept of a value; `false` when that is nothing.
    fn kept(&mut self, keep: Keep) -> Option<bool> {
        let (is_object, is_list) = (self.peek()? == b'{', self.peek()? == b'[');
        match keep {
            Keep::Members(wanted) if is_object => {
                self.members(|name| wanted.iter().find(|(own, _)| *own == name).map(|(_, keep)| *keep))?;
            }
            Keep::Plain(paths) if is_object => {
                let named = |name: &str| {
                    paths.iter().any(|path| path.rsplit_once('.').is_some_and(|(_, last)| last == name))
                };
                self.members(|name| Some(if named(name) { Keep::All } else { Keep::Leaf }))?;
            }
            Keep::Leaf | Keep::Plain(_) | Keep::Members(_) if is_object || is_list => {
                self.value()?;
                return Some(false);
            }
            _ => {
                let value = self.value()?;
                self.out.extend_from_slice(value.as_bytes());
            }
        }
        Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn check(given: &str, expected: Option<&str>) {
        const INNER: &[(&str, Keep)] =
            &[("labels", Keep::All), ("deep", Keep::Members(&[("a", Keep::Leaf)]))];
        let found = skim(given.as_bytes(), |name| match name {
            "kind" => Some(Keep::Leaf),
            "metadata" => Some(Keep::Members(INNER)),
            "status" => Some(Keep::Plain(&["status.ips", "status.phase"])),
            "all" => Some(Keep::All),
            _ => None,
        });
        let found = found.map(|text| String::from_utf8(text).expect("UTF-8"));
        assert_eq!(found.as_deref(), expected, "{given}");
    }

    #[test]
    fn what_is_asked_for_is_kept_where_it_stands() {
        check("{}", Some("{}"));
        check(r#" { "kind" : "A" , "spec":{"a":[1,{"b":"}]\\\"{"}]}, "x":1 } "#, Some(r#"{"kind":"A"}"#));
        check(
            r#"{"metadata":{"name":"n","labels":{"a":"b\"}","c":""},"deep":{"a":1,"b":[]},"uid":"u"},"spec":{}}"#,
            Some(r#"{"metadata":{"labels":{"a":"b\"}","c":""},"deep":{"a":1}}}"#),
        );
        check(
            r#"{"status":{"n":-1.5e3,"t":true,"z":null,"o":{"x":1},"l":[1],"ips":[{"ip":"1"}],"s":"ä"}}"#,
            Some(r#"{"status":{"n":-1.5e3,"t":true,"z":null,"ips":[{"ip":"1"}],"s":"ä"}}"#),
        );
        check(r#"{"all":[{"x":[]}],"kind":{"not":"plain"}}"#, Some(r#"{"all":[{"x":[]}]}"#));
        check(r#"{"kind":[1],"metadata":null,"status":7}"#, Some(r#"{"metadata":null,"status":7}"#));
    }

    #[test]
    fn what_is_no_object_is_not_guessed_at() {
        for text in [
            "",
            "[]",
            "1",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,",
            "{\"a\":}",
            "{\"a\" 1}",
            "{\"a\":1}x",
            "{\"a\":\"x}",
            "{\"a\":[1}",
            "{\"a\":\"\\",
            "{a:1}",
            "{\"a\":1 \"b\":2}",
            "k8s:enc:aescbc:v1:key1:xyz",
        ] {
            check(text, None);
        }
        assert_eq!(skim(b"{\"a\":\"\xff\"}", |_| None), None);
        // Names in which something is escaped may be those that are looked for.
        check(r#"{"\u006bind":"A"}"#, None);
    }

    fn any(random: &mut fastrand::Rng, depth: usize) -> Value {
        const TEXTS: [&str; 7] = ["", "a", "{", "]}", "\"", "\\\",:", "ä\n\u{1}"];
        match random.usize(..if depth == 0 { 4 } else { 6 }) {
            0 => Value::Null,
            1 => random.bool().into(),
            2 => random.i32(-9..9).into(),
            3 => TEXTS[random.usize(..TEXTS.len())].into(),
            4 => (0..random.usize(..4)).map(|_| any(random, depth - 1)).collect(),
            _ => {
                const NAMES: [&str; 6] = ["kind", "metadata", "status", "ips", "labels", "x"];
                (0..random.usize(..5))
                    .map(|_| (NAMES[random.usize(..NAMES.len())], any(random, depth - 1)))
                    .collect()
            }
        }
    }

    /// What `keep` leaves of a value, said with trees.
    fn wanted(value: &Value, keep: Keep) -> Option<Value> {
        let members = |keep: &dyn Fn(&str) -> Option<Keep>| {
            let all = value.as_object()?.iter();
            let kept = all.filter_map(|(name, own)| Some((name.clone(), wanted(own, keep(name)?)?)));
            Some(Value::Object(kept.collect()))
        };
        match keep {
            Keep::All => Some(value.clone()),
            Keep::Leaf | Keep::Plain(_) | Keep::Members(_) if value.is_array() => None,
            Keep::Leaf => (!value.is_object()).then(|| value.clone()),
            _ if !value.is_object() => Some(value.clone()),
            Keep::Plain(paths) => members(&|name| {
                let whole = paths.iter().any(|path| path.ends_with(&format!(".{name}")));
                Some(if whole { Keep::All } else { Keep::Leaf })
            }),
            Keep::Members(wanted) => {
                members(&|name| wanted.iter().find(|(own, _)| *own == name).map(|(_, keep)| *keep))
            }
        }
    }

    #[test]
    fn any_object_is_cut_as_its_tree_is() {
        const KEEP: &[(&str, Keep)] = &[
            ("kind", Keep::Leaf),
            ("metadata", Keep::Members(&[("labels", Keep::All), ("x", Keep::Plain(&["a.kind"]))])),
            ("status", Keep::Plain(&["status.ips"])),
            ("x", Keep::All),
        ];
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let value = any(&mut random, 4);
            let text = if random.bool() { format!("{value}") } else { format!("{value:#}") };
            let found = skim(text.as_bytes(), |name| KEEP.iter().find(|(own, _)| *own == name).map(|k| k.1));
            let found = found.map(|text| serde_json::from_slice::<Value>(&text).expect("JSON"));
            let expected = value.is_object().then(|| wanted(&value, Keep::Members(KEEP))).flatten();
            assert_eq!(found, expected, "{text}");
        }
    }
}
