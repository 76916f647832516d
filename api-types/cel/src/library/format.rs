//! Named formats: `format.dns1123Label().validate(name)` gives what is wrong with a name, if anything is.

use super::super::cost::Cost;
use super::super::error::EvalError;
use super::super::value::Value;
use super::net::Url;
use super::{Given, Regexes, Row};
use api_types::names;

/// A format that texts can be checked against.
#[derive(Debug)]
pub struct Format {
    pub name: &'static str,
    /// How long the pattern behind it is, for costs.
    pub pattern_size: u64,
    check: fn(&str) -> Vec<String>,
}

macro_rules! formats {
    ($($function:literal $name:literal $size:literal $check:expr;)*) => {
        static FORMATS: &[(&str, Format)] =
            &[$(($function, Format { name: $name, pattern_size: $size, check: $check })),*];

        pub const TABLE: &[Row] = &[
            $((
                concat!("format.", $function),
                &["() Format"],
                |_, _| named($function).map(Value::Format).ok_or(EvalError::NoSuchOverload),
                Cost::One,
            ),)*
            ("format.named", &["(string) optional(Format)"], by_name, Cost::One),
            ("validate", &["Format.(string) optional(list(string))"], validate, Cost::Validate),
        ];
    };
}

formats! {
    "dns1123Label" "DNS1123Label" 30 names::dns1123_label;
    "dns1123Subdomain" "DNS1123Subdomain" 60 names::dns1123_subdomain;
    "dns1035Label" "DNS1035Label" 30 names::dns1035_label;
    "qualifiedName" "QualifiedName" 60 names::qualified_name;
    "dns1123LabelPrefix" "DNS1123LabelPrefix" 30 |text| names::dns1123_label(&prefix(text));
    "dns1123SubdomainPrefix" "DNS1123SubdomainPrefix" 60 |text| names::dns1123_subdomain(&prefix(text));
    "dns1035LabelPrefix" "DNS1035LabelPrefix" 30 |text| names::dns1035_label(&prefix(text));
    "labelValue" "LabelValue" 40 names::label_value;
    "uri" "URI" 250 |text| said(Url::parse(text).is_some(), "does not match the URI format");
    "uuid" "uuid" 45 |text| said(is_uuid(text), "does not match the UUID format");
    "byte" "byte" 45 |text| said(is_base64(text), "invalid base64");
    "date" "date" 45 |text| said(text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(), "invalid date");
    "datetime" "datetime" 45 |text| said(text.parse::<jiff::Timestamp>().is_ok(), "invalid datetime");
}

fn said(holds: bool, why: &str) -> Vec<String> {
    if holds { Vec::new() } else { vec![why.to_owned()] }
}

/// A prefix may end with a dash: something follows.
fn prefix(text: &str) -> String {
    text.strip_suffix('-').map_or_else(|| text.to_owned(), |start| format!("{start}a"))
}

fn is_uuid(text: &str) -> bool {
    let plain: String = text.chars().filter(|c| *c != '-').collect();
    plain.len() == 32 && plain.chars().all(|c| c.is_ascii_hexdigit())
}

fn is_base64(text: &str) -> bool {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

fn named(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|(own, _)| *own == name).map(|(_, format)| format)
}

fn by_name<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    let Value::String(name) = &args[0] else { return Err(EvalError::NoSuchOverload) };
    Ok(named(name).map_or(Value::NONE, |format| Value::some(Value::Format(format))))
}

fn validate<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    let (Value::Format(format), Value::String(text)) = (&args[0], &args[1]) else {
        return Err(EvalError::NoSuchOverload);
    };
    let wrong = (format.check)(text);
    Ok(if wrong.is_empty() {
        Value::NONE
    } else {
        Value::some(Value::list(wrong.into_iter().map(Value::text).collect()))
    })
}
