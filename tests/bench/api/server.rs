//! An apiserver with its store: started on an empty folder with certificates of its own, measured through
//! /proc, started again, taken away. Or one that runs already, which is measured only.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ::client::Config;
use anyhow::{Context as _, Result, bail};
use daemon::tls::Pem;
use ferrokube_tests::process;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tempfile::TempDir;

/// What is measured.
pub enum Place {
    Program(PathBuf),
    Running { path: PathBuf, pid: u32 },
}

pub struct Server {
    pid: u32,
    kind: Kind,
}

enum Kind {
    Running(PathBuf),
    Ours(Box<Started>),
}

struct Started {
    program: PathBuf,
    arguments: Vec<String>,
    address: String,
    process: Child,
    store: Child,
    data: TempDir,
}

/// What has been used since some moment.
pub struct Span {
    began: Instant,
    cpu: f64,
    resident: u64,
}

pub struct Cost {
    pub seconds: f64,
    /// Seconds.
    pub cpu: f64,
    /// Bytes: at the beginning, at the end, at most.
    pub before: u64,
    pub resident: u64,
    pub peak: u64,
}

impl Cost {
    /// Bytes more at the peak than at the beginning.
    pub fn growth(&self) -> f64 {
        self.peak.saturating_sub(self.before) as f64
    }
}

impl Span {
    pub fn end(self, server: &Server) -> Result<Cost> {
        let memory = process::memory(server.pid)?;
        Ok(Cost {
            seconds: self.began.elapsed().as_secs_f64(),
            cpu: process::cpu(server.pid)? - self.cpu,
            before: self.resident,
            resident: memory.resident,
            peak: memory.peak,
        })
    }
}

