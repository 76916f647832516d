//! Raw HTTP exchanges with the apiserver, through `kubectl proxy`, which adds the credentials.

use crate::Cluster;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

/// A running `kubectl proxy`; ended when dropped.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    port: u16,
}

/// What came back.
#[derive(Debug)]
pub struct Response {
    pub code: u16,
    /// Header lines in lower case.
    pub headers: String,
    pub body: String,
}

impl Response {
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("no JSON: {}", self.body))
    }
}

impl Proxy {
    pub fn start(cluster: &Cluster) -> Result<Self> {
        let mut command = cluster.kubectl_command(&["proxy", "--port=0"]);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("kubectl proxy")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("a pipe")?).read_line(&mut line)?;
        let port =
            line.trim().rsplit(':').next().and_then(|p| p.parse().ok()).with_context(|| line.clone())?;
        Ok(Self { child, port })
    }

    /// Opens a connection and sends a request; the answer is the caller's to read.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        stream.write_all(head.as_bytes())?;
        // A server that refuses a large body answers before it has read all of it.
        let _: std::io::Result<()> = stream.write_all(body);
        Ok(stream)
    }

    /// A whole exchange.
    pub fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response> {
        let mut bytes = Vec::new();
        self.send(method, path, headers, body)?.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("no HTTP: {text}"))?;
        let code = head.split(' ').nth(1).and_then(|c| c.parse().ok()).context("a status line")?;
        let headers = head.to_lowercase();
        let body =
            if headers.contains("transfer-encoding: chunked") { dechunk(body) } else { body.to_owned() };
        Ok(Response { code, headers, body })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _: std::io::Result<()> = self.child.kill();
        let _: std::io::Result<std::process::ExitStatus> = self.child.wait();
    }
}

fn dechunk(mut text: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { break };
        let Some(chunk) = rest.get(..size) else { break };
        if size == 0 {
            break;
        }
        body.push_str(chunk);
        text = rest[size..].trim_start_matches("\r\n");
    }
    body
}
