//! kube-apiserver: the REST and watch front of the cluster; alone speaks to the store.

mod request;

fn main() {}