impl Server {
    pub async fn start(place: &Place, store: Option<&Path>, dir: &Path) -> Result<Self> {
        let program = match place {
            Place::Running { path, pid } => {
                return Ok(Self { pid: *pid, kind: Kind::Running(path.clone()) });
            }
            Place::Program(program) => program,
        };
        let data = tempfile::tempdir_in(dir)?;
        certificates(data.path())?;
        let free = || anyhow::Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port());
        let store = store.context("--store PATH: what should the servers keep their data in?")?;
        let urls = [format!("http://127.0.0.1:{}", free()?), format!("http://127.0.0.1:{}", free()?)];
        let port = free()?;
        let arguments = arguments(data.path(), &urls[0], port);
        let store = spawn(store, &store_arguments(data.path(), &urls), &data.path().join("store.log"))?;
        let process = spawn(program, &arguments, &data.path().join("apiserver.log"))?;
        let address = format!("https://127.0.0.1:{port}");
        let pid = process.id();
        let started = Started { program: program.clone(), arguments, address, process, store, data };
        let server = Self { pid, kind: Kind::Ours(Box::new(started)) };
        server.ready().await?;
        Ok(server)
    }

    /// Waits until it says that it is ready.
    async fn ready(&self) -> Result<()> {
        let config = self.config()?;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(300) {
            let client = ::client::Client::new(config.clone())?;
            if client.send(&::client::Call::get("/readyz")).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if let Kind::Ours(started) = &self.kind {
            let log = std::fs::read_to_string(started.data.path().join("apiserver.log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(5).collect();
            bail!("it does not get ready; its last words, latest first:\n{}", tail.join("\n"));
        }
        bail!("it is not ready");
    }

    /// The administrator's way in, without limits of its own.
    pub fn config(&self) -> Result<Config> {
        let config = match &self.kind {
            Kind::Running(kubeconfig) => Config::from_kubeconfig(kubeconfig)?,
            Kind::Ours(started) => {
                let file = |name: &str| Some(Pem::File(started.data.path().join(name)));
                Config {
                    ca: file("ca.crt"),
                    cert: file("admin.crt"),
                    key: file("admin.key"),
                    ..Config::new(started.address.clone())
                }
            }
        };
        Ok(Config { timeout: Duration::from_secs(600), ..config.with_limits(0.0, 0) })
    }

    /// Begins to measure; forgets the peak of before.
    pub fn span(&self) -> Result<Span> {
        process::forget_peak(self.pid)?;
        let resident = process::memory(self.pid)?.resident;
        Ok(Span { began: Instant::now(), cpu: process::cpu(self.pid)?, resident })
    }

    pub fn restarts(&self) -> bool {
        matches!(self.kind, Kind::Ours(_))
    }

    /// Ends it in good order and starts it again; ready when this returns. What it cost counts from the start.
    pub async fn restart(&mut self) -> Result<Span> {
        let Kind::Ours(started) = &mut self.kind else { bail!("it was not started here") };
        process::terminate(started.process.id())?;
        started.process.wait()?;
        let span = Span { began: Instant::now(), cpu: 0.0, resident: 0 };
        let log = started.data.path().join("apiserver.log");
        started.process = spawn(&started.program, &started.arguments, &log)?;
        self.pid = started.process.id();
        self.ready().await?;
        Ok(span)
    }

    pub fn end(&mut self) -> Result<()> {
        if let Kind::Ours(started) = &mut self.kind {
            for process in [&mut started.process, &mut started.store] {
                process.kill()?;
                process.wait()?;
            }
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end().ok();
    }
}

fn spawn(program: &Path, arguments: &[String], log: &Path) -> Result<Child> {
    let log = std::fs::File::create(log)?;
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {}", program.display()))
}

fn store_arguments(data: &Path, [client, peer]: &[String; 2]) -> Vec<String> {
    vec![
        "--name=bench".to_owned(),
        format!("--data-dir={}", data.join("store").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=bench={peer}"),
        format!("--quota-backend-bytes={}", 8_u64 << 30),
    ]
}

/// What any kube-apiserver takes.
fn arguments(data: &Path, store: &str, port: u16) -> Vec<String> {
    let file = |flag: &str, name: &str| format!("--{flag}={}", data.join(name).display());
    vec![
        format!("--etcd-servers={store}"),
        "--bind-address=127.0.0.1".to_owned(),
        // Nobody goes there; loopback would be refused for the Service's endpoints.
        "--advertise-address=192.0.2.1".to_owned(),
        format!("--secure-port={port}"),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        file("client-ca-file", "ca.crt"),
        file("tls-cert-file", "server.crt"),
        file("tls-private-key-file", "server.key"),
        file("service-account-key-file", "sa.pub"),
        file("service-account-signing-key-file", "sa.key"),
    ]
}

/// An authority, the server's certificate, an administrator's, and the key of service accounts.
fn certificates(data: &Path) -> Result<()> {
    let write = |name: &str, text: String| std::fs::write(data.join(name), text).context(name.to_owned());
    let key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::<String>::new())?;
    authority.distinguished_name.push(DnType::CommonName, "bench");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    write("ca.crt", authority.self_signed(&key)?.pem())?;
    let authority = Issuer::new(authority, key);
    let usages = [
        ("server", "", ExtendedKeyUsagePurpose::ServerAuth),
        ("admin", "system:masters", ExtendedKeyUsagePurpose::ClientAuth),
    ];
    for (name, organization, usage) in usages {
        let key = KeyPair::generate()?;
        let mut leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        leaf.distinguished_name.push(DnType::CommonName, name);
        if !organization.is_empty() {
            leaf.distinguished_name.push(DnType::OrganizationName, organization);
        }
        leaf.extended_key_usages = vec![usage];
        write(&format!("{name}.crt"), leaf.signed_by(&key, &authority)?.pem())?;
        write(&format!("{name}.key"), key.serialize_pem())?;
    }
    let key = KeyPair::generate()?;
    write("sa.pub", key.public_key_pem())?;
    write("sa.key", key.serialize_pem())
}
