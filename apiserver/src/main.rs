//! apiserver
fn main() {}
