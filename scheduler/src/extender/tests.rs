//! What answers of extenders make of an attempt, with extenders in the same process; and one over HTTP.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::config::SchedulerConfig;
use crate::cycle::{Attempt, Chosen, Failure};
use crate::extender::http::Objects;
use crate::framework::Code;
use crate::testing::{NodeBuilder, PodBuilder, cluster, node, pod};

type Filter = fn(&[String]) -> Result<Filtered, String>;
type Preempt = fn(&[Candidate]) -> Result<Vec<Victims>, String>;

/// An extender that answers as it was told.
#[derive(Default)]
struct Fake {
    ignorable: bool,
    filter: Option<Filter>,
    scores: Option<(&'static [(&'static str, i64)], i64)>,
    preempt: Option<Preempt>,
}

impl Extender for Fake {
    fn name(&self) -> &str {
        "http://fake"
    }
    fn is_ignorable(&self) -> bool {
        self.ignorable
    }
    fn is_interested(&self, pod: &PodView) -> bool {
        pod.name != "ordinary"
    }
    fn filter(&self, _: &PodView, nodes: &[Arc<NodeInfo>]) -> Option<Result<Filtered, String>> {
        let names: Vec<String> = nodes.iter().map(|n| n.name().to_string()).collect();
        self.filter.map(|filter| filter(&names))
    }
    fn prioritize(&self, _: &PodView, _: &[Arc<NodeInfo>]) -> Option<Result<Scores, String>> {
        let (scores, weight) = self.scores?;
        let by_node = scores.iter().map(|(name, score)| ((*name).to_owned(), *score)).collect();
        Some(Ok(Scores { by_node, weight }))
    }
    fn preempt(&self, _: &PodView, candidates: &[Candidate]) -> Option<Result<Vec<Victims>, String>> {
        self.preempt.map(|preempt| preempt(candidates))
    }
    fn bind(&self, _: &PodView, _: &str) -> Option<Wait> {
        None
    }
}

fn attempt(
    incoming: &PodBuilder,
    nodes: &[NodeBuilder],
    others: &[PodBuilder],
    fakes: Vec<Fake>,
) -> Result<Chosen, Failure> {
    let mut profile = SchedulerConfig::default().profiles().unwrap().remove(0);
    profile.extenders = fakes.into_iter().map(|fake| Arc::new(fake) as Arc<dyn Extender>).collect();
    let snapshot = cluster(nodes, others);
    let random = &mut fastrand::Rng::with_seed(7);
    let attempt = Attempt { profile: &profile, snapshot: &snapshot, percentage: 0, start: 0, random };
    attempt.run(&incoming.shared()).result
}

fn machine(name: &str) -> NodeBuilder {
    node(name).allocatable("cpu", "4")
}

fn only_b(_: &[String]) -> Result<Filtered, String> {
    Ok(Filtered { nodes: vec!["b".into()], ..Filtered::default() })
}

fn none(nodes: &[String]) -> Result<Filtered, String> {
    let failed = nodes.iter().map(|name| (name.clone(), "no licence".to_owned())).collect();
    Ok(Filtered { failed, ..Filtered::default() })
}

fn broken(_: &[String]) -> Result<Filtered, String> {
    Err("it is broken".into())
}

fn filter(filter: Filter, ignorable: bool) -> Fake {
    Fake { filter: Some(filter), ignorable, ..Fake::default() }
}

#[test]
fn nodes_that_an_extender_leaves_out_are_not_taken() {
    let nodes = [machine("a"), machine("b"), machine("c")];
    let chosen = attempt(&pod("p"), &nodes, &[], vec![filter(only_b, false)]).ok().unwrap();
    assert_eq!(&*chosen.node, "b");
    let Err(Failure::Unfit { message, rejected_by, .. }) =
        attempt(&pod("p"), &nodes, &[], vec![filter(only_b, false), filter(none, false)])
    else {
        panic!("it fits");
    };
    assert!(message.starts_with("0/3 nodes are available: 1 no licence."), "{message}");
    assert!(rejected_by.contains(EXTENDER));
    let others = attempt(&pod("ordinary"), &nodes, &[], vec![filter(none, false)]);
    assert!(others.is_ok(), "the extender does not manage this pod");
}

#[test]
fn a_failing_extender_fails_the_attempt_unless_it_may_be_ignored() {
    let run = |filters: Vec<Fake>| match attempt(&pod("p"), &[machine("a")], &[], filters) {
        Ok(chosen) => chosen.node.to_string(),
        Err(failure) => failure.message(),
    };
    assert_eq!(run(vec![filter(broken, false)]), "it is broken");
    assert_eq!(run(vec![filter(broken, true)]), "a");
    let stranger =
        "extender \"http://fake\" claims a filtered node \"b\" which is not found in the input node list";
    assert_eq!(run(vec![filter(only_b, false)]), stranger);
}

