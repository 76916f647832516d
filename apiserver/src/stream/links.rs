//! Links in what a proxied server says: pages and redirects speak of the server's own root, which for
//! the client lies below the path of the proxy.
//!
//! HTML is rewritten as it streams through; nothing is collected. Compressed pages are passed on
//! uncompressed, those in an encoding that is not gzip as they are.

use std::io::Write as _;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use flate2::write::GzDecoder;
use futures::StreamExt as _;
use http::{HeaderName, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, BodyStream};
use lol_html::send::{ElementContentHandlers, HtmlRewriter, Settings};
use lol_html::{MemorySettings, Selector};
use parking_lot::Mutex;

use super::{Body, BoxError};

/// Attributes that hold a link, by the selector of their elements.
const ATTRIBUTES: &[(&str, &[&str])] = &[
    ("a, area, base, link", &["href"]),
    ("applet", &["codebase"]),
    ("audio, embed, script, source", &["src"]),
    ("blockquote, del, ins, q", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("form", &["action"]),
    ("frame, iframe", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("video", &["poster", "src"]),
];
/// From a tag that is longer on, in bytes, a page is passed on as it is.
const LONGEST_TAG: usize = 1 << 20;
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// Where a proxied server's root lies in our paths.
#[derive(Clone, Debug)]
pub struct Mount {
    /// `/api/v1/namespaces/N/services/S/proxy`
    prefix: String,
    /// Hosts whose links are the server's own: its address, and the one that the client asked for.
    server: String,
    asked: String,
}

impl Mount {
    pub fn new(prefix: &str, server: &str, asked: &str) -> Self {
        Self { prefix: prefix.to_owned(), server: server.to_owned(), asked: asked.to_owned() }
    }

    /// Tells the server under which path the client sees it.
    pub fn announce<B>(&self, request: &mut Request<B>) {
        if let Ok(path) = HeaderValue::from_str(request.uri().path()) {
            request.headers_mut().insert(FORWARDED_URI, path);
        }
    }

    /// A link as the client must see it; `None` leaves it as it is. Only those with an absolute path
    /// on the server are changed.
    fn rewritten(&self, link: &str) -> Option<String> {
        let (origin, rest) = match link.find("//") {
            Some(at) if at == 0 || (link[..at].ends_with(':') && !link[..at].contains('/')) => {
                let end = link[at + 2..].find(['/', '?', '#']).map_or(link.len(), |end| at + 2 + end);
                link.split_at(end)
            }
            _ => ("", link),
        };
        let host = origin.split_once("//").map_or("", |(_, host)| host);
        if !rest.starts_with('/') || !["", &self.server, &self.asked].contains(&host) {
            return None;
        }
        // COMPAT: the client's own host stays, the server's address goes.
        let origin = if host == self.asked { origin } else { "" };
        let prefix = if rest.starts_with(&self.prefix) { "" } else { &self.prefix };
        Some(format!("{origin}{prefix}{rest}"))
    }

    /// The server's answer with its redirect, or the links of its page, rewritten.
    pub fn rewrite(self, mut answer: Response<Body>) -> Response<Body> {
        let headers = answer.headers_mut();
        if let Some(location) = headers.get(header::LOCATION) {
            let rewritten = location.to_str().ok().and_then(|location| self.rewritten(location));
            if let Some(location) = rewritten.and_then(|location| HeaderValue::try_from(location).ok()) {
                headers.insert(header::LOCATION, location);
            }
            return answer;
        }
        let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or_default();
        let is_page = text(header::CONTENT_TYPE).split(';').next().is_some_and(|t| t.trim() == "text/html");
        let compressed = match text(header::CONTENT_ENCODING) {
            "" => false,
            "gzip" => true,
            _ => return answer,
        };
        if !is_page {
            return answer;
        }
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::CONTENT_ENCODING);
        answer.map(|body| rewrite_page(self, compressed, body))
    }
}

type Sink = Box<dyn FnMut(&[u8]) + Send>;
type Rewriter = HtmlRewriter<'static, Sink>;

/// Takes a page in, as text or compressed.
enum Intake {
    Plain(Page),
    Compressed(GzDecoder<Page>),
}

impl Intake {
    fn take(&mut self, chunk: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Plain(page) => page.write_all(chunk),
            Self::Compressed(decoder) => decoder.write_all(chunk),
        }
    }

    fn end(self) -> std::io::Result<()> {
        let page = match self {
            Self::Plain(page) => page,
            Self::Compressed(decoder) => decoder.finish()?,
        };
        page.0.end().map_err(std::io::Error::other)
    }
}

/// The rewriter as something to write to.
struct Page(Rewriter);

