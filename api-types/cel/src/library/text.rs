//! Strings: CEL's own functions and those of the strings extension, version 2.

use super::super::cost::Cost;
use super::super::error::EvalError;
use super::super::made::ESCAPE_KEY;
use super::super::value::{Text, Value};
use super::conversion::show_double;
use super::time::show_duration;
use super::{Given, Regexes, Row};

pub const TABLE: &[Row] = &[
    ("contains", &["string.(string) bool"], |_, a| both(a, |s, t| s.contains(t)), Cost::Contains),
    ("startsWith", &["string.(string) bool"], |_, a| both(a, |s, t| s.starts_with(t)), Cost::ScanSecond),
    ("endsWith", &["string.(string) bool"], |_, a| both(a, |s, t| s.ends_with(t)), Cost::ScanSecond),
    ("charAt", &["string.(int) string"], char_at, Cost::One),
    (
        "indexOf",
        &["string.(string) int", "string.(string,int) int", "list(A).(A) int"],
        |_, a| place(a, false),
        Cost::Traverse,
    ),
    (
        "lastIndexOf",
        &["string.(string) int", "string.(string,int) int", "list(A).(A) int"],
        |_, a| place(a, true),
        Cost::Traverse,
    ),
    ("join", &["list(string).() string", "list(string).(string) string"], join, Cost::Join),
    ("lowerAscii", &["string.() string"], |_, a| change(a, |s| s.to_ascii_lowercase()), Cost::ScanSame),
    ("upperAscii", &["string.() string"], |_, a| change(a, |s| s.to_ascii_uppercase()), Cost::ScanSame),
    ("trim", &["string.() string"], |_, a| change(a, |s| s.trim().to_owned()), Cost::ScanSame),
    (
        "replace",
        &["string.(string,string) string", "string.(string,string,int) string"],
        replace,
        Cost::Replace,
    ),
    ("split", &["string.(string) list(string)", "string.(string,int) list(string)"], split, Cost::Split),
    ("substring", &["string.(int) string", "string.(int,int) string"], substring, Cost::ScanSame),
    // For a path of RFC 6902.
    (
        ESCAPE_KEY,
        &["(string) string"],
        |_, a| change(a, |s| s.replace('~', "~0").replace('/', "~1")),
        Cost::ScanSame,
    ),
    ("strings.quote", &["(string) string"], quote, Cost::Quote),
    ("format", &["string.(list(dyn)) string"], format, Cost::ScanFormat),
];

fn text<'v>(value: &'v Value<'_>) -> Result<&'v str, EvalError> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn int(value: &Value<'_>) -> Result<i64, EvalError> {
    match value {
        Value::Int(n) => Ok(*n),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn both<'a>(args: &[Value<'a>], holds: fn(&str, &str) -> bool) -> Given<'a> {
    Ok(Value::Bool(holds(text(&args[0])?, text(&args[1])?)))
}

fn change<'a>(args: &[Value<'a>], to: fn(&str) -> String) -> Given<'a> {
    Ok(Value::text(to(text(&args[0])?)))
}

fn range<'a>(place: i64) -> Given<'a> {
    Err(EvalError::failed(format!("index out of range: {place}")))
}

fn char_at<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    let (text, place) = (text(&args[0])?, int(&args[1])?);
    let count = text.chars().count() as i64;
    if place < 0 || place > count {
        return range(place);
    }
    let found = text.chars().nth(place as usize);
    Ok(Value::text(found.map(String::from).unwrap_or_default()))
}