#[test]
fn what_both_lists_name_cannot_be_helped_by_preemption() {
    let both = |nodes: &[String]| -> Result<Filtered, String> {
        let reasons: HashMap<_, _> = nodes.iter().map(|n| (n.clone(), "why".to_owned())).collect();
        Ok(Filtered { nodes: vec![], failed: reasons.clone(), unresolvable: reasons })
    };
    let extenders: Extenders = vec![Arc::new(filter(both, false))];
    let nodes = cluster(&[machine("a")], &[]).nodes.clone();
    let mut rejections = HashMap::new();
    let left = super::filter(&extenders, &pod("p").view(), nodes, &mut rejections).unwrap();
    assert!(left.is_empty());
    assert_eq!(rejections["a"].code, Code::Unresolvable);
}

#[test]
fn scores_are_brought_to_the_plugins_scale() {
    let fake = Fake { scores: Some((&[("a", 3), ("b", 10), ("x", 9)], 2)), ..Fake::default() };
    let extenders: Extenders = vec![Arc::new(fake)];
    let nodes = cluster(&[machine("a"), machine("b"), machine("c")], &[]).nodes.clone();
    let mut totals = vec![1, 1, 1];
    prioritize(&extenders, &pod("p").view(), &nodes, &mut totals);
    let by_name: HashMap<&str, i64> = nodes.iter().map(|n| &**n.name()).zip(totals).collect();
    assert_eq!(by_name, [("a", 61), ("b", 201), ("c", 1)].into());
}

#[test]
fn victims_are_those_that_the_extender_leaves() {
    let urgent = pod("p").requests("cpu", "4").priority(100);
    let uses = |name: &str, on: &str, priority| pod(name).requests("cpu", "4").priority(priority).on(on);
    let others = [uses("x", "a", 1), uses("y", "b", 9)];
    let post = |preempt: Preempt| {
        let fake = Fake { preempt: Some(preempt), ..Fake::default() };
        match attempt(&urgent, &[machine("a"), machine("b")], &others, vec![fake]) {
            Err(Failure::Unfit { post, .. }) => post,
            other => panic!("{:?}", other.map(|c| c.node)),
        }
    };
    let chosen = post(|candidates| {
        let b = candidates.iter().find(|c| &*c.node == "b").unwrap();
        let uids = b.victims.iter().map(|v| v.uid.to_string()).collect();
        Ok(vec![Victims { node: "b".into(), uids, violations: 0 }])
    });
    let names: Vec<_> = chosen.victims.iter().map(|v| v.name.as_str()).collect();
    assert_eq!((chosen.nominate.as_deref(), names), (Some("b"), vec!["y"]));
    assert!(post(|_| Ok(vec![])).message.ends_with("preemption: no candidate node for preemption"));
    let failed = post(|_| Ok(vec![Victims { node: "a".into(), uids: vec![], violations: 0 }]));
    assert_eq!(failed.message, "preemption: expected at least one victim pod on node \"a\"");
    let stranger = post(|_| Ok(vec![Victims { node: "a".into(), uids: vec!["y".into()], violations: 0 }]));
    assert!(stranger.message.contains("claims to preempt pod (UID: y) on node: a"), "{}", stranger.message);
}

#[test]
fn answers_are_read_whatever_the_case_of_their_names() {
    let read = |answer: Value, by_name| wire::filtered(&answer, by_name);
    let nodes = vec!["a".to_owned()];
    assert_eq!(read(json!({"nodenames": ["a"], "Error": ""}), true).unwrap().nodes, nodes);
    assert_eq!(read(json!({"nodes": {"items": [{"metadata": {"name": "a"}}]}}), false).unwrap().nodes, nodes);
    let failed = read(json!({"NodeNames": null, "failedNodes": {"b": "full"}}), true).unwrap();
    assert_eq!((failed.nodes.len(), failed.failed["b"].as_str()), (0, "full"));
    assert_eq!(read(json!({"Error": "no"}), true).unwrap_err(), "no");
    let scores = wire::scores(&json!([{"Host": "a", "Score": 7}, {"host": "b"}])).unwrap();
    assert_eq!(scores, [("a".to_owned(), 7), ("b".to_owned(), 0)].into());
    let answer = json!({"NodeNameToMetaVictims": {"a": {"Pods": [{"UID": "u"}], "NumPDBViolations": 2}}});
    let victims = Victims { node: "a".into(), uids: vec!["u".into()], violations: 2 };
    assert_eq!(wire::victims(&answer).unwrap(), [victims]);
}

struct Known;

impl Objects for Known {
    fn pod(&self, pod: &PodView) -> Result<Value, String> {
        Ok(json!({ "metadata": { "name": pod.name } }))
    }
    fn node(&self, name: &str) -> Option<Value> {
        Some(json!({ "metadata": { "name": name } }))
    }
}

