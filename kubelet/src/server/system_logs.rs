//! /logs/: the node's own logs, as `kubectl get --raw /api/v1/nodes/NODE/proxy/logs/` shows them, and the
//! node log query (KEP-2258): the journal of a service, or its file where it has no journal.
//!
//! Files are read below `/var/log` only: a path is resolved before it is opened, and one that leads out
//! of it is not there.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::log_query::Query;
use super::{Body, text, typed};

/// Where the logs are.
pub const ROOT: &str = "/var/log";
/// How long a query may take.
const LIMIT: Duration = Duration::from_secs(30);
const CHUNK: usize = 64 << 10;

/// A file or a listing of `root`; `path` is what follows `/logs/`.
pub fn file(root: &Path, path: &str, headers: &HeaderMap) -> Response<Body> {
    let Some(found) = resolve(root, path) else { return super::not_found() };
    let Ok(meta) = std::fs::metadata(&found) else { return super::not_found() };
    if meta.is_dir() {
        if !path.is_empty() && !path.ends_with('/') {
            let name = found.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return moved(&format!("{}/", escape(&name)));
        }
        return typed(StatusCode::OK, "text/html; charset=utf-8", listing(&found));
    }
    if path.ends_with('/') {
        let name = found.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return moved(&format!("../{}", escape(&name)));
    }
    if !meta.is_file() {
        return super::not_found();
    }
    match serve(&found, meta.len(), headers) {
        Ok(response) => response,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            text(StatusCode::FORBIDDEN, "403 Forbidden\n")
        }
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "500 Internal Server Error\n"),
    }
}

/// The path on disk, when there is one and it is below the root.
pub fn resolve(root: &Path, path: &str) -> Option<PathBuf> {
    let relative = Path::new(path.trim_start_matches('/'));
    if relative.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return None;
    }
    let root = std::fs::canonicalize(root).ok()?;
    let found = std::fs::canonicalize(root.join(relative)).ok()?;
    found.starts_with(&root).then_some(found)
}

fn moved(to: &str) -> Response<Body> {
    let mut response = text(StatusCode::MOVED_PERMANENTLY, "");
    if let Ok(value) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}

/// COMPAT: the listing of Go's file server, which people and scripts parse.
fn listing(dir: &Path) -> String {
    let mut page =
        "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n".to_owned();
    for path in crate::volume::actual::entries(dir).unwrap_or_default() {
        let mut name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
            name.push('/');
        }
        let shown = name
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&#34;")
            .replace('\'', "&#39;");
        page += &format!("<a href=\"{}\">{shown}</a>\n", escape(&name));
    }
    page + "</pre>\n"
}

/// A name as part of a URL's path.
fn escape(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'_'
            | b'.'
            | b'~'
            | b'/'
            | b'$'
            | b'&'
            | b'+'
            | b'='
            | b'@' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

fn serve(path: &Path, length: u64, headers: &HeaderMap) -> std::io::Result<Response<Body>> {
    let mut file = std::fs::File::open(path)?;
    let mut first = [0; 512];
    let read = file.read(&mut first)?;
    let kind = if first[..read].contains(&0)
        || std::str::from_utf8(&first[..read]).is_err_and(|error| error.error_len().is_some())
    {
        "application/octet-stream"
    } else {
        "text/plain; charset=utf-8"
    };
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let (status, from, count) = match range.map(|range| span(range, length)) {
        None => (StatusCode::OK, 0, length),
        Some(Some((from, count))) => (StatusCode::PARTIAL_CONTENT, from, count),
        Some(None) => {
            let mut response = text(StatusCode::RANGE_NOT_SATISFIABLE, "invalid range: failed to overlap\n");
            if let Ok(value) = HeaderValue::from_str(&format!("bytes */{length}")) {
                response.headers_mut().insert(header::CONTENT_RANGE, value);
            }
            return Ok(response);
        }
    };
    file.seek(SeekFrom::Start(from))?;
    let mut response = Response::new(stream(tokio::fs::File::from_std(file).take(count)));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    fields.insert(header::CONTENT_LENGTH, count.into());
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(value) =
            HeaderValue::from_str(&format!("bytes {from}-{}/{length}", (from + count).saturating_sub(1)))
    {
        fields.insert(header::CONTENT_RANGE, value);
    }
    Ok(response)
}

/// First byte and number of bytes of a range header; `None` when it does not fit the file.
fn span(range: &str, length: u64) -> Option<(u64, u64)> {
    let (first, last) = range.trim().strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let count = last.parse::<u64>().ok()?.min(length);
        return Some((length - count, count));
    }
    let first = first.parse::<u64>().ok().filter(|first| *first < length)?;
    let last = if last.is_empty() { length - 1 } else { last.parse::<u64>().ok()?.min(length - 1) };
    (first <= last).then(|| (first, last - first + 1))
}

fn stream(mut from: impl tokio::io::AsyncRead + Send + Unpin + 'static) -> Body {
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        let mut buffer = vec![0; CHUNK];
        loop {
            let frame = match from.read(&mut buffer).await {
                Ok(0) => return,
                Ok(count) => Ok(Frame::data(Bytes::copy_from_slice(&buffer[..count]))),
                Err(error) => Err(error),
            };
            let failed = frame.is_err();
            if sender.send(frame).await.is_err() || failed {
                return;
            }
        }
    });
    StreamBody::new(ReceiverStream::new(receiver)).boxed_unsync()
}

