//! Labels and selectable fields of a stored object, which selectors ask for: one run of bytes, since there is one
//! for each object.
//!
//! `LABELS (KEY VALUE)… (FIELD VALUE)…`: a count, then texts behind their lengths; a field is its place in the
//! kind's list of names. Numbers are seven bits a byte, the last without the high bit.

/// What an object is selected by, beyond its name and namespace.
#[derive(Debug)]
pub struct Facts {
    bytes: Box<[u8]>,
    /// The kind's selectable fields.
    names: &'static [&'static str],
}

impl Facts {
    /// Fields that are not among `names` are nobody's to ask for, and left out.
    pub fn new<'a>(
        labels: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
        names: &'static [&'static str],
        fields: &[(&'static str, String)],
    ) -> Self {
        let mut bytes = Vec::with_capacity(128);
        number(labels.len(), &mut bytes);
        for (key, value) in labels {
            text(key, &mut bytes);
            text(value, &mut bytes);
        }
        for (name, value) in fields {
            if let Some(place) = names.iter().position(|own| own == name) {
                number(place, &mut bytes);
                text(value, &mut bytes);
            }
        }
        Self { bytes: bytes.into(), names }
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels().find(|(own, _)| *own == key).map(|(_, value)| value)
    }

    fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut left = Left(&self.bytes);
        let count = left.number().unwrap_or(0);
        (0..count).map_while(move |_| Some((left.text()?, left.text()?)))
    }

    /// The text of a field; `None` if the object does not have it.
    pub fn field(&self, name: &str) -> Option<&str> {
        let wanted = self.names.iter().position(|own| *own == name)?;
        let mut left = Left(&self.bytes);
        for _ in 0..left.number()? * 2 {
            left.text()?;
        }
        while let Some(place) = left.number() {
            let value = left.text()?;
            if place == wanted {
                return Some(value);
            }
        }
        None
    }
}

/// What has not been read yet.
struct Left<'a>(&'a [u8]);

impl<'a> Left<'a> {
    fn number(&mut self) -> Option<usize> {
        let mut number = 0;
        for shift in (0..usize::BITS).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.number()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}

fn number(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn text(text: &str, out: &mut Vec<u8>) {
    number(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["spec.nodeName", "status.phase", "reason"];

    #[test]
    fn labels_and_fields_are_found() {
        let long = "x".repeat(70_000);
        let labels = [("app", "web"), ("empty", ""), ("ä", "\0\u{7f}")];
        let fields = [("reason", long.clone()), ("unknown", "u".into()), ("spec.nodeName", "n\0".into())];
        let facts = Facts::new(labels.into_iter(), NAMES, &fields);
        assert_eq!(facts.labels().collect::<Vec<_>>(), labels);
        for (key, expected) in
            [("app", Some("web")), ("empty", Some("")), ("ä", Some("\0\u{7f}")), ("ap", None), ("", None)]
        {
            assert_eq!(facts.label(key), expected, "{key}");
        }
        for (name, expected) in [
            ("reason", Some(&*long)),
            ("spec.nodeName", Some("n\0")),
            ("status.phase", None),
            ("unknown", None),
        ] {
            assert_eq!(facts.field(name), expected, "{name}");
        }
    }

    #[test]
    fn an_object_without_any_has_none() {
        let facts = Facts::new([].into_iter(), &[], &[]);
        assert_eq!((facts.labels().count(), facts.label("a"), facts.field("a")), (0, None, None));
    }
}
