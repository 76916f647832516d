//! /containerLogs: a container's log, from its files.

use std::path::PathBuf;
use std::sync::Arc;

use api_types::core::v1::{ContainerStatus, Pod, PodStatus};
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Body, parameter, text};
use crate::cri::observed::State;
use crate::kubelet::Kubelet;
use crate::logs::line::Stream;
use crate::logs::read::{Options, copy};
use crate::probe::schedule::bare_id;
use crate::sync_pod::kill::spec_of;

/// The client's options; an error names the parameter.
fn options(query: Option<&str>, now: Timestamp) -> Result<Options, String> {
    let boolean = |name: &str| {
        matches!(parameter(query, name).as_deref(), Some("" | "1" | "t" | "T" | "true" | "True" | "TRUE"))
    };
    let number = |name: &str| -> Result<Option<i64>, String> {
        match parameter(query, name) {
            None => Ok(None),
            Some(value) if value.is_empty() => Ok(None),
            Some(value) => value.parse().map(Some).map_err(|_| format!("invalid {name}: {value:?}")),
        }
    };
    let natural = |name: &str| -> Result<Option<u64>, String> {
        number(name)?
            .map(|value| u64::try_from(value).map_err(|_| format!("{name} must not be negative")))
            .transpose()
    };
    let since = match (number("sinceSeconds")?, parameter(query, "sinceTime").filter(|time| !time.is_empty()))
    {
        (Some(seconds), _) => now.checked_sub(SignedDuration::from_secs(seconds)).ok(),
        (None, Some(time)) => Some(time.parse().map_err(|_| format!("invalid sinceTime: {time:?}"))?),
        (None, None) => None,
    };
    let stream = match parameter(query, "stream").as_deref() {
        Some("Stdout") => Some(Stream::Stdout),
        Some("Stderr") => Some(Stream::Stderr),
        _ => None,
    };
    // COMPAT: "all" asks for the whole log.
    let tail = match parameter(query, "tailLines").as_deref() {
        Some("all") => None,
        _ => natural("tailLines")?,
    };
    Ok(Options {
        follow: boolean("follow"),
        timestamps: boolean("timestamps"),
        limit: natural("limitBytes")?,
        since,
        tail,
        stream,
    })
}

/// The id of the container whose log is asked for, by the pod's status; an error is upstream's text.
fn container_id(pod: &Pod, status: &PodStatus, name: &str, previous: bool) -> Result<String, String> {
    let place = format!("container {name:?} in pod {:?}", pod.metadata.name);
    let known: Option<&ContainerStatus> = status
        .container_statuses
        .iter()
        .chain(&status.init_container_statuses)
        .chain(&status.ephemeral_container_statuses)
        .find(|status| status.name == name);
    let Some(known) = known else { return Err(format!("{place} is not available")) };
    let last = known.last_state.terminated.as_ref();
    let id = |id: &str| bare_id(id).to_owned();
    if previous {
        return match last {
            Some(last) if !last.container_id.is_empty() => Ok(id(&last.container_id)),
            _ => Err(format!("previous terminated {place} not found")),
        };
    }
    if known.state.running.is_some() {
        return Ok(id(&known.container_id));
    }
    if let Some(ended) = &known.state.terminated {
        return match (ended.container_id.as_str(), last) {
            ("", Some(last)) if !last.container_id.is_empty() => Ok(id(&last.container_id)),
            ("", _) => Err(format!("{place} is terminated")),
            (ended, _) => Ok(id(ended)),
        };
    }
    if let Some(last) = last {
        return match last.container_id.as_str() {
            "" => Err(format!("{place} is terminated")),
            last => Ok(id(last)),
        };
    }
    match &known.state.waiting {
        Some(waiting) => Err(match waiting.reason.as_str() {
            "ErrImagePull" => format!("{place} is waiting to start: image can't be pulled"),
            "ImagePullBackOff" => format!("{place} is waiting to start: trying and failing to pull image"),
            reason => format!("{place} is waiting to start: {reason}"),
        }),
        None => Err(format!("{place} is waiting to start - no logs yet")),
    }
}