/// A server that answers each path with a text; gives its URL and what it was sent.
async fn server(
    answers: &'static [(&'static str, &'static str)],
) -> (String, Arc<parking_lot::Mutex<Vec<Value>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/prefix/", listener.local_addr().unwrap());
    let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let record = seen.clone();
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let record = record.clone();
            tokio::spawn(async move {
                let mut text = Vec::new();
                loop {
                    let mut buffer = [0; 4096];
                    let count = tcp.read(&mut buffer).await.unwrap();
                    if count == 0 {
                        return;
                    }
                    text.extend_from_slice(&buffer[..count]);
                    let request = String::from_utf8(text.clone()).unwrap();
                    let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
                    let Ok(body) = serde_json::from_str::<Value>(body) else { continue };
                    record.lock().push(body);
                    let path = head.split(' ').nth(1).unwrap();
                    let answer = answers.iter().find(|(end, _)| path == format!("/prefix/{end}"));
                    let (code, body) = answer.map_or(("404 Not Found", ""), |(_, body)| ("200 OK", *body));
                    let answer = format!("HTTP/1.1 {code}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                    tcp.write_all(answer.as_bytes()).await.unwrap();
                    text.clear();
                }
            });
        }
    });
    (url, seen)
}

fn http(url: &str, edit: impl FnOnce(&mut Settings)) -> HttpExtender {
    let mut settings = Settings {
        url: url.into(),
        filter_verb: "filter".into(),
        prioritize_verb: "prioritize".into(),
        preempt_verb: "preempt".into(),
        bind_verb: "bind".into(),
        weight: 5,
        ..Settings::default()
    };
    edit(&mut settings);
    let config = client::Config::new(url).with_limits(0.0, 0);
    HttpExtender::new(settings, client::Client::new(config).unwrap(), Arc::new(Known))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_extender_is_asked_over_http() {
    let (url, seen) = server(&[
        ("filter", r#"{"Nodes": {"items": [{"metadata": {"name": "a"}}]}, "FailedNodes": {"b": "no"}}"#),
        ("prioritize", r#"[{"Host": "a", "Score": 4}]"#),
        ("bind", r#"{"Error": "not today"}"#),
    ])
    .await;
    let nodes = cluster(&[machine("a"), machine("b")], &[]).nodes.clone();
    let view = pod("p").view();
    let extender = http(&url, |_| {});
    let filtered = extender.filter(&view, &nodes).unwrap().unwrap();
    assert_eq!((filtered.nodes, filtered.failed.len()), (vec!["a".to_owned()], 1));
    let sent = seen.lock().pop().unwrap();
    assert_eq!(sent["Pod"]["metadata"]["name"], "p");
    assert_eq!((sent["Nodes"]["items"].as_array().unwrap().len(), &sent["NodeNames"]), (2, &Value::Null));
    let scores = extender.prioritize(&view, &nodes).unwrap().unwrap();
    assert_eq!((scores.by_node["a"], scores.weight), (4, 5));
    let refused = extender.preempt(&view, &[]).unwrap().unwrap_err();
    assert_eq!(refused, format!("failed preempt with extender at URL {url}preempt, code 404"));
    let bound = extender.bind(&view, "a").unwrap().await.unwrap_err();
    assert_eq!(bound.message(), "not today");
    let sent = seen.lock().pop().unwrap();
    let expected = json!({"PodName": "p", "PodNamespace": "default", "PodUID": "p", "Node": "a"});
    assert_eq!(sent, expected);

    let knows_nodes = http(&url, |settings| settings.node_cache_capable = true);
    let filtered = knows_nodes.filter(&view, &nodes).unwrap().unwrap();
    assert_eq!(filtered.nodes, ["a"]);
    let sent = seen.lock().pop().unwrap();
    let names: BTreeSet<_> = sent["NodeNames"].as_array().unwrap().iter().flat_map(Value::as_str).collect();
    assert_eq!((names, &sent["Nodes"]), (["a", "b"].into(), &Value::Null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_serves_is_an_error() {
    let extender = http("http://127.0.0.1:1/x", |_| {});
    let nodes = cluster(&[machine("a")], &[]).nodes.clone();
    let error = extender.filter(&pod("p").view(), &nodes).unwrap().unwrap_err();
    assert!(error.starts_with("Post \"http://127.0.0.1:1/x/filter\": "), "{error}");
}

#[test]
fn pods_are_its_business_by_what_they_ask_for() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _within = runtime.enter();
    let extender =
        http("http://127.0.0.1:1", |settings| settings.managed = ["example.com/gpu".into()].into());
    assert!(extender.is_interested(&pod("p").requests("example.com/gpu", "1").view()));
    assert!(!extender.is_interested(&pod("p").requests("cpu", "1").view()));
}
