//! Metadata of a list: its revision and the way to the next page.

use api_types_derive::Api;

/// Metadata of a list.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct ListMeta {
    /// Formerly the list's own URL; no longer filled in.
    #[api(1)]
    pub self_link: String,
    /// Revision that the list shows; a watch goes on from here.
    #[api(2)]
    pub resource_version: String,
    /// Token that fetches the next page; empty on the last.
    #[api(3)]
    pub continue_: String,
    /// Items after this page, as far as known.
    #[api(4)]
    pub remaining_item_count: Option<i64>,
    /// The part of the objects that was asked for.
    #[api(5)]
    pub shard_info: Option<Box<ShardInfo>>,
}

/// The part of all objects that a list shows.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct ShardInfo {
    /// The shard selector that was applied.
    #[api(1, required)]
    pub selector: String,
}
