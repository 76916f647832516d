//! Documents of unaggregated discovery: which groups, versions and resources are served.

use crate::value::StringList;
use api_types_derive::Api;

/// Versions of the core group; the answer of /api.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct APIVersions {
    /// Version names.
    #[api(1, required, list = atomic)]
    pub versions: Vec<String>,
    /// Address to use for clients of each range.
    #[api(2, required, name = "serverAddressByClientCIDRs", list = atomic)]
    pub server_address_by_client_cidrs: Vec<ServerAddressByClientCIDR>,
}

/// All named groups; the answer of /apis.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct APIGroupList {
    /// The groups.
    #[api(1, required, list = atomic)]
    pub groups: Vec<APIGroup>,
}

/// A group and its versions.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct APIGroup {
    /// Name of the group.
    #[api(1, required)]
    pub name: String,
    /// Versions that are served.
    #[api(2, required, list = atomic)]
    pub versions: Vec<GroupVersionForDiscovery>,
    /// Version that clients should use.
    #[api(3)]
    pub preferred_version: GroupVersionForDiscovery,
    /// Address to use for clients of each range.
    #[api(4, name = "serverAddressByClientCIDRs", list = atomic)]
    pub server_address_by_client_cidrs: Vec<ServerAddressByClientCIDR>,
}

/// A version of a group, short and in full.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct GroupVersionForDiscovery {
    /// GROUP/VERSION.
    #[api(1, required)]
    pub group_version: String,
    /// The version alone.
    #[api(2, required)]
    pub version: String,
}

/// Address of the server for clients of a range.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct ServerAddressByClientCIDR {
    /// Range of the clients.
    #[api(1, required, name = "clientCIDR")]
    pub client_cidr: String,
    /// Address to use: a host, an address, or either with a port.
    #[api(2, required)]
    pub server_address: String,
}

/// Resources of one version of a group.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct APIResourceList {
    /// GROUP/VERSION that they belong to.
    #[api(1, required)]
    pub group_version: String,
    /// The resources and their subresources.
    #[api(2, required, list = atomic)]
    pub resources: Vec<APIResource>,
}

/// One resource or subresource.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct APIResource {
    /// Name in the plural, with /SUBRESOURCE for those.
    #[api(1, required)]
    pub name: String,
    /// Name in the singular.
    #[api(6, required)]
    pub singular_name: String,
    /// Whether its objects live in namespaces.
    #[api(2, required)]
    pub namespaced: bool,
    /// Group of the kind, where it differs from the list's.
    #[api(8)]
    pub group: String,
    /// Version of the kind, where it differs from the list's.
    #[api(9)]
    pub version: String,
    /// Kind of the objects.
    #[api(3, required)]
    pub kind: String,
    /// Verbs that it understands.
    #[api(4, required)]
    pub verbs: StringList,
    /// Short names for use in clients.
    #[api(5, list = atomic)]
    pub short_names: Vec<String>,
    /// Groups of resources that it is shown with, such as all.
    #[api(7, list = atomic)]
    pub categories: Vec<String>,
    /// Hash that changes with the version in which objects are stored.
    #[api(10)]
    pub storage_version_hash: String,
}
