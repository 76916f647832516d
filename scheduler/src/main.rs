//! scheduler
fn main() {}
