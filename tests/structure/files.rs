//! Every file says what it is, has a name that says it too, and can be read in one go.

use super::{assert_none, sources};

/// A file is about 300 lines; where one must be longer, 800 is the end.
const LONGEST: usize = 800;

#[test]
fn files_start_by_saying_what_they_are() {
    let offenders: Vec<String> =
        sources().iter().filter(|s| !s.text.starts_with("//!")).map(super::Source::name).collect();
    assert_none("a file starts with //!", &offenders);
}

#[test]
fn no_file_is_too_long() {
    let offenders: Vec<String> = sources()
        .iter()
        .map(|s| (s.text.lines().count(), s))
        .filter(|(lines, _)| *lines > LONGEST)
        .map(|(lines, s)| format!("{}: {lines} lines", s.name()))
        .collect();
    assert_none("a file has at most 800 lines: split it where its ideas part", &offenders);
}

#[test]
fn names_are_nouns_that_say_something() {
    const EMPTY: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc"];
    let offenders: Vec<String> = sources()
        .iter()
        .filter(|s| {
            s.path.components().any(|c| {
                let name = c.as_os_str().to_string_lossy();
                EMPTY.contains(&name.trim_end_matches(".rs"))
            })
        })
        .map(super::Source::name)
        .collect();
    assert_none("no file or folder is called util, common, helper or misc", &offenders);
}

#[test]
fn only_named_modules_are_unsafe() {
    let offenders: Vec<String> = sources()
        .iter()
        .filter(|s| s.code().contains("allow(unsafe_code)") && !s.text.to_lowercase().contains("safety"))
        .map(super::Source::name)
        .collect();
    assert_none("unsafe code carries its proof (SAFETY: …)", &offenders);
}

#[test]
fn an_exception_from_a_lint_says_why() {
    let offenders: Vec<String> = sources()
        .iter()
        .flat_map(|s| s.text.lines().enumerate().map(move |(at, line)| (s, at + 1, line.trim_start())))
        .filter(|(_, _, line)| {
            (line.starts_with("#[allow(") || line.starts_with("#![allow(")) && line.ends_with(']')
        })
        .filter(|(_, _, line)| !line.contains("reason = ") && !line.contains("unsafe_code"))
        .map(|(s, at, _)| format!("{}:{at}", s.name()))
        .collect();
    assert_none("allow(…) carries its reason", &offenders);
}