fn place<'a>(args: &[Value<'a>], last: bool) -> Given<'a> {
    let Value::String(_) = &args[0] else {
        let items = args[0].elements().ok_or(EvalError::NoSuchOverload)?;
        let is = |item: &Value<'_>| item.equals(&args[1]);
        let found = if last { items.iter().rposition(is) } else { items.iter().position(is) };
        return Ok(Value::Int(found.map_or(-1, |n| n as i64)));
    };
    let (whole, part) = (text(&args[0])?, text(&args[1])?);
    let chars: Vec<char> = whole.chars().collect();
    let sought: Vec<char> = part.chars().collect();
    let count = chars.len() as i64;
    let from = args.get(2).map(int).transpose()?;
    if let Some(from) = from
        && (from < 0 || from >= count && (last || from != count))
    {
        return if sought.is_empty() && from == count { Ok(Value::Int(from)) } else { range(from) };
    }
    if sought.is_empty() {
        return Ok(Value::Int(from.unwrap_or(if last { count } else { 0 })));
    }
    if sought.len() > chars.len() {
        return Ok(Value::Int(-1));
    }
    let most = chars.len() - sought.len();
    let at = |place: &usize| chars[*place..].starts_with(&sought);
    let from = from.map(|n| n as usize);
    let found = if last {
        (0..=from.unwrap_or(most).min(most)).rev().find(at)
    } else {
        (from.unwrap_or(0)..=most).find(at)
    };
    Ok(Value::Int(found.map_or(-1, |n| n as i64)))
}

fn join<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    let items = args[0].elements().ok_or(EvalError::NoSuchOverload)?;
    let between = args.get(1).map(text).transpose()?.unwrap_or_default();
    let parts: Vec<&str> = items.iter().map(text).collect::<Result<_, _>>()?;
    Ok(Value::text(parts.join(between)))
}

fn replace<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    let (whole, from, to) = (text(&args[0])?, text(&args[1])?, text(&args[2])?);
    let times = args.get(3).map(int).transpose()?.unwrap_or(-1);
    Ok(Value::text(if times < 0 {
        whole.replace(from, to)
    } else {
        whole.replacen(from, to, times as usize)
    }))
}

fn split<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    let (whole, by) = (text(&args[0])?, text(&args[1])?);
    let most = args.get(2).map(int).transpose()?.unwrap_or(-1);
    let most = if most < 0 { usize::MAX } else { most as usize };
    let part = |part: &str| Value::text(part);
    if most == 0 {
        return Ok(Value::list(Vec::new()));
    }
    let parts = if by.is_empty() {
        // Every character by itself, the rest as it is.
        let mut parts = Vec::new();
        let mut rest = whole;
        while let Some(c) = rest.chars().next() {
            if parts.len() + 1 == most {
                parts.push(part(rest));
                break;
            }
            parts.push(part(&rest[..c.len_utf8()]));
            rest = &rest[c.len_utf8()..];
        }
        parts
    } else {
        whole.splitn(most, by).map(part).collect()
    };
    Ok(Value::list(parts))
}

fn substring<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    let whole = text(&args[0])?;
    let count = whole.chars().count() as i64;
    let start = int(&args[1])?;
    let end = args.get(2).map(int).transpose()?.unwrap_or(count);
    if start < 0 || start > count {
        return range(start);
    }
    if end < 0 || end > count {
        return range(end);
    }
    if start > end {
        let text = format!("invalid substring range. start: {start}, end: {end}");
        return Err(EvalError::failed(text));
    }
    let part: String = whole.chars().skip(start as usize).take((end - start) as usize).collect();
    Ok(Value::text(part))
}

fn quote<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    let mut out = String::from("\"");
    for c in text(&args[0])?.chars() {
        match c {
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    Ok(Value::text(out))
}

/// `%s`, `%d`, `%f`, `%e`, `%b`, `%x`, `%X`, `%o` with precisions, and `%%`.
fn format<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    let pattern = text(&args[0])?;
    let items = args[1].elements().ok_or(EvalError::NoSuchOverload)?;
    let mut next = items.iter().enumerate();
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.peek() == Some(&'%') {
            chars.next();
            out.push('%');
            continue;
        }
        let mut precision = None;
        if chars.peek() == Some(&'.') {
            chars.next();
            let mut digits = String::new();
            while let Some(d) = chars.peek().filter(|c| c.is_ascii_digit()) {
                digits.push(*d);
                chars.next();
            }
            let read: Result<usize, _> = digits.parse();
            precision = Some(read.ok().filter(|n| *n <= 100).ok_or_else(|| {
                EvalError::failed("error while parsing precision: unable to parse precision")
            })?);
        }
        let Some(verb) = chars.next() else {
            return Err(EvalError::failed("unexpected end of format string"));
        };
        let Some((place, item)) = next.next() else {
            return Err(EvalError::failed(format!("index {} out of range", items.len())));
        };
        out.push_str(&formatted(verb, precision, item, place)?);
    }
    Ok(Value::text(out))
}

