//! What is done to control groups that the kubelet did not make: whether they are there, most processes, and moving
//! processes into one.

use std::path::Path;

use super::reserved::Group;
use super::tree::{CgroupError, Tree, failed};

/// The controllers of version 1 that a group must have, as far as they are mounted.
const V1: [&str; 7] = ["cpu", "cpuacct", "cpuset", "hugetlb", "memory", "pids", "systemd"];
/// Those of version 2, as far as the root has them.
const V2: [&str; 5] = ["cpu", "cpuset", "hugetlb", "memory", "pids"];

impl Tree {
    /// Whether a group is there with all controllers.
    ///
    /// # Errors
    /// What is missing, worded as upstream's.
    pub fn present(&self, group: &Group) -> Result<(), String> {
        if !self.is_v2() {
            let missing: Vec<String> = V1
                .iter()
                .filter(|controller| self.dir(controller, "/").is_dir())
                .map(|controller| self.dir(controller, &group.path))
                .filter(|dir| !dir.exists())
                .map(|dir| dir.display().to_string())
                .collect();
            return match missing.as_slice() {
                [] => Ok(()),
                some => Err(format!("cgroup {group} has some missing paths: {}", some.join(", "))),
            };
        }
        let controllers = |path: &str| {
            let file = self.dir("", path).join("cgroup.controllers");
            std::fs::read_to_string(&file)
                .map_err(|error| format!("open {}: {}", file.display(), daemon::go_words::of(&error)))
        };
        let (root, there) = (controllers("/")?, controllers(&group.path));
        let there =
            there.map_err(|error| format!("could not read controllers for cgroup {group}: {error}"))?;
        let has = |list: &str, name: &str| list.split_whitespace().any(|one| one == name);
        let missing: Vec<&str> =
            V2.into_iter().filter(|name| has(&root, name) && !has(&there, name)).collect();
        match missing.as_slice() {
            [] => Ok(()),
            some => Err(format!("cgroup {group} has some missing controllers: {}", some.join(", "))),
        }
    }

    /// Bounds how many processes a cgroup has.
    pub fn limit_pids(&self, cgroup: &str, most: i64) -> Result<(), CgroupError> {
        self.set_tasks(cgroup, most)?;
        self.write("pids", cgroup, "pids.max", &most.to_string())
    }

    /// Moves a process into a cgroup of all hierarchies, which is made if it is not there.
    pub fn enter(&self, cgroup: &str, pid: u32) -> Result<(), CgroupError> {
        for root in self.hierarchies() {
            // The second version beside the first holds no controllers.
            let beside = !self.is_v2() && root.join("cgroup.controllers").exists();
            if beside || !root.join("cgroup.procs").exists() {
                continue;
            }
            let dir = root.join(cgroup.trim_start_matches('/'));
            std::fs::create_dir_all(&dir).map_err(failed("mkdir", &dir))?;
            inherit(&root, &dir)?;
            let procs = dir.join("cgroup.procs");
            std::fs::write(&procs, pid.to_string()).map_err(failed("write", &procs))?;
        }
        Ok(())
    }

    /// The processes directly in a cgroup. COMPAT: on version 1 in that of devices.
    pub fn members(&self, cgroup: &str) -> Vec<u32> {
        let text = std::fs::read_to_string(self.dir("devices", cgroup).join("cgroup.procs"));
        text.unwrap_or_default().lines().filter_map(|line| line.parse().ok()).collect()
    }
}

/// A new cgroup of version 1 has no CPUs and no memory nodes; no process can enter it before it has.
fn inherit(root: &Path, dir: &Path) -> Result<(), CgroupError> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = dir.join(file);
        let empty = std::fs::read_to_string(&own).is_ok_and(|text| text.trim().is_empty());
        let Some(parent) = dir.parent().filter(|_| empty && dir != root) else { continue };
        inherit(root, parent)?;
        let value = std::fs::read_to_string(parent.join(file)).unwrap_or_default();
        std::fs::write(&own, value.trim()).map_err(failed("write", &own))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Driver;

    struct Mount(std::path::PathBuf);

    impl Mount {
        fn new(files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("kubelet-cgroups-{}", uuid::Uuid::new_v4()));
            for (name, value) in files {
                let path = root.join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, value).unwrap();
            }
            Self(root)
        }

        fn read(&self, name: &str) -> String {
            std::fs::read_to_string(self.0.join(name)).unwrap()
        }
    }

    impl Drop for Mount {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn groups_that_are_not_there_are_told() {
        let mount = Mount::new(&[("cpu/a/x", ""), ("memory/x", ""), ("blkio/x", "")]);
        let tree = Tree::at(&mount.0);
        let group = Group::named("/a", Driver::Cgroupfs);
        let missing = format!("cgroup [\"a\"] has some missing paths: {}/memory/a", mount.0.display());
        assert_eq!(tree.present(&group), Err(missing));
        std::fs::create_dir(mount.0.join("memory/a")).unwrap();
        assert_eq!(tree.present(&group), Ok(()));
    }

    #[test]
    fn version_2_has_controllers_to_miss() {
        let mount = Mount::new(&[
            ("cgroup.controllers", "cpu io memory pids\n"),
            ("a/cgroup.controllers", "cpu\n"),
            ("b/cgroup.controllers", "cpu memory pids\n"),
        ]);
        let tree = Tree::at(&mount.0);
        let check = |name: &str, expected: Result<(), &str>| {
            let result = tree.present(&Group::named(name, Driver::Cgroupfs));
            let shown = result.map_err(|error| error.replace(mount.0.to_str().unwrap(), "T"));
            assert_eq!(shown.as_ref().map(|_| ()).map_err(String::as_str), expected);
        };
        check("a", Err("cgroup [\"a\"] has some missing controllers: memory, pids"));
        check("b", Ok(()));
        check(
            "c",
            Err(
                "could not read controllers for cgroup [\"c\"]: open T/c/cgroup.controllers: no such file or \
                 directory",
            ),
        );
    }

    #[test]
    fn a_process_enters_all_hierarchies_of_version_1() {
        let mount = Mount::new(&[
            ("devices/cgroup.procs", "1\n7\n"),
            ("memory/cgroup.procs", "1\n"),
            ("cpuset/cgroup.procs", "1\n"),
            ("cpuset/cpuset.cpus", "0-1\n"),
            ("cpuset/a/cpuset.cpus", "\n"),
            ("unified/cgroup.procs", "1\n"),
            ("unified/cgroup.controllers", ""),
        ]);
        let tree = Tree::at(&mount.0);
        assert_eq!(tree.members("/"), [1, 7]);
        tree.enter("/a", 7).unwrap();
        assert_eq!(mount.read("memory/a/cgroup.procs"), "7");
        assert_eq!(
            (mount.read("cpuset/a/cgroup.procs"), mount.read("cpuset/a/cpuset.cpus")),
            ("7".into(), "0-1".into())
        );
        assert!(!mount.0.join("unified/a").exists());
    }
}
