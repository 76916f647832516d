//! Which addresses a node has: what was asked for on the command line, what the machine has, and what a controller of
//! the cloud has written. Pure.

use std::net::IpAddr;

use api_types::core::v1::{Node, NodeAddress, NodeAddressType, Taint, TaintEffect};

/// What a node has until its cloud has looked at it.
const UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized";
/// The annotation with the addresses that a cloud shall choose.
const PROVIDED: &str = "alpha.kubernetes.io/provided-node-ip";
/// The one provider that is left.
const EXTERNAL: &str = "external";

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Asked {
    ips: Vec<IpAddr>,
    cloud: bool,
    name: String,
}

/// What the machine has.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Addresses of its interfaces.
    pub own: Vec<IpAddr>,
    /// What its name stands for.
    pub named: Vec<IpAddr>,
    /// The one that the default route leaves from.
    pub default: Option<IpAddr>,
}

/// COMPAT: as Go's sloppy parser, which reads `010` as ten.
fn sloppy(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| {
        let parts: Option<Vec<u8>> = text
            .split('.')
            .map(|part| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?)
            .collect();
        <[u8; 4]>::try_from(parts?).ok().map(IpAddr::from)
    })
}

impl Asked {
    /// From `--node-ip` and `--cloud-provider`; answers what of the former is no address as well.
    ///
    /// # Errors
    /// Addresses that no node has, as upstream words it.
    pub fn parse(flag: &str, provider: &str, name: &str) -> Result<(Self, Vec<String>), String> {
        let (mut ips, mut invalid) = (Vec::new(), Vec::new());
        for text in flag.split(',').map(str::trim).filter(|_| !flag.is_empty()) {
            match sloppy(text) {
                Some(ip) => ips.push(ip.to_canonical()),
                None => invalid.push(text.to_owned()),
            }
        }
        let bad = |why: &str| Err(format!("bad --node-ip {flag:?}: {why}"));
        match ips.as_slice() {
            [] | [_] => {}
            [a, b] if a.is_ipv6() == b.is_ipv6() => {
                return bad("must contain either a single IP or a dual-stack pair of IPs");
            }
            [_, _] if !matches!(provider, "" | EXTERNAL) => {
                return bad("dual-stack not supported in this configuration");
            }
            [a, b] if a.is_unspecified() || b.is_unspecified() => {
                return bad("dual-stack node IP cannot include '0.0.0.0' or '::'");
            }
            [_, _] => {}
            _ => return bad("must contain either a single IP or a dual-stack pair of IPs"),
        }
        Ok((Self { ips, cloud: provider == EXTERNAL, name: name.to_owned() }, invalid))
    }

    /// Pods' addresses of version 6 come first.
    pub fn prefers_v6(&self) -> bool {
        self.ips.first().is_some_and(IpAddr::is_ipv6)
    }

    fn given(&self) -> impl Iterator<Item = &IpAddr> {
        self.ips.iter().filter(|ip| !ip.is_unspecified())
    }

    /// The machine has to be asked what its name stands for and where its default route begins.
    pub fn asks(&self, before: &[NodeAddress]) -> bool {
        let waits = self.cloud && (self.ips.is_empty() || !before.is_empty());
        !waits && self.given().next().is_none() && sloppy(&self.name).is_none()
    }

    /// What is published; `before` is already, and a cloud's stays.
    ///
    /// # Errors
    /// When the machine has no such address: worded as upstream's log.
    pub fn published(&self, before: &[NodeAddress], found: &Found) -> Result<Vec<NodeAddress>, String> {
        for (ip, which) in self.given().zip(["nodeIP", "secondaryNodeIP"]) {
            usable(ip, &found.own).map_err(|why| format!("failed to validate {which}: {why}"))?;
        }
        if self.cloud && !before.is_empty() {
            return Ok(before.to_vec());
        }
        let name = NodeAddress { type_: NodeAddressType::Hostname, address: self.name.clone() };
        if self.cloud && self.ips.is_empty() {
            return Ok(vec![name]);
        }
        let mut ips: Vec<IpAddr> = self.given().copied().collect();
        if ips.is_empty() {
            let none =
                || format!("can't get ip address of node {}. error: no default routes found", self.name);
            ips.push(
                sloppy(&self.name).or_else(|| self.looked_up(found)).or(found.default).ok_or_else(none)?,
            );
        }
        let internal =
            ips.iter().map(|ip| NodeAddress { type_: NodeAddressType::InternalIP, address: ip.to_string() });
        Ok(internal.chain([name]).collect())
    }

