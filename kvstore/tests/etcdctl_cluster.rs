//! etcdctl's commands that look at more than one member: the same table runs on three kvstores and, where it
//! is installed, on three etcds, and prints the same but for what must differ (ids, sizes, indexes, terms,
//! hashes, times, versions). Lines are compared in no order: members have none. Endpoints are given as etcd's
//! users give them, with a scheme and without one. Without etcdctl there is nothing to run.
//!
//! In a command `{urls}` stands for all client URLs, `{hosts}` for the same without a scheme, `{leader}` and
//! `{follower}` for the ids of members and `{leader-url}` and `{follower-url}` for their client URLs, `{peer}`
//! for a member's peer URL, `{added}` for the member that was added last.

#![allow(clippy::unwrap_used, reason = "a test")]

mod etcd;
mod member;

use std::process::{Command, Stdio};

use etcd::Etcd;
use member::cluster::Cluster;
use regex::{Captures, Regex};
use serde_json::Value;

const TABLE: &[&str] = &[
    "--endpoints {urls} put a 1",
    "--endpoints {hosts} put a 2 --prev-kv -w fields",
    "--endpoints {follower-url} get a -w json",
    "--endpoints {follower-url} get a --consistency=s -w fields",
    "--endpoints {urls} get a -w table",
    "--endpoints {urls} endpoint health",
    "--endpoints {urls} endpoint health -w json",
    "--endpoints {urls} endpoint health -w fields",
    "--endpoints {urls} endpoint health -w table",
    "--endpoints {hosts} endpoint health",
    "--endpoints {follower-url} endpoint health --cluster",
    "--endpoints {urls} endpoint status",
    "--endpoints {urls} endpoint status -w json",
    "--endpoints {urls} endpoint status -w fields",
    "--endpoints {urls} endpoint status -w table",
    "--endpoints {hosts} endpoint status",
    "--endpoints {hosts} endpoint status --cluster",
    "--endpoints {follower-url} endpoint status --cluster -w table",
    "--endpoints {urls} endpoint hashkv",
    "--endpoints {urls} endpoint hashkv -w json",
    "--endpoints {urls} endpoint hashkv -w fields",
    "--endpoints {urls} endpoint hashkv --rev 2 -w table",
    "--endpoints {urls} endpoint hashkv --rev 99",
    "--endpoints {hosts} endpoint hashkv --cluster",
    "--endpoints {urls} compaction 3",
    "--endpoints {urls} compaction 3",
    "--endpoints {urls} compaction 3 --physical",
    "--endpoints {urls} endpoint hashkv --cluster -w json",
    "--endpoints {urls} member list",
    "--endpoints {urls} member list -w json",
    "--endpoints {urls} member list -w fields",
    "--endpoints {hosts} member list -w table",
    "--endpoints {urls} member list --hex -w json",
    "--endpoints {urls} defrag",
    "--endpoints {hosts} defrag",
    "--endpoints {urls} defrag --cluster",
    "--endpoints {urls} alarm list",
    "--endpoints {urls} alarm disarm",
    "--endpoints {urls} snapshot save several",
    "--endpoints {follower-url} snapshot save one",
    // Changes of members that are not there, or not like that.
    "--endpoints {urls} member remove 1",
    "--endpoints {urls} member remove xyz",
    "--endpoints {urls} member promote 1",
    "--endpoints {urls} member promote {leader}",
    "--endpoints {urls} member update 1 --peer-urls=http://127.0.0.1:9",
    "--endpoints {urls} member update {follower}",
    "--endpoints {urls} member add m1 --peer-urls={peer}",
    "--endpoints {urls} member add m4",
    "--endpoints {urls} member add m4 --peer-urls=foo",
    // A learner that never comes.
    "--endpoints {follower-url} member add m4 --learner --peer-urls=http://127.0.0.1:9",
    "--endpoints {urls} member add m5 --learner --peer-urls=http://127.0.0.1:19",
    "--endpoints {urls} member list",
    "--endpoints {urls} member promote {added}",
    "--endpoints {urls} member list -w json",
    "--endpoints {urls} member update {added} --peer-urls=http://127.0.0.1:29",
    "--endpoints {urls} member update {added} --peer-urls={peer}",
    "--endpoints {urls} member remove {added}",
    "--endpoints {urls} member remove {added}",
    "--endpoints {urls} member list -w table",
    // Leaders.
    "--endpoints {follower-url} move-leader {follower}",
    "--endpoints {urls} move-leader 123",
    "--endpoints {urls} move-leader {leader}",
    "--endpoints {urls} move-leader {follower}",
    "--endpoints {urls} endpoint status",
    "--endpoints {urls} put b 1",
    "--endpoints {urls} lease grant 600 -w json",
    "--endpoints {follower-url} lock l echo held",
    "--endpoints {urls} txn --interactive=false",
    "--endpoints {urls} get \"\" --prefix",
    "--endpoints {urls} del \"\" --prefix",
];

/// One of the two clusters.
struct Side {
    urls: Vec<String>,
    folder: tempfile::TempDir,
    added: String,
}

struct Known {
    leader: String,
    leader_url: String,
    follower: String,
    follower_url: String,
    peer: String,
}

fn hosts(urls: &[String]) -> String {
    urls.join(",").replace("http://", "")
}

