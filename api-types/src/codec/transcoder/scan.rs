//! JSON as the server itself writes it: without white space, and read to be copied. What is written in another
//! way, or is no JSON, is `None`; what is found is what [`json::Reader`](crate::codec::json::Reader) would find.

use crate::codec::json::plain;

/// Levels of objects and lists that are passed over.
const MAX_OPEN: u32 = 60;

/// Reads JSON out of a text.
pub(super) struct Scan<'t> {
    pub text: &'t [u8],
    pub at: usize,
}

impl<'t> Scan<'t> {
    pub fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// What is not read yet.
    pub fn rest(&self) -> &'t [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Takes the byte if it comes next.
    pub fn takes(&mut self, byte: u8) -> bool {
        self.take(byte).is_some()
    }

    pub fn word(&mut self, word: &[u8]) -> Option<()> {
        self.rest().starts_with(word).then(|| self.at += word.len())
    }

    /// A string without escapes.
    pub fn string(&mut self) -> Option<&'t [u8]> {
        match self.string_start()? {
            (whole, true) => Some(whole),
            _ => None,
        }
    }

    /// A string up to its end, or up to the first escape: stands behind the one, or before the other.
    pub fn string_start(&mut self) -> Option<(&'t [u8], bool)> {
        self.take(b'"')?;
        self.string_part()
    }

    /// More of a string, as `string_start`.
    pub fn string_part(&mut self) -> Option<(&'t [u8], bool)> {
        let rest = self.rest();
        let (part, more) = rest.split_at_checked(plain(rest))?;
        self.at += part.len();
        match more.first()? {
            b'"' => {
                self.at += 1;
                Some((part, true))
            }
            b'\\' => Some((part, false)),
            _ => None,
        }
    }

    /// What stands for one character, from its backslash on. Halves of pairs are left to others.
    pub fn escape(&mut self) -> Option<char> {
        let escape = *self.text.get(self.at + 1)?;
        self.at += 2;
        Some(match escape {
            b'"' | b'\\' | b'/' => char::from(escape),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let digits = self.text.get(self.at..self.at + 4)?;
                self.at += 4;
                let digit = |code, digit: &u8| Some(code * 16 + char::from(*digit).to_digit(16)?);
                char::from_u32(digits.iter().try_fold(0, digit)?)?
            }
            _ => return None,
        })
    }

    /// A whole number.
    pub fn integer(&mut self) -> Option<i64> {
        let start = self.at;
        let negative = self.takes(b'-');
        let first = self.at;
        let mut n = 0_i64;
        while let Some(digit) = self.peek().filter(u8::is_ascii_digit) {
            n = n.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
            self.at += 1;
        }
        match self.at - first {
            1 => {}
            0 => return None,
            _ if self.text[first] == b'0' => return None,
            2..=18 => {}
            _ => return std::str::from_utf8(&self.text[start..self.at]).ok()?.parse().ok(),
        }
        Some(if negative { -n } else { n })
    }

    /// Passes over a value of any type, checks it, and gives its text.
    pub fn value(&mut self) -> Option<&'t [u8]> {
        let start = self.at;
        // One bit for each that is open, the innermost the lowest: whether it is an object.
        let (mut objects, mut open) = (0_u64, 0_u32);
        loop {
            // A value starts here.
            match self.peek()? {
                b'"' => self.skip_string()?,
                opening @ (b'{' | b'[') => {
                    self.at += 1;
                    let is_object = opening == b'{';
                    // What follows ASCII's bracket closes it, but for one.
                    if !self.takes(opening + 2) {
                        if open == MAX_OPEN {
                            return None;
                        }
                        open += 1;
                        objects = objects << 1 | u64::from(is_object);
                        if is_object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b't' => self.word(b"true")?,
                b'f' => self.word(b"false")?,
                b'n' => self.word(b"null")?,
                _ => self.number()?,
            }
            loop {
                if open == 0 {
                    return self.text.get(start..self.at);
                }
                let is_object = objects & 1 == 1;
                match self.peek()? {
                    b',' => {
                        self.at += 1;
                        if is_object {
                            self.key()?;
                        }
                        break;
                    }
                    b'}' if is_object => {}
                    b']' if !is_object => {}
                    _ => return None,
                }
                self.at += 1;
                open -= 1;
                objects >>= 1;
            }
        }
    }

    fn key(&mut self) -> Option<()> {
        self.skip_string()?;
        self.take(b':')
    }

    fn skip_string(&mut self) -> Option<()> {
        let (_, mut ended) = self.string_start()?;
        while !ended {
            self.escape()?;
            (_, ended) = self.string_part()?;
        }
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        self.takes(b'-');
        if !self.takes(b'0') {
            self.digits()?;
        }
        if self.takes(b'.') {
            self.digits()?;
        }
        if self.takes(b'e') || self.takes(b'E') {
            let _ = self.takes(b'+') || self.takes(b'-');
            self.digits()?;
        }
        Some(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Option<()> {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        (count > 0).then_some(())
    }
}
