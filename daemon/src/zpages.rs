//! /statusz and /flagz (KEP-4827, KEP-4828): what a process is and what its command line made of it, as text for
//! people or, where `Accept` names `g=config.k8s.io;v=v1beta1;as=Statusz`, as an object.
//!
//! Independent of any HTTP framework: [`answer`] maps a path and an Accept header to an [`Answer`]. Whoever serves it
//! decides who may read it: flags name files and addresses.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{flags, metrics, version};

/// What one of the pages answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    /// The text of a Warning header.
    pub warning: Option<String>,
    pub body: String,
}

/// What the client asked for is not there.
const NOT_ACCEPTABLE: &str =
    "only the following media types are accepted: application/json, application/yaml, text/plain";
const DEPRECATED: &str = "v1alpha1";
/// Paths that are no debugging pages, and so not listed.
const UNLISTED: [&str; 5] = ["/apis", "/api", "/openid", "/openapi", "/.well-known"];

/// The answer for `path`; `None` where it is neither page. `component` is the process's name on the pages, `paths` are
/// those that it serves.
pub fn answer(path: &str, accept: Option<&str>, component: &str, paths: &[&str]) -> Option<Answer> {
    let page = match path {
        "/statusz" => Page::Statusz,
        "/flagz" => Page::Flagz,
        _ => return None,
    };
    Some(match asked(accept.unwrap_or_default(), page.kind()) {
        Some(Form::Text) => Answer {
            status: 200,
            content_type: "text/plain; charset=utf-8".to_owned(),
            warning: None,
            body: page.text(component, paths),
        },
        Some(Form::Object { yaml, version }) => {
            let value = page.object(component, paths, version);
            let media_type = if yaml { "application/yaml" } else { "application/json" };
            Answer {
                status: 200,
                content_type: format!("{media_type};g=config.k8s.io;v={version};as={}", page.kind()),
                warning: (version == DEPRECATED).then(|| {
                    format!(
                        "This version of the {} endpoint is deprecated. Please use a newer version.",
                        &path[1..]
                    )
                }),
                body: if yaml {
                    serde_saphyr::to_string(&value).unwrap_or_default()
                } else {
                    value.to_string()
                },
            }
        }
        None => Answer {
            status: 406,
            content_type: "application/json".to_owned(),
            warning: None,
            body: json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": NOT_ACCEPTABLE, "reason": "NotAcceptable", "code": 406,
            })
            .to_string(),
        },
    })
}

#[derive(Clone, Copy)]
enum Page {
    Statusz,
    Flagz,
}

/// How a page is written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Text,
    Object { yaml: bool, version: &'static str },
}

/// The first of the Accept header's entries that there is. JSON and YAML only come as an object that is named.
fn asked(accept: &str, kind: &str) -> Option<Form> {
    if accept.trim().is_empty() {
        return Some(Form::Text);
    }
    accept.split(',').find_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next()?.to_ascii_lowercase();
        let parameters: BTreeMap<&str, &str> = parts.filter_map(|part| part.split_once('=')).collect();
        let yaml = match media_type.as_str() {
            "*/*" | "text/*" | "text/plain" if !parameters.contains_key("as") => return Some(Form::Text),
            "application/json" => false,
            "application/yaml" => true,
            _ => return None,
        };
        let version = match parameters.get("v").copied() {
            Some("v1beta1") => "v1beta1",
            Some(DEPRECATED) => DEPRECATED,
            _ => return None,
        };
        let named = parameters.get("g") == Some(&"config.k8s.io") && parameters.get("as") == Some(&kind);
        named.then_some(Form::Object { yaml, version })
    })
}

impl Answer {
    pub fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if let Ok(value) = HeaderValue::from_str(&self.content_type) {
            headers.insert(header::CONTENT_TYPE, value);
        }
        if let Some(value) =
            self.warning.and_then(|text| HeaderValue::from_str(&format!("299 - {text:?}")).ok())
        {
            headers.insert(header::WARNING, value);
        }
        response
    }
}

