//! kube-controller-manager: the loops that move what is towards what is wanted.

mod adoption;
mod cached;
mod controllers;

fn main() {}
