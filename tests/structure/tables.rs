//! What is a row in a table and a folder or file of its own brings its own tests.

use std::collections::BTreeMap;

use super::{assert_none, sources};

/// Folders whose entries (a file or a folder each) are the rows of a table.
const ROWS: &[&str] = &["controller-manager/src/controllers", "scheduler/src/plugins"];

#[test]
fn every_row_has_tests() {
    let mut tested: BTreeMap<String, bool> = BTreeMap::new();
    for source in sources() {
        for rows in ROWS {
            let Ok(below) = source.path.strip_prefix(rows) else { continue };
            let row = below.components().next().expect("a file").as_os_str().to_string_lossy().into_owned();
            // The module that lists the rows, and the tests that they share.
            if ["mod.rs", "tests.rs", "tests"].contains(&row.as_str()) {
                continue;
            }
            let has = source.text.contains("#[test]") || source.text.contains("#[tokio::test]");
            *tested.entry(format!("{rows}/{row}")).or_default() |= has;
        }
    }
    let offenders: Vec<String> = tested.into_iter().filter(|(_, has)| !has).map(|(row, _)| row).collect();
    assert_none("every row of a table has tests", &offenders);
}
