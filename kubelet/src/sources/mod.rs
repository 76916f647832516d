//! Where the kubelet learns from: the API server, by list and watch ([`follow`]).
//!
//! [`pods`] feeds the pods of this node to their workers; [`references`] keeps the ConfigMaps and
//! Secrets that those pods refer to; [`services`] the Services that their environments name. Static
//! pods come from a folder of [`manifests`] or from a [`manifest_url`], and are shown in the API by [`mirrors`].

pub mod follow;
pub mod manifest_url;
pub mod manifests;
pub mod mirrors;
pub mod pods;
pub mod references;
pub mod runtime_classes;
pub mod services;
pub mod static_pods;
pub mod tokens;