impl Page {
    fn kind(self) -> &'static str {
        match self {
            Self::Statusz => "Statusz",
            Self::Flagz => "Flagz",
        }
    }

    fn text(self, component: &str, paths: &[&str]) -> String {
        let title = self.kind().to_lowercase();
        let mut text = format!(
            "\n{component} {title}\nWarning: This endpoint is not meant to be machine parseable, has no formatting \
             compatibility guarantees and is for debugging purposes only.\n"
        );
        match self {
            Self::Flagz => {
                for (name, value) in flags::parsed() {
                    text += &format!("{name}={value}\n");
                }
            }
            Self::Statusz => {
                let (at, up) = running();
                let release = release();
                text += &format!(
                    "\nStarted= {}\nUp= {} hr {:02} min {:02} sec\nGo version= {}\nBinary version= {release}\n\
                     Emulation version= {release}\n",
                    at.strftime("%a %b %e %H:%M:%S UTC %Y"),
                    up / 3600,
                    up / 60 % 60,
                    up % 60,
                    version::info().go_version,
                );
                let listed = listed(paths);
                if !listed.is_empty() {
                    text += &format!("Paths= {}\n", listed.join(" "));
                }
            }
        }
        text
    }

    fn object(self, component: &str, paths: &[&str], version: &str) -> Value {
        let mut object = json!({
            "kind": self.kind(),
            "apiVersion": format!("config.k8s.io/{version}"),
            "metadata": {"name": component},
        });
        match self {
            Self::Flagz => object["flags"] = json!(flags::parsed()),
            Self::Statusz => {
                let (at, up) = running();
                object["startTime"] = json!(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
                object["uptimeSeconds"] = json!(up);
                object["goVersion"] = json!(version::info().go_version);
                object["binaryVersion"] = json!(release());
                object["emulationVersion"] = json!(release());
                object["paths"] = json!(listed(paths));
            }
        }
        object
    }
}

/// When the process began, and for how many seconds it has run.
fn running() -> (Timestamp, i64) {
    let now = Timestamp::now();
    let start = metrics::start_time().and_then(|seconds| Timestamp::from_second(seconds as i64).ok());
    let start = start.unwrap_or(now);
    (start, (now.as_second() - start.as_second()).max(0))
}

/// `1.36`
fn release() -> String {
    format!("{}.{}", version::MAJOR, version::MINOR)
}

/// The first parts of the paths, each once.
fn listed(paths: &[&str]) -> Vec<String> {
    let mut found: Vec<String> = paths
        .iter()
        .filter_map(|path| path.split('/').nth(1).filter(|part| !part.is_empty()))
        .map(|part| format!("/{part}"))
        .filter(|folder| !UNLISTED.contains(&folder.as_str()))
        .collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUSZ: &str = "application/json;v=v1beta1;g=config.k8s.io;as=Statusz";

    fn ask(path: &str, accept: &str) -> Answer {
        answer(path, Some(accept), "kube-test", &["/healthz/ping", "/healthz", "/apis/x"]).unwrap()
    }

    #[test]
    fn people_get_text() {
        for accept in ["", "*/*", "text/plain", "application/json, text/*"] {
            let found = ask("/statusz", accept);
            assert_eq!((found.status, found.content_type.as_str()), (200, "text/plain; charset=utf-8"));
            let text = found.body;
            assert!(text.starts_with("\nkube-test statusz\nWarning: "), "{text}");
            assert!(
                text.contains("\nBinary version= 1.36\n") && text.ends_with("Paths= /healthz\n"),
                "{text}"
            );
        }
        assert_eq!(answer("/healthz", None, "kube-test", &[]), None);
    }

    #[test]
    fn machines_name_the_object() {
        let found = ask("/statusz", STATUSZ);
        assert_eq!(found.content_type, "application/json;g=config.k8s.io;v=v1beta1;as=Statusz");
        let value: Value = serde_json::from_str(&found.body).unwrap();
        assert_eq!(value["apiVersion"], "config.k8s.io/v1beta1");
        assert_eq!((&value["binaryVersion"], &value["paths"]), (&json!("1.36"), &json!(["/healthz"])));
        let old = ask("/flagz", "application/yaml;v=v1alpha1;g=config.k8s.io;as=Flagz");
        assert!(
            old.body.contains("\nkind: Flagz\n") || old.body.starts_with("kind: Flagz\n"),
            "{}",
            old.body
        );
        assert!(old.warning.unwrap().contains("the flagz endpoint is deprecated"));
    }

    #[test]
    fn anything_else_is_not_acceptable() {
        for accept in [
            "application/json",
            "application/*",
            "text/html",
            "application/json;v=v2;g=config.k8s.io;as=Statusz",
        ] {
            assert_eq!(ask("/statusz", accept).status, 406, "{accept}");
        }
        assert_eq!(ask("/flagz", STATUSZ).status, 406);
    }
}
