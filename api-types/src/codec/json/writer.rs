//! Builds a JSON text in a byte buffer, with Go's escapes.

/// A growing JSON text.
#[derive(Debug, Default)]
pub struct Writer {
    text: Vec<u8>,
}

impl Writer {
    pub fn with_capacity(bytes: usize) -> Self {
        Self { text: Vec::with_capacity(bytes) }
    }

    pub fn into_vec(self) -> Vec<u8> {
        self.text
    }

    /// Adds text as it is.
    pub fn raw(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    /// Adds JSON that was written before.
    pub fn raw_bytes(&mut self, json: &[u8]) {
        self.text.extend_from_slice(json);
    }

    pub fn integer(&mut self, n: i64) {
        use std::io::Write as _;
        write!(self.text, "{n}").expect("a vector takes all it is given");
    }

    /// `"name":`, for names that need no escapes.
    pub fn name(&mut self, name: &str) {
        self.text.push(b'"');
        self.raw(name);
        self.text.extend_from_slice(b"\":");
    }

    /// A quoted string.
    // COMPAT: Go escapes <, >, & and the two Unicode line separators; so do we, byte for byte.
    pub fn string(&mut self, text: &str) {
        self.text.push(b'"');
        let bytes = text.as_bytes();
        // Hardly any text has one; without branches, many bytes are looked at at once.
        if !bytes.iter().fold(false, |found, byte| found | is_special(*byte)) {
            self.text.extend_from_slice(bytes);
            self.text.push(b'"');
            return;
        }
        let mut start = 0;
        for (i, &byte) in bytes.iter().enumerate() {
            if !is_special(byte) {
                continue;
            }
            if byte == 0xE2
                && !(bytes[i..].starts_with(b"\xE2\x80\xA8") || bytes[i..].starts_with(b"\xE2\x80\xA9"))
            {
                continue;
            }
            self.text.extend_from_slice(&bytes[start..i]);
            start = i + 1;
            match byte {
                b'"' => self.raw("\\\""),
                b'\\' => self.raw("\\\\"),
                b'\n' => self.raw("\\n"),
                b'\r' => self.raw("\\r"),
                b'\t' => self.raw("\\t"),
                0x08 => self.raw("\\b"),
                0x0C => self.raw("\\f"),
                0xE2 => {
                    self.raw(if bytes[i + 2] == 0xA8 { "\\u2028" } else { "\\u2029" });
                    start = i + 3;
                }
                _ => self.raw(&format!("\\u{byte:04x}")),
            }
        }
        self.text.extend_from_slice(&bytes[start..]);
        self.text.push(b'"');
    }
}

/// Whether a byte is escaped, or begins what may be.
fn is_special(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&' | 0xE2)
}
