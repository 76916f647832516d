//! The planned table in a real kernel: a node, a pod and a client in network namespaces of their own.
//!
//! ```text
//! client 192.0.2.7 ── 192.0.2.1 node 10.244.1.1 ── 10.244.1.2 pod
//! ```
//! Nothing outside of these namespaces is touched. Needs root and nft; says so when it is skipped.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use super::apply::{Applied, STALE_FOR, Table, cleanup, supported};
use super::plan::{LocalTraffic, NodePortAddresses, Settings, plan};
use crate::state::{Endpoints, Family, Services, add_endpoints, service_ports};
use crate::testing::{Ep, ServiceBuilder, service, slice};

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// The three namespaces; removed when dropped.
struct Net {
    prefix: String,
}

impl Net {
    fn name(&self, who: &str) -> String {
        format!("{}-{who}", self.prefix)
    }

    fn new(purpose: &str) -> Self {
        let net = Self { prefix: format!("kptest-{purpose}-{}", std::process::id()) };
        for who in ["node", "pod", "client"] {
            ip(&format!("netns add {}", net.name(who)));
            ip(&format!("-n {} link set lo up", net.name(who)));
        }
        let node = net.name("node");
        for (who, address, gateway) in
            [("pod", "10.244.1.2/24", "10.244.1.1"), ("client", "192.0.2.7/24", "192.0.2.1")]
        {
            let (other, link) = (net.name(who), format!("to-{who}"));
            ip(&format!("-n {node} link add {link} type veth peer name eth0 netns {other}"));
            ip(&format!("-n {node} addr add {gateway}/24 dev {link}"));
            ip(&format!("-n {node} link set {link} up"));
            ip(&format!("-n {other} addr add {address} dev eth0"));
            ip(&format!("-n {other} link set eth0 up"));
            ip(&format!("-n {other} route add default via {gateway}"));
        }
        // Without any route there the kernel refuses before nftables sees a packet.
        ip(&format!("-n {node} route add default via 192.0.2.7"));
        net.run("node", || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
        // A pod that calls its own Service gets its packets back over the same link.
        net.run("node", || std::fs::write("/proc/sys/net/ipv4/conf/to-pod/rp_filter", "0").unwrap());
        net
    }

    /// Runs on a thread that is in the namespace; what it opens or spawns is, too.
    fn run<T: Send>(&self, who: &str, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.name(who))).unwrap();
        let enter_and_work = move || {
            nix::sched::setns(&namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        std::thread::scope(|scope| scope.spawn(enter_and_work).join().unwrap())
    }

    /// What comes of connecting: the text that the server sends and the address that it saw, or the error.
    fn fetch(&self, from: &str, address: &str) -> Result<String, ErrorKind> {
        let address: SocketAddr = address.parse().unwrap();
        self.run(from, move || {
            let mut text = String::new();
            let mut stream =
                TcpStream::connect_timeout(&address, Duration::from_secs(2)).map_err(|e| e.kind())?;
            stream.set_read_timeout(Some(Duration::from_secs(2))).map_err(|e| e.kind())?;
            stream.read_to_string(&mut text).map_err(|e| e.kind())?;
            Ok(text)
        })
    }

    /// A server in the pod that tells every caller who it seems to be.
    fn serve(&self, port: u16) {
        let listener = self.run("pod", move || TcpListener::bind(("0.0.0.0", port)).unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (mut stream, peer) = (&stream, stream.peer_addr().unwrap());
                let _ = write!(stream, "{}", peer.ip());
            }
        });
    }

    fn apply(&self, table: &mut Table, services: &[(ServiceBuilder, &[Ep])], at: Duration) -> Applied {
        let (mut ports, mut endpoints) = (Services::new(), Endpoints::new());
        for (service, own) in services {
            let service = service.build();
            ports.extend(service_ports(&service, Family::V4));
            add_endpoints(&mut endpoints, &slice(&service.metadata.name, 8080, own), Family::V4, "here");
        }
        let (desired, _) = plan(Family::V4, &ports, &endpoints, &settings());
        self.run("node", || block_on(table.apply(desired, at)).unwrap())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for who in ["node", "pod", "client"] {
            let _ = Command::new("ip").args(["netns", "del", &self.name(who)]).status();
        }
    }
}

fn settings() -> Settings {
    Settings {
        node: "here".into(),
        zone: String::new(),
        node_ip: Some("192.0.2.1".parse().unwrap()),
        node_ports: NodePortAddresses::These(vec!["192.0.2.1".parse().unwrap()]),
        masquerade_all: false,
        masquerade_bit: 14,
        local: LocalTraffic::From(vec!["10.244.0.0/16".parse().unwrap()]),
    }
}

/// On this thread, so that children are in its namespace.
fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn skipped() -> bool {
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let root = nix::unistd::geteuid().is_root();
    if root && has("nft") && has("ip") {
        return false;
    }
    eprintln!("SKIPPED: needs root, nft and ip");
    true
}