    fn looked_up(&self, found: &Found) -> Option<IpAddr> {
        let usable = || found.named.iter().filter(|ip| usable(ip, &found.own).is_ok());
        usable().find(|ip| ip.is_ipv6() == self.prefers_v6()).or_else(|| usable().next()).copied()
    }

    /// Tells a cloud which addresses are meant; takes that back where there is none.
    pub fn annotate(&self, node: &mut Node) {
        let given: Vec<String> = self.given().map(IpAddr::to_string).collect();
        if self.cloud && !given.is_empty() {
            node.metadata.annotations.insert(PROVIDED.into(), given.join(","));
        } else {
            node.metadata.annotations.remove(PROVIDED);
        }
    }

    /// What keeps pods away until a cloud has looked at the node.
    pub fn taint(&self) -> Option<Taint> {
        self.cloud.then(|| Taint {
            key: UNINITIALIZED.into(),
            value: "true".into(),
            effect: TaintEffect::from("NoSchedule"),
            ..Default::default()
        })
    }
}

/// Whether a node may have this address.
fn usable(ip: &IpAddr, own: &[IpAddr]) -> Result<(), String> {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let why = match () {
        () if ip.is_loopback() => "can't be loopback address",
        () if ip.is_multicast() => "can't be a multicast address",
        () if link_local => "can't be a link-local unicast address",
        () if ip.is_unspecified() => "can't be an all zeros address",
        () if own.contains(ip) => return Ok(()),
        () => {
            return Err(format!("node IP: {:?} not found in the host's network interfaces", ip.to_string()));
        }
    };
    Err(format!("nodeIP {why}"))
}

/// The addresses that pods of the node's network have, and pods know as the host's: the first one, and one of the
/// other family.
pub fn host_ips(addresses: &[NodeAddress]) -> Vec<String> {
    let of = |type_: NodeAddressType| {
        addresses.iter().filter(move |one| one.type_ == type_).filter_map(|one| sloppy(&one.address))
    };
    let all: Vec<IpAddr> = of(NodeAddressType::InternalIP).chain(of(NodeAddressType::ExternalIP)).collect();
    let other = all.first().and_then(|first| all.iter().find(|ip| ip.is_ipv6() != first.is_ipv6()));
    all.first().into_iter().chain(other).map(IpAddr::to_string).collect()
}

