//! apimachinery types of meta/v1.

pub mod condition;
pub mod discovery;
pub mod label_selector;
pub mod list;
pub mod list_meta;
pub mod object_meta;
pub mod options;
pub mod status;
pub mod validate;

pub use condition::*;
pub use discovery::*;
pub use label_selector::*;
pub use list::*;
pub use list_meta::*;
pub use object_meta::*;
pub use options::*;
pub use status::*;
