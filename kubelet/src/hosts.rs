//! A pod's host name and its /etc/hosts. Pure.

use api_types::core::v1::{HostAlias, Pod};

const MAX_HOSTNAME: usize = 63;
const MAX_FQDN: usize = 64;
const HEADER: &str = "# Kubernetes-managed hosts file.\n";
const HEADER_HOST_NETWORK: &str = "# Kubernetes-managed hosts file (host network).\n";

/// Host name and domain; the domain is empty without a subdomain.
pub fn hostname(pod: &Pod, cluster_domain: &str) -> (String, String) {
    let spec = &pod.spec;
    if let Some(name) = spec.hostname_override.as_ref().filter(|name| !name.is_empty()) {
        return (name.clone(), String::new());
    }
    let name = if spec.hostname.is_empty() { &pod.metadata.name } else { &spec.hostname };
    let mut name = name.as_str();
    if name.len() > MAX_HOSTNAME {
        let cut = (0..=MAX_HOSTNAME).rev().find(|at| name.is_char_boundary(*at)).unwrap_or_default();
        name = name[..cut].trim_end_matches(['-', '.']);
    }
    let domain = if spec.subdomain.is_empty() {
        String::new()
    } else {
        format!("{}.{}.svc.{cluster_domain}", spec.subdomain, pod.metadata.namespace)
    };
    (name.to_owned(), domain)
}

/// The name that the kernel gets: the host name, or all of it with `setHostnameAsFQDN`.
pub fn kernel_hostname(pod: &Pod, cluster_domain: &str) -> Result<String, String> {
    let (name, domain) = hostname(pod, cluster_domain);
    if pod.spec.set_hostname_as_fqdn != Some(true) || domain.is_empty() {
        return Ok(name);
    }
    let full = format!("{name}.{domain}");
    if full.len() > MAX_FQDN {
        return Err(format!(
            "failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long ({MAX_FQDN} is \
             the max characters allowed)."
        ));
    }
    Ok(full)
}

/// The file's content; `node_hosts` is the node's own, for pods in its network.
pub fn file(pod: &Pod, cluster_domain: &str, pod_ips: &[String], node_hosts: &str) -> String {
    let mut text = String::new();
    if pod.spec.host_network {
        text.push_str(HEADER_HOST_NETWORK);
        text.push_str(node_hosts);
    } else {
        text.push_str(HEADER);
        text.push_str(
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n",
        );
        text.push_str("fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n");
        let (name, domain) = hostname(pod, cluster_domain);
        for ip in pod_ips {
            if domain.is_empty() {
                text.push_str(&format!("{ip}\t{name}\n"));
            } else {
                text.push_str(&format!("{ip}\t{name}.{domain}\t{name}\n"));
            }
        }
    }
    if !pod.spec.host_aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for HostAlias { ip, hostnames } in &pod.spec.host_aliases {
        text.push_str(&format!("{ip}\t{}\n", hostnames.join("\t")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = "web-0".into();
        pod.metadata.namespace = "ns".into();
        pod
    }

    #[test]
    fn names() {
        let mut pod = pod();
        assert_eq!(hostname(&pod, "c.l"), ("web-0".into(), String::new()));
        pod.spec.subdomain = "web".into();
        assert_eq!(hostname(&pod, "c.l"), ("web-0".into(), "web.ns.svc.c.l".into()));
        pod.spec.set_hostname_as_fqdn = Some(true);
        assert_eq!(kernel_hostname(&pod, "c.l").unwrap(), "web-0.web.ns.svc.c.l");
        pod.metadata.name = format!("{}-x", "a".repeat(62));
        assert_eq!(hostname(&pod, "c.l").0, "a".repeat(62));
        assert!(
            kernel_hostname(&pod, "c.l")
                .unwrap_err()
                .ends_with("is too long (64 is the max characters allowed).")
        );
    }

    #[test]
    fn files() {
        let mut pod = pod();
        pod.spec
            .host_aliases
            .push(HostAlias { ip: "1.2.3.4".into(), hostnames: vec!["a".into(), "b".into()] });
        let text = file(&pod, "c.l", &["10.0.0.7".into()], "");
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("10.0.0.7\tweb-0\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"));
        pod.spec.host_network = true;
        assert!(
            file(&pod, "c.l", &[], "127.0.0.1 node\n")
                .starts_with("# Kubernetes-managed hosts file (host network).\n127.0.0.1 node\n")
        );
    }
}
