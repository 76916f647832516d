//! Probes and lifecycle hooks.

use super::container::number;
use crate::core::v1::*;
use crate::field::{Errors, Path};
use crate::meta::v1::validate::not_negative;
use crate::names;
use crate::value::IntOrString;

/// Hooks and probes of a container proper or a sidecar.
pub(super) fn lifecycle_and_probes(spec: &PodSpec, container: &Container, path: &Path, errors: &mut Errors) {
    let grace = spec.termination_grace_period_seconds;
    if let Some(lifecycle) = &container.lifecycle {
        let path = path.child("lifecycle");
        for (hook, name) in [(&lifecycle.post_start, "postStart"), (&lifecycle.pre_stop, "preStop")] {
            if let Some(hook) = hook {
                handler(Handler::of_hook(hook), grace, &path.child(name), errors);
            }
        }
        if let Some(signal) = &lifecycle.stop_signal {
            stop_signal(spec, signal, &path.child("stopSignal"), errors);
        }
    }
    if let Some(own) = &container.liveness_probe {
        let path = path.child("livenessProbe");
        probe(own, grace, &path, errors);
        must_be_one(own, &path, errors);
    }
    if let Some(own) = &container.readiness_probe {
        let path = path.child("readinessProbe");
        probe(own, grace, &path, errors);
        if let Some(seconds) = own.termination_grace_period_seconds {
            errors.invalid(
                &path.child("terminationGracePeriodSeconds"),
                seconds,
                "must not be set for readinessProbes",
            );
        }
    }
    if let Some(own) = &container.startup_probe {
        let path = path.child("startupProbe");
        probe(own, grace, &path, errors);
        must_be_one(own, &path, errors);
    }
}

fn must_be_one(probe: &Probe, path: &Path, errors: &mut Errors) {
    if probe.success_threshold != 1 {
        errors.invalid(&path.child("successThreshold"), probe.success_threshold, "must be 1");
    }
}

fn probe(probe: &Probe, grace: Option<i64>, path: &Path, errors: &mut Errors) {
    handler(Handler::of_probe(&probe.handler), grace, path, errors);
    for (name, value) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        not_negative(value, &path.child(name), errors);
    }
    if let Some(seconds @ ..=0) = probe.termination_grace_period_seconds {
        errors.invalid(&path.child("terminationGracePeriodSeconds"), seconds, "must be greater than 0");
    }
}

/// The actions that hooks and probes can be made of.
#[derive(Default)]
struct Handler<'a> {
    exec: Option<&'a ExecAction>,
    http_get: Option<&'a HTTPGetAction>,
    tcp_socket: Option<&'a TCPSocketAction>,
    grpc: Option<&'a GRPCAction>,
    sleep: Option<&'a SleepAction>,
}

impl<'a> Handler<'a> {
    fn of_hook(hook: &'a LifecycleHandler) -> Self {
        Self {
            exec: hook.exec.as_deref(),
            http_get: hook.http_get.as_deref(),
            tcp_socket: hook.tcp_socket.as_deref(),
            sleep: hook.sleep.as_deref(),
            ..Self::default()
        }
    }

    fn of_probe(probe: &'a ProbeHandler) -> Self {
        Self {
            exec: probe.exec.as_deref(),
            http_get: probe.http_get.as_deref(),
            tcp_socket: probe.tcp_socket.as_deref(),
            grpc: probe.grpc.as_deref(),
            ..Self::default()
        }
    }
}

fn handler(handler: Handler<'_>, grace: Option<i64>, path: &Path, errors: &mut Errors) {
    let given = [
        (handler.exec.is_some(), "exec"),
        (handler.http_get.is_some(), "httpGet"),
        (handler.tcp_socket.is_some(), "tcpSocket"),
        (handler.grpc.is_some(), "grpc"),
        (handler.sleep.is_some(), "sleep"),
    ];
    let mut given = given.into_iter().filter(|(set, _)| *set).map(|(_, name)| name);
    let Some(first) = given.next() else {
        return errors.required(path, "must specify a handler type");
    };
    // Only the first is looked into; the others are too many.
    let here = path.child(first);
    match handler {
        Handler { exec: Some(action), .. } => exec(action, &here, errors),
        Handler { http_get: Some(get), .. } => http_get(get, &here, errors),
        Handler { tcp_socket: Some(tcp), .. } => port(&tcp.port, &here.child("port"), errors),
        Handler { grpc: Some(grpc), .. } => number(grpc.port, &here.child("port"), errors),
        Handler { sleep: Some(sleep), .. } => {
            if let Some(grace) = grace
                && !(0..=grace).contains(&sleep.seconds)
            {
                let text =
                    format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                errors.invalid(&here, sleep.seconds, text);
            }
        }
        _ => {}
    }
    for name in given {
        errors.forbidden(&path.child(name), "may not specify more than 1 handler type");
    }
}

fn exec(action: &ExecAction, path: &Path, errors: &mut Errors) {
    if action.command.is_empty() {
        errors.required(&path.child("command"), "");
    }
}

fn http_get(get: &HTTPGetAction, path: &Path, errors: &mut Errors) {
    errors.need(path, "path", &get.path);
    port(&get.port, &path.child("port"), errors);
    errors.choice(&path.child("scheme"), get.scheme.as_str(), &["HTTP", "HTTPS"]);
    for header in &get.http_headers {
        errors.wrong(&path.child("httpHeaders"), &header.name, names::http_header(&header.name));
    }
}

/// A port by number or by name.
pub(crate) fn port(port: &IntOrString, path: &Path, errors: &mut Errors) {
    match port {
        IntOrString::Int(n) => number(*n, path, errors),
        IntOrString::String(name) => errors.wrong(path, name, names::port_name(name)),
    }
}

fn stop_signal(spec: &PodSpec, signal: &Signal, path: &Path, errors: &mut Errors) {
    match spec.os.as_ref().map(|os| &os.name) {
        None => errors.forbidden(path, "may not be set for containers with empty `spec.os.name`"),
        Some(OSName::Windows) => errors.choice(path, signal.as_str(), &["SIGKILL", "SIGTERM"]),
        Some(OSName::Linux) => {
            let mut known = Signal::KNOWN.to_vec();
            known.sort_unstable();
            errors.choice(path, signal.as_str(), &known);
        }
        Some(_) => {}
    }
}
