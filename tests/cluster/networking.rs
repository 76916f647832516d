//! Services: reached at their ClusterIP and node port, from the host and from a pod.

use crate::{walk, web};
use anyhow::{Context as _, Result, ensure};
use ferrokube_tests::{BUSYBOX, eventually};
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

fn fetch(address: &str) -> Result<String> {
    let address = address.to_socket_addrs()?.next().context("an address")?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(3))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn a_pod_finds_services_by_name() -> Result<()> {
    walk("names", |ns| {
        ns.apply(&web("web", 1))?;
        ns.kubectl(&["expose", "deployment", "web", "--port=80", "--target-port=http"]).succeeds()?;
        ns.kubectl(&["create", "service", "externalname", "away", "--external-name=web.example.invalid"])
            .succeeds()?;
        let cluster_ip = ns.path("service/web", "{.spec.clusterIP}")?;
        let domain = format!("{}.svc.cluster.local", ns.name);
        // busybox pings an address before it fails to reach it: the name's, by the search list.
        let script = format!(
            "nslookup web.{domain}; nslookup -type=srv _http._tcp.web.{domain}; \
             nslookup -type=cname away.{domain}; nslookup nobody.{domain}; ping -c1 -W1 web"
        );
        ns.kubectl(&["patch", "service", "web", "-p", r#"{"spec":{"ports":[{"port":80,"name":"http"}]}}"#])
            .succeeds()?;
        ns.kubectl(&[
            "run",
            "asker",
            "--image",
            BUSYBOX,
            "--image-pull-policy=IfNotPresent",
            "--restart=Never",
            "--command",
            "--",
            "sh",
            "-c",
            &script,
        ])
        .succeeds()?;
        eventually("the asker ends", 60, || {
            Ok(["Succeeded", "Failed"].contains(&ns.path("pod/asker", "{.status.phase}")?.as_str()))
        })?;
        let log = ns.kubectl(&["logs", "asker"]).succeeds()?;
        for expected in [
            format!("Address: {cluster_ip}\n"),
            format!("100 80 web.{domain}"),
            "canonical name = web.example.invalid".to_owned(),
            format!("can't find nobody.{domain}: NXDOMAIN"),
            format!("PING web ({cluster_ip})"),
        ] {
            ensure!(log.contains(&expected), "no {expected:?} in:\n{log}");
        }
        Ok(())
    })
}

#[test]
fn a_service_is_reached_from_everywhere() -> Result<()> {
    walk("service", |ns| {
        ns.apply(&web("web", 2))?;
        ns.kubectl(&["expose", "deployment", "web", "--type=NodePort", "--port=80", "--target-port=http"])
            .succeeds()?;
        ns.until("deployment/web", "{.status.readyReplicas}", "2", 90)?;
        let cluster_ip = ns.path("service/web", "{.spec.clusterIP}")?;
        let node_port = ns.path("service/web", "{.spec.ports[0].nodePort}")?;
        ensure!((30000..32768).contains(&node_port.parse::<u32>()?), "{node_port}");
        let node_ip = ns
            .cluster()
            .kubectl(&[
                "get",
                "nodes",
                "-o",
                "jsonpath={.items[0].status.addresses[?(@.type==\"InternalIP\")].address}",
            ])
            .succeeds()?;
        for address in [format!("{cluster_ip}:80"), format!("{node_ip}:{node_port}")] {
            eventually(&format!("{address} answers"), 30, || {
                Ok(fetch(&address).is_ok_and(|t| t.contains("hello from a config map")))
            })?;
        }
        // Debian's static busybox dies in wget; nc it is.
        let ask = |host: &str, port: &str| {
            format!("printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {host} {port}")
        };
        let script = format!("{}; {}", ask(&cluster_ip, "80"), ask(&node_ip, &node_port));
        ns.kubectl(&[
            "run",
            "visitor",
            "--image",
            BUSYBOX,
            "--image-pull-policy=IfNotPresent",
            "--restart=Never",
            "--command",
            "--",
            "sh",
            "-c",
            &script,
        ])
        .succeeds()?;
        ns.until("pod/visitor", "{.status.phase}", "Succeeded", 60)?;
        let log = ns.kubectl(&["logs", "visitor"]).succeeds()?;
        ensure!(log.matches("hello from a config map").count() == 2, "{log}");
        // A pod reaches itself through its own service.
        ns.kubectl(&["scale", "deployment/web", "--replicas=1"]).succeeds()?;
        eventually("one endpoint is left", 60, || {
            Ok(ns.path("endpoints/web", "{.subsets[0].addresses[*].ip}")?.split(' ').count() == 1)
        })?;
        ns.kubectl(&["exec", "deploy/web", "--", "sh", "-c", &ask(&cluster_ip, "80")])
            .says(&["hello from a config map"])?;
        ns.kubectl(&["delete", "service", "web"]).succeeds()?;
        eventually("the address is gone", 30, || Ok(fetch(&format!("{cluster_ip}:80")).is_err()))
    })
}

#[test]
fn service_addresses_are_unique_under_concurrent_writers() -> Result<()> {
    walk("alloc", |ns| {
        let made: Vec<_> = std::thread::scope(|scope| {
            let one = |i: usize| {
                scope.spawn(move || {
                    ns.kubectl(&["create", "service", "nodeport", &format!("s{i}"), "--tcp=80:80"]).succeeds()
                })
            };
            let threads: Vec<_> = (0..8).map(one).collect();
            threads.into_iter().map(|t| t.join().expect("no panic")).collect()
        });
        for outcome in made {
            outcome?;
        }
        for path in ["{.items[*].spec.clusterIP}", "{.items[*].spec.ports[*].nodePort}"] {
            let text = ns.path("services", path)?;
            let mut values: Vec<&str> = text.split(' ').collect();
            values.sort_unstable();
            values.dedup();
            ensure!(values.len() == 8, "{path}: {text}");
        }
        ns.kubectl(&["create", "service", "clusterip", "bad", "--clusterip=1.2.3.4", "--tcp=80"])
            .fails_with("spec.clusterIPs: Invalid value: [\"1.2.3.4\"]")?;
        Ok(())
    })
}
