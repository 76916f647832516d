//! Options of requests, as they come in a query or (DeleteOptions) in a body.

use crate::open_enum::open_enum;
use api_types_derive::Api;

/// Query of a creation.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct CreateOptions {
    /// All means: answer, but store nothing.
    #[api(1, list = atomic)]
    pub dry_run: Vec<String>,
    /// Name under which the fields are recorded.
    #[api(3)]
    pub field_manager: String,
    /// Ignore, Warn or Strict, for unknown and duplicate fields.
    #[api(4)]
    pub field_validation: String,
}

/// Query of an update.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct UpdateOptions {
    /// All means: answer, but store nothing.
    #[api(1, list = atomic)]
    pub dry_run: Vec<String>,
    /// Name under which the fields are recorded.
    #[api(2)]
    pub field_manager: String,
    /// Ignore, Warn or Strict, for unknown and duplicate fields.
    #[api(3)]
    pub field_validation: String,
}

/// Query of a patch.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct PatchOptions {
    /// All means: answer, but store nothing.
    #[api(1, list = atomic)]
    pub dry_run: Vec<String>,
    /// Whether an apply takes fields from other managers.
    #[api(2)]
    pub force: Option<bool>,
    /// Name under which the fields are recorded; needed for apply.
    #[api(3)]
    pub field_manager: String,
    /// Ignore, Warn or Strict, for unknown and duplicate fields.
    #[api(4)]
    pub field_validation: String,
}

/// Query of a read.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct GetOptions {
    /// Revision that the answer must not be older than.
    #[api(1)]
    pub resource_version: String,
}

/// Query of a list or watch.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct ListOptions {
    /// Labels of the objects wanted.
    #[api(1)]
    pub label_selector: String,
    /// Fields of the objects wanted.
    #[api(2)]
    pub field_selector: String,
    /// Whether to stream changes instead of listing.
    #[api(3)]
    pub watch: bool,
    /// Whether the watch may send bookmarks.
    #[api(9)]
    pub allow_watch_bookmarks: bool,
    /// Revision to list at or to watch from.
    #[api(4)]
    pub resource_version: String,
    /// How resourceVersion is meant in a list.
    #[api(10)]
    pub resource_version_match: ResourceVersionMatch,
    /// Seconds after which the watch or list ends.
    #[api(5)]
    pub timeout_seconds: Option<i64>,
    /// Most items on a page.
    #[api(7)]
    pub limit: i64,
    /// Token of the page to go on with.
    #[api(8)]
    pub continue_: String,
    /// Whether the watch begins with the present objects.
    #[api(11)]
    pub send_initial_events: Option<bool>,
    /// Part of the objects that is wanted.
    #[api(15)]
    pub shard_selector: String,
}

/// How an object is to be deleted.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct DeleteOptions {
    /// Seconds to end in peace; 0 means at once, none the kind's default.
    #[api(1)]
    pub grace_period_seconds: Option<i64>,
    /// What must hold, lest the answer is a conflict.
    #[api(2)]
    pub preconditions: Option<Box<Preconditions>>,
    /// Old form of propagationPolicy: whether dependents are kept.
    #[api(3)]
    pub orphan_dependents: Option<bool>,
    /// What becomes of dependents.
    #[api(4)]
    pub propagation_policy: Option<DeletionPropagation>,
    /// All means: answer, but delete nothing.
    #[api(5, list = atomic)]
    pub dry_run: Vec<String>,
    /// Whether to delete even what cannot be read from the store.
    #[api(6)]
    pub ignore_store_read_error_with_cluster_breaking_potential: Option<bool>,
}

/// What must hold for a write to go ahead.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct Preconditions {
    /// UID that the object must have.
    #[api(1)]
    pub uid: Option<String>,
    /// Version that the object must have.
    #[api(2)]
    pub resource_version: Option<String>,
}

open_enum! {
    /// What becomes of a deleted object's dependents.
    pub enum DeletionPropagation {
        Orphan = "Orphan",
        Background = "Background",
        Foreground = "Foreground",
    }
}

open_enum! {
    /// How a list's resourceVersion is meant.
    pub enum ResourceVersionMatch {
        NotOlderThan = "NotOlderThan",
        Exact = "Exact",
    }
}
