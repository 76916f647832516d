//! Regular expressions of schemas: written in Go's language (RE2's), run by `regex`, told of in Go's words.
//!
//! What the two languages read otherwise is written anew: a brace that begins no count is itself, as is a bracket in a
//! class; `\d`, `\s`, `\w` and `\b` are about ASCII; `\Q…\E` quotes. Texts of errors name the part that Go names.

use regex::Regex;
use std::fmt::Write;

/// Most repetitions of one count.
const MOST: u32 = 1000;

/// Compiles a pattern; the error is worded as Go's.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    let mut reader = Reader { whole: pattern, rest: pattern, out: String::new() };
    reader.read().map_err(|(what, part)| format!("error parsing regexp: {what}: `{part}`"))?;
    Regex::new(&reader.out).map_err(|_| format!("error parsing regexp: expression too large: `{pattern}`"))
}

/// Classes by name: `[[:alpha:]]`.
const CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// What is wrong, and where.
type Wrong<'a> = (&'static str, &'a str);

struct Reader<'a> {
    whole: &'a str,
    rest: &'a str,
    out: String,
}

/// The text from `start` to where `rest` begins.
fn between<'a>(start: &'a str, rest: &str) -> &'a str {
    &start[..start.len() - rest.len()]
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let first = chars.next()?;
        self.rest = chars.as_str();
        Some(first)
    }

    fn read(&mut self) -> Result<(), Wrong<'a>> {
        let mut depth = 0usize;
        // Whether there is something to repeat, and the repetition that was read last.
        let (mut repeatable, mut repeated) = (false, None::<&'a str>);
        while let Some(first) = self.rest.chars().next() {
            let before = self.rest;
            let last = repeated.take();
            match first {
                '(' => {
                    self.group()?;
                    // Flags alone open nothing.
                    if before[..before.len() - self.rest.len()].ends_with(')') {
                        continue;
                    }
                    (depth, repeatable) = (depth + 1, false);
                    continue;
                }
                ')' => {
                    depth = depth.checked_sub(1).ok_or(("unexpected )", self.whole))?;
                    self.next();
                    self.out.push(')');
                }
                '|' => {
                    self.next();
                    self.out.push('|');
                    repeatable = false;
                    continue;
                }
                '^' | '$' | '.' => {
                    self.next();
                    self.out.push(first);
                }
                '[' => self.class()?,
                '*' | '+' | '?' => {
                    self.next();
                    repeated = Some(before);
                    self.repetition(before, last, repeatable)?;
                    continue;
                }
                '{' if self.count()? => {
                    repeated = Some(before);
                    self.repetition(before, last, repeatable)?;
                    continue;
                }
                '\\' => self.backslash()?,
                _ => {
                    self.next();
                    self.literal(first);
                }
            }
            repeatable = true;
        }
        if depth > 0 { Err(("missing closing )", self.whole)) } else { Ok(()) }
    }

    fn literal(&mut self, literal: char) {
        self.out.push_str(&regex::escape(literal.encode_utf8(&mut [0; 4])));
    }

    /// Ends a repetition that began at `before`.
    fn repetition(
        &mut self,
        before: &'a str,
        last: Option<&'a str>,
        repeatable: bool,
    ) -> Result<(), Wrong<'a>> {
        if let Some(rest) = self.rest.strip_prefix('?') {
            self.rest = rest;
        }
        if let Some(last) = last {
            return Err(("invalid nested repetition operator", between(last, self.rest)));
        }
        let operator = between(before, self.rest);
        if !repeatable {
            return Err(("missing argument to repetition operator", operator));
        }
        self.out.push_str(operator);
        Ok(())
    }

    /// Reads `{n}`, `{n,}` or `{n,m}`, if that is what is there.
    fn count(&mut self) -> Result<bool, Wrong<'a>> {
        let inside = self.rest[1..].split_once('}');
        let Some((inside, rest)) = inside else { return Ok(false) };
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let padded = text.len() > 1 && text.starts_with('0');
            (digits && !padded).then(|| text.parse::<u32>().unwrap_or(u32::MAX))
        };
        let (least, most) = match inside.split_once(',') {
            None => (number(inside), number(inside).map(Some)),
            Some((least, "")) => (number(least), Some(None)),
            Some((least, most)) => (number(least), number(most).map(Some)),
        };
        let (Some(least), Some(most)) = (least, most) else { return Ok(false) };
        if least > MOST || most.is_some_and(|most| most > MOST || most < least) {
            return Err(("invalid repeat count", between(self.rest, rest)));
        }
        self.rest = rest;
        Ok(true)
    }

    /// Reads what opens a group, or flags.
    fn group(&mut self) -> Result<(), Wrong<'a>> {
        let start = self.rest;
        if !start.starts_with("(?") {
            self.next();
            self.out.push('(');
            return Ok(());
        }
        let named =
            ["(?P<", "(?<"].into_iter().find(|open| start.starts_with(open) && start.len() > open.len());
        if let Some(open) = named {
            let Some(end) = start.find('>') else { return Err(("invalid named capture", start)) };
            let name = &start[open.len()..end];
            let sound = name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
            if name.is_empty() || !sound {
                return Err(("invalid named capture", &start[..=end]));
            }
            self.rest = &start[end + 1..];
            self.out.push('(');
            return Ok(());
        }
        self.rest = &start[2..];
        let (mut negative, mut flags) = (false, 0);
        while let Some(flag) = self.next() {
            match flag {
                'i' | 'm' | 's' | 'U' => flags += 1,
                '-' if !negative => (negative, flags) = (true, 0),
                ':' | ')' if !negative || flags > 0 => {
                    self.out.push_str(match between(start, self.rest) {
                        "(?)" => "",
                        flags => flags,
                    });
                    return Ok(());
                }
                _ => break,
            }
        }
        Err(("invalid or unsupported Perl syntax", between(start, self.rest)))
    }

    fn backslash(&mut self) -> Result<(), Wrong<'a>> {
        let start = self.rest;
        match start[1..].chars().next() {
            Some('A') => self.out.push_str(r"\A"),
            Some('z') => self.out.push_str(r"\z"),
            Some('b') => self.out.push_str(r"(?-u:\b)"),
            Some('B') => self.out.push_str(r"\B"),
            Some('C') => return Err(("invalid escape sequence", &start[..2])),
            Some('Q') => {
                let (quoted, rest) = start[2..].split_once(r"\E").unwrap_or((&start[2..], ""));
                self.out.push_str("(?:");
                self.out.push_str(&regex::escape(quoted));
                self.out.push(')');
                self.rest = rest;
                return Ok(());
            }
            _ => {
                if !self.known_class(false)? {
                    let character = self.escaped()?;
                    self.literal(character);
                }
                return Ok(());
            }
        }
        self.rest = &start[2..];
        Ok(())
    }

    /// Reads `\d`, `\pL` and the like.
    fn known_class(&mut self, inside: bool) -> Result<bool, Wrong<'a>> {
        let start = self.rest;
        let Some(letter) = start.strip_prefix('\\').and_then(|rest| rest.chars().next()) else {
            return Ok(false);
        };
        let of = match letter.to_ascii_lowercase() {
            'd' => "0-9",
            's' => r"\t\n\f\r ",
            'w' => "0-9A-Za-z_",
            'p' => {
                self.rest = &start[2..];
                let end = match self.next() {
                    Some('{') => self.rest.find('}').map(|end| end + 1),
                    Some(_) => Some(0),
                    None => None,
                };
                let Some(end) = end else { return Err(("invalid character class range", start)) };
                self.rest = &self.rest[end..];
                let class = between(start, self.rest);
                if Regex::new(class).is_err() {
                    return Err(("invalid character class range", class));
                }
                self.out.push_str(class);
                return Ok(true);
            }
            _ => return Ok(false),
        };
        self.rest = &start[2..];
        match (letter.is_ascii_uppercase(), inside) {
            (true, _) => self.out.extend(["[^", of, "]"]),
            (false, true) => self.out.push_str(of),
            (false, false) => self.out.extend(["[", of, "]"]),
        }
        Ok(true)
    }

    /// Reads an escaped character.
    fn escaped(&mut self) -> Result<char, Wrong<'a>> {
        let start = self.rest;
        self.next();
        let Some(first) = self.next() else { return Err(("trailing backslash at end of expression", "")) };
        let is_octal = |c: Option<char>| c.is_some_and(|c| ('0'..='7').contains(&c));
        let code = match first {
            'a' => Some(7),
            'f' => Some(12),
            'n' => Some(10),
            'r' => Some(13),
            't' => Some(9),
            'v' => Some(11),
            'x' => match self.rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
                Some((digits, rest)) => {
                    self.rest = rest;
                    u32::from_str_radix(digits, 16).ok()
                }
                None => {
                    let digits = self.rest.get(..2);
                    self.rest = self.rest.get(2..).unwrap_or_default();
                    digits.and_then(|digits| u32::from_str_radix(digits, 16).ok())
                }
            },
            '0' => Some(0),
            // A digit alone would refer back to a group.
            '1'..='7' => first.to_digit(8).filter(|_| is_octal(self.rest.chars().next())),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => return Ok(c),
            _ => None,
        };
        let code = code.map(|mut code| {
            let mut more = if first.is_ascii_digit() { 2 } else { 0 };
            while more > 0 && is_octal(self.rest.chars().next()) {
                code = code * 8 + self.next().and_then(|c| c.to_digit(8)).unwrap_or_default();
                more -= 1;
            }
            code
        });
        code.and_then(char::from_u32).ok_or(("invalid escape sequence", between(start, self.rest)))
    }

    fn class(&mut self) -> Result<(), Wrong<'a>> {
        let whole = self.rest;
        self.next();
        self.out.push('[');
        if let Some(rest) = self.rest.strip_prefix('^') {
            self.rest = rest;
            self.out.push('^');
        }
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            if let Some(name) = self.rest.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) {
                let class = between(self.rest, name.1);
                if !CLASSES.contains(&name.0.trim_start_matches('^')) {
                    return Err(("invalid character class range", class));
                }
                self.out.push_str(class);
                self.rest = name.1;
                continue;
            }
            if self.known_class(true)? {
                continue;
            }
            let range = self.rest;
            let low = self.class_character(whole)?;
            let mut high = low;
            if self.rest.starts_with('-') && self.rest.len() > 1 && !self.rest.starts_with("-]") {
                self.next();
                high = self.class_character(whole)?;
            }
            if high < low {
                return Err(("invalid character class range", between(range, self.rest)));
            }
            let _ = write!(self.out, r"\x{{{:x}}}-\x{{{:x}}}", u32::from(low), u32::from(high));
        }
        self.next();
        self.out.push(']');
        Ok(())
    }

    fn class_character(&mut self, whole: &'a str) -> Result<char, Wrong<'a>> {
        if self.rest.starts_with('\\') {
            return self.escaped();
        }
        self.next().ok_or(("missing closing ]", whole))
    }
}

