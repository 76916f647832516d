//! How the runtime's version is told. Pure.

/// COMPAT: as Go reads versions: without the `v` before it, and without what follows it unless that is semantic.
/// `1.6.20~ds1` is 1.6.20, `v2.3.4-rc.1` is 2.3.4-rc.1. A text that is no version stays as it is.
pub fn told(text: &str) -> String {
    let bare = text.trim_start();
    let bare = bare.strip_prefix('v').unwrap_or(bare);
    let end = bare.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(bare.len());
    let numbers = bare[..end].trim_end_matches('.');
    let rest = &bare[numbers.len()..];
    let components: Vec<&str> = numbers.split('.').collect();
    let is_number = |part: &&str| part.parse::<u64>().is_ok();
    if components.len() < 2 || !components.iter().all(is_number) {
        return text.to_owned();
    }
    let shown: Vec<&str> = components
        .iter()
        .map(|part| Some(part.trim_start_matches('0')).filter(|part| !part.is_empty()).unwrap_or("0"))
        .collect();
    let semantic = components.len() == 3 && shown == components;
    let rest = if semantic && is_semantic(rest.trim_end()) { rest.trim_end() } else { "" };
    format!("{}{rest}", shown.join("."))
}

/// `-rc.1`, `+build`, both or none.
fn is_semantic(rest: &str) -> bool {
    let (pre, build) = match rest.split_once('+') {
        Some((pre, build)) => (pre, Some(build)),
        None => (rest, None),
    };
    let dotted = |text: &str| {
        let is_word = |word: &str| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        text.split('.').all(is_word)
    };
    let pre_is = pre.is_empty() || pre.strip_prefix('-').is_some_and(dotted);
    pre_is && build.is_none_or(dotted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_runtimes() {
        let check = |text: &str, expected: &str| assert_eq!(told(text), expected);
        check("v2.3.4", "2.3.4");
        check("1.6.20~ds1", "1.6.20");
        check("1.7.12-0ubuntu1", "1.7.12-0ubuntu1");
        check("v2.1.0-rc.1+dirty.m", "2.1.0-rc.1+dirty.m");
        check("1.30.0+x", "1.30.0+x");
        check("2.0", "2.0");
        check("1.2.3.4-x", "1.2.3.4");
        check("1.02.3-x", "1.2.3");
        check("unknown", "unknown");
    }
}
