//! What the store costs, ours beside etcd, in the same run on the same disk.
//!
//! ```text
//! cargo bench --package kvstore --bench store -- --help
//! ```
//! Each workload runs against one server after the other, each on an empty folder of its own below
//! `--dir`, with fsync on as both do by default. CPU is that of the server's process. Servers and this
//! client share the machine, so throughput of many clients is bounded by both: CPU per operation is what
//! to compare.

mod load;
mod report;
mod server;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use load::Load;
use report::Report;
use server::Server;

struct Options {
    servers: Vec<(String, PathBuf)>,
    dir: PathBuf,
    seconds: u64,
    small: u64,
    large: u64,
    watchers: Vec<usize>,
    clients: Vec<usize>,
    members: Vec<usize>,
    only: Vec<String>,
}

const HELP: &str = "\
  --server NAME=PATH   a server to run, first is compared with the others; repeated
                       (default: ours=kvstore as just built, etcd=/usr/bin/etcd if it is there)
  --dir DIR            where data goes (default: a temporary folder)
  --seconds N          of each timed workload (default 10)
  --small N            keys of 256 bytes (default 1000000)
  --large N            keys of 8 KB (default 100000)
  --clients A,B        (default 1,1000)
  --members A,B        of the cluster that is written to (default 1,3)
  --watchers A,B       (default 1,1000,10000)
  --only A,B           of: put, txn, range, watch, large (default: all)
";

/// Bytes of values.
pub const SMALL: usize = 256;
pub const LARGE: usize = 8 << 10;

fn options() -> Result<Option<Options>> {
    let mut options = Options {
        servers: Vec::new(),
        dir: std::env::temp_dir(),
        seconds: 10,
        small: 1_000_000,
        large: 100_000,
        watchers: vec![1, 1000, 10_000],
        clients: vec![1, 1000],
        members: vec![1, 3],
        only: Vec::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--bench" {
            continue;
        }
        if word == "--help" {
            return Ok(None);
        }
        let value = words.next().with_context(|| format!("{word} takes a value"))?;
        let numbers = |value: &str| value.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>();
        match word.as_str() {
            "--server" => {
                let (name, path) = value.split_once('=').context("--server NAME=PATH")?;
                options.servers.push((name.to_owned(), path.into()));
            }
            "--dir" => options.dir = value.into(),
            "--seconds" => options.seconds = value.parse()?,
            "--small" => options.small = value.parse()?,
            "--large" => options.large = value.parse()?,
            "--watchers" => options.watchers = numbers(&value)?,
            "--members" => options.members = numbers(&value)?,
            "--clients" => options.clients = numbers(&value)?,
            "--only" => options.only = value.split(',').map(str::to_owned).collect(),
            other => anyhow::bail!("{other} is not known; see --help"),
        }
    }
    if options.servers.is_empty() {
        options.servers.push(("ours".to_owned(), env!("CARGO_BIN_EXE_kvstore").into()));
        let etcd = PathBuf::from("/usr/bin/etcd");
        if etcd.exists() {
            options.servers.push(("etcd".to_owned(), etcd));
        } else {
            eprintln!("etcd is not installed: ours alone");
        }
    }
    Ok(Some(options))
}

#[tokio::main]
async fn main() -> Result<()> {
    let Some(options) = options()? else {
        print!("{HELP}");
        return Ok(());
    };
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    let time = Duration::from_secs(options.seconds);
    let mut report = Report::new(options.servers.iter().map(|(name, _)| name.clone()).collect());
    for (n, (_, program)) in options.servers.iter().enumerate() {
        // Writes to few keys, then to the history that they leave.
        for members in &options.members {
            if !wanted("put") && !wanted("txn") {
                continue;
            }
            let mut server = Server::start(program, &options.dir, *members).await?;
            let of = if *members == 1 { String::new() } else { format!(", {members} members") };
            report.memory(n, &format!("idle{of}"), &server)?;
            for clients in &options.clients {
                if wanted("put") {
                    let load = Load::new(&server, *clients)?;
                    let name = format!("put {SMALL} B, {clients} clients{of}");
                    report.line(n, name, &server, load.put(time)).await?;
                }
                if wanted("txn") {
                    let load = Load::new(&server, *clients)?;
                    let name = format!("guarded txn {SMALL} B, {clients} clients{of}");
                    report.line(n, name, &server, load.guarded(time)).await?;
                }
            }
            report.memory(n, &format!("after these writes{of}"), &server)?;
            server.end()?;
        }
        if wanted("range") {
            let mut server = Server::start(program, &options.dir, 1).await?;
            let load = Load::new(&server, 16)?;
            let name = format!("fill {} × {SMALL} B", options.small);
            report.line(n, name, &server, load.fill(options.small, SMALL)).await?;
            report.memory(n, &format!("{} × {SMALL} B", options.small), &server)?;
            for limit in [1, 500, 10_000] {
                let load = Load::new(&server, 16)?;
                let name = format!("range of {limit}, 16 clients");
                report.line(n, name, &server, load.range(time, limit, options.small)).await?;
            }
            report.memory(n, "after ranges", &server)?;
            server.end()?;
        }
        if wanted("large") {
            let mut server = Server::start(program, &options.dir, 1).await?;
            let load = Load::new(&server, 16)?;
            let name = format!("fill {} × {LARGE} B", options.large);
            report.line(n, name, &server, load.fill(options.large, LARGE)).await?;
            report.memory(n, &format!("{} × {LARGE} B", options.large), &server)?;
            server.end()?;
        }
        if wanted("watch") {
            for watchers in &options.watchers {
                let mut server = Server::start(program, &options.dir, 1).await?;
                let load = Load::new(&server, 1)?;
                let name = format!("watch fan-out, {watchers} watchers (per event)");
                report.line(n, name, &server, load.fan_out(time, *watchers)).await?;
                report.memory(n, &format!("{watchers} watchers"), &server)?;
                server.end()?;
            }
        }
    }
    println!("{report}");
    Ok(())
}