#[cfg(test)]
mod tests {
    use super::compile;

    #[test]
    fn errors_are_worded_as_go_words_them() {
        for (pattern, text) in [
            ("(", "missing closing ): `(`"),
            ("a)", "unexpected ): `a)`"),
            ("[a", "missing closing ]: `[a`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("*a", "missing argument to repetition operator: `*`"),
            ("(|+?)", "missing argument to repetition operator: `+?`"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("(?!x)", "invalid or unsupported Perl syntax: `(?!`"),
            ("(?P<a", "invalid named capture: `(?P<a`"),
            (r"\y", r"invalid escape sequence: `\y`"),
            (r"(a)\1", r"invalid escape sequence: `\1`"),
            ("a{2,1}", "invalid repeat count: `{2,1}`"),
            ("a{2000}", "invalid repeat count: `{2000}`"),
            ("[z-a]", "invalid character class range: `z-a`"),
            (r"\p{Foo}", r"invalid character class range: `\p{Foo}`"),
            ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
            (r"a\", "trailing backslash at end of expression: ``"),
        ] {
            let found = compile(pattern).expect_err(pattern);
            assert_eq!(found, format!("error parsing regexp: {text}"), "{pattern}");
        }
    }

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        for (pattern, matching, other) in [
            ("^{a}$", "{a}", "a"),
            ("^a{,5}$", "a{,5}", "aaa"),
            ("^a{2,3}$", "aaa", "a"),
            ("^[[a]$", "[", "b"),
            ("^[a-z&&b]$", "&", "A"),
            ("^[^/]]$", "x]", "x"),
            ("^[]a-]+$", "]-a", "b"),
            (r"^\Qa.b\E$", "a.b", "axb"),
            (r"^\d+$", "12", "١٢"),
            (r"^[\w.-]+$", "a_b-c.d", "é"),
            (r"^[^\s\d]$", "a", "1"),
            (r"^\pL\p{Greek}$", "aα", "aa"),
            (r"^(?i)a(?P<n>b|c)(?:d)$", "ABD", "abx"),
            (r"^\x41\x{42}\103\*\.$", "ABC*.", "ABCx."),
            (r"^[[:alpha:][:digit:]]{2}$", "a1", "a-"),
            ("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "my-name", "-x"),
        ] {
            let regex = compile(pattern).expect(pattern);
            assert!(regex.is_match(matching), "{pattern} {matching}");
            assert!(!regex.is_match(other), "{pattern} {other}");
        }
    }
}
