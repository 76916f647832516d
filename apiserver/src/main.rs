//! kube-apiserver: the REST and watch front of the cluster; alone speaks to the store.

mod access;
mod admission;
mod aggregator;
mod answer;
mod audit;
mod authn;
mod authz;
mod body;
mod bootstrap;
mod call;
mod cel;
mod crd;
mod discovery;
mod fixed_flags;
mod flags;
mod flow_control;
mod kinds;
mod listener;
mod metrics;
mod negotiate;
mod objects;
mod openapi;
mod operations;
mod path;
mod pipeline;
mod policies;
mod query;
mod registry;
mod request;
mod route;
mod runtime_config;
mod server;
mod start;
mod status;
mod steps;
mod storage;
mod stream;
mod subresource;
mod views;
mod waited;
mod webhook;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What jemalloc reads at its start: pages that nothing uses any more go back after half a second, not after ten, by
/// a thread of its own (an idle server frees nothing that would remind it); threads share two arenas, so
/// that what one of them has freed another can use; and each keeps little for itself, of small pieces only: with
/// jemalloc's own measure that was 1.4 MB which nobody used, and keeping less made nothing slower.
///
/// SAFETY: jemalloc declares this name as a pointer to a constant text that ends in a zero byte, and so it is.
#[allow(unsafe_code, reason = "the name is the allocator's own")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_OPTIONS: &[u8; 161] =
    b"background_thread:true,dirty_decay_ms:500,muzzy_decay_ms:0,narenas:2,\
      lg_tcache_max:12,tcache_nslots_small_min:2,tcache_nslots_small_max:16,tcache_nslots_large:1\0";

fn main() -> anyhow::Result<()> {
    let flags: flags::Flags = daemon::flags::parse_beside(fixed_flags::TABLE);
    flags.logging.init();
    daemon::tls::install_default_provider();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(start::run(flags))
}
