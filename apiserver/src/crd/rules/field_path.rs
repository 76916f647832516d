//! `fieldPath` of a rule: `.spec.names['a.b'].x`, of fields and keys that the schema has.

use api_types::custom::Structural;
use api_types::custom::structural::Additional;
use api_types::field::Path;

/// The path as errors show it; `None` for a path that the schema does not have.
pub fn resolve(path: &str, schema: &Structural) -> Option<String> {
    let (mut rest, mut at, mut out) = (path, schema, Path::default());
    while !rest.is_empty() {
        let name;
        if let Some(tail) = rest.strip_prefix('.') {
            let end = tail.find(['.', '[', ']']).unwrap_or(tail.len());
            name = tail[..end].to_owned();
            rest = &tail[end..];
        } else {
            let tail = rest.strip_prefix("['")?;
            let end = closing(tail)?;
            name = unquoted(&tail[..end])?;
            rest = tail[end + 1..].strip_prefix(']')?;
        }
        if name.is_empty() {
            return None;
        }
        if at.properties.is_empty() {
            let Some(Additional::Schema(inner)) = &at.additional else { return None };
            out = out.key(&name);
            at = inner;
        } else {
            at = at.properties.get(&name)?;
            out = out.child(&name);
        }
    }
    Some(out.as_str().to_owned())
}

/// Where the quote ends.
fn closing(text: &str) -> Option<usize> {
    let mut before = '\0';
    for (place, c) in text.char_indices() {
        if c == '\'' && before != '\\' {
            return Some(place);
        }
        before = c;
    }
    None
}

fn unquoted(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next()? {
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            '\'' => '\'',
            '\\' => '\\',
            _ => return None,
        });
    }
    Some(out)
}
