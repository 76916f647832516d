//! What an apiserver costs, ours beside another, in the same run, each on an empty store of its own.
//!
//! ```text
//! cargo bench --package ferrokube-tests --bench api -- \
//!     --store PATH --server ours=PATH --server upstream=PATH
//! ```
//! Every server gets the same flags, the same store's program, and the same work in the same order: nothing at
//! all, creates, reads, guarded updates, watches, lists, a start with everything in the store. CPU and memory
//! are those of the server's process alone; server, store and this client share the machine, so compare costs,
//! not throughput. Authentication and authorization are on. With `--running NAME=KUBECONFIG@PID` a server that
//! runs already is measured instead, without the start.

mod clients;
mod objects;
mod reads;
mod report;
mod server;
mod watches;
mod writes;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clients::Clients;
use report::Report;
use server::{Place, Server};

const HELP: &str = "\
  --server NAME=PATH   a kube-apiserver to start; repeated, the first is compared with the others
  --running NAME=KUBECONFIG@PID
                       a server that runs; its store should be empty
  --store PATH         the store to start for each (kvstore or etcd)
  --dir DIR            where data goes (default: a temporary folder)
  --seconds N          of each timed workload (default 10)
  --idle N             seconds of doing nothing (default 30)
  --pods A,B           how many there are in each round (default 10000,150000)
  --watchers A,B       of one namespace (default 1000,10000)
  --nodes N            watches of the pods of one node each (default 5000)
";

/// Requests under way at once.
const PARALLEL: usize = 32;

struct Options {
    places: Vec<(String, Place)>,
    store: Option<PathBuf>,
    dir: PathBuf,
    time: Duration,
    idle: Duration,
    pods: Vec<usize>,
    watchers: Vec<usize>,
    nodes: usize,
}

fn options() -> Result<Option<Options>> {
    let mut options = Options {
        places: Vec::new(),
        store: None,
        dir: std::env::temp_dir(),
        time: Duration::from_secs(10),
        idle: Duration::from_secs(30),
        pods: vec![10_000, 150_000],
        watchers: vec![1000, 10_000],
        nodes: 5000,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            // cargo's own.
            "--bench" => continue,
            "--help" => return Ok(None),
            _ => {}
        }
        let value = words.next().with_context(|| format!("{word} takes a value"))?;
        let numbers = || value.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>();
        match word.as_str() {
            "--server" => {
                let (name, path) = value.split_once('=').context("--server NAME=PATH")?;
                options.places.push((name.to_owned(), Place::Program(path.into())));
            }
            "--running" => {
                let (name, rest) = value.split_once('=').context("--running NAME=KUBECONFIG@PID")?;
                let (path, pid) = rest.rsplit_once('@').context("--running NAME=KUBECONFIG@PID")?;
                options
                    .places
                    .push((name.to_owned(), Place::Running { path: path.into(), pid: pid.parse()? }));
            }
            "--store" => options.store = Some(value.into()),
            "--dir" => options.dir = value.into(),
            "--seconds" => options.time = Duration::from_secs(value.parse()?),
            "--idle" => options.idle = Duration::from_secs(value.parse()?),
            "--pods" => options.pods = numbers()?,
            "--watchers" => options.watchers = numbers()?,
            "--nodes" => options.nodes = value.parse()?,
            other => anyhow::bail!("{other} is not known; see --help"),
        }
    }
    ensure!(!options.places.is_empty(), "no server to measure\n{HELP}");
    Ok(Some(options))
}

#[tokio::main]
async fn main() -> Result<()> {
    let Some(options) = options()? else {
        print!("{HELP}");
        return Ok(());
    };
    let mut report = Report::new(options.places.iter().map(|(name, _)| name.clone()).collect());
    for (n, (name, place)) in options.places.iter().enumerate() {
        report.of(n);
        measure(place, &options, &mut report).await.with_context(|| name.clone())?;
    }
    println!("{report}");
    Ok(())
}

