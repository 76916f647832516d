//! `emptyDir` of huge pages: a hugetlbfs with pages of the size that the pod asks for.

use std::path::Path;

use api_types::Quantity;
use api_types::core::v1::{Pod, StorageMedium};

use crate::volume::{VolumeError, io, mounts};

const RESOURCE: &str = "hugepages-";
const MEDIUM: &str = "HugePages-";

/// Whether it is a medium of huge pages, of a size that is said (`HugePages-2Mi`) or not.
pub fn is(medium: &StorageMedium) -> bool {
    *medium == StorageMedium::HugePages || medium.as_str().starts_with(MEDIUM)
}

/// Mounts it at `path` unless one with the same pages is there.
pub fn mount(path: &Path, medium: &StorageMedium, pod: &Pod) -> Result<(), VolumeError> {
    let size = page_size(medium, pod).map_err(VolumeError::Medium)?;
    if mounts::is_mounted(path).map_err(io("read the mount table"))? {
        let pages = rustix::fs::statfs(path)
            .map_err(|error| io(format!("statfs {}", path.display()))(error.into()))?
            .f_bsize;
        if *medium == StorageMedium::HugePages || pages == size.value() {
            return Ok(());
        }
        let there = Quantity::parse(&format!("{}Ki", pages / 1024))
            .map_or_else(|_| pages.to_string(), |q| q.to_string());
        return Err(VolumeError::Medium(format!(
            "pod {}: mounted dir {} pagesize '{there}' and requested medium size '{size}' differ",
            pod.metadata.uid,
            path.display()
        )));
    }
    mounts::huge_pages(path, &size.to_string()).map_err(io(format!("mount hugetlbfs at {}", path.display())))
}

/// The size of a page: the medium's, if the pod asks for such pages, else that of the only pages it asks for.
fn page_size(medium: &StorageMedium, pod: &Pod) -> Result<Quantity, String> {
    let parse = |text: &str| Quantity::parse(text).map_err(|error| error.to_string());
    let wanted = medium.as_str().strip_prefix(MEDIUM).map(parse).transpose()?;
    let spec = &pod.spec;
    let of_pod = spec.resources.iter().map(|own| &own.requests);
    let of_containers =
        spec.containers.iter().chain(&spec.init_containers).map(|own| &own.resources.requests);
    let mut found: Option<Quantity> = None;
    for name in of_pod.chain(of_containers).flat_map(|requests| requests.keys()) {
        let Some(size) = name.strip_prefix(RESOURCE) else { continue };
        let size = parse(size)?;
        match &wanted {
            Some(wanted) if *wanted != size => continue,
            None if found.as_ref().is_some_and(|found| *found != size) => {
                return Err(format!(
                    "medium: {medium} can't be used if container requests multiple huge page sizes"
                ));
            }
            _ => found = Some(size),
        }
    }
    found.ok_or_else(|| {
        format!(
            "medium {medium}: hugePages storage requested, but there is no resource request for huge pages"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::core::v1::Container;

    fn pod(containers: &[&[&str]]) -> Pod {
        let mut pod = Pod::default();
        for names in containers {
            let mut container = Container::default();
            for name in *names {
                container.resources.requests.insert((*name).into(), Quantity::parse("4Mi").unwrap());
            }
            pod.spec.containers.push(container);
        }
        pod
    }

    #[test]
    fn pages_are_of_the_size_that_the_pod_asks_for() {
        let size = |medium: &str, containers: &[&[&str]]| {
            page_size(&medium.into(), &pod(containers)).map(|size| size.to_string())
        };
        let both: &[&[&str]] = &[&["memory", "hugepages-2Mi"], &["hugepages-1Gi"]];
        assert_eq!(size("HugePages", &[&["cpu", "hugepages-2Mi"], &["hugepages-2Mi"]]), Ok("2Mi".into()));
        assert_eq!(size("HugePages-1Gi", both), Ok("1Gi".into()));
        let refused = "medium: HugePages can't be used if container requests multiple huge page sizes";
        assert_eq!(size("HugePages", both), Err(refused.into()));
        let refused = "medium HugePages-2Mi: hugePages storage requested, but there is no resource request for huge pages";
        assert_eq!(size("HugePages-2Mi", &[&["hugepages-1Gi"]]), Err(refused.into()));
        let mut of_pod = pod(&[&[]]);
        of_pod
            .spec
            .resources
            .get_or_insert_default()
            .requests
            .insert("hugepages-2Mi".into(), Quantity::parse("2Mi").unwrap());
        assert_eq!(page_size(&"HugePages".into(), &of_pod).unwrap().to_string(), "2Mi");
    }

    #[test]
    fn mediums_of_huge_pages() {
        let told: Vec<bool> =
            ["", "Memory", "HugePages", "HugePages-2Mi"].map(|medium| is(&medium.into())).into();
        assert_eq!(told, [false, false, true, true]);
    }
}