fn formatted(
    verb: char,
    precision: Option<usize>,
    item: &Value<'_>,
    place: usize,
) -> Result<String, EvalError> {
    let bad = |what: &str| EvalError::failed(format!("error during formatting: {what} at index {place}"));
    Ok(match (verb, item) {
        ('s', item) => shown(item).ok_or_else(|| bad("string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps"))?,
        ('d', Value::Int(n)) => n.to_string(),
        ('d', Value::Uint(n)) => n.to_string(),
        ('f', Value::Double(f)) => format!("{f:.*}", precision.unwrap_or(6)),
        ('f', Value::Int(n)) => format!("{:.*}", precision.unwrap_or(6), *n as f64),
        ('e', Value::Double(f)) => {
            let text = format!("{f:.*e}", precision.unwrap_or(6));
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let n: i32 = exponent.parse().unwrap_or_default();
            format!("{digits}e{}{:02}", if n < 0 { '-' } else { '+' }, n.abs())
        }
        ('b', Value::Int(n)) => format!("{}{:b}", if *n < 0 { "-" } else { "" }, n.unsigned_abs()),
        ('b', Value::Uint(n)) => format!("{n:b}"),
        ('b', Value::Bool(b)) => u8::from(*b).to_string(),
        ('o', Value::Int(n)) => format!("{}{:o}", if *n < 0 { "-" } else { "" }, n.unsigned_abs()),
        ('o', Value::Uint(n)) => format!("{n:o}"),
        ('x', Value::Int(n)) => format!("{}{:x}", if *n < 0 { "-" } else { "" }, n.unsigned_abs()),
        ('X', Value::Int(n)) => format!("{}{:X}", if *n < 0 { "-" } else { "" }, n.unsigned_abs()),
        ('x', Value::Uint(n)) => format!("{n:x}"),
        ('X', Value::Uint(n)) => format!("{n:X}"),
        ('x', Value::String(text)) => hex::encode(text.as_bytes()),
        ('X', Value::String(text)) => hex::encode_upper(text.as_bytes()),
        ('x', Value::Bytes(bytes)) => hex::encode(bytes),
        ('X', Value::Bytes(bytes)) => hex::encode_upper(bytes),
        ('d' | 'f' | 'e' | 'b' | 'o' | 'x' | 'X', other) => {
            return Err(bad(&format!("{verb} clause cannot be used on {}", other.type_name())));
        }
        (other, _) => {
            return Err(EvalError::failed(format!(
                "could not parse formatting clause: unrecognized formatting clause \"{other}\""
            )));
        }
    })
}

/// What `%s` prints.
fn shown(value: &Value<'_>) -> Option<String> {
    Some(match value {
        Value::Null => "null".into(),
        Value::Bool(b) => b.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Uint(n) => n.to_string(),
        Value::Double(f) => show_double(*f),
        Value::String(Text::Borrowed(text)) | Value::Type(Text::Borrowed(text)) => (*text).to_owned(),
        Value::String(Text::Shared(text)) | Value::Type(Text::Shared(text)) => text.to_string(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Timestamp(at) => at.to_string(),
        Value::Duration(d) => show_duration(*d),
        Value::List(_) | Value::Items(..) => {
            let parts: Option<Vec<String>> = value.elements()?.iter().map(shown).collect();
            format!("[{}]", parts?.join(", "))
        }
        Value::Map(_) | Value::Domains(_) | Value::Fields(..) => {
            let mut parts = Vec::new();
            for key in value.keys()? {
                let of = super::super::value::Key::of(&key)?;
                let found = value.lookup(&of)?.ok()?;
                parts.push(format!("{}: {}", shown(&key)?, shown(&found)?));
            }
            parts.sort();
            format!("{{{}}}", parts.join(", "))
        }
        _ => return None,
    })
}
