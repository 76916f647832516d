//! The system's errors as Go words them, for what people and programs read in events, statuses and conditions.
//!
//! Rust says `No such file or directory (os error 2)`, Go `no such file or directory`. Scripts and alerts look for
//! the latter. Logs are not rewritten.

use std::borrow::Cow;
use std::io;

const MARK: &str = " (os error ";

/// The name of an error of the system, as Go has it: small at its start unless it begins with an abbreviation.
fn go_name(name: &str) -> String {
    let mut letters = name.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if first.is_ascii_uppercase() && second.is_ascii_lowercase() => {
            format!("{}{}", first.to_ascii_lowercase(), &name[1..])
        }
        _ => name.to_owned(),
    }
}

/// A text with every error of the system in it worded as Go does.
pub fn worded(text: &str) -> Cow<'_, str> {
    if !text.contains(MARK) {
        return Cow::Borrowed(text);
    }
    let (mut done, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(MARK) {
        let (before, after) = (&rest[..at], &rest[at + MARK.len()..]);
        let closed = after.split_once(')').and_then(|(code, after)| Some((code.parse::<i32>().ok()?, after)));
        let Some((code, after)) = closed else {
            done.push_str(&rest[..at + MARK.len()]);
            rest = &rest[at + MARK.len()..];
            continue;
        };
        let whole = io::Error::from_raw_os_error(code).to_string();
        let name = whole.split(MARK).next().unwrap_or_default();
        match before.strip_suffix(name) {
            Some(start) => {
                done.push_str(start);
                done.push_str(&go_name(name));
            }
            None => done.push_str(before),
        }
        rest = after;
    }
    done.push_str(rest);
    Cow::Owned(done)
}

/// An error of the system as Go words it, without where it happened.
pub fn of(error: &io::Error) -> String {
    worded(&error.to_string()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_read_as_gos() {
        let check = |code: i32, expected: &str| assert_eq!(of(&io::Error::from_raw_os_error(code)), expected);
        check(1, "operation not permitted");
        check(2, "no such file or directory");
        check(5, "input/output error");
        check(13, "permission denied");
        check(16, "device or resource busy");
        check(18, "invalid cross-device link");
        check(28, "no space left on device");
        check(30, "read-only file system");
        check(73, "RFS specific error");
        check(81, ".lib section in a.out corrupted");
        check(111, "connection refused");
        check(122, "disk quota exceeded");
    }

    #[test]
    fn the_rest_of_a_text_stays() {
        let check = |text: &str, expected: &str| assert_eq!(worded(text), expected);
        check("nothing to do", "nothing to do");
        check("", "");
        check(
            "mkdir /a: No such file or directory (os error 2); write /b: No space left on device (os error 28).",
            "mkdir /a: no such file or directory; write /b: no space left on device.",
        );
        check("told (os error 2) of it", "told of it");
        check("odd (os error x) and (os error 2", "odd (os error x) and (os error 2");
    }
}
