//! A server: one process or several that are one cluster, started on an empty folder, measured through /proc
//! (all processes together), taken away.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use etcd_protocol::etcdserverpb as pb;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

/// Of a clock tick in /proc/PID/stat: fixed on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

pub struct Server {
    processes: Vec<Child>,
    addresses: Vec<String>,
    data: TempDir,
}

/// Bytes.
pub struct Memory {
    pub resident: u64,
    /// Without what is mapped from files.
    pub anonymous: u64,
}

impl Server {
    pub async fn start(program: &Path, dir: &Path, members: usize) -> Result<Self> {
        let data = tempfile::tempdir_in(dir)?;
        let free = || {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            anyhow::Ok(format!("http://127.0.0.1:{port}"))
        };
        let urls = (0..members).map(|_| Ok((free()?, free()?))).collect::<Result<Vec<_>>>()?;
        let cluster: Vec<String> =
            urls.iter().enumerate().map(|(n, (_, peer))| format!("m{n}={peer}")).collect();
        let mut server = Self { processes: Vec::new(), addresses: Vec::new(), data };
        for (n, (client, peer)) in urls.into_iter().enumerate() {
            let process = Command::new(program)
                .arg(format!("--name=m{n}"))
                .arg(format!("--data-dir={}", server.data.path().join(format!("m{n}")).display()))
                .arg(format!("--listen-client-urls={client}"))
                .arg(format!("--advertise-client-urls={client}"))
                .arg(format!("--listen-peer-urls={peer}"))
                .arg(format!("--initial-advertise-peer-urls={peer}"))
                .arg(format!("--initial-cluster={}", cluster.join(",")))
                .arg(format!("--quota-backend-bytes={}", 8_u64 << 30))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .with_context(|| format!("start {}", program.display()))?;
            server.processes.push(process);
            server.addresses.push(client);
        }
        for n in 0..members {
            server.ready(n).await.with_context(|| format!("{} does not get ready", program.display()))?;
        }
        Ok(server)
    }

    async fn ready(&self, n: usize) -> Result<()> {
        let mut kv = pb::kv_client::KvClient::new(self.channel(n)?);
        for _ in 0..1500 {
            let read = kv.range(pb::RangeRequest { key: "x".into(), ..Default::default() }).await;
            if read.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("member {n} does not answer")
    }

    /// A connection to one of the members in turn.
    pub fn channel(&self, n: usize) -> Result<Channel> {
        let address = self.addresses[n % self.addresses.len()].clone();
        Ok(Endpoint::from_shared(address)?.connect_lazy())
    }

    /// Seconds of CPU used so far.
    pub fn cpu(&self) -> Result<f64> {
        self.processes.iter().map(|process| cpu(process.id())).sum()
    }

    pub fn memory(&self) -> Result<Memory> {
        let mut sum = Memory { resident: 0, anonymous: 0 };
        for process in &self.processes {
            let one = memory(process.id())?;
            sum.resident += one.resident;
            sum.anonymous += one.anonymous;
        }
        Ok(sum)
    }

    pub fn end(&mut self) -> Result<()> {
        for process in &mut self.processes {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }
}

fn cpu(process: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // After the name, which may hold anything: state is field 3, utime 14, stime 15.
    let (_, rest) = stat.rsplit_once(')').context("a name in brackets")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(ticks as f64 / TICKS_PER_SECOND)
}

fn memory(process: u32) -> Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let field = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("it is there")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
    };
    Ok(Memory { resident: field("VmRSS:")?, anonymous: field("RssAnon:")? })
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end().ok();
    }
}