/// Answers a node log query.
pub async fn query(root: &Path, query: Query, headers: &HeaderMap) -> Response<Body> {
    if let [name] = query.files.as_slice() {
        return file(root, name.trim_start_matches('/'), headers);
    }
    let (mut native, mut files) = (Vec::new(), Vec::new());
    let units = units().await;
    for service in &query.services {
        if units.contains(&format!("{service}.service")) {
            native.push(service.clone());
        } else {
            files.push(service.clone());
        }
    }
    if files.is_empty() {
        return journal(query.arguments(&native)).await;
    }
    if query.has_options() {
        let names = files.join(" ");
        return plain(format!(
            "\noptions present and query resolved to log files for [{names}]\ntry without specifying options\n"
        ));
    }
    let mut all = String::new();
    for service in files {
        let names = [service.clone(), format!("{service}.log"), format!("{service}/{service}.log")];
        match names.iter().find_map(|name| file_text(root, name)) {
            Some(text) => all += &text,
            None => all += &format!("\nlog not found for {service}\n"),
        }
    }
    plain(all)
}

fn plain(body: String) -> Response<Body> {
    typed(StatusCode::OK, "text/plain;charset=UTF-8", body)
}

fn file_text(root: &Path, name: &str) -> Option<String> {
    let path = resolve(root, name)?;
    if !path.is_file() {
        return None;
    }
    std::fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The units that the journal knows; empty without a journal.
async fn units() -> String {
    let command = tokio::process::Command::new("journalctl").args(["--field", "_SYSTEMD_UNIT"]).output();
    match tokio::time::timeout(LIMIT, command).await {
        Ok(Ok(output)) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        _ => String::new(),
    }
}

async fn journal(arguments: Vec<String>) -> Response<Body> {
    let spawned = tokio::process::Command::new("journalctl")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(LIMIT, spawned).await {
        Ok(Ok(output)) => {
            let bytes = [output.stdout, output.stderr].concat();
            typed(StatusCode::OK, "text/plain;charset=UTF-8", bytes)
        }
        _ => plain("\nerror: journal output not available\n".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body(response: Response<Body>) -> (StatusCode, String) {
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&bytes).into_owned())
    }

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("kubelet-logs-{}", uuid::Uuid::new_v4()));
            std::fs::create_dir_all(path.join("root/sub")).unwrap();
            std::fs::write(path.join("secret"), "secret").unwrap();
            std::fs::write(path.join("root/a<b.log"), "0123456789").unwrap();
            std::fs::write(path.join("root/sub/kubelet.log"), "hello\n").unwrap();
            std::os::unix::fs::symlink("../secret", path.join("root/out")).unwrap();
            Self(path)
        }

        fn root(&self) -> PathBuf {
            self.0.join("root")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn files_and_listings() {
        let folder = Folder::new();
        let get = |path: &'static str| body(file(&folder.root(), path, &HeaderMap::new()));
        assert_eq!(get("a<b.log").await, (StatusCode::OK, "0123456789".into()));
        let (_, page) = get("").await;
        assert!(page.contains("<a href=\"a%3Cb.log\">a&lt;b.log</a>\n<a href=\"out\">"), "{page}");
        assert!(page.contains("<a href=\"sub/\">sub/</a>"), "{page}");
        assert_eq!(get("sub").await.0, StatusCode::MOVED_PERMANENTLY);
        for path in ["nothing", "../secret", "out", "sub/../../secret"] {
            assert_eq!(get(path).await.0, StatusCode::NOT_FOUND, "{path}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_static("bytes=-3"));
        let part = body(file(&folder.root(), "a<b.log", &headers)).await;
        assert_eq!(part, (StatusCode::PARTIAL_CONTENT, "789".into()));
    }

    #[test]
    fn ranges() {
        assert_eq!(span("bytes=2-4", 10), Some((2, 3)));
        assert_eq!(span("bytes=8-", 10), Some((8, 2)));
        assert_eq!(span("bytes=-20", 10), Some((0, 10)));
        assert_eq!(span("bytes=10-", 10), None);
    }

    #[tokio::test]
    async fn a_service_without_a_journal_has_its_file() {
        let folder = Folder::new();
        let ask = |text: &'static str| {
            let parsed = Query::parse(text, &folder.root()).unwrap();
            let root = folder.root();
            async move { body(query(&root, parsed, &HeaderMap::new()).await).await.1 }
        };
        std::fs::create_dir_all(folder.root().join("ferro-x")).unwrap();
        std::fs::write(folder.root().join("ferro-x/ferro-x.log"), "mine\n").unwrap();
        assert_eq!(ask("query=ferro-x").await, "mine\n");
        assert_eq!(ask("query=ferro-y").await, "\nlog not found for ferro-y\n");
        assert_eq!(ask("query=sub%2Fkubelet.log").await, "hello\n");
        assert!(ask("query=ferro-x&boot=0").await.contains("try without specifying options"));
    }
}
