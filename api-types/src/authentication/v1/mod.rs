//! Version v1 of the group authentication.k8s.io.

pub mod token_request;
pub mod token_review;

pub use token_request::*;
pub use token_review::*;
