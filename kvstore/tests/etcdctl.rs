//! etcdctl speaks to kvstore as to etcd: the transcripts in `etcdctl/` say what it answers, and are held
//! against a real etcd as well where one is installed. Without etcdctl there is nothing to run.
//!
//! ```text
//! $ put a 1          a command; lines after it are what it prints (`! ` on stderr, `= 1` its exit code)
//! < text             a line of its input
//! & w watch a        a command in the background, named w
//! ? w 3              the next three lines it prints
//! x w                ends it
//! 3.4: text          a line that only etcd 3.4 prints; `3.6: ` one that kvstore (and etcd 3.6) prints
//! # text             says what follows
//! ```
//! Ids are numbered as they appear (ID1, ID2 …) and may be used in commands; EP is the endpoint. Sizes,
//! times and hashes are `N` or `T`.

#![allow(clippy::unwrap_used, reason = "a test")]

mod etcd;
mod member;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use etcd::Etcd;
use regex::{Captures, Regex};

/// How long a line of a command in the background is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

struct Background {
    process: Child,
    lines: Receiver<String>,
}

impl Drop for Background {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Runs a transcript's commands on one endpoint.
struct Session<'a> {
    endpoint: &'a str,
    folder: &'a Path,
    ids: Vec<String>,
    background: HashMap<String, Background>,
}