impl std::io::Write for Page {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.write(text).map_err(std::io::Error::other)?;
        Ok(text.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn rewrite_page(mount: Mount, compressed: bool, body: Body) -> Body {
    let ready: Arc<Mutex<Vec<u8>>> = Arc::default();
    let sink = ready.clone();
    let sink: Sink = Box::new(move |chunk| sink.lock().extend_from_slice(chunk));
    let page = Page(HtmlRewriter::new(settings(mount), sink));
    let intake = if compressed { Intake::Compressed(GzDecoder::new(page)) } else { Intake::Plain(page) };
    let frames = BodyStream::new(body).map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default()));
    // The intake is gone once it has ended.
    let chunks = futures::stream::try_unfold((frames, Some(intake)), move |(mut frames, intake)| {
        let ready = ready.clone();
        async move {
            let Some(mut intake) = intake else { return Ok::<_, BoxError>(None) };
            let rest = match frames.next().await {
                Some(chunk) => {
                    intake.take(&chunk?)?;
                    Some(intake)
                }
                None => {
                    intake.end()?;
                    None
                }
            };
            let chunk = Bytes::from(std::mem::take(&mut *ready.lock()));
            Ok(Some((chunk, (frames, rest))))
        }
    });
    let frames = chunks.map(|chunk| chunk.map(http_body::Frame::data));
    http_body_util::StreamBody::new(frames).boxed_unsync()
}

fn settings(mount: Mount) -> Settings<'static, 'static> {
    static SELECTORS: OnceLock<Vec<Selector>> = OnceLock::new();
    let selectors = SELECTORS.get_or_init(|| {
        let parse = |(selector, _): &(&str, _)| selector.parse().expect("the selectors above are valid");
        ATTRIBUTES.iter().map(parse).collect()
    });
    let memory = MemorySettings::new()
        .with_max_allowed_memory_usage(LONGEST_TAG)
        .with_graceful_bail_out_on_memory_limit_exceeded(true);
    let settings = Settings::new_send().with_memory_settings(memory).with_strict(false);
    std::iter::zip(selectors, ATTRIBUTES).fold(settings, |settings, (selector, (_, attributes))| {
        let mount = mount.clone();
        let handler = ElementContentHandlers::default().element(
            move |element: &mut lol_html::send::Element<'_, '_>| {
                for attribute in *attributes {
                    let link = element.get_attribute(attribute);
                    if let Some(link) = link.and_then(|link| mount.rewritten(&link)) {
                        element.set_attribute(attribute, &link)?;
                    }
                }
                Ok(())
            },
        );
        settings.append_element_content_handler((std::borrow::Cow::Borrowed(selector), handler))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount() -> Mount {
        Mount::new("/api/v1/namespaces/n/services/s/proxy", "10.0.0.1:80", "localhost:8001")
    }

    fn body(text: impl Into<Bytes>) -> Body {
        http_body_util::Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
    }

    async fn page(answer: Response<Body>) -> String {
        let bytes = mount().rewrite(answer).into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn only_absolute_paths_of_the_server_itself_are_moved() {
        let moved = |link: &str| mount().rewritten(link);
        let proxied = "/api/v1/namespaces/n/services/s/proxy";
        assert_eq!(moved("/a?b#c"), Some(format!("{proxied}/a?b#c")));
        assert_eq!(moved("http://10.0.0.1:80/a"), Some(format!("{proxied}/a")));
        assert_eq!(moved("//localhost:8001/a"), Some(format!("//localhost:8001{proxied}/a")));
        assert_eq!(moved(&format!("{proxied}/a")), Some(format!("{proxied}/a")));
        for link in ["a", "../a", "#a", "http://example.com/a", "//example.com/a", "mailto:a@b", "a//b"] {
            assert_eq!(moved(link), None, "{link}");
        }
    }

    #[tokio::test]
    async fn links_of_pages_and_redirects_are_moved() {
        let html = r#"<!doctype html><p title="/a">/a<a class=x href="/b">/b</a><img src=/c longdesc="d">"#;
        let wanted = html
            .replace("\"/b\"", "\"/api/v1/namespaces/n/services/s/proxy/b\"")
            .replace("src=/c", "src=\"/api/v1/namespaces/n/services/s/proxy/c\"");
        let of =
            |body| Response::builder().header("content-type", "text/html; charset=utf-8").body(body).unwrap();
        assert_eq!(page(of(body(html))).await, wanted);

        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(html.as_bytes()).unwrap();
        let mut compressed = of(body(encoder.finish().unwrap()));
        compressed.headers_mut().insert("content-encoding", HeaderValue::from_static("gzip"));
        assert_eq!(page(compressed).await, wanted);

        assert_eq!(page(Response::new(body(html))).await, html);

        let redirect = Response::builder().header("location", "/login").body(body("")).unwrap();
        let redirect = mount().rewrite(redirect);
        assert_eq!(redirect.headers()["location"], "/api/v1/namespaces/n/services/s/proxy/login");
    }
}
