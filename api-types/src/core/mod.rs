//! The core group, whose API path is /api.

pub mod v1;
