//! References to images: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`, as container tools write them.

use regex::Regex;
use std::sync::LazyLock;

/// The tag that a reference stands for; `latest` when it names neither tag nor digest, `None` when
/// it has a digest alone or is no reference at all.
pub fn tag(image: &str) -> Option<&str> {
    static REFERENCE: LazyLock<Regex> = LazyLock::new(|| {
        let part = "[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]";
        let host = format!(r"(?:(?:{part})(?:\.(?:{part}))*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?");
        let path = "[a-z0-9]+(?:(?:[.]|_|__|[-]+)[a-z0-9]+)*";
        // At most 128 characters, which is checked below.
        let tag = "[A-Za-z0-9_][A-Za-z0-9_.-]*";
        let digest = "[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]+";
        let pattern = format!("^(?:{host}/)?{path}(?:/{path})*(?::({tag}))?(?:@({digest}))?$");
        Regex::new(&pattern).expect("a constant pattern")
    });
    // A bare identifier would be taken for a name.
    if image.len() == 64 && image.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return None;
    }
    let found = REFERENCE.captures(image)?;
    if found.get(1).is_some_and(|tag| tag.len() > 128) {
        return None;
    }
    match (found.get(1), found.get(2)) {
        (Some(tag), _) => Some(tag.as_str()),
        (None, Some(_)) => None,
        (None, None) => Some("latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        let digest = "0".repeat(64);
        for (image, expected) in [
            ("nginx", Some("latest")),
            ("nginx:1.27", Some("1.27")),
            ("localhost:5000/a/b", Some("latest")),
            ("localhost:5000/a/b:v1", Some("v1")),
            ("registry.k8s.io/pause:latest", Some("latest")),
            (&format!("nginx@sha256:{digest}"), None),
            (&format!("nginx:1@sha256:{digest}"), Some("1")),
            ("", None),
            ("Upper/Case", None),
            (&digest, None),
        ] {
            assert_eq!(tag(image), expected, "{image}");
        }
    }
}
