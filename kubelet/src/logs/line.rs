//! One line of a CRI log: `2026-11-21T10:40:00.123456789Z stdout F text`.
//!
//! `P` marks a part of a line that was too long for the runtime; `F` ends a line.

use jiff::Timestamp;

/// Where a line was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A parsed line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line<'a> {
    /// When.
    pub at: Timestamp,
    /// The time as written, for `timestamps=true`.
    pub stamp: &'a str,
    /// Where to.
    pub stream: Stream,
    /// More of the line follows in the next one.
    pub partial: bool,
    /// What, without the line's end.
    pub text: &'a [u8],
}

/// Parses a line without its newline; `None` when it is none.
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let stamp = std::str::from_utf8(parts.next()?).ok()?;
    let at: Timestamp = stamp.parse().ok()?;
    let stream = match parts.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    // Tags are separated by colons; the first one counts.
    let partial = parts.next()?.split(|byte| *byte == b':').next()? == b"P";
    Some(Line { at, stamp, stream, partial, text: parts.next().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let line = parse(b"2026-11-21T10:40:00.123456789Z stderr P a b").unwrap();
        assert_eq!((line.stream, line.partial, line.text), (Stream::Stderr, true, &b"a b"[..]));
        let line = parse(b"2026-11-21T10:40:00.1+02:00 stdout F ").unwrap();
        assert_eq!((line.partial, line.text), (false, &b""[..]));
        for bad in ["", "x stdout F a", "2026-11-21T10:40:00Z stdin F a"] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
