//! Names of images: their default tag, their repository. Pure.

/// The reference with its default tag; `None` when it is none.
pub fn with_tag(image: &str) -> Option<String> {
    let (path, tag, digest) = parts(image)?;
    let untagged = tag.is_none() && digest.is_none();
    Some(if untagged { format!("{path}:latest") } else { image.to_owned() })
}

/// The reference as it is written, without tag and digest; `None` when it is none.
pub fn without_tag(image: &str) -> Option<&str> {
    parts(image).map(|(path, ..)| path)
}

/// Host and path of an image, with Docker Hub's where none is named; `None` when it is no reference.
pub fn repository(image: &str) -> Option<String> {
    let path = without_tag(image)?;
    let (host, rest) = match path.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => ("docker.io", path),
    };
    let host = if host == "index.docker.io" { "docker.io" } else { host };
    let official = host == "docker.io" && !rest.contains('/');
    Some(if official { format!("{host}/library/{rest}") } else { format!("{host}/{rest}") })
}

/// Path, tag and digest of a reference.
fn parts(image: &str) -> Option<(&str, Option<&str>, Option<&str>)> {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let (path, tag) = match name[slash..].find(':') {
        Some(at) => (&name[..slash + at], Some(&name[slash + at + 1..])),
        None => (name, None),
    };
    let mut parts: Vec<&str> = path.split('/').collect();
    // The first of several parts is a host when it looks like one; hosts may have capitals and a port.
    let host = parts.len() > 1 && (parts[0].contains(['.', ':']) || parts[0] == "localhost");
    if host {
        let domain = parts.remove(0);
        let fits = |c: char| c.is_ascii_alphanumeric() || ".:-[]_".contains(c);
        if domain.is_empty() || !domain.chars().all(fits) {
            return None;
        }
    }
    let component = |part: &&str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        part.starts_with(inner)
            && part.ends_with(inner)
            && part.chars().all(|c| inner(c) || "._-".contains(c))
    };
    if parts.is_empty() || !parts.iter().all(component) {
        return None;
    }
    let tag_fits = |tag: &str| {
        !tag.is_empty()
            && tag.len() <= 128
            && !tag.starts_with(['.', '-'])
            && tag.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    if tag.is_some_and(|tag| !tag_fits(tag)) || digest.is_some_and(|digest| !digest.contains(':')) {
        return None;
    }
    Some((path, tag, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        let check = |image: &str, expected: Option<&str>| assert_eq!(with_tag(image).as_deref(), expected);
        check("busybox", Some("busybox:latest"));
        check("localhost:5000/a/b", Some("localhost:5000/a/b:latest"));
        check("a.io/b:1.0", Some("a.io/b:1.0"));
        check("a@sha256:0", Some("a@sha256:0"));
        check("BusyBox", None);
        check("a b", None);
        check("", None);
        check("a:", None);
    }

    #[test]
    fn repositories() {
        let check = |image: &str, written: &str, whole: &str| {
            assert_eq!((without_tag(image), repository(image).as_deref()), (Some(written), Some(whole)));
        };
        check("busybox:1", "busybox", "docker.io/library/busybox");
        check("team/app@sha256:0", "team/app", "docker.io/team/app");
        check("index.docker.io/busybox", "index.docker.io/busybox", "docker.io/library/busybox");
        check("localhost:5000/a/b:1@sha256:0", "localhost:5000/a/b", "localhost:5000/a/b");
        assert_eq!(repository("A"), None);
    }
}
