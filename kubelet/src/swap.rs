//! What containers may have of the node's swap (KEP-2400, `memorySwap.swapBehavior`): nothing, or with `LimitedSwap`
//! on control groups v2 the same part of it that the container asks for of the memory. Pure, but for [`controlled`].

use std::path::Path;

use api_types::core::v1::{Container, Pod, PodQOSClass};

use crate::cri::v1::LinuxContainerResources;
use crate::eviction::is_critical;
use crate::resources::{memory, qos_class};

const LIMITED: &str = "LimitedSwap";
/// The file of control groups v2.
const MOST: &str = "memory.swap.max";

/// Whether the kernel accounts for swap by control group.
pub fn controlled(v2: bool) -> bool {
    if !v2 {
        return Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists();
    }
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    Path::new("/sys/fs/cgroup").join(own.trim_start_matches('/')).join(MOST).exists()
}

/// Refuses behaviours that are none; worded as upstream's.
///
/// # Errors
/// When it is none.
pub fn check(behavior: &str) -> Result<(), String> {
    match behavior {
        "" | "NoSwap" | LIMITED => Ok(()),
        other => Err(format!(
            "memorySwap.swapBehavior {other:?} must be one of: \"\", \"LimitedSwap\" or \"NoSwap\""
        )),
    }
}

/// Whether containers may have some.
pub fn is_limited(behavior: &str) -> bool {
    behavior == LIMITED
}

/// The node's swap.
#[derive(Clone, Copy, Debug, Default)]
pub struct Swap {
    /// Control groups account for it.
    pub controlled: bool,
    /// They are of version 2.
    pub v2: bool,
    /// Containers may have some of it.
    pub limited: bool,
    /// Bytes of memory.
    pub memory: i64,
    /// Bytes of swap.
    pub size: i64,
}

impl Swap {
    /// Whether a container may have some.
    pub fn may_use(&self, pod: &Pod, container: &Container) -> bool {
        let resources = &container.resources;
        self.limited
            && self.controlled
            && self.v2
            && !is_critical(pod)
            && qos_class(pod) == PodQOSClass::Burstable
            // One that asks for nothing has no part, and one that is sure of all that it may have needs none.
            && memory(&resources.requests) != memory(&resources.limits)
    }

    /// Tells the runtime how much.
    pub fn apply(&self, pod: &Pod, container: &Container, limits: &mut LinuxContainerResources) {
        if !self.controlled {
            return;
        }
        if !self.v2 {
            // Memory and swap together: nothing beyond the memory.
            limits.memory_swap_limit_in_bytes = limits.memory_limit_in_bytes;
            return;
        }
        let part = if self.may_use(pod, container) { self.part(container) } else { 0 };
        limits.unified.insert(MOST.into(), part.to_string());
    }

    fn part(&self, container: &Container) -> i64 {
        let request = memory(&container.resources.requests);
        if self.memory <= 0 || request > self.memory {
            return 0;
        }
        (request as f64 / self.memory as f64 * self.size as f64) as i64
    }

    /// Why a pod cannot be resized while its containers run.
    pub fn hinders_resize(&self, wanted: &Pod, given: &Pod) -> Option<String> {
        let restarts = |container: &Container| {
            let rule = container.resize_policy.iter().find(|rule| rule.resource_name == "memory");
            rule.is_some_and(|rule| rule.restart_policy.as_str() == "RestartContainer")
        };
        let mut all = wanted.spec.containers.iter().chain(&wanted.spec.init_containers);
        let hindered = all.any(|next| {
            let mut before = given.spec.containers.iter().chain(&given.spec.init_containers);
            let Some(now) = before.find(|one| one.name == next.name) else { return false };
            memory(&next.resources.requests) != memory(&now.resources.requests)
                && !restarts(now)
                && (self.may_use(wanted, next) || self.may_use(given, now))
        });
        hindered.then(|| "In-place resize of containers with swap is not supported.".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::Quantity;

    const NODE: Swap = Swap { controlled: true, v2: true, limited: true, memory: 4 << 30, size: 1 << 30 };

    fn pod(request: &str, limit: &str) -> Pod {
        let mut container = Container { name: "a".into(), ..Default::default() };
        for (list, amount) in
            [(&mut container.resources.requests, request), (&mut container.resources.limits, limit)]
        {
            if !amount.is_empty() {
                list.insert("memory".into(), Quantity::parse(amount).unwrap());
            }
        }
        let mut pod = Pod::default();
        pod.spec.containers.push(container);
        pod
    }

    fn told(node: Swap, pod: &Pod) -> (i64, Option<String>) {
        let mut limits = LinuxContainerResources { memory_limit_in_bytes: 7, ..Default::default() };
        node.apply(pod, &pod.spec.containers[0], &mut limits);
        (limits.memory_swap_limit_in_bytes, limits.unified.get(MOST).cloned())
    }

    #[test]
    fn containers_have_their_part() {
        let check = |pod: &Pod, expected: &str| assert_eq!(told(NODE, pod), (0, Some(expected.into())));
        let quarter = (256 << 20).to_string();
        check(&pod("1Gi", ""), &quarter);
        check(&pod("1Gi", "2Gi"), &quarter);
        check(&pod("8Gi", ""), "0");
        // Guaranteed, best effort, critical.
        check(&pod("1Gi", "1Gi"), "0");
        check(&pod("", ""), "0");
        let mut critical = pod("1Gi", "");
        critical.spec.priority = Some(2_000_000_000);
        check(&critical, "0");
    }

    #[test]
    fn none_is_the_default() {
        let none = Swap { limited: false, ..NODE };
        assert_eq!(told(none, &pod("1Gi", "")), (0, Some("0".into())));
        // COMPAT: on version 1 swap and memory are limited together.
        let old = Swap { v2: false, ..NODE };
        assert_eq!(told(old, &pod("1Gi", "")), (7, None));
        assert_eq!(told(Swap { controlled: false, ..NODE }, &pod("1Gi", "")), (0, None));
    }

    #[test]
    fn memory_of_containers_with_swap_stays() {
        let (now, next) = (pod("1Gi", ""), pod("2Gi", ""));
        let refused = "In-place resize of containers with swap is not supported.";
        assert_eq!(NODE.hinders_resize(&next, &now).as_deref(), Some(refused));
        assert_eq!(NODE.hinders_resize(&now, &now), None);
        assert_eq!(Swap { limited: false, ..NODE }.hinders_resize(&next, &now), None);
    }

    #[test]
    fn behaviours() {
        assert_eq!(check("LimitedSwap"), Ok(()));
        let refused =
            "memorySwap.swapBehavior \"UnlimitedSwap\" must be one of: \"\", \"LimitedSwap\" or \"NoSwap\"";
        assert_eq!(check("UnlimitedSwap"), Err(refused.into()));
    }
}
