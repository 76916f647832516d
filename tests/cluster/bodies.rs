//! Bad requests: broken bodies, wrong types, wrong media types, too much of anything. Each gets the
//! Status that upstream gives, with code, reason and causes.

use crate::walk;
use anyhow::{Result, ensure};
use ferrokube_tests::Proxy;
use serde_json::Value;

const JSON: (&str, &str) = ("content-type", "application/json");

/// Posts a body and checks the Status that comes back.
fn refused(
    proxy: &Proxy,
    path: &str,
    media: (&str, &str),
    body: &[u8],
    code: u16,
    reason: &str,
    text: &str,
) -> Result<Value> {
    let response = proxy.exchange("POST", path, &[media], body)?;
    let shown: String = String::from_utf8_lossy(body).chars().take(80).collect();
    ensure!(response.code == code, "{shown}: {} {}", response.code, response.body);
    let status = response.json()?;
    ensure!(
        status["kind"] == "Status" && status["status"] == "Failure" && status["code"] == code,
        "{shown}: {status}"
    );
    ensure!(status["reason"] == reason, "{shown}: {status}");
    let message = status["message"].as_str().unwrap_or_default();
    ensure!(message.contains(text), "{shown}: {message}");
    Ok(status)
}

#[test]
fn broken_bodies_are_refused_as_upstream_refuses_them() -> Result<()> {
    walk("bodies", |ns| {
        let proxy = Proxy::start(ns.cluster())?;
        let maps = format!("/api/v1/namespaces/{}/configmaps", ns.name);
        let bad =
            |body: &str, text: &str| refused(&proxy, &maps, JSON, body.as_bytes(), 400, "BadRequest", text);
        bad("{", "unexpected end of JSON input")?;
        bad("{\"metadata\":{\"name\":\"a\",}}", "invalid character '}'")?;
        bad(
            r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":{"x":1}}"#,
            "cannot unmarshal number into Go struct field ConfigMap.data of type string",
        )?;
        bad(r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"a"}}"#, "Secret")?;
        let strict = format!("{maps}?fieldValidation=Strict");
        let unknown = br#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"dta":{},"data":{"x":"1","x":"2"}}"#;
        let text = r#"strict decoding error: unknown field "dta", duplicate field "data.x""#;
        let status = refused(&proxy, &strict, JSON, unknown, 400, "BadRequest", "strict decoding error")?;
        let message = status["message"].as_str().unwrap_or_default();
        ensure!(
            message.contains("unknown field \"dta\"") && message.contains("duplicate field \"data.x\""),
            "{message} ~ {text}"
        );

        let warned =
            proxy.exchange("POST", &format!("{maps}?fieldValidation=Warn&dryRun=All"), &[JSON], unknown)?;
        ensure!(
            warned.code == 201 && warned.headers.contains("warning: 299"),
            "{} {}",
            warned.code,
            warned.headers
        );

        refused(
            &proxy,
            &maps,
            ("content-type", "text/plain"),
            b"x",
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format",
        )?;
        let large = vec![b' '; 4 << 20];
        refused(&proxy, &maps, JSON, &large, 413, "RequestEntityTooLarge", "limit is 3145728")?;
        Ok(())
    })
}

#[test]
fn invalid_objects_name_their_fields() -> Result<()> {
    walk("invalid", |ns| {
        let proxy = Proxy::start(ns.cluster())?;
        let pods = format!("/api/v1/namespaces/{}/pods", ns.name);
        let body = br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"Bad_Name"},"spec":{"restartPolicy":"Sometimes","containers":[{"name":"a"},{"name":"a","image":"x"}]}}"#;
        let status = refused(&proxy, &pods, JSON, body, 422, "Invalid", "Pod \"Bad_Name\" is invalid")?;
        let causes = status["details"]["causes"].as_array().cloned().unwrap_or_default();
        for (field, reason) in [
            ("metadata.name", "FieldValueInvalid"),
            ("spec.containers[0].image", "FieldValueRequired"),
            ("spec.containers[1].name", "FieldValueDuplicate"),
            ("spec.restartPolicy", "FieldValueNotSupported"),
        ] {
            let found = causes.iter().any(|c| c["field"] == field && c["reason"] == reason);
            ensure!(found, "{field} {reason} is not among {causes:?}");
        }
        let response = proxy.exchange("GET", &format!("{pods}?labelSelector=a%20b"), &[], b"")?;
        ensure!(
            response.code == 400 && response.body.contains("unable to parse requirement"),
            "{}",
            response.body
        );
        let response = proxy.exchange("GET", &pods, &[("accept", "text/css")], b"")?;
        ensure!(response.code == 406, "{} {}", response.code, response.body);
        let response = proxy.exchange("PUT", "/api/v1/nosuchthings/x", &[JSON], b"{}")?;
        ensure!(
            response.code == 404
                && response.body.contains("the server could not find the requested resource"),
            "{}",
            response.body
        );
        Ok(())
    })
}

#[test]
fn a_stale_update_is_a_conflict() -> Result<()> {
    walk("stale", |ns| {
        let proxy = Proxy::start(ns.cluster())?;
        ns.kubectl(&["create", "configmap", "c", "--from-literal=k=1"]).succeeds()?;
        let stale = ns.get("configmap/c")?.to_string();
        ns.kubectl(&["label", "configmap", "c", "x=y"]).succeeds()?;
        let path = format!("/api/v1/namespaces/{}/configmaps/c", ns.name);
        let response = proxy.exchange("PUT", &path, &[JSON], stale.as_bytes())?;
        let status = response.json()?;
        ensure!(response.code == 409 && status["reason"] == "Conflict", "{status}");
        ensure!(
            status["message"]
                == "Operation cannot be fulfilled on configmaps \"c\": the object has been modified; please apply your changes to the latest version and try again",
            "{status}"
        );
        Ok(())
    })
}
