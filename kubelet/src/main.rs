//! kubelet: runs the pods that are bound to its node, by way of a container runtime (CRI v1).
//!
//! Reading order: [`flags`] and [`config`]; [`run`] puts the parts of [`kubelet`] together; [`sources`]
//! feed the [`pod_worker`]s, whose turns are [`sync_pod`]'s plans and actions; [`status`] goes back to
//! the API; [`node`] keeps the Node and its lease; [`server`] answers the API server on port 10250.

mod admission;
mod certificate;
mod cgroup;
mod config;
mod cri;
mod csi;
mod dbus;
mod device;
mod dns;
mod downward;
mod dra;
mod environment;
mod events;
mod eviction;
mod fixed_flags;
mod flags;
mod hosts;
mod housekeeping;
mod http_get;
mod image_gc;
mod images;
mod kernel;
mod kubelet;
mod latency;
mod lifecycle;
mod logs;
mod machine;
mod node;
mod node_flags;
mod placement;
mod plugins;
mod pod_resources;
mod pod_worker;
mod probe;
mod resize;
mod resources;
mod run;
mod runtime_watch;
mod server;
mod setting_flags;
mod shutdown;
mod sources;
mod status;
mod steady;
mod swap;
mod sync_pod;
mod sysctls;
mod termination;
mod user_namespaces;
mod volume;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What jemalloc reads at its start: pages that nothing uses any more go back after half a second, not after ten,
/// by a thread of its own (an idle kubelet frees nothing that would remind it), and threads share one arena and keep
/// nothing back for themselves, so that what one of them has freed another can use: threads come and go with bursts
/// of blocking work, and what each kept was 4 MB with 100 pods.
///
/// SAFETY: jemalloc declares this name as a pointer to a constant text that ends in a zero byte, and so it is.
#[allow(unsafe_code, reason = "the name is the allocator's own")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_OPTIONS: &[u8; 82] =
    b"background_thread:true,dirty_decay_ms:500,muzzy_decay_ms:0,narenas:1,tcache:false\0";

fn main() -> anyhow::Result<()> {
    let flags: flags::Flags = daemon::flags::parse_beside(fixed_flags::TABLE);
    let config = flags.configuration();
    flags.logging(config.as_ref().ok()).init();
    if let Some(err) = config.as_ref().ok().and_then(|config| config.strict_error.as_ref()) {
        tracing::info!(err, "Using lenient decoding as strict decoding failed");
    }
    daemon::tls::install_default_provider();
    // Two threads do: the work is waiting for the runtime and the API.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run::run(flags, config?))
}
