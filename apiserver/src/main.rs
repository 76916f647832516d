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
mod server;
mod start;
mod status;
mod steps;
mod storage;
mod stream;
mod subresource;
mod views;
mod webhook;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<()> {
    let flags: flags::Flags = daemon::flags::parse();
    flags.logging.init();
    daemon::tls::install_default_provider();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(start::run(flags))
}
