//! A real kvstore process on a directory of its own, and clients to it.

// Each test binary uses a part of it; clippy does not see that all of it is test code.
#![allow(dead_code, clippy::unwrap_used, reason = "shared by test binaries that each use a part")]

pub mod cluster;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etcd_protocol::etcdserverpb as pb;
use etcd_protocol::etcdserverpb::kv_client::KvClient;
use etcd_protocol::etcdserverpb::lease_client::LeaseClient;
use etcd_protocol::etcdserverpb::maintenance_client::MaintenanceClient;
use etcd_protocol::etcdserverpb::watch_client::WatchClient;
use tonic::transport::{Channel, Endpoint};

const ANY_PORTS: [&str; 4] =
    ["--listen-client-urls", "http://127.0.0.1:0", "--listen-peer-urls", "http://127.0.0.1:0"];

pub struct Member {
    process: Child,
    pub address: String,
    log: Arc<Mutex<Vec<String>>>,
}

/// Flags beside the data directory and the address.
pub fn start(data: &Path, flags: &[&str]) -> Member {
    try_start(data, flags).unwrap_or_else(|log| panic!("kvstore did not start:\n{log}"))
}

/// What it logged, when it ended instead of becoming ready.
pub fn try_start(data: &Path, flags: &[&str]) -> Result<Member, String> {
    let mut process = Command::new(env!("CARGO_BIN_EXE_kvstore"))
        .arg("--data-dir")
        .arg(data)
        .args(if flags.contains(&"--listen-peer-urls") { &[][..] } else { &ANY_PORTS })
        .args(flags)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let log = Arc::new(Mutex::new(Vec::new()));
    let (ready, address) = std::sync::mpsc::channel();
    let copy = log.clone();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if line.contains("ready to serve client requests")
                && let Some((_, rest)) = line.split_once("clients=\"")
            {
                ready.send(rest.split('"').next().unwrap_or_default().to_owned()).ok();
            }
            copy.lock().unwrap().push(line);
        }
    });
    match address.recv() {
        Ok(address) => Ok(Member { process, address, log }),
        Err(_) => {
            process.wait().unwrap();
            Err(log.lock().unwrap().join("\n"))
        }
    }
}

impl Member {
    /// SIGKILL, at once.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// SIGTERM; returns whether it ended well.
    pub fn stop(mut self) -> bool {
        let pid = self.process.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        self.process.wait().unwrap().success()
    }

    pub fn signal(&self, name: &str) {
        Command::new("kill").args([format!("-{name}"), self.process.id().to_string()]).status().unwrap();
    }

    /// Waits until it ends by itself; returns whether it ended well.
    pub fn ended_well(mut self) -> bool {
        self.process.wait().unwrap().success()
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    pub fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.timeout(Duration::from_secs(20)).connect_lazy()
    }

    /// For streams, which outlast any timeout.
    pub fn endless_channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect_lazy()
    }

    pub fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel()).max_decoding_message_size(usize::MAX)
    }

    pub fn watch(&self) -> WatchClient<Channel> {
        WatchClient::new(self.endless_channel())
    }

    pub fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.endless_channel())
    }

    pub fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Gone already when the test ended it.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

pub fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> pb::PutRequest {
    pb::PutRequest {
        key: key.as_ref().to_vec().into(),
        value: value.as_ref().to_vec().into(),
        ..Default::default()
    }
}

pub fn get(key: impl AsRef<[u8]>) -> pb::RangeRequest {
    pb::RangeRequest { key: key.as_ref().to_vec().into(), ..Default::default() }
}

/// Every key that starts so.
pub fn prefix(key: &str) -> pb::RangeRequest {
    let mut end = key.as_bytes().to_vec();
    *end.last_mut().unwrap() += 1;
    pb::RangeRequest { range_end: end.into(), ..get(key) }
}

/// The log's segments, in order.
pub fn segments(data: &Path) -> Vec<PathBuf> {
    let folder = data.join("member/wal");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    files.sort();
    files
}
