//! A plan is a pure function: what it knows comes in through its parameters, what it wants is what it returns.

use super::{assert_none, sources};

/// Marks of a plan that does something itself, and what it is.
const IMPURE: &[(&str, &str)] = &[
    ("async ", "is async"),
    (".await", "awaits"),
    ("client::Client", "holds a client"),
    ("tokio::", "uses the runtime"),
    ("SystemTime", "reads the clock"),
    ("Instant::now", "reads the clock"),
    ("Timestamp::now", "reads the clock"),
    ("Zoned::now", "reads the clock"),
    ("std::fs", "reads the disk"),
    ("std::env", "reads the environment"),
    ("std::process", "runs programs"),
    ("fastrand::", "rolls dice"),
    ("Uuid::new_v4", "rolls dice"),
];

#[test]
fn plans_are_pure() {
    let mut offenders = Vec::new();
    for plan in sources().iter().filter(|s| s.path.ends_with("plan.rs")) {
        let code = plan.code();
        for (mark, what) in IMPURE {
            if code.contains(mark) {
                offenders.push(format!("{} {what} ({mark})", plan.name()));
            }
        }
    }
    assert_none("plan.rs has no async, no client, no clock, no disk", &offenders);
}

#[test]
fn plans_have_tests() {
    let all = sources();
    let offenders: Vec<String> = all
        .iter()
        .filter(|s| s.path.ends_with("plan.rs"))
        .filter(|plan| {
            let folder = plan.path.parent().expect("a file has a folder");
            let beside =
                |s: &&super::Source| s.path.starts_with(folder) && s.path.to_string_lossy().contains("tests");
            !plan.text.contains("#[cfg(test)]") && !all.iter().any(|s| beside(&s))
        })
        .map(super::Source::name)
        .collect();
    assert_none("a plan is where the tests are: inline, or in tests.rs beside it", &offenders);
}
