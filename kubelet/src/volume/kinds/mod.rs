//! One file per family of volumes: how its content comes to be.

pub mod disk;
pub mod empty_dir;
pub mod fc;
pub mod host_path;
pub mod huge_pages;
pub mod iscsi;
pub mod local_device;
pub mod mounted;
pub mod multipath;
pub mod payload;