/// Streams the log.
pub async fn container_logs(
    kubelet: &Arc<Kubelet>,
    namespace: &str,
    name: &str,
    container: &str,
    query: Option<&str>,
) -> Response<Body> {
    let Some(pod) = kubelet.workers.by_name(namespace, name) else {
        return text(StatusCode::NOT_FOUND, format!("pod {name:?} does not exist\n"));
    };
    if spec_of(&pod, container).is_none() {
        return text(StatusCode::NOT_FOUND, format!("container {container:?} not found in pod {name:?}\n"));
    }
    let options = match options(query, Timestamp::now()) {
        Ok(options) => options,
        Err(error) => return text(StatusCode::UNPROCESSABLE_ENTITY, error),
    };
    let previous =
        parameter(query, "previous").is_some_and(|value| matches!(value.as_str(), "" | "1" | "true"));
    let status = kubelet.statuses.get(&pod.metadata.uid).unwrap_or_else(|| pod.status.clone());
    let id = match container_id(&pod, &status, container, previous) {
        Ok(id) => id,
        Err(error) => return text(StatusCode::BAD_REQUEST, error),
    };
    let path = match kubelet.runtime.container_status(&id).await {
        Ok(Some(status)) if !status.log_path.is_empty() => PathBuf::from(status.log_path),
        other => {
            tracing::debug!(container = id, ?other, "no log");
            let shown = format!("{}://{id}", kubelet.runtime_name());
            return text(StatusCode::BAD_REQUEST, format!("unable to retrieve container logs for {shown}"));
        }
    };
    let (sender, receiver) = mpsc::channel::<Bytes>(4);
    let runtime = kubelet.runtime.clone();
    tokio::spawn(async move {
        let running = || async {
            let status = runtime.container_status(&id).await.ok().flatten();
            status.is_some_and(|status| State::from_wire(status.state) == State::Running)
        };
        if let Err(error) = copy(path.clone(), options, sender, running).await {
            tracing::info!(%error, log = %path.display(), "a log could not be read to its end");
        }
    });
    let frames = ReceiverStream::new(receiver).map(|chunk| Ok(Frame::data(chunk)));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::core::v1::{ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting};

    fn check(edit: impl FnOnce(&mut ContainerStatus), previous: bool, expected: Result<&str, &str>) {
        let mut pod = Pod::default();
        pod.metadata.name = "p".into();
        let mut container = ContainerStatus { name: "c".into(), ..Default::default() };
        edit(&mut container);
        let status = PodStatus { container_statuses: vec![container], ..Default::default() };
        let found = container_id(&pod, &status, "c", previous);
        assert_eq!(found, expected.map(String::from).map_err(String::from));
    }

    fn ended(id: &str) -> Option<Box<ContainerStateTerminated>> {
        Some(Box::new(ContainerStateTerminated { container_id: id.into(), ..Default::default() }))
    }

    #[test]
    fn which_container_is_read() {
        let running = |status: &mut ContainerStatus| {
            status.container_id = "containerd://a".into();
            status.state.running = Some(Box::new(ContainerStateRunning::default()));
        };
        check(running, false, Ok("a"));
        check(running, true, Err("previous terminated container \"c\" in pod \"p\" not found"));
        check(|status| status.last_state.terminated = ended("containerd://b"), true, Ok("b"));
        check(|status| status.last_state.terminated = ended("containerd://b"), false, Ok("b"));
        let waiting = |reason: &'static str| {
            move |status: &mut ContainerStatus| {
                status.state.waiting =
                    Some(Box::new(ContainerStateWaiting { reason: reason.into(), ..Default::default() }));
            }
        };
        check(
            waiting("ImagePullBackOff"),
            false,
            Err("container \"c\" in pod \"p\" is waiting to start: trying and failing to pull image"),
        );
        check(
            waiting("ContainerCreating"),
            false,
            Err("container \"c\" in pod \"p\" is waiting to start: ContainerCreating"),
        );
    }

    #[test]
    fn parameters_of_a_log() {
        let now = Timestamp::from_second(100).unwrap();
        let read = |query| options(Some(query), now);
        let options = read("follow=true&tailLines=5&sinceSeconds=10&timestamps=true&limitBytes=7").unwrap();
        assert_eq!(
            (options.follow, options.tail, options.limit, options.timestamps),
            (true, Some(5), Some(7), true)
        );
        assert_eq!(options.since, Some(Timestamp::from_second(90).unwrap()));
        assert!(read("tailLines=-1").is_err());
        assert!(read("sinceTime=yesterday").is_err());
    }
}
