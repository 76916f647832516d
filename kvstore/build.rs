//! Generates client and server of the service that members offer each other. Its messages are not
//! generated: they stand in `src/raft/wire.rs`, beside what they are made from.

use tonic_prost_build::manual::{Builder, Method, Service};

const MESSAGES: &str = "crate::raft::wire";
const ETCD: &str = "etcd_protocol::etcdserverpb";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let ours = |name: &str| format!("{MESSAGES}::{name}");
    let etcds = |name: &str| format!("{ETCD}::{name}");
    let method = |name: &str, route: &str, input: String, output: String| {
        let method = Method::builder().name(name).route_name(route);
        method.input_type(input).output_type(output).codec_path("tonic_prost::ProstCodec")
    };
    let unary =
        |name, route, input: &str, output: &str| method(name, route, ours(input), ours(output)).build();
    let service = Service::builder()
        .package("kvstore")
        .name("Peer")
        .method(
            method("append", "Append", ours("AppendRequest"), ours("AppendReply"))
                .client_streaming()
                .server_streaming()
                .build(),
        )
        .method(
            method("snapshot", "Snapshot", ours("SnapshotPart"), ours("SnapshotReply"))
                .client_streaming()
                .build(),
        )
        .method(unary("vote", "Vote", "BallotRequest", "BallotReply"))
        .method(unary("transfer", "Transfer", "TransferRequest", "TransferReply"))
        .method(unary("propose", "Propose", "ProposeRequest", "ProposeReply"))
        .method(unary("read_index", "ReadIndex", "Nothing", "ReadIndexReply"))
        .method(unary("change_members", "ChangeMembers", "ChangeRequest", "ChangeReply"))
        .method(unary("farewell", "Farewell", "Nothing", "Nothing"))
        .method(
            method(
                "keep_alive",
                "KeepAlive",
                etcds("LeaseKeepAliveRequest"),
                etcds("LeaseKeepAliveResponse"),
            )
            .build(),
        )
        .method(method("hash_kv", "HashKv", etcds("HashKvRequest"), etcds("HashKvResponse")).build())
        .method(
            method(
                "time_to_live",
                "TimeToLive",
                etcds("LeaseTimeToLiveRequest"),
                etcds("LeaseTimeToLiveResponse"),
            )
            .build(),
        )
        .build();
    // A service of its own: who asks does not know the cluster's identity yet.
    let directory = Service::builder()
        .package("kvstore")
        .name("Directory")
        .method(unary("members", "Members", "Nothing", "MembersReply"))
        .build();
    Builder::new().compile(&[service, directory]);
}
