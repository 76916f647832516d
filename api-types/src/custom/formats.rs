//! The formats that a schema can ask of a value (KEP-1602 `format`; kube-openapi's strfmt): which there are, and
//! whether a text is of one. What is no format of the value's type holds anything, and a definition that asks for it
//! is warned of. Dashes in names do not count: `date-time` is `datetime`.

use regex::Regex;
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

/// Formats of strings that code decides.
const CODED: [&str; 13] = [
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "duration",
];

/// Formats of strings that a pattern decides.
static PATTERNS: LazyLock<HashMap<&str, Regex>> = LazyLock::new(|| {
    let uuid = |third: &str, fourth: &str| {
        format!("(?i)^[0-9a-f]{{8}}-?[0-9a-f]{{4}}-?{third}-?{fourth}-?[0-9a-f]{{12}}$")
    };
    let any = "[0-9a-f]{4}";
    let part = r"(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])";
    let name = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
    [
        ("uuid", uuid(any, any)),
        ("uuid3", uuid("3[0-9a-f]{3}", any)),
        ("uuid4", uuid("4[0-9a-f]{3}", "[89ab][0-9a-f]{3}")),
        ("uuid5", uuid("5[0-9a-f]{3}", "[89ab][0-9a-f]{3}")),
        ("ssn", r"^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$".into()),
        ("hexcolor", "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$".into()),
        ("rgbcolor", format!(r"^rgb\(\s*{part}\s*,\s*{part}\s*,\s*{part}\s*\)$")),
        ("byte", "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$".into()),
        ("password", String::new()),
        ("date", r"^\d{4}-\d{2}-\d{2}$".into()),
        (
            "datetime",
            r"(?i)^\d{4}-\d{2}-\d{2}t([01]\d|2[0-3]):[0-5]\d:[0-5]\d(.\d+)?(z|[+-]\d{2}:\d{2})$".into(),
        ),
        ("k8sshortname", format!("^{name}$")),
        ("k8slongname", format!(r"^{name}(\.{name})*$")),
    ]
    .into_iter()
    .map(|(name, pattern)| (name, Regex::new(&pattern).expect("the patterns are constants")))
    .collect()
});

static HOSTNAME: LazyLock<Regex> = LazyLock::new(|| {
    let c = r"[a-zA-Z0-9\p{S}\p{L}]";
    let pattern = format!(
        r"^({c}((-?{c}{{0,62}})?)|({c}(([a-zA-Z0-9\-\p{{S}}\p{{L}}]{{0,61}}{c})?)(\.)){{1,}}([a-zA-Z\p{{L}}]){{2,63}})$"
    );
    Regex::new(&pattern).expect("the pattern is a constant")
});

static CARD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        "^(4[0-9]{12}([0-9]{3})?|5[1-5][0-9]{14}|6(011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|\
         3(0[0-5]|[68][0-9])[0-9]{11}|(2131|1800|35[0-9]{3})[0-9]{11})$",
    )
    .expect("the pattern is a constant")
});

fn plain(format: &str) -> String {
    format.replace('-', "")
}

/// Whether values of a type have such a format.
pub fn is_known(type_: &str, format: &str) -> bool {
    match type_ {
        "" | "string" => {
            let format = plain(format);
            CODED.contains(&format.as_str()) || PATTERNS.contains_key(format.as_str())
        }
        "integer" => matches!(format, "int32" | "int64"),
        "number" => matches!(format, "float" | "double"),
        _ => false,
    }
}

/// Whether a text is of a format; an unknown one holds anything.
pub fn holds(format: &str, text: &str) -> bool {
    if format.is_empty() {
        return true;
    }
    let format = plain(format);
    if let Some(pattern) = PATTERNS.get(format.as_str()) {
        let day = text.get(..10).unwrap_or_default();
        return pattern.is_match(text)
            && match format.as_str() {
                "date" | "datetime" => day.parse::<jiff::civil::Date>().is_ok(),
                "ssn" => text.len() == 11,
                "k8sshortname" => text.len() <= 63,
                "k8slongname" => text.len() <= 253,
                _ => true,
            };
    }
    match format.as_str() {
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit()),
        "uri" => is_uri(text),
        "email" => is_address(text),
        "hostname" => {
            HOSTNAME.is_match(text) && text.len() <= 255 && text.split('.').all(|part| part.len() <= 63)
        }
        "ipv4" => text.contains('.') && is_ip(text),
        "ipv6" => text.contains(':') && text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => text.split_once('/').is_some_and(|(address, bits)| {
            let most = if address.contains(':') { 128 } else { 32 };
            let digits = !bits.is_empty() && bits.len() <= 3 && bits.bytes().all(|b| b.is_ascii_digit());
            digits && is_ip(address) && bits.parse::<u8>().is_ok_and(|bits| bits <= most)
        }),
        "mac" => is_hardware_address(text),
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "creditcard" => is_card(text),
        "duration" => is_duration(text),
        _ => true,
    }
}