impl Side {
    fn new(urls: Vec<String>) -> Self {
        let side = Self { urls, folder: tempfile::tempdir().unwrap(), added: String::new() };
        while !side.etcdctl(&["--endpoints", &hosts(&side.urls), "endpoint", "health"]).2 {
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        side
    }

    /// What went to stdout and stderr, and whether all was well.
    fn etcdctl(&self, words: &[&str]) -> (String, String, bool) {
        let output = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .current_dir(self.folder.path())
            .args(words)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr), output.status.success())
    }

    fn known(&self) -> Known {
        loop {
            let (json, ..) =
                self.etcdctl(&["--endpoints", &hosts(&self.urls), "endpoint", "status", "-w", "json"]);
            let all: Vec<Value> = serde_json::from_str(&json).unwrap();
            let leads = |one: &&Value| one["Status"]["leader"] == one["Status"]["header"]["member_id"];
            let id = |one: &Value| format!("{:x}", one["Status"]["header"]["member_id"].as_u64().unwrap());
            let url = |one: &Value| format!("http://{}", one["Endpoint"].as_str().unwrap());
            // Between two leaders there may be none.
            if let (Some(leader), Some(follower)) =
                (all.iter().find(leads), all.iter().find(|one| !leads(one)))
            {
                let (list, ..) = self.etcdctl(&["--endpoints", &hosts(&self.urls), "member", "list"]);
                let peer = list.lines().find_map(|line| Some(line.split_once("m1, ")?.1.split_once(',')?.0));
                return Known {
                    leader: id(leader),
                    leader_url: url(leader),
                    follower: id(follower),
                    follower_url: url(follower),
                    peer: peer.unwrap().to_owned(),
                };
            }
        }
    }

    /// Runs a line of the table; what it prints, without what must differ, sorted.
    fn run(&mut self, line: &str) -> Vec<String> {
        let mut line = line
            .replace("{urls}", &self.urls.join(","))
            .replace("{hosts}", &hosts(&self.urls))
            .replace("{added}", &self.added);
        if line.contains('{') {
            let known = self.known();
            line = line
                .replace("{leader}", &known.leader)
                .replace("{leader-url}", &known.leader_url)
                .replace("{follower}", &known.follower)
                .replace("{follower-url}", &known.follower_url)
                .replace("{peer}", &known.peer);
        }
        let words: Vec<&str> = line.split(' ').map(|word| if word == "\"\"" { "" } else { word }).collect();
        let (out, error, well) = self.etcdctl(&words);
        let added = Regex::new(r"Member +([0-9a-f]+) added to cluster").unwrap();
        if let Some(found) = added.captures(&out) {
            found[1].clone_into(&mut self.added);
        }
        let mut printed: Vec<String> = Vec::new();
        for (mark, text) in [("", out), ("! ", error)] {
            for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("{\"level\"")) {
                // Members of a list, and what is around them.
                let line = plain(line).replace("[{", "},{");
                let parts = line.split("},{").map(|part| part.trim_end_matches(['}', ']']));
                printed.extend(parts.map(|part| format!("{mark}{part}")));
            }
        }
        printed.sort();
        printed.push(format!("well: {well}"));
        printed
    }
}

fn plain(line: &str) -> String {
    let mut line = line.to_owned();
    for (pattern, with) in [
        (r"127\.0\.0\.1:\d{4,}", "HOST"),
        (r"\b3\.[46]\.\d+\b", "V"),
        (r#""(cluster_id|member_id|raft_term|leader|raftIndex|raftAppliedIndex|raftTerm)":\d+"#, "\"$1\":N"),
        (r#""(dbSize|dbSizeInUse|hash|ID)":\d+"#, "\"$1\":N"),
        (
            r#""(ClusterID|MemberID|RaftTerm|Leader|RaftIndex|RaftAppliedIndex|DBSize|Hash|ID)" : \d+"#,
            "\"$1\" : N",
        ),
        (r"\b[0-9a-f]{12,16}\b", "ID"),
        (r"\d[0-9.]*(ms|µs)", "T"),
        (r"\bl/ID\b", "LOCK"),
        (r" +", " "),
        (r"\+[-+]+", "+"),
        (r"[0-9.]+ [kM]?B, (\w+), (\w+), \d+, \d+, \d+", "SIZE, $1, $2, N, N, N"),
        (r"[0-9.]+ [kM]?B \| (\w+) \| (\w+) \| \d+ \| \d+ \| \d+", "SIZE | $1 | $2 | N | N | N"),
        (r"HOST, \d+$", "HOST, HASH"),
        (r"HOST \| \d+ \|", "HOST | HASH |"),
        // Which endpoint was asked first is chance; so is in which order a list names them.
        (r"http://HOST(,http://HOST)*", "HOSTS"),
        (r#""lease":\d+"#, "\"lease\":N"),
    ] {
        line = Regex::new(pattern).unwrap().replace_all(&line, with).into_owned();
    }
    let listed = Regex::new(r#"ETCD_INITIAL_CLUSTER="([^"]*)""#).unwrap();
    listed
        .replace_all(&line, |found: &Captures<'_>| {
            let mut members: Vec<_> = found[1].split(',').collect();
            members.sort_unstable();
            members.join(",")
        })
        .into_owned()
}

#[test]
fn every_command_on_several_members_prints_what_it_prints_on_etcd() {
    if Command::new("etcdctl").arg("version").output().is_err() {
        eprintln!("skipped: etcdctl is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(etcds) = Etcd::start_cluster(folder.path(), 3) else { return };
    let mut theirs = Side::new(etcds.iter().map(|etcd| format!("http://{}", etcd.endpoint)).collect());
    let cluster = Cluster::start(3, &[]);
    let mut ours = Side::new(["m1", "m2", "m3"].map(|name| cluster.client_url(name)).into());
    let mut differing = Vec::new();
    for line in TABLE {
        let (expected, printed) = std::thread::scope(|threads| {
            let theirs = threads.spawn(|| theirs.run(line));
            let printed = ours.run(line);
            (theirs.join().unwrap(), printed)
        });
        if printed != expected {
            differing.push(format!("{line}\n  kvstore {printed:#?}\n  etcd {expected:#?}"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}
