//! A pull reader of JSON that knows where it is in the object.
//!
//! It hands out one token at a time; strings without escapes are borrowed. The path to the
//! current field is kept as it descends, for the texts of errors and strict findings.

use super::error::{Error, Strict};
use std::borrow::Cow;

/// Levels of nesting that are read; Go's decoder stops there too.
const MAX_DEPTH: usize = 10_000;
/// Levels at which a declared struct may stand. Only schemas nest in themselves; what is deeper would
/// take a thread's stack, and trees of serde_json end at 128.
const MAX_STRUCT_DEPTH: usize = 120;

/// One JSON token where a value may start.
#[derive(Debug, Clone, PartialEq)]
pub enum Token<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    String(Cow<'a, str>),
    ArrayStart,
    ObjectStart,
}

enum Step<'a> {
    Field(Cow<'a, str>),
    /// A map's key: part of strict findings' paths, not of type errors'.
    Key(Cow<'a, str>),
    Item(usize),
}

/// Reads JSON out of a byte slice.
pub struct Reader<'a> {
    text: &'a [u8],
    /// The same, where all of it is UTF-8.
    utf8: Option<&'a str>,
    at: usize,
    path: Vec<Step<'a>>,
    go_struct: &'static str,
    depth: usize,
    /// Steps of the path that lead to the innermost whole object.
    object: usize,
    strict: Option<Vec<Strict>>,
}

impl<'a> Reader<'a> {
    pub fn new(text: &'a [u8], strict: bool) -> Self {
        Self {
            text,
            utf8: std::str::from_utf8(text).ok(),
            at: 0,
            path: Vec::with_capacity(16),
            go_struct: "",
            depth: 0,
            object: 0,
            strict: strict.then(Vec::new),
        }
    }

    /// Unknown and duplicate fields found so far.
    pub fn take_strict(&mut self) -> Vec<Strict> {
        self.strict.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The next token; a value must start here.
    pub fn token(&mut self) -> Result<Token<'a>, Error> {
        self.space();
        match self.peek()? {
            b'{' => self.open(Token::ObjectStart),
            b'[' => self.open(Token::ArrayStart),
            b'"' => Ok(Token::String(self.string()?)),
            b't' => self.word("true", Token::Bool(true)),
            b'f' => self.word("false", Token::Bool(false)),
            b'n' => self.word("null", Token::Null),
            b'-' | b'0'..=b'9' => self.number(),
            _ => Err(self.invalid("looking for beginning of value")),
        }
    }

    /// The first byte of the value that starts here; nothing is taken.
    pub fn first(&mut self) -> Result<u8, Error> {
        self.space();
        self.peek()
    }

    /// Takes a `null` if one stands here.
    pub fn take_null(&mut self) -> Result<bool, Error> {
        self.space();
        if self.peek()? != b'n' {
            return Ok(false);
        }
        self.word("null", ()).map(|()| true)
    }

