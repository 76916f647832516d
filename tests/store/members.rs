//! The store's processes: started on ports of their own, killed, stopped, paused, started again.
//!
//! `STORE_SERVER` names another program than the kvstore that was built with the tests, such as
//! `/usr/bin/etcd`: it takes the same flags, and what is tested is what etcd promises.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use etcd_protocol::etcdserverpb as pb;
use tonic::transport::{Channel, Endpoint};

use crate::clocks::Clocks;
use crate::wires::Place;

/// How long a member may take to answer after its start.
const START: Duration = Duration::from_secs(60);

/// The program under test, and whether it is kvstore.
pub fn server() -> Result<(PathBuf, bool)> {
    if let Some(path) = std::env::var_os("STORE_SERVER") {
        let path = PathBuf::from(path);
        let ours = path.file_name().is_some_and(|name| name == "kvstore");
        return Ok((path, ours));
    }
    // target/debug/deps/store-… beside target/debug/kvstore
    let tests = std::env::current_exe()?;
    let path = tests.parent().and_then(Path::parent).context("the tests are in a folder")?.join("kvstore");
    anyhow::ensure!(path.exists(), "{} is not built: cargo build --package kvstore", path.display());
    Ok((path, true))
}

/// One member: its folder and addresses stay, its process comes and goes.
pub struct Member {
    pub name: String,
    program: PathBuf,
    pub data: PathBuf,
    log: PathBuf,
    pub client: String,
    pub peer: String,
    /// What its next start sees of the time; the machine's clocks when `None`.
    pub clocks: Option<Clocks>,
    /// Whether it joins a cluster that exists.
    joins: bool,
    namespace: Option<String>,
    flags: Vec<String>,
    process: Option<Child>,
}

impl Member {
    /// The n-th of the members in these places; not started yet. Its log goes into `folder`, its data into
    /// `disk`.
    pub fn new(
        program: &Path,
        folder: &Path,
        disk: &Path,
        places: &[Place],
        n: usize,
        flags: &[&str],
    ) -> Self {
        let (name, place) = (format!("m{n}"), &places[n]);
        let data = disk.join(&name);
        let members = places.iter().enumerate().map(|(n, place)| format!("m{n}={}", place.peer));
        let mut words = vec![
            format!("--name={name}"),
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={}", place.client),
            format!("--advertise-client-urls={}", place.client),
            format!("--listen-peer-urls={}", place.peer),
            format!("--initial-advertise-peer-urls={}", place.peer),
            format!("--initial-cluster={}", members.collect::<Vec<_>>().join(",")),
        ];
        words.extend(flags.iter().map(|flag| flag.to_string()));
        Self {
            log: folder.join(format!("{name}.log")),
            name,
            program: program.to_owned(),
            data,
            client: place.client.clone(),
            peer: place.peer.clone(),
            clocks: None,
            joins: false,
            namespace: place.namespace.clone(),
            flags: words,
            process: None,
        }
    }

    pub fn start(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let network = self.namespace.iter().map(|name| format!("--net=/run/netns/{name}"));
        let clocks = self.clocks.iter().map(|clocks| format!("--time={}", clocks.path()));
        let spaces: Vec<String> = network.chain(clocks).collect();
        let mut command = if spaces.is_empty() {
            Command::new(&self.program)
        } else {
            // It becomes the program: signals reach that.
            let mut enter = Command::new("nsenter");
            enter.args(spaces).arg(&self.program);
            enter
        };
        let process = command
            .args(&self.flags)
            .args(self.joins.then_some("--initial-cluster-state=existing"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", self.program.display()))?;
        self.process = Some(process);
        Ok(())
    }

    /// Waits until it answers a linearizable read.
    pub async fn ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            if let Some(ended) = self.ended()? {
                bail!("{} has ended ({ended}):\n{}", self.name, self.last_words());
            }
            let mut kv = pb::kv_client::KvClient::new(self.channel(Duration::from_secs(2))?);
            let request = pb::RangeRequest { key: "ready".into(), ..Default::default() };
            match kv.range(request).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    bail!("{} does not get ready: {error}\n{}", self.name, self.last_words())
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// How its process ended, if it has.
    pub fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        Ok(match &mut self.process {
            Some(process) => process.try_wait()?,
            None => None,
        })
    }

    /// Where its data directory is.
    pub fn disk(&self) -> &Path {
        self.data.parent().unwrap_or(&self.data)
    }

    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    pub fn channel(&self, timeout: Duration) -> Result<Channel> {
        let endpoint = Endpoint::from_shared(self.client.clone())?;
        Ok(endpoint.connect_timeout(Duration::from_secs(1)).timeout(timeout).connect_lazy())
    }

    /// For streams, which outlast any timeout.
    pub fn endless_channel(&self) -> Result<Channel> {
        let endpoint = Endpoint::from_shared(self.client.clone())?;
        let alive = endpoint
            .http2_keep_alive_interval(Duration::from_secs(1))
            .keep_alive_timeout(Duration::from_secs(4));
        Ok(alive.connect_timeout(Duration::from_secs(1)).connect_lazy())
    }

    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Asks it to end; returns whether it ended well (etcd: of the signal it was sent).
    pub fn stop(&mut self) -> Result<bool> {
        const TERM: i32 = 15;
        self.signal("TERM")?;
        match self.process.take() {
            Some(mut process) => {
                let status = process.wait()?;
                Ok(status.success() || status.signal() == Some(TERM))
            }
            None => Ok(true),
        }
    }

    pub fn signal(&self, name: &str) -> Result<()> {
        if let Some(process) = &self.process {
            Command::new("kill").args([format!("-{name}"), process.id().to_string()]).status()?;
        }
        Ok(())
    }

    /// Loses its data; its next start joins the cluster.
    pub fn forget_everything(&mut self) -> Result<()> {
        self.joins = true;
        std::fs::remove_dir_all(&self.data).context("remove the data")
    }

    /// Makes the next start believe that the machine went down: what was not synced is not trusted.
    pub fn forget_state(&self) -> Result<()> {
        std::fs::write(self.data.join("member/state-mark"), "another boot").context("forget the state")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // A paused process ends by this as well.
        self.kill().ok();
    }
}
