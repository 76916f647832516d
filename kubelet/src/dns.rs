//! The resolver configuration of a pod. Pure, but for reading the node's resolv.conf.

use api_types::core::v1::{DNSPolicy, Pod, PodDNSConfigOption};

use crate::cri::v1::DnsConfig;

const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_LENGTH: usize = 2048;
const MAX_DOMAIN_LENGTH: usize = 253;

/// The cluster's side of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterDns {
    /// Addresses of the cluster's DNS.
    pub servers: Vec<String>,
    /// `cluster.local`
    pub domain: String,
}

/// What a pod gets, and warnings for its events: reason and message.
#[derive(Debug, Default, PartialEq)]
pub struct PodDns {
    /// For the runtime.
    pub config: DnsConfig,
    /// `DNSConfigForming` or `MissingClusterDNS`.
    pub warnings: Vec<(&'static str, String)>,
}

/// Reads resolv.conf: nameservers add up; of `search` the last line counts; options add up, the last
/// of each name counting.
pub fn parse_resolv_conf(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config.servers.extend(words.next().map(str::to_owned)),
            Some("search") => {
                config.searches = words
                    .filter(|word| *word != ".")
                    .map(|word| word.strip_suffix('.').unwrap_or(word).to_owned())
                    .collect();
            }
            Some("options") => {
                for word in words {
                    add_option(&mut config.options, word);
                }
            }
            _ => {}
        }
    }
    config
}

fn add_option(options: &mut Vec<String>, option: &str) {
    let name = |option: &str| option.split(':').next().unwrap_or_default().to_owned();
    options.retain(|other| name(other) != name(option));
    options.push(option.to_owned());
}

/// The configuration for `pod`, given the node's own.
pub fn of_pod(pod: &Pod, node: &DnsConfig, cluster: &ClusterDns) -> PodDns {
    let mut made = PodDns::default();
    let cluster_first = match pod.spec.dns_policy {
        DNSPolicy::ClusterFirstWithHostNet => true,
        DNSPolicy::ClusterFirst | DNSPolicy::Unset => !pod.spec.host_network,
        _ => false,
    };
    if pod.spec.dns_policy == DNSPolicy::None {
        // Only what the pod says itself.
    } else if cluster_first && !cluster.servers.is_empty() {
        made.config = DnsConfig {
            servers: cluster.servers.clone(),
            searches: cluster_searches(pod, node, cluster),
            options: vec!["ndots:5".into()],
        };
        for option in node.options.iter().filter(|option| !option.starts_with("ndots:")) {
            made.config.options.push(option.clone());
        }
    } else {
        if cluster_first {
            let note = format!(
                "kubelet does not have ClusterDNS IP configured and cannot create Pod using {:?} policy. Falling \
                 back to \"Default\" policy.",
                pod.spec.dns_policy.as_str()
            );
            let pod = format!("{}_{}({})", pod.metadata.name, pod.metadata.namespace, pod.metadata.uid);
            made.warnings.push(("MissingClusterDNS", format!("pod: {pod:?}. {note}")));
        }
        made.config = node.clone();
        if made.config.servers.is_empty() {
            // COMPAT: without any, resolvers fall back to the local host, which is not the node's.
            made.config.servers = vec!["127.0.0.1".into()];
            made.config.searches = vec![".".into()];
        }
    }
    if let Some(own) = &pod.spec.dns_config {
        made.config.servers.extend(own.nameservers.iter().cloned());
        made.config.searches.extend(own.searches.iter().cloned());
        for PodDNSConfigOption { name, value } in &own.options {
            let option = match value {
                Some(value) if !value.is_empty() => format!("{name}:{value}"),
                _ => name.clone(),
            };
            add_option(&mut made.config.options, &option);
        }
    }
    dedup(&mut made.config.servers);
    dedup(&mut made.config.searches);
    limit(&mut made);
    made
}

