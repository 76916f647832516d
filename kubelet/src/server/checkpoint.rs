//! POST /checkpoint (KEP-2008): the runtime writes what a container is doing into an archive under the kubelet's own
//! directory, to be looked into or taken elsewhere. The container goes on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use jiff::Zoned;

use super::{Body, parameters, text, typed};
use crate::cri::observed::State;
use crate::kubelet::Kubelet;

/// Folder of the archives, in the kubelet's directory.
pub const FOLDER: &str = "checkpoints";

/// Writes the archive, and answers where it is.
pub async fn checkpoint(
    kubelet: &Arc<Kubelet>,
    namespace: &str,
    name: &str,
    container: &str,
    query: Option<&str>,
) -> Response<Body> {
    let Some(pod) = kubelet.workers.by_name(namespace, name) else {
        return text(StatusCode::NOT_FOUND, "pod does not exist");
    };
    let spec = &pod.spec;
    let mut names = spec.containers.iter().chain(&spec.init_containers).map(|one| &one.name);
    if !names.any(|one| one == container)
        && !spec.ephemeral_containers.iter().any(|one| one.common.name == container)
    {
        return text(StatusCode::NOT_FOUND, format!("container {container} does not exist"));
    }
    let limit = match parameters(query, "timeout").last().map(|text| text.parse::<i64>()) {
        None => 0,
        Some(Ok(seconds)) => seconds,
        Some(Err(_)) => return text(StatusCode::NOT_FOUND, "cannot parse value of timeout parameter"),
    };
    let place = location(&kubelet.root, (namespace, name, container), &Zoned::now());
    match write(kubelet, &pod.metadata.uid, container, &place, limit).await {
        Ok(()) => typed(StatusCode::OK, "application/json", format!("{{\"items\":[\"{place}\"]}}")),
        Err(error) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("checkpointing of {namespace}/{name}/{container} failed ({error})"),
        ),
    }
}

async fn write(kubelet: &Kubelet, uid: &str, container: &str, place: &str, limit: i64) -> Result<(), String> {
    let observed = kubelet.observe(uid).await.map_err(|error| error.to_string())?;
    let mut running = observed.containers.iter().filter(|one| one.state == State::Running);
    let found = running.find(|one| one.name == container);
    let id = &found.ok_or_else(|| format!("container {container} not found"))?.id;
    let limit = u64::try_from(limit)
        .map_err(|_| "CheckpointContainer requires the timeout value to be > 0".to_owned())?;
    let checkpoint = kubelet.runtime.checkpoint(id, place, Duration::from_secs(limit));
    checkpoint.await.map_err(|error| error.to_string())
}

/// `checkpoint-POD_NAMESPACE-CONTAINER-TIME.tar`; the time as Go writes it.
fn location(root: &Path, (namespace, name, container): (&str, &str, &str), now: &Zoned) -> String {
    let time = now.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    let time = time.strip_suffix("+00:00").map_or_else(|| time.clone(), |utc| format!("{utc}Z"));
    let file = format!("checkpoint-{name}_{namespace}-{container}-{time}.tar");
    root.join(FOLDER).join(file).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_named_as_upstreams() {
        let check = |zone: jiff::tz::TimeZone, time: &str| {
            let now = jiff::Timestamp::UNIX_EPOCH.to_zoned(zone);
            let expected = format!("/k/checkpoints/checkpoint-web_ns-c-{time}.tar");
            assert_eq!(location(Path::new("/k"), ("ns", "web", "c"), &now), expected);
        };
        check(jiff::tz::TimeZone::UTC, "1970-01-01T00:00:00Z");
        check(jiff::tz::offset(2).to_time_zone(), "1970-01-01T02:00:00+02:00");
    }
}
