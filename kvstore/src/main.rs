//! kvstore
fn main() {}