async fn measure(place: &Place, options: &Options, report: &mut Report) -> Result<()> {
    let mut server = Server::start(place, options.store.as_deref(), &options.dir).await?;
    let clients = Clients::new(server.config()?)?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let span = server.span()?;
    tokio::time::sleep(options.idle).await;
    let idle = span.end(&server)?;
    report.memory("idle", idle.resident);
    report.cost("idle", "CPU ms a second", idle.cpu * 1e3 / idle.seconds);

    writes::prepare(&clients).await?;
    let mut there = 0;
    for (round, &pods) in options.pods.iter().enumerate() {
        let name = format!("create up to {pods} pods, {PARALLEL} clients");
        let (span, latencies) = (server.span()?, writes::create(&clients, there..pods).await?);
        report.operations(&name, pods - there, &span.end(&server)?, latencies);
        there = pods;
        if round == 0 {
            small(&server, &clients, there, options, report).await?;
        }
        lists(&server, &clients, there, report).await?;
        if server.restarts() {
            let began = server.restart().await?;
            reads::first_list(&clients).await?;
            let cost = began.end(&server)?;
            let name = format!("start with {pods} pods, until the first list from the cache");
            report.cost(&name, "s", cost.seconds);
            report.cost(&name, "CPU s", cost.cpu);
            // This list keeps protobuf beside the JSON that the server started with.
            let wire = reads::bytes_of_pods(&clients, there).await?;
            let held = server.span()?.end(&server)?.resident.saturating_sub(idle.resident);
            report.memory(&format!("started with {pods} pods"), held + idle.resident);
            report.cost(
                &format!("a pod in memory, {pods} pods, protobuf"),
                "bytes resident for one on the wire",
                held as f64 / (pods * wire) as f64,
            );
        }
    }
    server.end()
}

/// What does not depend on how much there is.
async fn small(
    server: &Server,
    clients: &Clients,
    pods: usize,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    for parallel in [1, PARALLEL] {
        let (span, latencies) = (server.span()?, reads::get(clients, pods, parallel, options.time).await?);
        let count = latencies.len();
        report.operations(&format!("get a pod, {parallel} clients"), count, &span.end(server)?, latencies);
        let (span, latencies) =
            (server.span()?, writes::update(clients, pods, parallel, options.time).await?);
        let count = latencies.len();
        let name = format!("guarded update of a pod, {parallel} clients");
        report.operations(&name, count, &span.end(server)?, latencies);
    }
    for &watchers in &options.watchers {
        let name = format!("{watchers} watches of a namespace");
        let fan = watches::of_one_namespace(server, clients, watchers, options.time).await?;
        report.cost(&name, "KB for one", fan.bytes_each / 1024.0);
        report.rate(&name, "events for a CPU second", fan.events as f64 / fan.cpu);
    }
    if options.nodes > 0 {
        let name = format!("{} watches of a node's pods", options.nodes);
        let fan = watches::of_nodes(server, clients, options.nodes, pods, options.time).await?;
        report.cost(&name, "KB for one", fan.bytes_each / 1024.0);
        report.cost(&name, "CPU µs an update", fan.cpu * 1e6 / fan.updates as f64);
    }
    Ok(())
}

async fn lists(server: &Server, clients: &Clients, pods: usize, report: &mut Report) -> Result<()> {
    for kind in reads::LISTS {
        // One after the other for the cost, then several at once for what they take of memory.
        for parallel in [1, 4] {
            let (span, bytes) = (server.span()?, reads::list(clients, kind, pods, parallel).await?);
            let cost = span.end(server)?;
            let name = format!("list of {pods} pods, {}, {parallel} at once", kind.name);
            report.cost(&name, "s", cost.seconds);
            report.cost(&name, "CPU s each", cost.cpu / parallel as f64);
            report.cost(&name, "MB more at the peak", cost.growth() / f64::from(1 << 20));
            eprintln!("          {:.1} MB each", bytes as f64 / f64::from(1 << 20));
        }
    }
    Ok(())
}
