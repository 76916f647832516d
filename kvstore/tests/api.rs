//! The services, driven by a client over the wire.

#![allow(clippy::unwrap_used, reason = "a test")]

mod member;

use etcd_protocol::etcdserverpb as pb;
use etcd_protocol::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use etcd_protocol::etcdserverpb::request_op::Request;
use etcd_protocol::etcdserverpb::response_op::Response;
use etcd_protocol::etcdserverpb::watch_request::RequestUnion;
use etcd_protocol::mvccpb::event::EventType;
use member::{Member, get, prefix, put, start};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

fn check(error: tonic::Status, code: Code, text: &str) {
    assert_eq!((error.code(), error.message()), (code, text));
}

#[tokio::test]
async fn keys_have_revisions() {
    let folder = tempfile::tempdir().unwrap();
    let member = start(folder.path(), &[]);
    let mut kv = member.kv();
    assert_eq!(kv.put(put("a", "1")).await.unwrap().into_inner().header.unwrap().revision, 2);
    let again = kv.put(pb::PutRequest { prev_kv: true, ..put("a", "2") }).await.unwrap().into_inner();
    assert_eq!(again.prev_kv.unwrap().value, "1");
    let found = kv.range(get("a")).await.unwrap().into_inner().kvs.pop().unwrap();
    assert_eq!((found.create_revision, found.mod_revision, found.version), (2, 3, 2));
    let before = kv.range(pb::RangeRequest { revision: 2, ..get("a") }).await.unwrap().into_inner();
    assert_eq!(before.kvs[0].value, "1");
    assert_eq!(before.header.unwrap().revision, 3);

    let delete = pb::DeleteRangeRequest { key: "a".into(), prev_kv: true, ..Default::default() };
    let deleted = kv.delete_range(delete.clone()).await.unwrap().into_inner();
    assert_eq!((deleted.deleted, deleted.header.unwrap().revision), (1, 4));
    assert_eq!(deleted.prev_kvs[0].value, "2");
    let nothing = kv.delete_range(delete).await.unwrap().into_inner();
    assert_eq!((nothing.deleted, nothing.header.unwrap().revision), (0, 4));

    let compaction = pb::CompactionRequest { revision: 3, physical: true };
    kv.compact(compaction).await.unwrap();
    let error = kv.range(pb::RangeRequest { revision: 2, ..get("a") }).await.unwrap_err();
    check(error, Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted");
    let error = kv.range(pb::RangeRequest { revision: 9, ..get("a") }).await.unwrap_err();
    check(error, Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision");
    let error = kv.compact(compaction).await.unwrap_err();
    check(error, Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted");
    check(kv.put(put("", "x")).await.unwrap_err(), Code::InvalidArgument, "etcdserver: key is not provided");
    let large = kv.put(put("large", vec![0; 1_600_000])).await.unwrap_err();
    check(large, Code::InvalidArgument, "etcdserver: request is too large");
}

fn compare(key: &str, target: CompareTarget, result: CompareResult, union: TargetUnion) -> pb::Compare {
    pb::Compare {
        result: result.into(),
        target: target.into(),
        key: key.as_bytes().to_vec().into(),
        target_union: Some(union),
        ..Default::default()
    }
}

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

#[tokio::test]
async fn a_guarded_update_happens_once() {
    let folder = tempfile::tempdir().unwrap();
    let member = start(folder.path(), &[]);
    let update = |expected: i64, value: &str| pb::TxnRequest {
        compare: vec![compare(
            "k",
            CompareTarget::Mod,
            CompareResult::Equal,
            TargetUnion::ModRevision(expected),
        )],
        success: vec![op(Request::RequestPut(put("k", value)))],
        failure: vec![op(Request::RequestRange(get("k")))],
    };
    // Many at once against the same revision: one wins, the others see what it wrote.
    let racers: Vec<_> = (0..20)
        .map(|n| {
            let mut kv = member.kv();
            let request = update(0, &format!("racer {n}"));
            tokio::spawn(async move { kv.txn(request).await.unwrap().into_inner() })
        })
        .collect();
    let mut won = Vec::new();
    let mut seen = Vec::new();
    for racer in racers {
        let answer = racer.await.unwrap();
        match (&answer.responses[0].response, answer.succeeded) {
            (Some(Response::ResponsePut(_)), true) => won.push(answer.header.unwrap().revision),
            (Some(Response::ResponseRange(range)), false) => seen.push(range.kvs[0].value.clone()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((won.as_slice(), seen.len()), (&[2][..], 19));
    let value = member.kv().range(get("k")).await.unwrap().into_inner().kvs[0].value.clone();
    assert!(seen.iter().all(|other| *other == value));
    let error = member
        .kv()
        .txn(pb::TxnRequest {
            success: vec![op(Request::RequestPut(put("d", "1"))), op(Request::RequestPut(put("d", "2")))],
            ..Default::default()
        })
        .await
        .unwrap_err();
    check(error, Code::InvalidArgument, "etcdserver: duplicate key given in txn request");
}

struct Watching {
    requests: mpsc::Sender<pb::WatchRequest>,
    answers: Streaming<pb::WatchResponse>,
}

impl Watching {
    async fn on(member: &Member) -> Self {
        let (requests, receiver) = mpsc::channel(8);
        let answers = member.watch().watch(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Self { requests, answers }
    }

    async fn ask(&self, union: RequestUnion) {
        self.requests.send(pb::WatchRequest { request_union: Some(union) }).await.unwrap();
    }

    async fn create(&mut self, request: pb::WatchCreateRequest) -> pb::WatchResponse {
        self.ask(RequestUnion::CreateRequest(request)).await;
        let answer = self.next().await;
        assert!(answer.created, "{answer:?}");
        answer
    }

    async fn next(&mut self) -> pb::WatchResponse {
        self.answers.message().await.unwrap().expect("the stream goes on")
    }

    /// Reads `count` events: kind, key and revision of each.
    async fn events(&mut self, count: usize) -> Vec<(EventType, String, i64)> {
        let mut events = Vec::new();
        while events.len() < count {
            let answer = self.next().await;
            for event in &answer.events {
                let kv = event.kv.as_ref().unwrap();
                let key = String::from_utf8(kv.key.to_vec()).unwrap();
                events.push((event.r#type(), key, kv.mod_revision));
            }
        }
        events
    }
}

fn watch_all(start_revision: i64) -> pb::WatchCreateRequest {
    let all = prefix("k");
    pb::WatchCreateRequest { key: all.key, range_end: all.range_end, start_revision, ..Default::default() }
}

#[tokio::test]
async fn a_watch_sees_history_and_present_without_gap() {
    let folder = tempfile::tempdir().unwrap();
    let member = start(folder.path(), &[]);
    let mut kv = member.kv();
    for n in 0..50 {
        kv.put(put(format!("k{n}"), "old")).await.unwrap();
    }
    let mut watching = Watching::on(&member).await;
    assert_eq!(watching.create(watch_all(2)).await.watch_id, 0);
    for n in 0..50 {
        kv.put(put(format!("k{n}"), "new")).await.unwrap();
    }
    let events = watching.events(100).await;
    let revisions: Vec<_> = events.iter().map(|(_, _, revision)| *revision).collect();
    assert_eq!(revisions, (2..102).collect::<Vec<_>>());
    assert!(events.iter().all(|(kind, _, _)| *kind == EventType::Put));

    // The same again from a process that has nothing in memory.
    member.kill();
    let member = start(folder.path(), &[]);
    let mut watching = Watching::on(&member).await;
    watching.create(watch_all(2)).await;
    assert_eq!(watching.events(100).await, events);
}

#[tokio::test]
async fn watchers_get_what_they_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let member = start(folder.path(), &[]);
    let mut kv = member.kv();
    let mut watching = Watching::on(&member).await;
    let no_puts = pb::watch_create_request::FilterType::Noput;
    let request =
        pb::WatchCreateRequest { filters: vec![no_puts.into()], prev_kv: true, watch_id: 7, ..watch_all(0) };
    assert_eq!(watching.create(request.clone()).await.watch_id, 7);
    let twice = watching.create(request).await;
    assert!(twice.canceled && twice.watch_id == -1, "{twice:?}");
    assert_eq!(twice.cancel_reason, "mvcc: duplicate watch ID provided on the WatchStream");

    kv.put(put("k", "value")).await.unwrap();
    kv.delete_range(pb::DeleteRangeRequest { key: "k".into(), ..Default::default() }).await.unwrap();
    let answer = watching.next().await;
    let event = &answer.events[0];
    assert_eq!((answer.watch_id, answer.events.len(), event.r#type()), (7, 1, EventType::Delete));
    assert_eq!(event.prev_kv.as_ref().unwrap().value, "value");
    assert!(event.kv.as_ref().unwrap().value.is_empty());

    watching.ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await;
    let progress = watching.next().await;
    assert_eq!((progress.watch_id, progress.header.unwrap().revision, progress.events.len()), (-1, 3, 0));

    watching.ask(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 7 })).await;
    let canceled = watching.next().await;
    assert!(canceled.canceled && canceled.watch_id == 7);
}

#[tokio::test]
async fn a_watch_from_before_history_is_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let member = start(folder.path(), &[]);
    let mut kv = member.kv();
    for _ in 0..10 {
        kv.put(put("k", "v")).await.unwrap();
    }
    kv.compact(pb::CompactionRequest { revision: 8, physical: true }).await.unwrap();
    let mut watching = Watching::on(&member).await;
    watching.create(watch_all(7)).await;
    let answer = watching.next().await;
    assert!(answer.canceled);
    assert_eq!((answer.watch_id, answer.compact_revision), (0, 8));
    watching.create(watch_all(8)).await;
    let revisions: Vec<_> = watching.events(4).await.into_iter().map(|(_, _, revision)| revision).collect();
    assert_eq!(revisions, [8, 9, 10, 11]);
}

#[tokio::test]
async fn a_lease_takes_its_keys_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let member = start(folder.path(), &[]);
    let mut lease = member.lease();
    let mut kv = member.kv();
    let granted = lease.lease_grant(pb::LeaseGrantRequest { ttl: 1, id: 0 }).await.unwrap().into_inner();
    assert_eq!(granted.ttl, 2, "the shortest there is");
    for key in ["k1", "k2"] {
        kv.put(pb::PutRequest { lease: granted.id, ..put(key, "v") }).await.unwrap();
    }
    let error = kv.put(pb::PutRequest { lease: 1, ..put("k3", "v") }).await.unwrap_err();
    check(error, Code::NotFound, "etcdserver: requested lease not found");

    let mut watching = Watching::on(&member).await;
    watching.create(watch_all(4)).await;
    let (requests, receiver) = mpsc::channel(1);
    let mut answers = lease.lease_keep_alive(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    for _ in 0..2 {
        requests.send(pb::LeaseKeepAliveRequest { id: granted.id }).await.unwrap();
        assert_eq!(answers.message().await.unwrap().unwrap().ttl, 2);
    }
    // Nobody keeps it alive any more: both keys go in one revision.
    let events = watching.events(2).await;
    assert_eq!(events, [(EventType::Delete, "k1".to_owned(), 4), (EventType::Delete, "k2".to_owned(), 4)]);
    requests.send(pb::LeaseKeepAliveRequest { id: granted.id }).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().ttl, 0);
    let gone = pb::LeaseTimeToLiveRequest { id: granted.id, keys: true };
    assert_eq!(lease.lease_time_to_live(gone).await.unwrap().into_inner().ttl, -1);
}

#[tokio::test]
async fn the_quota_refuses_growth_and_lets_go() {
    let folder = tempfile::tempdir().unwrap();
    let member = start(folder.path(), &["--quota-backend-bytes", "1000000"]);
    let mut kv = member.kv();
    let mut refused = None;
    for _ in 0..100 {
        if let Err(error) = kv.put(put("k", vec![0; 50_000])).await {
            refused = Some(error);
            break;
        }
    }
    check(refused.unwrap(), Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");
    let status = member.maintenance().status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert!(status.errors[0].contains("alarm:NOSPACE"), "{status:?}");
    check(
        kv.put(put("small", "v")).await.unwrap_err(),
        Code::ResourceExhausted,
        "etcdserver: mvcc: database space exceeded",
    );
    kv.delete_range(pb::DeleteRangeRequest { key: "k".into(), ..Default::default() }).await.unwrap();
    let revision = kv.range(get("k")).await.unwrap().into_inner().header.unwrap().revision;
    kv.compact(pb::CompactionRequest { revision, physical: true }).await.unwrap();
    // The alarm is taken back by a proposal of its own, soon after.
    let mut accepted = false;
    for _ in 0..100 {
        accepted = kv.put(put("small", "v")).await.is_ok();
        if accepted {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(accepted);
}

#[tokio::test]
async fn what_is_not_there_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let member = start(folder.path(), &[]);
    let mut cluster = pb::cluster_client::ClusterClient::new(member.channel());
    let error = cluster.member_add(pb::MemberAddRequest::default()).await.unwrap_err();
    check(error, Code::InvalidArgument, "etcdserver: given member URLs are invalid");
    let error = cluster.member_remove(pb::MemberRemoveRequest { id: 1 }).await.unwrap_err();
    check(error, Code::NotFound, "etcdserver: member not found");
}

/// What a client that knows nothing but reflection learns: the services, and the file that holds one.
macro_rules! reflects {
    ($version:ident, $member:expr) => {{
        use reflection::server_reflection_request::MessageRequest;
        use reflection::server_reflection_response::MessageResponse;
        use tonic_reflection::pb::$version as reflection;
        let asked = [
            MessageRequest::ListServices(String::new()),
            MessageRequest::FileContainingSymbol("etcdserverpb.KV".to_owned()),
            MessageRequest::FileContainingSymbol("grpc.health.v1.Health".to_owned()),
            MessageRequest::FileContainingSymbol("no.such.Service".to_owned()),
        ];
        let requests = asked.map(|request| reflection::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(request),
        });
        let mut client = reflection::server_reflection_client::ServerReflectionClient::new($member.channel());
        let answers = client.server_reflection_info(tokio_stream::iter(requests)).await.unwrap();
        let mut answers = answers.into_inner();
        let mut services = Vec::new();
        let mut files = Vec::new();
        let mut refused = None;
        loop {
            match answers.message().await {
                Ok(Some(answer)) => match answer.message_response.unwrap() {
                    MessageResponse::ListServicesResponse(list) => {
                        services.extend(list.service.into_iter().map(|service| service.name));
                    }
                    MessageResponse::FileDescriptorResponse(file) => files.extend(file.file_descriptor_proto),
                    MessageResponse::ErrorResponse(error) => refused = Some(error.error_code),
                    other => panic!("{other:?}"),
                },
                Ok(None) => break,
                Err(status) => {
                    refused = Some(status.code() as i32);
                    break;
                }
            }
        }
        for name in ["KV", "Watch", "Lease", "Cluster", "Maintenance", "Auth"] {
            assert!(services.contains(&format!("etcdserverpb.{name}")), "{name} is not in {services:?}");
        }
        assert!(services.contains(&"grpc.health.v1.Health".to_owned()), "{services:?}");
        let names: Vec<_> = files
            .iter()
            .map(|file| <prost_types::FileDescriptorProto as prost::Message>::decode(&file[..]).unwrap())
            .map(|file| file.package.unwrap())
            .collect();
        assert_eq!(names, ["etcdserverpb", "grpc.health.v1"]);
        assert_eq!(refused, Some(Code::NotFound as i32));
    }};
}

#[tokio::test]
async fn the_services_describe_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let member = start(folder.path(), &[]);
    reflects!(v1, member);
    reflects!(v1alpha, member);
}
