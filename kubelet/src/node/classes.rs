//! The control groups of the classes of pods. Burstable pods together weigh as much as they ask for, best-effort ones
//! as little as can be; no class bounds huge pages, its pods do. Set before a pod's own group is made, and every
//! minute, for pods that have gone or were resized.

use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Pod, PodQOSClass};
use parking_lot::Mutex;

use crate::cgroup::huge::HugePages;
use crate::cgroup::tree::CgroupError;
use crate::kubelet::Kubelet;
use crate::pod_worker::Stage;
use crate::resources::{self, PodLimits};

/// COMPAT: as often as upstream does.
const EVERY: Duration = Duration::from_secs(60);

/// The shares of burstable pods that were set last.
#[derive(Debug, Default)]
pub struct Classes(Mutex<Option<i64>>);

/// What burstable pods weigh together.
fn shares<'a>(pods: impl Iterator<Item = &'a Pod>) -> i64 {
    let burstable = pods.filter(|pod| resources::qos_class(pod) == PodQOSClass::Burstable);
    let asked: i64 =
        burstable.map(|pod| resources::total(&pod.spec, |resources| &resources.requests).cpu).sum();
    resources::shares(asked)
}

fn unbounded(cpu_shares: Option<i64>) -> PodLimits {
    PodLimits { cpu_shares, huge_pages: HugePages::Unbounded, ..Default::default() }
}

/// Makes the groups.
///
/// # Errors
/// One that cannot be made.
pub fn make(kubelet: &Kubelet) -> Result<(), CgroupError> {
    for (class, cpu_shares) in [(PodQOSClass::BestEffort, Some(2)), (PodQOSClass::Burstable, None)] {
        kubelet.tree.ensure(&kubelet.cgroups.class(&class), Some(&unbounded(cpu_shares)), false)?;
    }
    Ok(())
}

/// Sets what has changed since it was set last.
///
/// # Errors
/// What the kernel or systemd do not take.
pub fn update(kubelet: &Kubelet) -> Result<(), CgroupError> {
    let all = kubelet.workers.all();
    let active = all.iter().filter(|(_, stage)| *stage < Stage::Terminated);
    let wanted = Some(shares(active.map(|(pod, _)| pod.as_ref())));
    let mut set = kubelet.classes.0.lock();
    if *set != wanted {
        kubelet.tree.limit(&kubelet.cgroups.class(&PodQOSClass::Burstable), &unbounded(wanted))?;
        *set = wanted;
    }
    Ok(())
}

/// Sets everything every minute, whoever changed it; never ends.
pub async fn follow(kubelet: Arc<Kubelet>) {
    kubelet.workers.wait_for_source().await;
    loop {
        let work = Arc::clone(&kubelet);
        let set = tokio::task::spawn_blocking(move || {
            *work.classes.0.lock() = None;
            let (all, least) = (work.cgroups.all(), work.cgroups.class(&PodQOSClass::BestEffort));
            update(&work)?;
            work.tree.limit(&least, &unbounded(Some(2)))?;
            work.tree.limit(&all, &unbounded(None))
        });
        if let Ok(Err(error)) = set.await {
            tracing::warn!(%error, "Failed to update QoS cgroup configuration");
        }
        tokio::time::sleep(EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::Quantity;
    use api_types::core::v1::Container;

    #[test]
    fn burstable_pods_weigh_what_they_ask_for() {
        let pod = |request: &str, limit: &str| {
            let mut container = Container::default();
            let list = |cpu: &str| {
                let set = ["cpu", "memory"].into_iter().filter(|_| !cpu.is_empty());
                set.map(|name| (name.to_owned(), Quantity::parse(cpu).unwrap())).collect()
            };
            (container.resources.requests, container.resources.limits) = (list(request), list(limit));
            let mut pod = Pod::default();
            pod.spec.containers.push(container);
            pod
        };
        let all = [pod("500m", ""), pod("1", "2"), pod("4", "4"), pod("", "")];
        assert_eq!(shares(all.iter()), 1536);
        assert_eq!(shares(all[2..].iter()), 2);
    }
}
