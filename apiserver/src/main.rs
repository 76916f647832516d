//! kube-apiserver: the REST and watch front of the cluster; alone speaks to the store.

mod authn;
mod authz;
mod bootstrap;
mod request;
mod status;
mod storage;
mod stream;
mod views;

fn main() {}