impl Session<'_> {
    fn etcdctl(&self, words: &[String]) -> Command {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").current_dir(self.folder);
        command.args(["--endpoints", self.endpoint]).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A command line as words, with ids put in.
    fn words(&self, line: &str) -> Vec<String> {
        let mut line = line.replace("EP", self.endpoint);
        for (n, id) in self.ids.iter().enumerate().rev() {
            line = line.replace(&format!("ID{}", n + 1), id);
        }
        let quoted = Regex::new(r#""([^"]*)"|(\S+)"#).unwrap();
        let word = |found: Captures<'_>| found.get(1).or(found.get(2)).unwrap().as_str().to_owned();
        quoted.captures_iter(&line).map(word).collect()
    }

    /// Some commands print leading zeros, others do not.
    fn number(&mut self, id: &str) -> String {
        let id = id.trim_start_matches('0');
        let found = self.ids.iter().position(|known| known == id);
        let n = found.unwrap_or_else(|| {
            self.ids.push(id.to_owned());
            self.ids.len() - 1
        });
        format!("ID{}", n + 1)
    }

    /// A printed line without what differs from run to run.
    fn plain(&mut self, line: &str) -> String {
        let replace = |line: &str, pattern: &str, with: &str| {
            Regex::new(pattern).unwrap().replace_all(line, with).into_owned()
        };
        let mut line = line.replace(self.endpoint, "EP");
        line = replace(&line, r"http://(127\.0\.0\.1|localhost):\d+|http://EP", "URL");
        line = replace(
            &line,
            r#""(cluster_id|member_id|raft_term|leader|raftIndex|raftAppliedIndex|raftTerm|dbSize|dbSizeInUse|hash)":\d+"#,
            "\"$1\":N",
        );
        line = replace(&line, r#""((?:Cluster|Member)ID|RaftTerm)" : \d+"#, "\"$1\" : N");
        line = replace(&line, r#""version":"3\.[0-9.]+""#, r#""version":"V""#);
        line = replace(&line, r#"took( = |":")[0-9.]+(ms|µs|s)"#, "took${1}T");
        let hex = Regex::new(r"\b[0-9a-f]{13,16}\b").unwrap();
        line = hex.replace_all(&line, |found: &Captures<'_>| self.number(&found[0])).into_owned();
        let json = Regex::new(r#""(ID|lease|id)":(\d{12,})"#).unwrap();
        line = json
            .replace_all(&line, |found: &Captures<'_>| {
                let id = found[2].parse::<u64>().unwrap();
                format!("\"{}\":{}", &found[1], self.number(&format!("{id:016x}")))
            })
            .into_owned();
        // Keys of a lease come in no order.
        let keys = Regex::new(r"attached keys\(\[([^\]]*)\]\)|remaining\(\d+s\)").unwrap();
        keys.replace_all(&line, |found: &Captures<'_>| match found.get(1) {
            Some(keys) => {
                let mut keys: Vec<_> = keys.as_str().split(' ').collect();
                keys.sort_unstable();
                format!("attached keys([{}])", keys.join(" "))
            }
            None => "remaining(T)".to_owned(),
        })
        .into_owned()
    }

    fn print(&mut self, text: &[u8], mark: &str, printed: &mut Vec<String>) {
        let text = String::from_utf8_lossy(text).into_owned();
        // The client's own log is not what it answers.
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("{\"level\"")) {
            printed.push(format!("{mark}{}", self.plain(line)));
        }
    }

    fn run(&mut self, line: &str, input: &str) -> Vec<String> {
        let mut process = self.etcdctl(&self.words(line)).spawn().unwrap();
        // A command that reads nothing may have ended.
        process.stdin.take().unwrap().write_all(input.as_bytes()).ok();
        let output = process.wait_with_output().unwrap();
        let mut printed = Vec::new();
        self.print(&output.stdout, "", &mut printed);
        self.print(&output.stderr, "! ", &mut printed);
        if !output.status.success() {
            printed.push(format!("= {}", output.status.code().unwrap_or(-1)));
        }
        printed
    }

    fn start(&mut self, line: &str, input: &str) {
        let (name, line) = line.split_once(' ').unwrap();
        let mut process = self.etcdctl(&self.words(line)).spawn().unwrap();
        let mut stdin = process.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        let (sender, lines) = channel();
        let outputs: [Box<dyn BufRead + Send>; 2] = [
            Box::new(BufReader::new(process.stdout.take().unwrap())),
            Box::new(BufReader::new(process.stderr.take().unwrap())),
        ];
        for output in outputs {
            let sender = sender.clone();
            std::thread::spawn(move || {
                output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
            });
        }
        // Its input stays open: an interactive watch ends with it.
        std::thread::spawn(move || {
            let _stdin = stdin;
            std::thread::park();
        });
        self.background.insert(name.to_owned(), Background { process, lines });
        // etcdctl does not say when it has come to the server.
        std::thread::sleep(Duration::from_millis(700));
    }

    fn read(&mut self, line: &str) -> Vec<String> {
        let (name, count) = line.split_once(' ').unwrap();
        let count: usize = count.parse().unwrap();
        let end = Instant::now() + PATIENCE;
        let mut printed = Vec::new();
        while printed.len() < count {
            let left = end.saturating_duration_since(Instant::now());
            match self.background[name].lines.recv_timeout(left) {
                Ok(line) => self.print(line.as_bytes(), "", &mut printed),
                Err(_) => {
                    printed.push("nothing more".to_owned());
                    break;
                }
            }
        }
        printed
    }

    fn end(&mut self, name: &str) {
        let mut background = self.background.remove(name).unwrap();
        let pid = background.process.id().to_string();
        Command::new("kill").args(["-INT", &pid]).status().unwrap();
        let end = Instant::now() + Duration::from_secs(5);
        while background.process.try_wait().unwrap().is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Runs a transcript; returns it with what was printed in the place of what was expected.
fn replay(transcript: &str, endpoint: &str, folder: &Path) -> Vec<String> {
    let mut session = Session { endpoint, folder, ids: Vec::new(), background: HashMap::new() };
    let mut lines = transcript.lines().peekable();
    let mut seen = Vec::new();
    while let Some(line) = lines.next() {
        let Some((mark @ ("$" | "&" | "?" | "x" | "#"), rest)) = line.split_once(' ') else { continue };
        seen.push(line.to_owned());
        let mut input = String::new();
        while let Some(text) = lines.next_if(|line| line.starts_with('<')) {
            seen.push(text.to_owned());
            input += text.strip_prefix("< ").unwrap_or_default();
            input.push('\n');
        }
        match mark {
            "$" => seen.extend(session.run(rest, &input)),
            "&" => session.start(rest, &input),
            "?" => seen.extend(session.read(rest)),
            "x" => session.end(rest),
            _ => {}
        }
    }
    seen
}

/// What a version is expected to print.
fn expected(transcript: &str, version: &str) -> Vec<String> {
    let marks = ["3.4: ", "3.6: "];
    let line = |line: &str| match marks.iter().find(|mark| line.starts_with(**mark)) {
        Some(mark) if mark.starts_with(version) => Some(line[mark.len()..].to_owned()),
        Some(_) => None,
        None => Some(line.to_owned()),
    };
    transcript.lines().filter_map(line).collect()
}

fn compare(who: &str, seen: &[String], expected: &[String]) {
    let differs = seen.iter().zip(expected).position(|(a, b)| a != b);
    let Some(at) = differs.or((seen.len() != expected.len()).then_some(seen.len().min(expected.len())))
    else {
        return;
    };
    let around = |lines: &[String]| lines[at.saturating_sub(6)..(at + 4).min(lines.len())].join("\n  ");
    panic!("{who} says\n  {}\nand not\n  {}", around(seen), around(expected));
}

fn check(name: &str) {
    if Command::new("etcdctl").arg("version").output().is_err() {
        eprintln!("skipped: etcdctl is not installed");
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/etcdctl").join(name);
    let transcript = std::fs::read_to_string(path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for sub in ["ours", "theirs"] {
        std::fs::create_dir(folder.path().join(sub)).unwrap();
    }
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let member = member::start(&folder.path().join("kvstore"), &["--bcrypt-cost", "4"]);
            let seen = replay(&transcript, &member.address, &folder.path().join("ours"));
            compare("kvstore", &seen, &expected(&transcript, "3.6"));
        });
        threads.spawn(|| match Etcd::start(&folder.path().join("etcd"), &[]) {
            Some(etcd) => {
                let seen = replay(&transcript, &etcd.endpoint, &folder.path().join("theirs"));
                compare("etcd", &seen, &expected(&transcript, "3.4"));
            }
            None => eprintln!("etcd is not installed: the transcript is not held against it"),
        });
    });
}

#[test]
fn keys() {
    check("keys.txt");
}

#[test]
fn watches() {
    check("watches.txt");
}

#[test]
fn leases() {
    check("leases.txt");
}

#[test]
fn locks_and_elections() {
    check("locks.txt");
}

#[test]
fn tools() {
    check("tools.txt");
}

#[test]
fn users_and_roles() {
    check("auth.txt");
}
