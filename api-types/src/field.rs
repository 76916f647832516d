//! Field errors: what validation finds, worded as upstream words it.
//!
//! Clients match on field, reason and message: `spec.replicas: Invalid value: -1: must be …`.

use std::fmt;

/// Path to a field: `spec.containers[0].ports[1].name`, `metadata.labels[app]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// A path of one field, or of several joined by dots.
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The path of a field below this one.
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self::new(name) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// The path of a list's item.
    pub fn index(&self, place: usize) -> Self {
        Self(format!("{}[{place}]", self.0))
    }

    /// The path of a map's entry.
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // COMPAT: upstream prints a nil path so.
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

/// What kind of mistake a field error is; the text is the `reason` of a Status cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    Internal,
    TypeInvalid,
}

impl Reason {
    /// As in `details.causes[].reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
            Self::TypeInvalid => "Invalid value",
        }
    }
}

/// One mistake in one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub reason: Reason,
    pub path: Path,
    /// The bad value as upstream prints it (strings quoted, structs as JSON); empty where it prints none.
    pub value: String,
    pub detail: String,
}

impl Error {
    /// `details.causes[].message`: the error without its path.
    pub fn body(&self) -> String {
        let mut body = self.reason.label().to_owned();
        if !self.value.is_empty() {
            body.push_str(": ");
            body.push_str(&self.value);
        }
        if !self.detail.is_empty() {
            body.push_str(": ");
            body.push_str(&self.detail);
        }
        body
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}

/// A value as it appears in an error's text.
pub trait Shown {
    fn shown(&self) -> String;
}

impl Shown for str {
    fn shown(&self) -> String {
        format!("{:?}", self)
    }
}
impl Shown for String {
    fn shown(&self) -> String {
        self.as_str().shown()
    }
}
/// No value: null.
impl Shown for () {
    fn shown(&self) -> String {
        "null".to_owned()
    }
}

impl Shown for [&str] {
    fn shown(&self) -> String {
        let items: Vec<String> = self.iter().map(|text| text.shown()).collect();
        format!("[{}]", items.join(","))
    }
}
impl Shown for bool {
    fn shown(&self) -> String {
        self.to_string()
    }
}
impl Shown for i32 {
    fn shown(&self) -> String {
        self.to_string()
    }
}
impl Shown for i64 {
    fn shown(&self) -> String {
        self.to_string()
    }
}
impl Shown for crate::value::Quantity {
    fn shown(&self) -> String {
        format!("\"{self}\"")
    }
}
impl Shown for crate::value::IntOrString {
    fn shown(&self) -> String {
        match self {
            Self::Int(n) => n.to_string(),
            Self::String(text) => text.shown(),
        }
    }
}
/// Structs, lists and maps are shown as JSON.
impl Shown for dyn crate::value::Value {
    fn shown(&self) -> String {
        String::from_utf8_lossy(&crate::codec::json::value_to_vec(self)).into_owned()
    }
}
impl<T: Shown + ?Sized> Shown for &T {
    fn shown(&self) -> String {
        T::shown(self)
    }
}

/// The mistakes found so far, in the order found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Errors(pub Vec<Error>);

impl Errors {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn push(&mut self, reason: Reason, path: &Path, value: String, detail: impl Into<String>) {
        self.0.push(Error { reason, path: path.clone(), value, detail: detail.into() });
    }

    pub fn required(&mut self, path: &Path, detail: impl Into<String>) {
        self.push(Reason::Required, path, String::new(), detail);
    }

    pub fn invalid(&mut self, path: &Path, value: impl Shown, detail: impl Into<String>) {
        self.push(Reason::Invalid, path, value.shown(), detail);
    }

    /// As `invalid`, for a mistake that no one value shows.
    pub fn invalid_without_value(&mut self, path: &Path, detail: impl Into<String>) {
        self.push(Reason::Invalid, path, String::new(), detail);
    }

    pub fn type_invalid(&mut self, path: &Path, value: impl Shown, detail: impl Into<String>) {
        self.push(Reason::TypeInvalid, path, value.shown(), detail);
    }

    pub fn duplicate(&mut self, path: &Path, value: impl Shown) {
        self.push(Reason::Duplicate, path, value.shown(), "");
    }

    pub fn forbidden(&mut self, path: &Path, detail: impl Into<String>) {
        self.push(Reason::Forbidden, path, String::new(), detail);
    }

    pub fn not_found(&mut self, path: &Path, value: impl Shown) {
        self.push(Reason::NotFound, path, value.shown(), "");
    }

    /// `supported` in the order upstream lists them (sorted).
    pub fn not_supported(&mut self, path: &Path, value: impl Shown, supported: &[&str]) {
        let list: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        self.push(
            Reason::NotSupported,
            path,
            value.shown(),
            format!("supported values: {}", list.join(", ")),
        );
    }

    /// `max` in bytes.
    pub fn too_long(&mut self, path: &Path, max: usize) {
        let unit = if max == 1 { "byte" } else { "bytes" };
        self.push(Reason::TooLong, path, String::new(), format!("may not be more than {max} {unit}"));
    }

    pub fn too_many(&mut self, path: &Path, actual: usize, max: usize) {
        let unit = if max == 1 { "item" } else { "items" };
        self.push(Reason::TooMany, path, actual.to_string(), format!("must have at most {max} {unit}"));
    }

    /// `Required` for an empty text in the field `name` below `path`.
    pub fn need(&mut self, path: &Path, name: &str, value: &str) {
        if value.is_empty() {
            self.required(&path.child(name), "");
        }
    }

    /// One `Invalid` for each text that a check of names gave.
    pub fn wrong(&mut self, path: &Path, value: &str, texts: Vec<String>) {
        for text in texts {
            self.invalid(path, value, text);
        }
    }

    /// `NotSupported` unless the value is one of those known.
    pub fn choice(&mut self, path: &Path, value: &str, known: &[&str]) {
        if !known.contains(&value) {
            self.not_supported(path, value, known);
        }
    }

    /// As `choice`, and `Required` for an empty text.
    pub fn required_choice(&mut self, path: &Path, value: &str, known: &[&str]) {
        if value.is_empty() {
            self.required(path, "");
        } else {
            self.choice(path, value, known);
        }
    }

    pub fn internal(&mut self, path: &Path, detail: impl Into<String>) {
        self.push(Reason::Internal, path, String::new(), detail);
    }
}

impl fmt::Display for Errors {
    /// One error as it is; several in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => Ok(()),
            [one] => one.fmt(f),
            many => {
                // COMPAT: upstream drops repeated texts when it joins errors.
                let mut texts: Vec<String> = Vec::with_capacity(many.len());
                for text in many.iter().map(Error::to_string) {
                    if !texts.contains(&text) {
                        texts.push(text);
                    }
                }
                if let [one] = texts.as_slice() {
                    f.write_str(one)
                } else {
                    write!(f, "[{}]", texts.join(", "))
                }
            }
        }
    }
}
