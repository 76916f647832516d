//! The house rules that a machine can check, over the files of the workspace: dependencies point one
//! way, plans are pure, every file says what it is, tables have tests, files stay readable, daemons have units.
//! A rule that makes a place worse is changed here, with the reason, and not worked around there.

mod dependencies;
mod files;
mod plans;
mod tables;
mod units;

use std::path::{Path, PathBuf};

/// The root of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the workspace")
}

/// One Rust file: its path from the root, and its text.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Without comments and without inline tests: what the rules about code look at.
    fn code(&self) -> String {
        let inline = ["#[cfg(test)]\nmod tests {", "#[cfg(test)]\npub mod tests {"];
        let end = inline.iter().filter_map(|start| self.text.find(start)).min().unwrap_or(self.text.len());
        self.text[..end]
            .lines()
            .filter(|l| !l.trim_start().starts_with("//"))
            .map(|l| format!("{l}\n"))
            .collect()
    }
}

/// All Rust files of the workspace, in order.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    collect(root(), &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 20, "the workspace was not found at {}", root().display());
    found
}

fn collect(dir: &Path, found: &mut Vec<Source>) {
    for entry in std::fs::read_dir(dir).expect("the workspace can be read").flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            // Build output, the cluster's data, git.
            if name != "target" && !name.starts_with('.') {
                collect(&path, found);
            }
        } else if name.ends_with(".rs") {
            let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
            let path = path.strip_prefix(root()).expect("below the root").to_owned();
            found.push(Source { path, text });
        }
    }
}

/// Fails with all offenders at once.
fn assert_none(rule: &str, offenders: &[String]) {
    assert!(offenders.is_empty(), "{rule}:\n  {}", offenders.join("\n  "));
}
