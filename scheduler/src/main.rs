//! kube-scheduler: gives each pod a node.

mod api;
mod cache;
mod config;
mod cycle;
mod framework;
mod metrics;
mod node;
mod node_selector;
mod plugins;
mod pod;
mod pod_affinity;
mod preemption;
mod profile;
mod queue;
mod resources;
mod spread;
#[cfg(test)]
mod testing;

fn main() {}
