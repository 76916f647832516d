//! Several kvstore processes that are one cluster, on loopback.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use etcd_protocol::etcdserverpb as pb;
use etcd_protocol::etcdserverpb::cluster_client::ClusterClient;
use tonic::transport::Channel;

use super::{Member, get, try_start};

/// Short, so that tests are: a tenth of etcd's default would be missed on a busy machine.
const CLOCKS: [&str; 4] = ["--heartbeat-interval", "50", "--election-timeout", "500"];

pub struct Cluster {
    folder: tempfile::TempDir,
    names: Vec<String>,
    ports: BTreeMap<String, [u16; 2]>,
    pub members: BTreeMap<String, Member>,
    flags: Vec<String>,
    state: &'static str,
    peer_scheme: &'static str,
}

/// Ports that were free a moment ago, and are given once. They lie below those that the kernel gives to outgoing
/// connections, of which the tests beside this one make many; processes begin at places of their own.
fn free_ports<const N: usize>() -> [u16; N] {
    const PORTS: std::ops::Range<u32> = 10_000..32_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(64);
    let next = || {
        let place = first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % (PORTS.end - PORTS.start);
        u16::try_from(PORTS.start + place).unwrap()
    };
    [(); N].map(|()| {
        std::iter::repeat_with(next).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
    })
}

impl Cluster {
    /// A new cluster of so many members: m1, m2 …
    pub fn start(size: usize, flags: &[&str]) -> Self {
        Self::start_over("http", size, flags)
    }

    /// As `start`, with peer URLs of this scheme.
    pub fn start_over(peer_scheme: &'static str, size: usize, flags: &[&str]) -> Self {
        let mut cluster = Self {
            peer_scheme,
            folder: tempfile::tempdir().unwrap(),
            names: Vec::new(),
            ports: BTreeMap::new(),
            members: BTreeMap::new(),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            state: "new",
        };
        for _ in 0..size {
            cluster.name_another();
        }
        let names = cluster.names.clone();
        cluster.start_all(&names);
        cluster.state = "existing";
        cluster
    }

    /// A name, ports and place in `--initial-cluster` for one more member.
    pub fn name_another(&mut self) -> String {
        let name = format!("m{}", self.ports.len() + 1);
        self.names.push(name.clone());
        self.ports.insert(name.clone(), free_ports());
        name
    }

    pub fn forget(&mut self, name: &str) {
        self.names.retain(|known| known != name);
    }

    pub fn peer_url(&self, name: &str) -> String {
        format!("{}://127.0.0.1:{}", self.peer_scheme, self.ports[name][0])
    }

    pub fn client_url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}", self.ports[name][1])
    }

    pub fn data(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arguments(&self, name: &str) -> Vec<String> {
        let cluster: Vec<String> =
            self.names.iter().map(|name| format!("{name}={}", self.peer_url(name))).collect();
        let (peer, client) = (self.peer_url(name), self.client_url(name));
        let mut arguments: Vec<String> = [
            ("--name", name),
            ("--initial-cluster", &cluster.join(",")),
            ("--initial-cluster-state", self.state),
            ("--listen-peer-urls", &peer),
            ("--initial-advertise-peer-urls", &peer),
            ("--listen-client-urls", &client),
            ("--advertise-client-urls", &client),
        ]
        .iter()
        .flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()])
        .collect();
        arguments.extend(CLOCKS.map(str::to_owned));
        arguments.extend(self.flags.clone());
        arguments
    }

    pub fn try_start_one(&self, name: &str) -> Result<Member, String> {
        let arguments = self.arguments(name);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        try_start(&self.data(name), &arguments)
    }

    /// Starts members together, and waits until all are ready.
    pub fn start_all(&mut self, names: &[String]) {
        let started: Vec<(String, Result<Member, String>)> = std::thread::scope(|scope| {
            let this = &*self;
            let threads: Vec<_> = names
                .iter()
                .map(|name| scope.spawn(move || (name.clone(), this.try_start_one(name))))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for (name, member) in started {
            let member = member.unwrap_or_else(|log| panic!("{name} did not start:\n{log}"));
            self.members.insert(name, member);
        }
    }

    pub fn restart(&mut self, name: &str) {
        self.start_all(&[name.to_owned()]);
    }

    pub fn kill(&mut self, name: &str) {
        self.members.remove(name).unwrap().kill();
    }

    pub fn stop(&mut self, name: &str) -> bool {
        self.members.remove(name).unwrap().stop()
    }

    pub fn client(&self, name: &str) -> ClusterClient<Channel> {
        ClusterClient::new(self.members[name].channel())
    }

    pub async fn status(&self, name: &str) -> pb::StatusResponse {
        self.members[name].maintenance().status(pb::StatusRequest {}).await.unwrap().into_inner()
    }

    pub async fn id(&self, name: &str) -> u64 {
        self.status(name).await.header.unwrap().member_id
    }

    /// Who leads, as the running members say it with one voice.
    pub async fn leader(&self) -> String {
        loop {
            let mut said = BTreeMap::new();
            let mut names = BTreeMap::new();
            for name in self.members.keys() {
                let status = self.status(name).await;
                *said.entry(status.leader).or_insert(0) += 1;
                names.insert(status.header.unwrap().member_id, name.clone());
            }
            if let [(leader, _)] = said.into_iter().collect::<Vec<_>>()[..]
                && let Some(name) = names.get(&leader)
            {
                return name.clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    pub async fn followers(&self) -> Vec<String> {
        let leader = self.leader().await;
        self.members.keys().filter(|name| **name != leader).cloned().collect()
    }

    /// Waits until a member has the key in what it has applied itself.
    pub async fn await_key(&self, name: &str, key: &str) -> pb::RangeResponse {
        loop {
            let request = pb::RangeRequest { serializable: true, ..get(key) };
            if let Ok(answer) = self.members[name].kv().range(request).await
                && answer.get_ref().count > 0
            {
                return answer.into_inner();
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    pub async fn list(&self, name: &str) -> Vec<pb::Member> {
        let request = pb::MemberListRequest { linearizable: true };
        self.client(name).member_list(request).await.unwrap().into_inner().members
    }
}
