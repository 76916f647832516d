//! Version v1 of the group batch.

pub mod cron_job;
pub mod job;

pub use cron_job::*;
pub use job::*;