fn cluster_searches(pod: &Pod, node: &DnsConfig, cluster: &ClusterDns) -> Vec<String> {
    if cluster.domain.is_empty() {
        return node.searches.clone();
    }
    let domain = &cluster.domain;
    let own = [format!("{}.svc.{domain}", pod.metadata.namespace), format!("svc.{domain}"), domain.clone()];
    own.into_iter().chain(node.searches.iter().cloned()).collect()
}

fn dedup(items: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    items.retain(|item| seen.insert(item.clone()));
}

fn limit(made: &mut PodDns) {
    if made.config.servers.len() > MAX_NAMESERVERS {
        made.config.servers.truncate(MAX_NAMESERVERS);
        let line = made.config.servers.join(" ");
        made.warnings.push((
            "DNSConfigForming",
            format!(
                "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line \
                 is: {line}"
            ),
        ));
    }
    let searches = &mut made.config.searches;
    let before = searches.len();
    searches.truncate(MAX_SEARCHES);
    searches.retain(|search| search.len() <= MAX_DOMAIN_LENGTH);
    while searches.join(" ").len() > MAX_SEARCH_LENGTH {
        searches.pop();
    }
    if searches.len() < before {
        let line = searches.join(" ");
        made.warnings.push((
            "DNSConfigForming",
            format!(
                "Search Line limits were exceeded, some search paths have been omitted, the applied search line \
                 is: {line}"
            ),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::core::v1::PodDNSConfig;

    fn check(edit: impl FnOnce(&mut Pod), expected: (&[&str], &[&str], &[&str])) {
        let mut pod = Pod::default();
        pod.metadata.namespace = "ns".into();
        pod.spec.dns_policy = DNSPolicy::ClusterFirst;
        edit(&mut pod);
        let node = parse_resolv_conf("# x\nnameserver 1.1.1.1\nsearch a.b. c\noptions ndots:2 edns0\n");
        let cluster = ClusterDns { servers: vec!["10.0.0.10".into()], domain: "cluster.local".into() };
        let made = of_pod(&pod, &node, &cluster).config;
        assert_eq!((made.servers, made.searches, made.options), {
            let own = |list: &[&str]| list.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
            (own(expected.0), own(expected.1), own(expected.2))
        });
    }

    #[test]
    fn policies() {
        let cluster = ["ns.svc.cluster.local", "svc.cluster.local", "cluster.local", "a.b", "c"];
        check(|_| {}, (&["10.0.0.10"], &cluster, &["ndots:5", "edns0"]));
        check(|pod| pod.spec.host_network = true, (&["1.1.1.1"], &["a.b", "c"], &["ndots:2", "edns0"]));
        check(
            |pod| pod.spec.dns_policy = DNSPolicy::Default,
            (&["1.1.1.1"], &["a.b", "c"], &["ndots:2", "edns0"]),
        );
        check(
            |pod| {
                pod.spec.dns_policy = DNSPolicy::None;
                pod.spec.dns_config = Some(Box::new(PodDNSConfig {
                    nameservers: vec!["9.9.9.9".into()],
                    options: vec![PodDNSConfigOption { name: "ndots".into(), value: Some("3".into()) }],
                    ..Default::default()
                }));
            },
            (&["9.9.9.9"], &[], &["ndots:3"]),
        );
    }

    #[test]
    fn too_many_servers_are_cut_and_told() {
        let mut pod = Pod::default();
        pod.spec.dns_policy = DNSPolicy::None;
        let nameservers = (1..=4).map(|n| format!("10.0.0.{n}")).collect();
        pod.spec.dns_config = Some(Box::new(PodDNSConfig { nameservers, ..Default::default() }));
        let made = of_pod(&pod, &DnsConfig::default(), &ClusterDns::default());
        assert_eq!(made.config.servers.len(), 3);
        assert_eq!(made.warnings[0].0, "DNSConfigForming");
    }
}
