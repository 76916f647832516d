//! Which kernel settings pods may have of their own: safe ones, and those that the node's configuration allows
//! (`allowedUnsafeSysctls`). Pure.

use api_types::core::v1::Pod;
use api_types::core::v1::pod::sysctl::{Namespace, dotted, namespace};

/// Settings that affect no one but the pod.
const SAFE: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// A name, or the beginning of names before a `*`.
fn pattern(text: &str) -> (String, bool) {
    let name = dotted(text);
    match name.find('*') {
        Some(at) => (name[..at].to_owned(), true),
        None => (name, false),
    }
}

/// Refuses patterns that cannot be meant; worded as upstream's.
pub fn check_patterns(patterns: &[String]) -> Result<(), String> {
    for text in patterns {
        if !is_pattern(text) {
            return Err(format!(
                "sysctl {text:?} must have at most 253 characters and match regex \
                 ([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*([a-z0-9][-_a-z0-9]*)?[a-z0-9*]"
            ));
        }
        let (name, _) = pattern(text);
        if namespace(&name).is_none() {
            return Err(format!("the sysctls {name:?} are not known to be namespaced"));
        }
    }
    Ok(())
}

fn is_pattern(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inner = |c: char| plain(c) || matches!(c, '-' | '_');
    let parts: Vec<&str> = text.split(['.', '/']).collect();
    let Some((last, before)) = parts.split_last() else { return false };
    let whole = |part: &str| part.starts_with(plain) && part.ends_with(plain) && part.chars().all(inner);
    let end = match last.strip_suffix('*') {
        Some("") => true,
        Some(begin) => begin.starts_with(plain) && begin.chars().all(inner),
        None => whole(last),
    };
    text.len() <= 253 && end && before.iter().all(|part| whole(part))
}

/// Why a pod may not have its settings.
pub fn forbidden(pod: &Pod, allowed: &[String]) -> Option<String> {
    let context = pod.spec.security_context.as_ref()?;
    context.sysctls.iter().find_map(|sysctl| {
        let name = dotted(&sysctl.name);
        let safe = SAFE.contains(&name.as_str());
        let fits = allowed.iter().map(|text| pattern(text)).find(|(begin, prefixed)| {
            if *prefixed { name.starts_with(begin.as_str()) } else { name == *begin }
        });
        let Some(known) = fits.map(|(begin, _)| begin).or_else(|| safe.then(|| name.clone())) else {
            return Some(format!("forbidden sysctl: {name:?} not allowlisted"));
        };
        let shared = match namespace(&known)? {
            Namespace::Ipc if pod.spec.host_ipc => "IPC",
            Namespace::Net if pod.spec.host_network => "Net",
            _ => return None,
        };
        Some(format!("forbidden sysctl: {name:?} not allowed with host {shared} enabled"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::core::v1::{PodSecurityContext, Sysctl};

    fn pod(name: &str) -> Pod {
        let mut pod = Pod::default();
        let sysctls = vec![Sysctl { name: name.into(), value: "1".into() }];
        pod.spec.security_context = Some(Box::new(PodSecurityContext { sysctls, ..Default::default() }));
        pod
    }

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|one| (*one).to_owned()).collect()
    }

    #[test]
    fn safe_settings_and_those_that_are_allowed() {
        let check = |name: &str, allowed: &[&str], expected: Option<&str>| {
            assert_eq!(forbidden(&pod(name), &texts(allowed)).as_deref(), expected);
        };
        check("net/ipv4/tcp_syncookies", &[], None);
        let refused = "forbidden sysctl: \"kernel.msgmax\" not allowlisted";
        check("kernel.msgmax", &[], Some(refused));
        check("kernel/msgmax", &["kernel.msg*"], None);
        check("kernel.msgmax", &["kernel.msgmnb"], Some(refused));
        check("net.core.somaxconn", &["net.core.*"], None);
    }

    #[test]
    fn settings_of_a_namespace_that_the_node_shares() {
        let mut one = pod("kernel.shm_rmid_forced");
        one.spec.host_network = true;
        assert_eq!(forbidden(&one, &[]), None);
        one.spec.host_ipc = true;
        let expected = "forbidden sysctl: \"kernel.shm_rmid_forced\" not allowed with host IPC enabled";
        assert_eq!(forbidden(&one, &[]).as_deref(), Some(expected));
        let mut one = pod("net.core.somaxconn");
        one.spec.host_network = true;
        let expected = "forbidden sysctl: \"net.core.somaxconn\" not allowed with host Net enabled";
        assert_eq!(forbidden(&one, &texts(&["net.*"])).as_deref(), Some(expected));
    }

    #[test]
    fn patterns_that_cannot_be_meant() {
        let check = |text: &str, expected: &str| {
            let error = check_patterns(&texts(&[text])).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check("kernel.pid_max", "the sysctls \"kernel.pid_max\" are not known to be namespaced");
        check("net.*.a", "must have at most 253 characters");
        check("Net.a", "must have at most 253 characters");
        assert_eq!(check_patterns(&texts(&["kernel.shm*", "net.*", "net/core/somaxconn"])), Ok(()));
    }
}
