//! One file per family of volumes: how its content comes to be.

pub mod empty_dir;
pub mod host_path;
pub mod local_device;
pub mod mounted;
pub mod payload;
