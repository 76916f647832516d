//! Version v1 of the group storage.k8s.io.

pub mod csi_driver;
pub mod csi_node;
pub mod csi_storage_capacity;
pub mod storage_class;
pub mod volume_attachment;
pub mod volume_attributes_class;

pub use csi_driver::*;
pub use csi_node::*;
pub use csi_storage_capacity::*;
pub use storage_class::*;
pub use volume_attachment::*;
pub use volume_attributes_class::*;
