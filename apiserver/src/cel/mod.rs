//! Expressions (CEL) where writes are decided: the engine is the crate `expressions`, in `api-types/cel`; here is what
//! only the apiserver has. `admission` is what webhooks' match conditions and policies share, `authorizer` lets an
//! expression ask the authorizers.

pub mod admission;
mod authorizer;

pub use expressions::*;