/// COMPAT: zeros before the digits of an IPv4 address do not count, as in Go's older parser.
fn is_ip(text: &str) -> bool {
    let stripped: Vec<&str> = text
        .split('.')
        .map(|part| part.trim_start_matches('0'))
        .map(|part| if part.is_empty() { "0" } else { part })
        .collect();
    let whole = text.split('.').all(|part| !part.is_empty());
    text.parse::<Ipv6Addr>().is_ok() || (whole && stripped.join(".").parse::<Ipv4Addr>().is_ok())
}

/// As Go's `url.ParseRequestURI` has it: a path from the root, or something with a scheme and a root.
fn is_uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|b| b < b' ' || b == 0x7f) {
        return false;
    }
    if text == "*" {
        return true;
    }
    let (scheme, rest) = match text.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c)) {
        Some(0) if text.starts_with(':') => return false,
        Some(end) if text[end..].starts_with(':') && text.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            (&text[..end], &text[end + 1..])
        }
        _ => ("", text),
    };
    let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
    if !rest.starts_with('/') {
        return !scheme.is_empty();
    }
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) if !scheme.is_empty() || !rest.starts_with('/') => {
            rest.split_at(rest.find('/').unwrap_or(rest.len()))
        }
        _ => ("", rest),
    };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let unescapes = |text: &str| {
        text.match_indices('%').all(|(at, _)| {
            text.get(at + 1..at + 3).is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
        })
    };
    let in_user = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
    let port = match host.rfind(']') {
        Some(end) if host.starts_with('[') => &host[end + 1..],
        None if host.starts_with('[') => return false,
        _ => host.rfind(':').map_or("", |at| &host[at..]),
    };
    let port_holds = port.is_empty()
        || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()));
    let host_holds = !host.chars().any(|c| c.is_ascii() && (c == ' ' || "#\\^`{|}".contains(c)));
    port_holds && host_holds && user.chars().all(in_user) && [user, host, path].into_iter().all(unescapes)
}

/// `a@b.c`, `Somebody <a@b.c>`
fn is_address(text: &str) -> bool {
    let text = text.trim_matches([' ', '\t']);
    let bare = match text.strip_suffix('>') {
        Some(rest) => match rest.rsplit_once('<') {
            Some((_, inner)) => inner,
            None => return false,
        },
        None => text,
    };
    let atoms = |text: &str| {
        let in_atom = |c: char| c.is_alphanumeric() || !c.is_ascii() || "!#$%&'*+-/=?^_`{|}~".contains(c);
        text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(in_atom))
    };
    let Some((user, host)) = bare.rsplit_once('@') else { return false };
    let quoted = user.len() > 2 && user.starts_with('"') && user.ends_with('"');
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    (quoted || atoms(user))
        && literal.map_or_else(|| atoms(host), |ip| ip.parse::<std::net::IpAddr>().is_ok())
}

