//! What probes and Prometheus ask for, over plain HTTP.

#![allow(clippy::unwrap_used, reason = "a test")]

mod member;

use std::io::{Read, Write};
use std::net::TcpStream;

use etcd_protocol::etcdserverpb as pb;
use member::{Member, put, start};

/// The status, the headers and the body of an answer.
fn ask(member: &Member, method: &str, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(&member.address).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", member.address)
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

async fn alarm(member: &Member, alarm: pb::AlarmType) {
    let request = pb::AlarmRequest {
        action: pb::alarm_request::AlarmAction::Activate.into(),
        member_id: 1,
        alarm: alarm.into(),
    };
    member.maintenance().alarm(request).await.unwrap();
}

#[tokio::test]
async fn probes_are_answered_as_etcd_answers_them() {
    let folder = tempfile::tempdir().unwrap();
    let member = start(folder.path(), &[]);
    let check = |path: &str, status: u16, body: &str| {
        let answer = ask(&member, "GET", path);
        assert_eq!((answer.0, answer.2.as_str()), (status, body), "{path}");
    };
    check("/health", 200, r#"{"health":"true","reason":""}"#);
    check("/health?serializable=true", 200, r#"{"health":"true","reason":""}"#);
    check("/livez", 200, "ok\n");
    check("/readyz", 200, "ok\n");
    check("/livez?verbose", 200, "[+]serializable_read ok\nok\n");
    check("/readyz/linearizable_read?verbose", 200, "[+]linearizable_read ok\nok\n");
    check("/livez/linearizable_read", 404, "404 page not found\n");
    let (status, head, body) = ask(&member, "POST", "/readyz");
    assert_eq!((status, body.as_str()), (405, "Method Not Allowed\n"));
    assert!(head.contains("allow: get"), "{head}");
    check("/version", 200, r#"{"etcdserver":"3.6.8","etcdcluster":"3.6.0","storage":"3.6.0"}"#);

    alarm(&member, pb::AlarmType::Nospace).await;
    check("/health", 503, "{\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"}\n");
    check("/health?exclude=NOSPACE", 200, r#"{"health":"true","reason":""}"#);
    check("/readyz", 200, "ok\n");
    alarm(&member, pb::AlarmType::Corrupt).await;
    check("/readyz/data_corruption", 503, "[-]data_corruption failed: alarm activated: CORRUPT\n\n");
    check("/readyz?exclude=data_corruption", 200, "ok\n");
    check("/livez", 200, "ok\n");

    let (status, head, metrics) = ask(&member, "GET", "/metrics");
    assert!(status == 200 && head.contains("content-type: text/plain"), "{head}");
    for line in [
        r#"etcd_server_healthcheck{name="data_corruption",type="readyz"} 0"#,
        r#"etcd_server_healthchecks_total{name="serializable_read",status="success",type="livez"} 3"#,
        "etcd_server_health_failures 1",
        "etcd_server_has_leader 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn requests_have_a_largest_size() {
    let folder = tempfile::tempdir().unwrap();
    let member = start(folder.path(), &["--max-request-bytes", "10000", "--max-txn-ops", "3"]);
    member.kv().put(put("k", vec![0; 9900])).await.unwrap();
    let refused = member.kv().put(put("k", vec![0; 10_000])).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (tonic::Code::InvalidArgument, "etcdserver: request is too large")
    );
    // Beyond what a frame may hold at all.
    let refused = member.kv().put(put("k", vec![0; 600_000])).await.unwrap_err();
    let text = refused.message();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{text}");
    assert!(
        text.starts_with("grpc: received message larger than max (6000") && text.ends_with(" vs. 534288)"),
        "{text}"
    );
    let op = |key: &str| pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put(key, ""))) };
    let txn = |ops: &[&str]| pb::TxnRequest {
        success: ops.iter().map(|key| op(key)).collect(),
        ..Default::default()
    };
    member.kv().txn(txn(&["a", "b", "c"])).await.unwrap();
    let refused = member.kv().txn(txn(&["a", "b", "c", "d"])).await.unwrap_err();
    assert_eq!(refused.message(), "etcdserver: too many operations in txn request");
}

#[tokio::test]
async fn calls_are_counted_as_go_counts_them() {
    let metric = |metrics: &str, line: &str| {
        let found = metrics.lines().find_map(|found| found.strip_prefix(line));
        found.unwrap_or_else(|| panic!("{line} is not in\n{metrics}")).trim().parse::<f64>().unwrap()
    };
    let kv = |name: &str, method: &str, more: &str| {
        format!(
            "grpc_server_{name}{{{more}grpc_method=\"{method}\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"}}"
        )
    };
    for detail in ["basic", "extensive"] {
        let folder = tempfile::tempdir().unwrap();
        let member = start(folder.path(), &["--metrics", detail]);
        let (_, _, before) = ask(&member, "GET", "/metrics");
        assert_eq!(
            metric(&before, &kv("handled_total", "Txn", "grpc_code=\"DataLoss\",")),
            0.0,
            "from the start"
        );
        member.kv().put(put("k", "v")).await.unwrap();
        member.kv().put(put("", "v")).await.unwrap_err();
        // A watch: created, one event, canceled, and the client goes.
        let create = pb::WatchCreateRequest { key: "k".into(), start_revision: 2, ..Default::default() };
        let requests = [
            pb::watch_request::RequestUnion::CreateRequest(create),
            pb::watch_request::RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 0 }),
        ];
        let requests = requests.map(|union| pb::WatchRequest { request_union: Some(union) });
        let mut answers = member.watch().watch(tokio_stream::iter(requests)).await.unwrap().into_inner();
        while answers.message().await.unwrap().is_some() {}
        let (_, _, after) = ask(&member, "GET", "/metrics");
        assert_eq!(metric(&after, &kv("started_total", "Put", "")), 2.0);
        assert_eq!(metric(&after, &kv("msg_received_total", "Put", "")), 2.0);
        assert_eq!(metric(&after, &kv("msg_sent_total", "Put", "")), 1.0);
        assert_eq!(metric(&after, &kv("handled_total", "Put", "grpc_code=\"OK\",")), 1.0);
        assert_eq!(metric(&after, &kv("handled_total", "Put", "grpc_code=\"InvalidArgument\",")), 1.0);
        let watch = "grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"}";
        assert_eq!(metric(&after, &format!("grpc_server_msg_received_total{{{watch}")), 2.0);
        assert_eq!(metric(&after, &format!("grpc_server_msg_sent_total{{{watch}")), 3.0);
        assert_eq!(metric(&after, &format!("grpc_server_handled_total{{grpc_code=\"OK\",{watch}")), 1.0);
        assert_eq!(after.contains("grpc_server_handling_seconds_bucket"), detail == "extensive");
    }
}
