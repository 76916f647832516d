//! controller-manager
fn main() {}
