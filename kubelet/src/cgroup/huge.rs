//! Huge pages: how many bytes of them a control group may use, for each size that the kernel has. Limits are
//! `hugetlb.2MB.max` in version 2, `hugetlb.2MB.limit_in_bytes` in version 1; what is reserved by mappings
//! (`.rsvd`) is limited alike where the kernel knows it.

use std::collections::BTreeMap;
use std::path::Path;

use api_types::Quantity;
use api_types::core::v1::{Container, Pod, ResourceList};

use super::tree::{CgroupError, Tree};
use crate::cri::v1;

/// The sizes that the kernel has.
const SIZES: &str = "/sys/kernel/mm/hugepages";
/// How resources name them.
const RESOURCE: &str = "hugepages-";
/// COMPAT: upstream's number for classes of pods: more than there can be.
const UNBOUNDED: u64 = 1 << 62;

/// What a control group is limited to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HugePages {
    /// What it is.
    #[default]
    Unchanged,
    /// All that there are.
    Unbounded,
    /// So many bytes of each size; none of the sizes that are not named.
    Only(BTreeMap<u64, u64>),
}

impl HugePages {
    /// Those of a list of resources.
    pub fn of(list: &ResourceList) -> Self {
        let one = |(name, amount): (&String, &Quantity)| {
            let size = Quantity::parse(name.strip_prefix(RESOURCE)?).ok()?;
            Some((u64::try_from(size.value()).ok()?, u64::try_from(amount.value()).unwrap_or_default()))
        };
        Self::Only(list.iter().filter_map(one).collect())
    }

    fn bytes(&self, size: u64) -> Option<u64> {
        match self {
            Self::Unchanged => None,
            Self::Unbounded => Some(UNBOUNDED),
            Self::Only(bytes) => Some(bytes.get(&size).copied().unwrap_or_default()),
        }
    }
}

/// The kernel's name of a size in control groups.
fn named(bytes: u64) -> String {
    match bytes {
        bytes if bytes >= 1 << 30 => format!("{}GB", bytes >> 30),
        bytes if bytes >= 1 << 20 => format!("{}MB", bytes >> 20),
        bytes => format!("{}KB", bytes >> 10),
    }
}

/// The sizes that the kernel has, in bytes.
pub fn sizes() -> Vec<u64> {
    sizes_in(Path::new(SIZES))
}

fn sizes_in(dir: &Path) -> Vec<u64> {
    let size = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        Some(name.strip_prefix(RESOURCE)?.strip_suffix("kB")?.parse::<u64>().ok()? << 10)
    };
    let mut all: Vec<u64> = crate::volume::actual::entries(dir)
        .unwrap_or_default()
        .iter()
        .filter_map(|path| size(path))
        .collect();
    all.sort_unstable();
    all
}

/// What a container may use, for the runtime: what it is limited to, or else its pod; nothing of other sizes.
pub fn of_container(pod: &Pod, container: &Container, sizes: &[u64]) -> Vec<v1::HugepageLimit> {
    let own = HugePages::of(&container.resources.limits);
    let pods = pod.spec.resources.as_ref().map(|resources| HugePages::of(&resources.limits));
    let (HugePages::Only(mut all), own) = (pods.unwrap_or(HugePages::Only(BTreeMap::new())), own) else {
        return Vec::new();
    };
    if let HugePages::Only(own) = own {
        all.extend(own);
    }
    let limit = |size: &u64| v1::HugepageLimit {
        page_size: named(*size),
        limit: all.get(size).copied().unwrap_or_default(),
    };
    sizes.iter().map(limit).collect()
}

impl Tree {
    /// Limits the huge pages of a cgroup, where the kernel accounts for them.
    pub(super) fn limit_huge_pages(
        &self,
        cgroup: &str,
        limits: &HugePages,
        sizes: &[u64],
    ) -> Result<(), CgroupError> {
        let dir = self.dir("hugetlb", cgroup);
        let end = if self.is_v2() { "max" } else { "limit_in_bytes" };
        for size in sizes {
            let Some(bytes) = limits.bytes(*size) else { return Ok(()) };
            for kind in [String::new(), ".rsvd".to_owned()] {
                let file = format!("hugetlb.{}{kind}.{end}", named(*size));
                if dir.join(&file).exists() {
                    self.write("hugetlb", cgroup, &file, &bytes.to_string())?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB2: u64 = 2 << 20;
    const GB1: u64 = 1 << 30;

    fn list(amounts: &[(&str, &str)]) -> ResourceList {
        amounts.iter().map(|(name, amount)| ((*name).to_owned(), Quantity::parse(amount).unwrap())).collect()
    }

    #[test]
    fn sizes_have_the_kernels_names() {
        assert_eq!(
            [64 << 10, MB2, 32 << 20, GB1, 16 << 30].map(named),
            ["64KB", "2MB", "32MB", "1GB", "16GB"]
        );
    }

    #[test]
    fn a_container_has_what_it_names_or_its_pod() {
        let mut pod = Pod::default();
        let mut container = Container::default();
        let shown = |pod: &Pod, container: &Container| -> Vec<(String, u64)> {
            let all = of_container(pod, container, &[MB2, GB1]);
            all.into_iter().map(|one| (one.page_size, one.limit)).collect()
        };
        let both = |small, large| vec![("2MB".to_owned(), small), ("1GB".to_owned(), large)];
        assert_eq!(shown(&pod, &container), both(0, 0));
        container.resources.limits = list(&[("hugepages-2Mi", "8Mi"), ("memory", "1Gi")]);
        assert_eq!(shown(&pod, &container), both(8 << 20, 0));
        let own = pod.spec.resources.get_or_insert_default();
        own.limits = list(&[("hugepages-2Mi", "16Mi"), ("hugepages-1Gi", "2Gi")]);
        assert_eq!(shown(&pod, &container), both(8 << 20, 2 << 30));
    }

    #[test]
    fn every_size_is_limited_in_both_versions() {
        let mount = std::env::temp_dir().join(format!("kubelet-huge-{}", uuid::Uuid::new_v4()));
        let check = |files: &[&str], limits: &HugePages, expected: &[&str]| {
            for file in files {
                std::fs::create_dir_all(mount.join(file).parent().unwrap()).unwrap();
                std::fs::write(mount.join(file), "before").unwrap();
            }
            Tree::at(&mount).limit_huge_pages("/a", limits, &[MB2, GB1]).unwrap();
            let read = |file: &&str| std::fs::read_to_string(mount.join(file)).unwrap();
            assert_eq!(files.iter().map(read).collect::<Vec<_>>(), expected);
        };
        let first = ["hugetlb/a/hugetlb.2MB.limit_in_bytes", "hugetlb/a/hugetlb.1GB.limit_in_bytes"];
        let limits = HugePages::of(&list(&[("hugepages-2Mi", "4Mi"), ("cpu", "1")]));
        check(&first, &limits, &["4194304", "0"]);
        check(&first, &HugePages::Unchanged, &["before", "before"]);
        std::fs::write(mount.join("cgroup.controllers"), "hugetlb").unwrap();
        let second = ["a/hugetlb.2MB.max", "a/hugetlb.2MB.rsvd.max", "a/hugetlb.1GB.max"];
        check(&second, &limits, &["4194304", "4194304", "0"]);
        check(&second, &HugePages::Unbounded, &["4611686018427387904"; 3]);
        std::fs::remove_dir_all(&mount).unwrap();
    }
}