    /// The next key of the open object, or `None` at its end (which is taken).
    pub fn next_key(&mut self, first: bool) -> Result<Option<Cow<'a, str>>, Error> {
        self.key(first, Self::string)
    }

    fn key<T>(
        &mut self,
        first: bool,
        read: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        self.space();
        let mut next = self.peek()?;
        if next == b'}' {
            self.at += 1;
            self.depth -= 1;
            return Ok(None);
        }
        if !first {
            if next != b',' {
                return Err(self.invalid("after object key:value pair"));
            }
            self.at += 1;
            self.space();
            next = self.peek()?;
        }
        if next != b'"' {
            return Err(self.invalid("looking for beginning of object key string"));
        }
        let key = read(self)?;
        self.space();
        if self.peek()? != b':' {
            return Err(self.invalid("after object key"));
        }
        self.at += 1;
        Ok(Some(key))
    }

    /// Whether the open array has another item; `taken` items came before. Enters it.
    pub fn next_item(&mut self, taken: usize) -> Result<bool, Error> {
        self.space();
        let next = self.peek()?;
        if next == b']' {
            self.at += 1;
            self.depth -= 1;
            return Ok(false);
        }
        if taken > 0 {
            if next != b',' {
                return Err(self.invalid("after array element"));
            }
            self.at += 1;
        }
        self.path.push(Step::Item(taken));
        Ok(true)
    }

    pub fn leave_item(&mut self) {
        self.path.pop();
    }

    pub fn enter_field(&mut self, name: impl Into<Cow<'a, str>>) {
        self.path.push(Step::Field(name.into()));
    }

    /// As `enter_field`, for a map's key.
    pub fn enter_key(&mut self, key: Cow<'a, str>) {
        self.path.push(Step::Key(key));
    }

    pub fn leave_field(&mut self) {
        self.path.pop();
    }

    /// Notes the struct that fields now belong to; gives back the one around it.
    ///
    /// # Errors
    /// Structs nest in themselves (schemas) too deeply.
    pub fn enter_struct(&mut self, name: &'static str) -> Result<&'static str, Error> {
        if self.depth > MAX_STRUCT_DEPTH {
            return Err(Error::Depth);
        }
        Ok(std::mem::replace(&mut self.go_struct, name))
    }

    pub fn leave_struct(&mut self, outer: &'static str) {
        self.go_struct = outer;
    }

    /// Reads a part as Go's decoder does where a type decodes itself: unknown fields in it are not told of.
    ///
    /// # Errors
    /// What `read` could not read.
    pub fn apart<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        let strict = self.strict.take();
        let found = read(self);
        self.strict = strict;
        found
    }

    /// Notes that a whole object starts here, within another; gives back where that one started.
    pub fn enter_object(&mut self) -> usize {
        std::mem::replace(&mut self.object, self.path.len())
    }

    pub fn leave_object(&mut self, outer: usize) {
        self.object = outer;
    }

    /// Whether the current field is one of a whole object, which may name its kind.
    pub fn at_root(&self) -> bool {
        self.path.len() == self.object + 1
    }

    /// The current field is not known.
    pub fn unknown(&mut self) {
        let path = self.strict_path();
        if let Some(found) = &mut self.strict {
            found.push(Strict::Unknown(path));
        }
    }

    /// The current field came before.
    pub fn duplicate(&mut self) {
        let path = self.strict_path();
        if let Some(found) = &mut self.strict {
            found.push(Strict::Duplicate(path));
        }
    }

    /// Skips one value of any type. It keeps its own stack: a thread's would end before `MAX_DEPTH`.
    pub fn skip_value(&mut self) -> Result<(), Error> {
        // Whether each open container is an object, and how many values of it came so far.
        let mut open: Vec<(bool, usize)> = Vec::new();
        loop {
            if self.first()? == b'"' {
                self.skip_string()?;
            } else {
                match self.token()? {
                    Token::ArrayStart => open.push((false, 0)),
                    Token::ObjectStart => open.push((true, 0)),
                    _ => {}
                }
            }
            loop {
                let Some((is_object, taken)) = open.last_mut() else { return Ok(()) };
                let more = if *is_object {
                    self.key(*taken == 0, Self::skip_string)?.is_some()
                } else {
                    if *taken > 0 {
                        self.leave_item();
                    }
                    self.next_item(*taken)?
                };
                *taken += 1;
                if more {
                    break;
                }
                open.pop();
            }
        }
    }

    /// Skips one value and gives its text.
    pub fn raw_value(&mut self) -> Result<&'a [u8], Error> {
        self.space();
        let start = self.at;
        self.skip_value()?;
        Ok(&self.text[start..self.at])
    }

    /// One value that no struct declares. Tells of duplicate fields at any depth.
    pub fn tree(&mut self) -> Result<serde_json::Value, Error> {
        let start = self.at;
        let text = self.raw_value()?;
        // It ends at 128 levels, so what follows may call itself.
        let tree = serde_json::from_slice(text).map_err(|error| Error::Value(error.to_string()))?;
        if self.strict.is_some() {
            let end = std::mem::replace(&mut self.at, start);
            self.find_duplicates()?;
            self.at = end;
        }
        Ok(tree)
    }

    fn find_duplicates(&mut self) -> Result<(), Error> {
        match self.token()? {
            Token::ArrayStart => {
                let mut taken = 0;
                while self.next_item(taken)? {
                    self.find_duplicates()?;
                    self.leave_item();
                    taken += 1;
                }
            }
            Token::ObjectStart => {
                let mut seen = std::collections::HashSet::new();
                while let Some(key) = self.next_key(seen.is_empty())? {
                    self.enter_key(key.clone());
                    if !seen.insert(key.into_owned()) {
                        self.duplicate();
                    }
                    self.find_duplicates()?;
                    self.leave_field();
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Nothing but white space may be left.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { Err(self.invalid("after top-level value")) }
    }

    /// The error of a value whose type does not fit the current field.
    pub fn mismatch(&self, token: &Token<'_>, go_type: &str) -> Error {
        let value = match token {
            Token::Null => "null",
            Token::Bool(_) => "bool",
            Token::Number(_) => "number",
            Token::String(_) => "string",
            Token::ArrayStart => "array",
            Token::ObjectStart => "object",
        };
        self.type_error(value.to_owned(), go_type)
    }

    /// The error of a number that the current field cannot hold.
    pub fn number_mismatch(&self, number: &str, go_type: &str) -> Error {
        self.type_error(format!("number {number}"), go_type)
    }

    /// An error in the words of the field's own parser.
    pub fn custom(&self, text: String) -> Error {
        Error::Value(text)
    }

    fn type_error(&self, value: String, go_type: &str) -> Error {
        // COMPAT: Go leaves list places and map keys out of this path; strict findings have them.
        let names: Vec<&str> = self
            .path
            .iter()
            .filter_map(|step| match step {
                Step::Field(name) => Some(&**name),
                Step::Key(_) | Step::Item(_) => None,
            })
            .collect();
        Error::Type {
            value,
            go_struct: self.go_struct.to_owned(),
            path: names.join("."),
            go_type: go_type.to_owned(),
        }
    }

    fn strict_path(&self) -> String {
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Field(name) | Step::Key(name) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(name);
                }
                Step::Item(place) => path.push_str(&format!("[{place}]")),
            }
        }
        path
    }

    fn open(&mut self, token: Token<'a>) -> Result<Token<'a>, Error> {
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(Error::Depth) } else { Ok(token) }
    }

    fn word<T>(&mut self, word: &str, value: T) -> Result<T, Error> {
        for (i, expected) in word.bytes().enumerate() {
            if self.peek()? != expected {
                let place = char::from(word.as_bytes()[i]);
                return Err(self.invalid(&format!("in literal {word} (expecting '{place}')")));
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<Token<'a>, Error> {
        let start = self.at;
        if self.text[self.at] == b'-' {
            self.at += 1;
        }
        match self.peek()? {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            _ => return Err(self.invalid("in numeric literal")),
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            if !self.peek()?.is_ascii_digit() {
                return Err(self.invalid("after decimal point in numeric literal"));
            }
            self.digits();
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek()?, b'+' | b'-') {
                self.at += 1;
            }
            if !self.peek()?.is_ascii_digit() {
                return Err(self.invalid("in exponent of numeric literal"));
            }
            self.digits();
        }
        Ok(Token::Number(std::str::from_utf8(&self.text[start..self.at]).expect("digits are ASCII")))
    }

    fn digits(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Error> {
        let start = self.at + 1;
        self.at = start + plain(&self.text[start..]);
        match self.peek()? {
            b'"' => {
                let end = self.at;
                self.at += 1;
                // Quotes are no parts of other characters.
                let whole = self.utf8.and_then(|text| text.get(start..end));
                Ok(whole.map_or_else(|| String::from_utf8_lossy(&self.text[start..end]), Cow::Borrowed))
            }
            b'\\' => self.escaped_string(start),
            _ => Err(self.invalid("in string literal")),
        }
    }

    fn escaped_string(&mut self, start: usize) -> Result<Cow<'a, str>, Error> {
        let mut out = self.text[start..self.at].to_vec();
        loop {
            let run = self.at;
            self.at += plain(&self.text[run..]);
            out.extend_from_slice(&self.text[run..self.at]);
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    let text = String::from_utf8(out);
                    return Ok(Cow::Owned(
                        text.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
                    ));
                }
                b'\\' => out.extend_from_slice(self.escape()?.encode_utf8(&mut [0; 4]).as_bytes()),
                _ => return Err(self.invalid("in string literal")),
            }
        }
    }

    fn skip_string(&mut self) -> Result<(), Error> {
        self.at += 1;
        loop {
            self.at += plain(&self.text[self.at..]);
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => self.escape()?,
                _ => return Err(self.invalid("in string literal")),
            };
        }
    }

    /// What stands for one character, from its backslash on.
    fn escape(&mut self) -> Result<char, Error> {
        self.at += 1;
        let escape = self.peek()?;
        self.at += 1;
        Ok(match escape {
            b'"' | b'\\' | b'/' => char::from(escape),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => self.unicode()?,
            _ => {
                self.at -= 1;
                return Err(self.invalid("in string escape code"));
            }
        })
    }

    /// After `\u`: four hex digits, and a second escape where they are half of a pair.
    fn unicode(&mut self) -> Result<char, Error> {
        let high = self.hex()?;
        if (0xD800..0xDC00).contains(&high) && self.text[self.at..].starts_with(b"\\u") {
            let back = self.at;
            self.at += 2;
            let low = self.hex()?;
            if (0xDC00..0xE000).contains(&low) {
                let code = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = back;
        }
        Ok(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self) -> Result<u32, Error> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = char::from(self.peek()?).to_digit(16);
            code = code * 16 + digit.ok_or_else(|| self.invalid("in \\u hexadecimal character escape"))?;
            self.at += 1;
        }
        Ok(code)
    }

    fn space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Result<u8, Error> {
        self.text.get(self.at).copied().ok_or_else(ended)
    }

    fn invalid(&self, place: &str) -> Error {
        let Some(&byte) = self.text.get(self.at) else {
            return ended();
        };
        let shown = match byte {
            b'\'' => "'\\''".to_owned(),
            b'"' => "'\"'".to_owned(),
            b'\n' => "'\\n'".to_owned(),
            b'\t' => "'\\t'".to_owned(),
            b'\r' => "'\\r'".to_owned(),
            0x20..0x7F => format!("'{}'", char::from(byte)),
            _ => format!("'\\x{byte:02x}'"),
        };
        Error::Syntax(format!("invalid character {shown} {place}"))
    }
}

#[cold]
fn ended() -> Error {
    Error::Syntax("unexpected end of JSON input".into())
}

/// How many bytes of a string stand before its end, an escape, or what may not stand in it. Eight are looked
/// at together: reading is mostly this.
pub fn plain(text: &[u8]) -> usize {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = EACH << 7;
    // The lowest high bit that is set is that of the first byte that is less than `n`; those above it may be wrong.
    let less = |word: u64, n: u8| word.wrapping_sub(EACH * u64::from(n)) & !word;
    let is = |word: u64, byte: u8| less(word ^ (EACH * u64::from(byte)), 1);
    let mut at = 0;
    while let Some(eight) = text[at..].first_chunk() {
        let word = u64::from_le_bytes(*eight);
        let ends = (less(word, b' ') | is(word, b'"') | is(word, b'\\')) & HIGH;
        if ends != 0 {
            return at + ends.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let ends = |byte: &u8| *byte < b' ' || matches!(byte, b'"' | b'\\');
    text[at..].iter().position(ends).map_or(text.len(), |more| at + more)
}
