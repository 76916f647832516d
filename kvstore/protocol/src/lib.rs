//! The etcd v3 gRPC protocol: messages, clients and servers, generated from `proto/`.
//!
//! Package paths, service names and field numbers are etcd's (3.6), so that any etcd client speaks to
//! kvstore and our apiserver speaks to any etcd. `bytes` fields are `bytes::Bytes`: cloning a key or a
//! value counts a reference. Field names are snake_case; JSON names are etcd's.

pub mod codec;

/// Keys and events.
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

/// Users, roles, permissions.
pub mod authpb {
    tonic::include_proto!("authpb");
}

/// The services and their messages.
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

/// Locks that the server waits for.
pub mod v3lockpb {
    tonic::include_proto!("v3lockpb");
}

/// Elections that the server waits for.
pub mod v3electionpb {
    tonic::include_proto!("v3electionpb");
}

/// Descriptors of everything above, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/etcd.bin"));