#[test]
fn udp_flows_leave_endpoints_that_are_gone() {
    if skipped() {
        return;
    }
    if Command::new("conntrack").arg("--version").output().is_err() {
        eprintln!("SKIPPED: needs conntrack");
        return;
    }
    let net = Net::new("udp");
    let mut table = Table::new(Family::V4);
    let dns = service("dns", "10.0.0.10").port("", 53, 0).edit(|s| s.spec.ports[0].protocol = "UDP".into());
    let state = |endpoint: &str| {
        let mut slice = slice("dns", 5353, &[Ep::at(endpoint)]);
        slice.ports[0].protocol = Some("UDP".into());
        let mut endpoints = Endpoints::new();
        add_endpoints(&mut endpoints, &slice, Family::V4, "here");
        (service_ports(&dns.build(), Family::V4).into_iter().collect::<Services>(), endpoints)
    };
    let clean = |endpoint: &str| {
        let (services, endpoints) = state(endpoint);
        let targets = crate::conntrack::UdpTargets::of(&services, &endpoints);
        net.run("node", || block_on(crate::conntrack::clean(Family::V4, &targets)).unwrap())
    };
    let (services, endpoints) = state("10.244.1.2");
    let (desired, _) = plan(Family::V4, &services, &endpoints, &settings());
    net.run("node", || block_on(table.apply(desired, Duration::ZERO)).unwrap());
    net.run("node", || {
        let socket = std::net::UdpSocket::bind("192.0.2.1:0").unwrap();
        socket.send_to(b"?", "10.0.0.10:53").unwrap();
    });
    assert_eq!(clean("10.244.1.2"), 0, "the endpoint is still there");
    assert_eq!(clean("10.244.1.3"), 1, "another has taken its place");
    assert_eq!(clean("10.244.1.3"), 0);
}

#[test]
fn traffic_goes_where_it_should() {
    if skipped() {
        return;
    }
    let net = Net::new("tcp");
    net.serve(8080);
    let mut table = Table::new(Family::V4);
    let web = service("web", "10.0.0.1").port("", 80, 30080);
    let pod = [Ep::at("10.244.1.2").on("here")];

    assert_eq!(net.apply(&mut table, &[(web.clone(), &pod)], Duration::ZERO), Applied::Full);
    let from_node = net.fetch("node", "10.0.0.1:80");
    assert_eq!(from_node.as_deref(), Ok("10.244.1.1"), "ClusterIP from the node");
    assert_eq!(net.fetch("client", "10.0.0.1:80").as_deref(), Ok("10.244.1.1"), "from outside: masqueraded");
    assert_eq!(net.fetch("client", "192.0.2.1:30080").as_deref(), Ok("10.244.1.1"), "NodePort");
    assert_eq!(net.fetch("pod", "10.0.0.1:80").as_deref(), Ok("10.244.1.1"), "hairpin");
    assert_eq!(net.fetch("node", "10.0.0.1:81"), Err(ErrorKind::ConnectionRefused), "a port that is not");

    let local = web.clone().edit(|s| s.spec.external_traffic_policy = "Local".into());
    assert_eq!(net.apply(&mut table, &[(local.clone(), &pod)], Duration::ZERO), Applied::Partial);
    assert_eq!(
        net.fetch("client", "192.0.2.1:30080").as_deref(),
        Ok("192.0.2.7"),
        "the client's address is kept"
    );
    let elsewhere = [Ep::at("10.244.9.9").on("there")];
    net.apply(&mut table, &[(local, &elsewhere)], Duration::ZERO);
    assert_eq!(
        net.fetch("client", "192.0.2.1:30080"),
        Err(ErrorKind::TimedOut),
        "Local without endpoints: dropped"
    );

    net.apply(&mut table, &[(web.clone(), &[])], Duration::ZERO);
    assert_eq!(net.fetch("node", "10.0.0.1:80"), Err(ErrorKind::ConnectionRefused), "no endpoints");
    assert_eq!(net.fetch("client", "192.0.2.1:30080"), Err(ErrorKind::ConnectionRefused), "no endpoints");

    let sticky = web.clone().edit(|s| s.spec.session_affinity = "ClientIP".into());
    net.apply(&mut table, &[(sticky, &pod)], Duration::ZERO);
    assert_eq!(net.fetch("node", "10.0.0.1:80").as_deref(), Ok("10.244.1.1"), "with affinity");
    assert_eq!(net.fetch("node", "10.0.0.1:80").as_deref(), Ok("10.244.1.1"), "and again");

    // Nothing is left of Services that are gone.
    net.apply(&mut table, &[], Duration::ZERO);
    assert!(table.has_stale());
    assert_eq!(net.apply(&mut table, &[], STALE_FOR), Applied::Nothing);
    let left =
        net.run("node", || Command::new("nft").args(["list", "table", "ip", "kube-proxy"]).output().unwrap());
    let left = String::from_utf8(left.stdout).unwrap();
    assert!(!left.contains("default/web"), "{left}");
    assert!(!table.has_stale());

    // Somebody flushes all rules: that is noticed, and repaired by the next apply.
    net.run("node", || {
        Command::new("nft").args(["flush", "ruleset"]).status().unwrap();
        assert!(!block_on(table.check()));
    });
    assert_eq!(net.apply(&mut table, &[(web, &pod)], STALE_FOR), Applied::Full);
    assert_eq!(net.fetch("node", "10.0.0.1:80").as_deref(), Ok("10.244.1.1"));

    net.run("node", || {
        // Looking changes nothing.
        block_on(supported(Family::V4)).unwrap();
        assert!(block_on(table.check()));
        block_on(cleanup(Family::V4)).unwrap();
        block_on(cleanup(Family::V4)).unwrap();
        assert!(!block_on(table.check()));
    });
}
