//! What is a row in a table and a folder or file of its own brings its own tests.

use std::collections::BTreeMap;

use super::{assert_none, sources};

/// Folders whose entries (a file or a folder each) are the rows of a table.
const ROWS: &[&str] = &["controller-manager/src/controllers", "scheduler/src/plugins"];

#[test]
fn every_row_has_tests() {
    let all = sources();
    let suites: Vec<&super::Source> = all.iter().filter(|s| s.path.ends_with("tests.rs")).collect();
    let mut tested: BTreeMap<String, bool> = BTreeMap::new();
    for source in &all {
        for rows in ROWS {
            let Ok(below) = source.path.strip_prefix(rows) else { continue };
            let row = below.components().next().expect("a file").as_os_str().to_string_lossy().into_owned();
            // The module that lists the rows, and the tests that they share.
            if ["mod.rs", "tests.rs", "tests"].contains(&row.as_str()) {
                continue;
            }
            // What does I/O is tested where its caller is, by name.
            let name = camel_case(row.trim_end_matches(".rs"));
            let has = source.text.contains("#[test]")
                || source.text.contains("#[tokio::test]")
                || suites.iter().any(|suite| suite.text.contains(&name));
            *tested.entry(format!("{rows}/{row}")).or_default() |= has;
        }
    }
    let offenders: Vec<String> = tested.into_iter().filter(|(_, has)| !has).map(|(row, _)| row).collect();
    assert_none("every row of a table has tests", &offenders);
}

/// `default_binder` → `DefaultBinder`
fn camel_case(name: &str) -> String {
    let words = name.split('_').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_uppercase() + rest
    });
    words.collect()
}
