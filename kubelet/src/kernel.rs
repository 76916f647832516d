//! Settings of the node's kernel that containers rely on. They are set at start, or with `protectKernelDefaults` held to
//! what they must be: then a node that has others does not start.

use std::path::Path;

use daemon::go_words;

/// Below `/proc/sys`, with the values that they must have.
const TUNABLES: [(&str, i64); 6] = [
    // Memory is given out without looking whether it is there.
    ("vm/overcommit_memory", 1),
    // Out of memory, something is killed and the node goes on.
    ("vm/panic_on_oom", 0),
    // Ten seconds after a panic the node starts again.
    ("kernel/panic", 10),
    ("kernel/panic_on_oops", 1),
    // Runtimes make a key for each container.
    ("kernel/keys/root_maxkeys", 1_000_000),
    ("kernel/keys/root_maxbytes", 25_000_000),
];

/// Sets them below `root` (`/proc/sys`), or only looks at them.
///
/// # Errors
/// Everything that is wrong, worded as upstream's.
pub fn settle(root: &Path, protect: bool) -> Result<(), String> {
    let errors: Vec<String> =
        TUNABLES.iter().filter_map(|(name, wanted)| one(root, name, *wanted, protect).err()).collect();
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        several => Err(format!("[{}]", several.join(", "))),
    }
}

fn one(root: &Path, name: &str, wanted: i64, protect: bool) -> Result<(), String> {
    let path = root.join(name);
    let failed = |source: std::io::Error| format!("open {}: {}", path.display(), go_words::of(&source));
    let text = std::fs::read_to_string(&path).map_err(failed)?;
    let text = text.trim_matches([' ', '\n']);
    let actual: i64 = text.parse().map_err(|_| format!("strconv.Atoi: parsing {text:?}: invalid syntax"))?;
    if actual == wanted {
        return Ok(());
    }
    if protect {
        return Err(format!("invalid kernel flag: {name}, expected value: {wanted}, actual value: {actual}"));
    }
    tracing::info!(flag = name, expected_value = wanted, actual_value = actual, "Updating kernel flag");
    std::fs::write(&path, wanted.to_string()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Settings(std::path::PathBuf);

    impl Settings {
        fn new(values: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("kubelet-kernel-{}", uuid::Uuid::new_v4()));
            for (name, wanted) in TUNABLES {
                let path = root.join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                let other = values.iter().find(|(known, _)| *known == name);
                let value = other.map_or_else(|| format!("{wanted}\n"), |(_, value)| format!("{value}\n"));
                std::fs::write(path, value).unwrap();
            }
            Self(root)
        }

        fn value(&self, name: &str) -> String {
            std::fs::read_to_string(self.0.join(name)).unwrap().trim().to_owned()
        }
    }

    impl Drop for Settings {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn they_are_set() {
        let node = Settings::new(&[("kernel/panic", "0"), ("vm/overcommit_memory", "2")]);
        assert_eq!(settle(&node.0, false), Ok(()));
        assert_eq!(
            (node.value("kernel/panic"), node.value("vm/overcommit_memory")),
            ("10".into(), "1".into())
        );
    }

    #[test]
    fn or_held_to_what_they_must_be() {
        let node = Settings::new(&[]);
        assert_eq!(settle(&node.0, true), Ok(()));
        let node = Settings::new(&[("kernel/panic", "0")]);
        let expected = "invalid kernel flag: kernel/panic, expected value: 10, actual value: 0";
        assert_eq!(settle(&node.0, true), Err(expected.into()));
        assert_eq!(node.value("kernel/panic"), "0");
        let node = Settings::new(&[("kernel/panic", "0"), ("vm/overcommit_memory", "0")]);
        let both = format!(
            "[invalid kernel flag: vm/overcommit_memory, expected value: 1, actual value: 0, {expected}]"
        );
        assert_eq!(settle(&node.0, true), Err(both));
    }

    #[test]
    fn one_that_is_not_there() {
        let node = Settings::new(&[]);
        let path = node.0.join("kernel/keys/root_maxkeys");
        std::fs::remove_file(&path).unwrap();
        let expected = format!("open {}: no such file or directory", path.display());
        assert_eq!(settle(&node.0, true), Err(expected.clone()));
        assert_eq!(settle(&node.0, false), Err(expected));
    }
}
