//! Counts of who was recognized and how long it took; names, labels and buckets are upstream's.

use super::AuthnError;
use crate::request::User;
use daemon::metrics::{self, Histogram, HistogramVec, IntCounterVec};
use std::sync::LazyLock;

static USERS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::global().counter_vec(
        "authenticated_user_requests",
        "[ALPHA] Counter of authenticated requests broken out by username.",
        &["username"],
    )
});

static ATTEMPTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::global().counter_vec(
        "authentication_attempts",
        "[ALPHA] Counter of authenticated attempts.",
        &["result"],
    )
});

static DURATIONS: LazyLock<HistogramVec> = LazyLock::new(|| {
    metrics::global().histogram_vec(
        "authentication_duration_seconds",
        "[ALPHA] Authentication duration in seconds broken out by result.",
        &["result"],
        &metrics::exponential_buckets(0.001, 2.0, 15).expect("15 growing buckets can be made"),
    )
});

static CERTIFICATES: LazyLock<Histogram> =
    LazyLock::new(|| {
        metrics::global().histogram(
        "apiserver_client_certificate_expiration_seconds",
        "[ALPHA] Distribution of the remaining lifetime on the certificate used to authenticate a request.",
        &[
            0.0, 1800.0, 3600.0, 7200.0, 21600.0, 43200.0, 86400.0, 172_800.0, 345_600.0, 604_800.0,
            2_592_000.0, 7_776_000.0, 15_552_000.0, 31_104_000.0,
        ],
    )
    });

/// One request; `seconds` is how long it took to find its sender.
pub(super) fn attempted(result: &Result<User, AuthnError>, seconds: f64) {
    let word = match result {
        Ok(user) => {
            USERS.with_label_values(&[shown(&user.name)]).inc();
            "success"
        }
        Err(AuthnError::NoCredentials) => "failure",
        Err(_) => "error",
    };
    ATTEMPTS.with_label_values(&[word]).inc();
    DURATIONS.with_label_values(&[word]).observe(seconds);
}

/// A request by a certificate that is good for so many seconds more.
pub(super) fn certificate(seconds: f64) {
    CERTIFICATES.observe(seconds);
}

/// Names that are few enough to be a label.
fn shown(name: &str) -> &str {
    match name {
        "admin" | "client" | "kube_proxy" | "kubelet" | "system:serviceaccount:kube-system:default" => name,
        _ if name.contains('@') => "email_id",
        _ => "other",
    }
}
