//! The difference of two objects as a unified diff of their indented JSON, for error texts.

use crate::value::Value;

const CONTEXT: usize = 3;

/// Lines that differ, with three lines around them; empty when none do.
pub fn unified(old: &dyn Value, new: &dyn Value) -> String {
    let (old, new) = (lines(old), lines(new));
    render(&steps(&old, &new))
}

fn lines(value: &dyn Value) -> Vec<String> {
    let compact = crate::codec::json::value_to_vec(value);
    let parsed: serde_json::Value = serde_json::from_slice(&compact).unwrap_or_default();
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    serde::Serialize::serialize(&parsed, &mut serializer).expect("JSON goes into memory");
    String::from_utf8_lossy(&out).lines().map(str::to_owned).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Same,
    Old,
    New,
}

/// The shortest way from one text to the other, by the longest common subsequence.
fn steps<'a>(old: &'a [String], new: &'a [String]) -> Vec<(Kind, &'a str)> {
    // common[i][j]: length of what old[i..] and new[j..] share.
    let mut common = vec![vec![0u32; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut steps = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            steps.push((Kind::Same, old[i].as_str()));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            steps.push((Kind::Old, old[i].as_str()));
            i += 1;
        } else {
            steps.push((Kind::New, new[j].as_str()));
            j += 1;
        }
    }
    steps
}

fn render(steps: &[(Kind, &str)]) -> String {
    let near = |at: usize| {
        let around = at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(steps.len());
        steps[around].iter().any(|(kind, _)| *kind != Kind::Same)
    };
    let mut out = String::new();
    let (mut at, mut old_line, mut new_line) = (0, 1, 1);
    while at < steps.len() {
        if !near(at) {
            (at, old_line, new_line) = (at + 1, old_line + 1, new_line + 1);
            continue;
        }
        let end = (at..steps.len()).find(|at| !near(*at)).unwrap_or(steps.len());
        let hunk = &steps[at..end];
        let count = |skip: Kind| hunk.iter().filter(|(kind, _)| *kind != skip).count();
        let (olds, news) = (count(Kind::New), count(Kind::Old));
        out.push_str(&format!("@@ -{old_line},{olds} +{new_line},{news} @@\n"));
        for (kind, line) in hunk {
            out.push(match kind {
                Kind::Same => ' ',
                Kind::Old => '-',
                Kind::New => '+',
            });
            out.push_str(line);
            out.push('\n');
        }
        (at, old_line, new_line) = (end, old_line + olds, new_line + news);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::v1::{Container, PodSpec};

    #[test]
    fn changed_lines_stand_among_their_neighbours() {
        let spec = |name: &str| PodSpec {
            containers: vec![Container { name: "main".into(), image: "a".into(), ..Container::default() }],
            scheduler_name: name.into(),
            ..PodSpec::default()
        };
        assert_eq!(unified(&spec("x"), &spec("x")), "");
        let diff = unified(&spec("x"), &spec("y"));
        assert!(diff.starts_with("@@ -"), "{diff}");
        assert!(diff.contains("- \"schedulerName\": \"x\"\n+ \"schedulerName\": \"y\"\n"), "{diff}");
        assert!(!diff.contains("containers"), "{diff}");
    }
}
