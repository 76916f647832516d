//! Pressure (PSI): for how long processes of a control group waited for CPU, memory or disks. Control groups v2 tell it
//! in `cpu.pressure`, `memory.pressure` and `io.pressure`, for the node in /proc/pressure:
//!
//! ```text
//! some avg10=0.00 avg60=0.10 avg300=0.02 total=1234
//! full avg10=0.00 avg60=0.00 avg300=0.00 total=12
//! ```
//! `total` is in microseconds.

use std::path::Path;

use serde_json::{Value, json};

use crate::cgroup::tree::Tree;

/// What is waited for, as files are called.
pub const KINDS: [&str; 3] = ["cpu", "memory", "io"];

/// One line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    /// Percent of the last 10, 60 and 300 seconds.
    pub averages: [f64; 3],
    /// Microseconds.
    pub total: u64,
}

/// Of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// Some processes waited.
    pub some: Share,
    /// All of them did.
    pub full: Share,
}

impl Pressure {
    fn parse(text: &str) -> Self {
        let line = |name: &str| {
            let mut share = Share::default();
            let fields = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            for (key, value) in fields.split_whitespace().filter_map(|field| field.split_once('=')) {
                let average = value.parse().unwrap_or_default();
                match key {
                    "avg10" => share.averages[0] = average,
                    "avg60" => share.averages[1] = average,
                    "avg300" => share.averages[2] = average,
                    "total" => share.total = value.parse().unwrap_or_default(),
                    _ => {}
                }
            }
            share
        };
        Self { some: line("some "), full: line("full ") }
    }

    /// As /stats/summary shows it. COMPAT: upstream's total is in microseconds too, whatever its documentation says.
    pub fn value(&self) -> Value {
        let share = |share: &Share| {
            let [avg10, avg60, avg300] = share.averages;
            json!({"total": share.total, "avg10": avg10, "avg60": avg60, "avg300": avg300})
        };
        json!({"full": share(&self.full), "some": share(&self.some)})
    }
}

/// Whether the kernel tells it of control groups.
pub fn is_told(tree: &Tree) -> bool {
    tree.is_v2() && tree.dir("cpu", "/").join("cpu.pressure").exists()
}

/// That of a control group, in the order of [`KINDS`]; none where it is not told.
pub fn of(tree: &Tree, cgroup: &str) -> [Pressure; 3] {
    KINDS.map(|kind| {
        if !tree.is_v2() {
            return Pressure::default();
        }
        let own = tree.dir(kind, cgroup).join(format!("{kind}.pressure"));
        let node = Path::new("/proc/pressure").join(kind);
        let file = if cgroup == "/" && !own.exists() { node } else { own };
        Pressure::parse(&std::fs::read_to_string(file).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lines_are_read_and_shown() {
        let text = "some avg10=0.50 avg60=1.25 avg300=0.00 total=1234\nfull avg10=0.00 avg60=0.10 avg300=0.00 total=12\n";
        let pressure = Pressure::parse(text);
        assert_eq!(pressure.some, Share { averages: [0.5, 1.25, 0.0], total: 1234 });
        assert_eq!(
            pressure.value(),
            json!({
                "full": {"total": 12, "avg10": 0.0, "avg60": 0.1, "avg300": 0.0},
                "some": {"total": 1234, "avg10": 0.5, "avg60": 1.25, "avg300": 0.0},
            })
        );
        assert_eq!(Pressure::parse(""), Pressure::default());
    }

    #[test]
    fn version_2_tells_it_of_every_group() {
        let mount = std::env::temp_dir().join(format!("kubelet-pressure-{}", uuid::Uuid::new_v4()));
        let write = |file: &str, text: &str| {
            std::fs::create_dir_all(mount.join(file).parent().unwrap()).unwrap();
            std::fs::write(mount.join(file), text).unwrap();
        };
        write("cpu.pressure", "");
        assert!(!is_told(&Tree::at(&mount)));
        write("cgroup.controllers", "cpu");
        write("a/io.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n");
        assert!(is_told(&Tree::at(&mount)));
        assert_eq!(of(&Tree::at(&mount), "/a").map(|one| one.some.total), [0, 0, 7]);
        std::fs::remove_dir_all(&mount).unwrap();
    }
}
