//! What a node costs, our kubelet beside upstream's: the same cluster, the same runtime, one after the other.
//!
//! ```text
//! kubeforge cluster up --dir DIR --bin-dir COPIES   # a folder that the bench may write to
//! kubeforge cluster run --dir DIR -- cargo bench --package ferrokube-tests --bench node -- \
//!     --kubelet ours=PATH --kubelet upstream=PATH
//! ```
//! Each kubelet in turn takes the place of the running one and gets pods that are bound to the node, so that
//! no scheduler has a part in it: all at once, a rest, all deleted, then one by one. A pod's latency is the
//! time from the watch's first word of it to the one that says Ready. CPU is that of the process and its
//! children; requests are those that the apiserver counted, of all clients, fewer while nothing happens.

mod kubelet;
mod pods;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ferrokube_tests::Cluster;
use kubelet::{Cost, Kubelet};

struct Options {
    kubelets: Vec<(String, std::path::PathBuf)>,
    pods: usize,
    single: usize,
    idle: Duration,
}

const HELP: &str = "\
  --kubelet NAME=PATH  a kubelet to run; repeated
  --pods N             at once (default 110 less those that are there)
  --single N           one by one (default as many)
  --idle SECONDS       with all pods running (default 120)
";

fn options() -> Result<Option<Options>> {
    let mut options =
        Options { kubelets: Vec::new(), pods: 0, single: usize::MAX, idle: Duration::from_secs(120) };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--help" {
            print!("{HELP}");
            return Ok(None);
        }
        // cargo's own.
        if arg == "--bench" {
            continue;
        }
        let value = args.next().with_context(|| format!("{arg} needs a value"))?;
        match arg.as_str() {
            "--kubelet" => {
                let (name, path) = value.split_once('=').context("--kubelet NAME=PATH")?;
                options.kubelets.push((name.to_owned(), path.into()));
            }
            "--pods" => options.pods = value.parse()?,
            "--single" => options.single = value.parse()?,
            "--idle" => options.idle = Duration::from_secs(value.parse()?),
            _ => anyhow::bail!("unknown: {arg}\n{HELP}"),
        }
    }
    Ok(Some(options))
}

/// One row of figures.
fn row(name: &str, what: &str, figures: &str) {
    println!("| {name} | {what} | {figures} |");
}

fn latencies(mut all: Vec<Duration>) -> String {
    all.sort();
    let of = |part: f64| all.get(((all.len() as f64 - 1.0) * part) as usize).copied().unwrap_or_default();
    format!("p50 {:.2} s, p99 {:.2} s", of(0.5).as_secs_f64(), of(0.99).as_secs_f64())
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn costs(before: &Cost, after: &Cost, took: Duration) -> String {
    format!(
        "{:.1} s; CPU {:.2} s; runtime's CPU {:.2} s; {} requests; resident {:.1} MB, {:.1} of it anonymous",
        took.as_secs_f64(),
        after.cpu - before.cpu,
        after.runtime_cpu - before.runtime_cpu,
        after.requests - before.requests,
        megabytes(after.memory.resident),
        megabytes(after.memory.anonymous),
    )
}

fn measure(cluster: &Cluster, kubelet: &Kubelet, options: &Options) -> Result<()> {
    let name = &kubelet.name;
    let ns = cluster.namespace("bench")?;
    let node = cluster.node()?;
    let there = pods::count(cluster)?;
    let most = 110_usize.saturating_sub(there);
    let many = if options.pods == 0 { most } else { options.pods.min(most) };
    // What the start of the kubelet itself costs is not the pods'.
    std::thread::sleep(Duration::from_secs(15));

    let (before, began) = (kubelet.cost(cluster)?, Instant::now());
    let all = pods::start(&ns, &node, many, many)?;
    row(name, &format!("{many} pods at once"), &latencies(all));
    row(name, "cost", &costs(&before, &kubelet.cost(cluster)?, began.elapsed()));

    std::thread::sleep(Duration::from_secs(10));
    let (before, began) = (kubelet.cost(cluster)?, Instant::now());
    std::thread::sleep(options.idle);
    row(name, &format!("idle with {many}"), &costs(&before, &kubelet.cost(cluster)?, began.elapsed()));

    let (before, began) = (kubelet.cost(cluster)?, Instant::now());
    pods::delete(&ns)?;
    row(name, &format!("{many} deleted"), &costs(&before, &kubelet.cost(cluster)?, began.elapsed()));

    let single = options.single.min(many);
    let (before, began) = (kubelet.cost(cluster)?, Instant::now());
    let all = pods::start(&ns, &node, single, 1)?;
    row(name, &format!("{single} pods one by one"), &latencies(all));
    row(name, "cost", &costs(&before, &kubelet.cost(cluster)?, began.elapsed()));
    pods::delete(&ns)?;
    row(name, "most ever resident", &format!("{:.1} MB", megabytes(kubelet.peak()?)));
    Ok(())
}

fn main() -> Result<()> {
    let Some(options) = options()? else { return Ok(()) };
    let Some(cluster) = Cluster::of_this_run() else { return Ok(()) };
    ensure!(!options.kubelets.is_empty(), "no kubelet to run\n{HELP}");
    println!("| kubelet | what | figures |\n|---|---|---|");
    let place = kubelet::Place::of(&cluster)?;
    for (name, path) in &options.kubelets {
        let kubelet = place.put(&cluster, name, path)?;
        measure(&cluster, &kubelet, &options).with_context(|| name.clone())?;
    }
    place.restore(&cluster)
}
