//! `kvstore migrate`: a data directory from a running etcd. It asks etcd for a snapshot, which is all that
//! etcd holds, and restores from it: keys with their revisions and history, leases (which get their full
//! time again), alarms, users and roles. Members, cluster id and tokens are the new cluster's own. What is
//! written to etcd after the snapshot began is not in it: stop its writers first.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use etcd_protocol::etcdserverpb as pb;
use etcd_protocol::etcdserverpb::auth_client::AuthClient;
use etcd_protocol::etcdserverpb::maintenance_client::MaintenanceClient;
use tonic::Request;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::restore::{self, Restore, Target};

/// Makes a data directory from a running etcd.
#[derive(Parser, Debug)]
#[command(name = "kvstore migrate")]
pub struct Migrate {
    /// Client URL of the etcd to take over from
    #[arg(long)]
    from: String,
    /// Authorities of etcd's certificate
    #[arg(long)]
    cacert: Option<PathBuf>,
    /// Certificate to show to etcd
    #[arg(long, requires = "key")]
    cert: Option<PathBuf>,
    /// Key of the certificate
    #[arg(long, requires = "cert")]
    key: Option<PathBuf>,
    /// User of etcd with the root role, as name:password
    #[arg(long)]
    user: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// Runs the command line after `kvstore`.
pub fn run(command: Migrate) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(migrate(command))
}

async fn migrate(command: Migrate) -> anyhow::Result<()> {
    let data_dir = command.target.data_dir.clone();
    let data_dir = data_dir.unwrap_or_else(|| format!("{}.etcd", command.target.name).into());
    anyhow::ensure!(!data_dir.join("member").exists(), "data-dir {} exists", data_dir.display());
    let channel = connect(&command).await.with_context(|| format!("connect to {}", command.from))?;
    let token = match &command.user {
        Some(user) => Some(authenticate(channel.clone(), user).await?),
        None => None,
    };
    // Beside the directory, where there is room for it.
    let mut name = data_dir.clone().into_os_string();
    name.push(".import");
    let file = PathBuf::from(name);
    let restored = match fetch(channel, token, &file).await {
        Ok(()) => {
            restore::restore(&Restore { file: file.clone(), skip_hash_check: false, target: command.target })
        }
        Err(error) => Err(error),
    };
    let status = restored.as_ref().ok().map(|_| restore::status(&file));
    std::fs::remove_file(&file).ok();
    let identity = restored?;
    if let Some(status) = status {
        let status = status?;
        println!(
            "took over {} records up to revision {} from {} as member {:x} in {}",
            status.records,
            status.revision,
            command.from,
            identity.member_id,
            data_dir.display()
        );
    }
    Ok(())
}

async fn connect(command: &Migrate) -> anyhow::Result<Channel> {
    let url =
        if command.from.contains("://") { command.from.clone() } else { format!("http://{}", command.from) };
    let secure = url.starts_with("https://");
    let mut endpoint = Endpoint::from_shared(url)?;
    if secure {
        let mut tls = ClientTlsConfig::new();
        if let Some(path) = &command.cacert {
            tls = tls.ca_certificate(Certificate::from_pem(read(path)?));
        }
        if let (Some(cert), Some(key)) = (&command.cert, &command.key) {
            tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
        }
        endpoint = endpoint.tls_config(tls)?;
    }
    Ok(endpoint.connect().await?)
}

fn read(path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("read {}", path.display()))
}

async fn authenticate(channel: Channel, user: &str) -> anyhow::Result<String> {
    let (name, password) = user.split_once(':').context("--user is written as name:password")?;
    let request = pb::AuthenticateRequest { name: name.to_owned(), password: password.to_owned() };
    let answer = AuthClient::new(channel).authenticate(request).await;
    Ok(answer
        .map_err(|status| anyhow::anyhow!("{}", status.message()))
        .context("authenticate")?
        .into_inner()
        .token)
}

/// Writes etcd's snapshot to a file.
async fn fetch(channel: Channel, token: Option<String>, file: &PathBuf) -> anyhow::Result<()> {
    let mut request = Request::new(pb::SnapshotRequest {});
    if let Some(token) = token {
        request.metadata_mut().insert("token", token.parse().context("the token that etcd gave")?);
    }
    let mut client = MaintenanceClient::new(channel).max_decoding_message_size(usize::MAX);
    let failed = |status: tonic::Status| anyhow::anyhow!("{}", status.message());
    let mut blobs =
        client.snapshot(request).await.map_err(failed).context("ask for a snapshot")?.into_inner();
    let mut out = std::fs::File::create(file).with_context(|| format!("create {}", file.display()))?;
    while let Some(answer) = blobs.message().await.map_err(failed).context("receive the snapshot")? {
        out.write_all(&answer.blob).with_context(|| format!("write {}", file.display()))?;
    }
    out.sync_all()?;
    Ok(())
}