/// Names and addresses that a server's certificate holds, in order.
pub fn server_names(addresses: &[NodeAddress]) -> (Vec<String>, Vec<IpAddr>) {
    let (mut names, mut ips) = (Vec::new(), Vec::new());
    for NodeAddress { type_, address } in addresses.iter().filter(|one| !one.address.is_empty()) {
        let is_name = matches!(type_.as_str(), "Hostname" | "ExternalDNS" | "InternalDNS");
        match (sloppy(address), type_.as_str()) {
            (Some(ip), "Hostname" | "ExternalIP" | "InternalIP") => ips.push(ip),
            _ if is_name => names.push(address.clone()),
            _ => {}
        }
    }
    names.sort();
    names.dedup();
    ips.sort_by_key(IpAddr::to_string);
    ips.dedup();
    (names, ips)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(flag: &str, provider: &str) -> Asked {
        Asked::parse(flag, provider, "n").unwrap().0
    }

    fn found() -> Found {
        let ips = |all: &[&str]| all.iter().map(|ip| ip.parse().unwrap()).collect();
        Found {
            own: ips(&["127.0.0.1", "10.0.0.1", "10.0.0.2", "fd00::1"]),
            named: ips(&["127.0.0.1", "192.0.2.9"]),
            default: Some([10, 0, 0, 2].into()),
        }
    }

    fn shown(asked: &Asked, before: &[NodeAddress], found: &Found) -> Result<String, String> {
        let all = asked.published(before, found)?;
        Ok(all
            .iter()
            .map(|one| format!("{}={}", one.type_.as_str(), one.address))
            .collect::<Vec<_>>()
            .join(" "))
    }

    #[test]
    fn without_a_cloud() {
        let check = |flag: &str, expected: Result<&str, &str>| {
            let shown = shown(&asked(flag, ""), &[], &found());
            assert_eq!(shown.as_deref().map_err(String::as_str), expected, "{flag}");
        };
        check("", Ok("InternalIP=10.0.0.2 Hostname=n"));
        check("010.0.0.1", Ok("InternalIP=10.0.0.1 Hostname=n"));
        check("::", Ok("InternalIP=10.0.0.2 Hostname=n"));
        check("fd00::1, 10.0.0.1", Ok("InternalIP=fd00::1 InternalIP=10.0.0.1 Hostname=n"));
        check("127.0.0.1", Err("failed to validate nodeIP: nodeIP can't be loopback address"));
        check(
            "10.0.0.1,fd00::2",
            Err(
                "failed to validate secondaryNodeIP: node IP: \"fd00::2\" not found in the host's network interfaces",
            ),
        );
    }

    #[test]
    fn a_name_stands_for_an_address_of_the_machine() {
        let check = |flag: &str, named: &[&str], expected: &str| {
            let found = Found { named: named.iter().map(|ip| ip.parse().unwrap()).collect(), ..found() };
            assert_eq!(shown(&asked(flag, ""), &[], &found).unwrap(), expected);
        };
        check("", &["fd00::1", "10.0.0.1"], "InternalIP=10.0.0.1 Hostname=n");
        check("::", &["10.0.0.1", "fd00::1"], "InternalIP=fd00::1 Hostname=n");
        check("", &["fd00::1"], "InternalIP=fd00::1 Hostname=n");
        let numeric = Asked::parse("", "", "192.0.2.7").unwrap().0;
        assert_eq!(shown(&numeric, &[], &found()).unwrap(), "InternalIP=192.0.2.7 Hostname=192.0.2.7");
        let nothing = Found::default();
        assert!(
            shown(&asked("", ""), &[], &nothing).unwrap_err().starts_with("can't get ip address of node n.")
        );
    }

    #[test]
    fn a_cloud_has_the_last_word() {
        let theirs = [NodeAddress { type_: NodeAddressType::ExternalIP, address: "1.2.3.4".into() }];
        for (flag, first, hint) in [
            ("", "Hostname=n", None),
            ("0.0.0.0", "InternalIP=10.0.0.2 Hostname=n", None),
            ("10.0.0.1", "InternalIP=10.0.0.1 Hostname=n", Some("10.0.0.1")),
            (
                "10.0.0.1,fd00::1",
                "InternalIP=10.0.0.1 InternalIP=fd00::1 Hostname=n",
                Some("10.0.0.1,fd00::1"),
            ),
        ] {
            let cloud = asked(flag, "external");
            assert_eq!(shown(&cloud, &[], &found()).unwrap(), first);
            assert_eq!(shown(&cloud, &theirs, &found()).unwrap(), "ExternalIP=1.2.3.4");
            let mut node = Node::default();
            cloud.annotate(&mut node);
            assert_eq!(node.metadata.annotations.get(PROVIDED).map(String::as_str), hint);
            asked(flag, "").annotate(&mut node);
            assert_eq!(node.metadata.annotations.get(PROVIDED), None);
        }
        assert_eq!(asked("", "external").taint().map(|taint| taint.key), Some(UNINITIALIZED.to_owned()));
        assert_eq!(asked("", "").taint(), None);
        let elsewhere = shown(&asked("192.0.2.1", "external"), &theirs, &found());
        assert!(elsewhere.unwrap_err().contains("not found in the host's network interfaces"));
    }

    #[test]
    fn addresses_that_no_node_has() {
        let check = |flag: &str, provider: &str, expected: &str| {
            let error = Asked::parse(flag, provider, "n").unwrap_err();
            assert_eq!(error, format!("bad --node-ip {flag:?}: {expected}"));
        };
        let pair = "must contain either a single IP or a dual-stack pair of IPs";
        check("10.0.0.1,10.0.0.2", "", pair);
        check("10.0.0.1,fd00::1,fd00::2", "", pair);
        check("10.0.0.1,fd00::1", "aws", "dual-stack not supported in this configuration");
        check("0.0.0.0,fd00::1", "external", "dual-stack node IP cannot include '0.0.0.0' or '::'");
        let (rest, invalid) = Asked::parse("nonsense,10.0.0.1", "", "n").unwrap();
        assert_eq!((rest.ips.len(), invalid), (1, vec!["nonsense".to_owned()]));
    }

    #[test]
    fn what_pods_and_certificates_get() {
        let all: Vec<NodeAddress> = [
            ("Hostname", "n"),
            ("ExternalIP", "fd00::9"),
            ("InternalIP", "10.0.0.1"),
            ("InternalIP", "10.0.0.2"),
            ("InternalDNS", "n.internal"),
        ]
        .map(|(type_, address)| NodeAddress { type_: NodeAddressType::from(type_), address: address.into() })
        .into();
        assert_eq!(host_ips(&all), ["10.0.0.1", "fd00::9"]);
        let (names, ips) = server_names(&all);
        assert_eq!(names, ["n", "n.internal"]);
        assert_eq!(
            ips.iter().map(IpAddr::to_string).collect::<Vec<_>>(),
            ["10.0.0.1", "10.0.0.2", "fd00::9"]
        );
        assert!(host_ips(&all[..1]).is_empty());
    }
}