/// Six, eight or twenty bytes, parted by colons, dashes or, two by two, dots.
fn is_hardware_address(text: &str) -> bool {
    let parted = |by: char, digits: usize, counts: [usize; 3]| {
        let parts: Vec<&str> = text.split(by).collect();
        counts.contains(&parts.len())
            && parts.iter().all(|part| part.len() == digits && part.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    parted(':', 2, [6, 8, 20]) || parted('-', 2, [6, 8, 20]) || parted('.', 4, [3, 4, 10])
}

fn digits(text: &str) -> Vec<u32> {
    text.chars().filter_map(|c| c.to_digit(10)).collect()
}

fn is_isbn10(text: &str) -> bool {
    let text: String = text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    let (first, last) = text.split_at(text.len().min(9));
    let check = if last == "X" { Some(10) } else { last.parse::<u32>().ok().filter(|_| last.len() == 1) };
    let digits = digits(first);
    let Some(check) = check.filter(|_| digits.len() == 9 && first.len() == 9) else { return false };
    let sum: u32 = (1..).zip(&digits).map(|(place, digit)| place * digit).sum();
    (sum + 10 * check).is_multiple_of(11)
}

fn is_isbn13(text: &str) -> bool {
    let text: String = text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    let digits = digits(&text);
    let sum = |factors: [u32; 2]| digits.iter().zip(factors.iter().cycle()).map(|(d, f)| d * f).sum::<u32>();
    digits.len() == 13 && text.len() == 13 && sum([1, 3]).is_multiple_of(10)
}

/// With Luhn's check sum.
fn is_card(text: &str) -> bool {
    let number: String = text.chars().filter(char::is_ascii_digit).collect();
    let doubled = |digit: u32| if digit < 5 { 2 * digit } else { 2 * digit - 9 };
    let sum: u32 = (0..)
        .zip(digits(&number).iter().rev())
        .map(|(place, d)| if place % 2 == 1 { doubled(*d) } else { *d })
        .sum();
    CARD.is_match(&number) && sum.is_multiple_of(10)
}

/// As Go writes durations, or a number and a unit anywhere in the text (`3 weeks`).
fn is_duration(text: &str) -> bool {
    static GO: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"^[-+]?(0|((\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h))+)$")
            .expect("the pattern is a constant")
    });
    static LOOSE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\d+\s*([A-Za-zµ]+)").expect("the pattern is a constant"));
    const UNITS: [&str; 14] =
        ["ns", "us", "µs", "ms", "s", "m", "h", "hr", "d", "w", "wk", "sec", "min", "day"];
    const BEGIN: [&str; 8] = ["nano", "micro", "milli", "sec", "min", "hour", "day", "week"];
    GO.is_match(text)
        || LOOSE.captures_iter(text).any(|found| {
            let unit = found[1].to_lowercase();
            UNITS.contains(&unit.as_str())
                || BEGIN.iter().any(|begin| unit.starts_with(begin))
                || unit.starts_with('s')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_formats() {
        let cases: [(&str, &[&str], &[&str]); 24] = [
            (
                "uri",
                &["http://a.b/c?d", "/path", "mailto:x", "http://[::1]:80/", "*"],
                &["", "a.b/c", "http://a b/", "http://a:x/", ":a", "/%zz"],
            ),
            ("email", &["a@b", "A B <a@b.c>"], &["a", "a@", "@b", "a@b..c", "a b@c"]),
            ("hostname", &["a", "a-b.example.com", "1.example.com"], &["", "-a", "a_b.com", "a.b.c1."]),
            ("ipv4", &["1.2.3.4", "01.2.3.4"], &["1.2.3", "::1", "1.2.3.256"]),
            ("ipv6", &["::1", "::ffff:1.2.3.4"], &["1.2.3.4", "g::"]),
            ("cidr", &["10.0.0.1/8", "fd00::/64"], &["10.0.0.1", "10.0.0.0/33", "10.0.0.0/+8"]),
            ("mac", &["01:23:45:67:89:ab", "0123.4567.89ab"], &["01:23", "01:23:45:67:89:xx"]),
            ("uuid", &["123e4567-e89b-12d3-a456-426614174000"], &["123e4567"]),
            ("uuid3", &["123e4567-e89b-32d3-a456-426614174000"], &["123e4567-e89b-12d3-a456-426614174000"]),
            ("uuid4", &["123e4567-e89b-42d3-a456-426614174000"], &["123e4567-e89b-42d3-c456-426614174000"]),
            ("uuid5", &["123e4567-e89b-52d3-a456-426614174000"], &["123e4567-e89b-42d3-a456-426614174000"]),
            ("isbn", &["0321751043", "978-0321751041"], &["0321751044"]),
            ("isbn10", &["0321751043"], &["978-0321751041"]),
            ("isbn13", &["978-0321751041"], &["0321751043", "978-0321751042"]),
            ("creditcard", &["4111 1111 1111 1111"], &["4111111111111112"]),
            ("ssn", &["111-22-3333"], &["111223333"]),
            ("hexcolor", &["#FFFFFF", "abc"], &["#ffff"]),
            ("rgbcolor", &["rgb(255, 0,12)"], &["rgb(256,0,0)"]),
            ("byte", &["YQ=="], &["", "YQ"]),
            ("date", &["2026-02-28"], &["2026-02-30", "2026-2-1"]),
            (
                "date-time",
                &["2026-02-28T10:11:12.5+01:00", "2026-02-28t10:11:12z"],
                &["2026-02-28T10:11:12", "2026-02-28T24:00:00Z"],
            ),
            ("duration", &["1h30m", "-1.5s", "3 weeks", "0"], &["", "1", "1 moon"]),
            ("k8s-short-name", &["a-b"], &["a.b", "A"]),
            ("k8s-long-name", &["a.b"], &["a..b"]),
        ];
        for (format, fit, unfit) in cases {
            assert!(is_known("string", format), "{format}");
            for text in fit {
                assert!(holds(format, text), "{format}: {text:?}");
            }
            for text in unfit {
                assert!(!holds(format, text), "{format}: {text:?}");
            }
        }
        assert!(holds("colour", "x") && !is_known("string", "colour"));
    }

    #[test]
    fn formats_are_of_types() {
        assert!(is_known("integer", "int64") && is_known("number", "double"));
        assert!(!is_known("integer", "uint32") && !is_known("array", "cidr") && !is_known("string", "int32"));
    }
}
