//! RangeAllocation: a bitmap of addresses or ports that are in use; stored, never served.

use crate::meta::v1::ObjectMeta;
use crate::value::ByteString;
use api_types_derive::Api;

/// A bitmap of what is in use in a range.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct RangeAllocation {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The range as text, such as a CIDR.
    #[api(2, required)]
    pub range: String,
    /// One bit for each value of the range.
    #[api(3, required)]
    pub data: ByteString,
}
