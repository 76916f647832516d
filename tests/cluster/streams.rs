//! Streams through the apiserver to a container: logs, exec, attach, cp, port-forward.

use crate::walk;
use anyhow::{Context as _, Result, ensure};
use ferrokube_tests::{BUSYBOX, Namespace, eventually, run};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

fn talker(ns: &Namespace) -> Result<()> {
    let script = "echo out; echo err >&2; i=0; while true; do i=$((i+1)); echo tick $i; sleep 1; done";
    ns.kubectl(&[
        "run",
        "talk",
        "--image",
        BUSYBOX,
        "--image-pull-policy=IfNotPresent",
        "--command",
        "--",
        "sh",
        "-c",
        script,
    ])
    .succeeds()?;
    ns.until("pod/talk", "{.status.phase}", "Running", 60)
}

#[test]
fn logs_in_all_ways() -> Result<()> {
    walk("logs", |ns| {
        talker(ns)?;
        eventually("it ticks", 20, || Ok(ns.kubectl(&["logs", "talk"]).stdout.contains("tick 3")))?;
        ns.kubectl(&["logs", "talk"]).says(&["out\n", "err\n", "tick 1\n"])?;
        let tail = ns.kubectl(&["logs", "talk", "--tail=1"]).succeeds()?;
        ensure!(tail.lines().count() == 1 && tail.starts_with("tick"), "{tail}");
        let stamped = ns.kubectl(&["logs", "talk", "--timestamps", "--limit-bytes=40"]).succeeds()?;
        ensure!(stamped.len() == 40 && stamped.starts_with("20"), "{stamped}");
        let since = ns.kubectl(&["logs", "talk", "--since=1s"]).succeeds()?;
        ensure!(since.lines().count() <= 3 && !since.contains("out"), "{since}");
        let mut follow = ns.cluster().kubectl_command(&["-n", &ns.name, "logs", "-f", "talk", "--tail=1"]);
        let mut child = follow.stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
        let first = lines.next().context("a line")??;
        let second = lines.next().context("a line")??;
        child.kill()?;
        child.wait()?;
        ensure!(
            first.starts_with("tick") && second.starts_with("tick") && first != second,
            "{first} {second}"
        );
        ns.kubectl(&["logs", "talk", "-c", "none"]).fails_with("container none is not valid for pod talk")?;

        ns.kubectl(&[
            "run",
            "again",
            "--image",
            BUSYBOX,
            "--image-pull-policy=IfNotPresent",
            "--command",
            "--",
            "sh",
            "-c",
            "if [ -e /dev/shm/x ]; then echo second; sleep 3600; fi; echo first; touch /dev/shm/x; exit 1",
        ])
        .succeeds()?;
        ns.until("pod/again", "{.status.containerStatuses[0].restartCount}", "1", 60)?;
        eventually("the second run speaks", 30, || Ok(ns.kubectl(&["logs", "again"]).stdout == "second\n"))?;
        ns.kubectl(&["logs", "again", "--previous"]).says(&["first"])?;
        Ok(())
    })
}

#[test]
fn exec_carries_input_output_and_the_exit_code() -> Result<()> {
    walk("exec", |ns| {
        talker(ns)?;
        ns.kubectl(&["exec", "talk", "--", "sh", "-c", "echo to out; echo to err >&2"]).says(&["to out"])?;
        let failed = ns.kubectl(&["exec", "talk", "--", "sh", "-c", "exit 7"]);
        ensure!(failed.status == 7, "{}", failed.text());
        let echoed = ns.kubectl_with(&["exec", "-i", "talk", "--", "cat"], "one\ntwo\n").succeeds()?;
        ensure!(echoed == "one\ntwo\n", "{echoed}");
        ns.kubectl(&["exec", "talk", "--", "nosuchprogram"]).fails_with("nosuchprogram")?;
        let mut script = std::process::Command::new("script");
        let inner = format!(
            "kubectl --kubeconfig {} -n {} exec -it talk -- sh -c 'tty; stty size'",
            ns.cluster().dir().join("admin.conf").display(),
            ns.name
        );
        script.args(["-qec", &inner, "/dev/null"]);
        run(script, "").says(&["/dev/pts/"])?;
        Ok(())
    })
}

#[test]
fn attach_joins_a_running_container() -> Result<()> {
    walk("attach", |ns| {
        talker(ns)?;
        let mut attach = ns.cluster().kubectl_command(&["-n", &ns.name, "attach", "talk"]);
        let mut child = attach.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
        let line = lines.next().context("a line")??;
        child.kill()?;
        child.wait()?;
        ensure!(line.starts_with("tick"), "{line}");
        Ok(())
    })
}

#[test]
fn cp_carries_files_both_ways() -> Result<()> {
    walk("cp", |ns| {
        talker(ns)?;
        let dir = tempfile::tempdir()?;
        let (there, back) = (dir.path().join("there"), dir.path().join("back"));
        let content: Vec<u8> = (0..300_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        fs::write(&there, &content)?;
        let target = format!("{}/talk:/tmp/file", ns.name);
        ns.kubectl(&["cp", &there.to_string_lossy(), &target]).succeeds()?;
        ns.kubectl(&["cp", &target, &back.to_string_lossy()]).succeeds()?;
        ensure!(fs::read(&back)? == content, "the file came back changed");
        Ok(())
    })
}

#[test]
fn port_forward_reaches_a_pod() -> Result<()> {
    walk("forward", |ns| {
        ns.apply(&crate::web("web", 1))?;
        ns.until("deployment/web", "{.status.readyReplicas}", "1", 90)?;
        let mut forward =
            ns.cluster().kubectl_command(&["-n", &ns.name, "port-forward", "deploy/web", ":8080"]);
        let mut child = forward.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
        // "Forwarding from 127.0.0.1:43211 -> 8080"
        let line = lines.next().context("a line")??;
        let port: u16 =
            line.split([':', ' ']).nth(3).and_then(|p| p.parse().ok()).with_context(|| line.clone())?;
        let fetch = || -> Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        let answers = [fetch(), fetch()];
        child.kill()?;
        child.wait()?;
        for answer in answers {
            ensure!(answer.as_ref().is_ok_and(|t| t.contains("hello from a config map")), "{answer:?}");
        }
        Ok(())
    })
}
