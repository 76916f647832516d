//! Counts of tokens of issuers, of their keys and of the file that names them; names, labels and buckets are upstream's.

use std::collections::HashMap;
use std::sync::LazyLock;

use daemon::metrics::{self, GaugeVec, HistogramVec, IntCounterVec};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

static LATENCY: LazyLock<HistogramVec> = LazyLock::new(|| {
    metrics::global().histogram_vec(
        "apiserver_authentication_jwt_authenticator_latency_seconds",
        "[ALPHA] Latency of jwt authentication operations in seconds. This is the time spent authenticating a token for \
         cache miss only (i.e. when the token is not found in the cache).",
        &["result", "jwt_issuer_hash"],
        &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
    )
});

static FETCHED: LazyLock<GaugeVec> = LazyLock::new(|| {
    metrics::global().gauge_vec(
        "apiserver_authentication_jwt_authenticator_jwks_fetch_last_timestamp_seconds",
        "[ALPHA] Timestamp of the last successful or failed JWKS fetch split by result, api server identity and jwt \
         issuer for the JWT authenticator.",
        &["result", "jwt_issuer_hash", "apiserver_id_hash"],
    )
});

static KEYS: LazyLock<GaugeVec> = LazyLock::new(|| {
    metrics::global().gauge_vec(
        "apiserver_authentication_jwt_authenticator_jwks_fetch_last_key_set_info",
        "[ALPHA] Information about the last JWKS fetched by the JWT authenticator with hash as label, split by api server \
         identity and jwt issuer.",
        &["jwt_issuer_hash", "apiserver_id_hash", "hash"],
    )
});

static RELOADS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::global().counter_vec(
        "apiserver_authentication_config_controller_automatic_reloads_total",
        "[BETA] Total number of automatic reloads of authentication configuration split by status and apiserver identity.",
        &["status", "apiserver_id_hash"],
    )
});

static RELOADED: LazyLock<GaugeVec> = LazyLock::new(|| {
    metrics::global().gauge_vec(
        "apiserver_authentication_config_controller_automatic_reload_last_timestamp_seconds",
        "[BETA] Timestamp of the last automatic reload of authentication configuration split by status and apiserver \
         identity.",
        &["status", "apiserver_id_hash"],
    )
});

static CONFIG: LazyLock<GaugeVec> = LazyLock::new(|| {
    metrics::global().gauge_vec(
        "apiserver_authentication_config_controller_last_config_info",
        "[ALPHA] Information about the last applied authentication configuration with hash as label, split by apiserver \
         identity.",
        &["apiserver_id_hash", "hash"],
    )
});

/// The last label `hash`, by issuer, of those metrics that have but one: of keys, and under "" of the file.
static LAST: LazyLock<Mutex<HashMap<String, String>>> = LazyLock::new(Mutex::default);

/// COMPAT: the server's identity, of which labels have a digest, is one of its host's name.
static IDENTITY: LazyLock<String> = LazyLock::new(|| {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let digest = Sha256::digest(name.trim());
    hash(format!("apiserver-{}", base32(&digest[..16])).as_bytes())
});

/// RFC 4648 in small letters, without padding.
fn base32(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let (mut out, mut held, mut bits) = (String::new(), 0u32, 0);
    for byte in bytes {
        (held, bits) = (held << 8 | u32::from(*byte), bits + 8);
        while bits >= 5 {
            bits -= 5;
            out.push(char::from(LETTERS[(held >> bits & 31) as usize]));
        }
    }
    if bits > 0 {
        out.push(char::from(LETTERS[(held << (5 - bits) & 31) as usize]));
    }
    out
}

/// As labels have it.
pub fn hash(bytes: &[u8]) -> String {
    if bytes.is_empty() { String::new() } else { format!("sha256:{}", hex::encode(Sha256::digest(bytes))) }
}

/// A token of an issuer was judged.
pub fn judged(issuer_hash: &str, is_good: bool, seconds: f64) {
    let result = if is_good { "success" } else { "failure" };
    LATENCY.with_label_values(&[result, issuer_hash]).observe(seconds);
}

/// Keys were asked for; `None` where there was no answer to use.
pub fn fetched(issuer: &str, keys: Option<&[u8]>) {
    let issuer_hash = hash(issuer.as_bytes());
    let result = if keys.is_some() { "success" } else { "failure" };
    FETCHED.with_label_values(&[result, &issuer_hash, &IDENTITY]).set(now());
    if let Some(keys) = keys {
        let new = hash(keys);
        let old = LAST.lock().insert(issuer.to_owned(), new.clone());
        if let Some(old) = old.filter(|old| *old != new) {
            // It is gone where another one went before us.
            let _ = KEYS.remove_label_values(&[&issuer_hash, &IDENTITY, &old]);
        }
        KEYS.with_label_values(&[&issuer_hash, &IDENTITY, &new]).set(1.0);
    }
}

/// An issuer is named no more.
pub fn forgotten(issuer: &str) {
    let issuer_hash = hash(issuer.as_bytes());
    for result in ["success", "failure"] {
        // Keys were perhaps never asked for.
        let _ = FETCHED.remove_label_values(&[result, &issuer_hash, &IDENTITY]);
    }
    if let Some(old) = LAST.lock().remove(issuer) {
        let _ = KEYS.remove_label_values(&[&issuer_hash, &IDENTITY, &old]);
    }
}

/// The file was taken.
pub fn in_force(text: &str) {
    let new = hash(text.as_bytes());
    let old = LAST.lock().insert(String::new(), new.clone());
    if let Some(old) = old.filter(|old| *old != new) {
        let _ = CONFIG.remove_label_values(&[&IDENTITY, &old]);
    }
    CONFIG.with_label_values(&[&IDENTITY, &new]).set(1.0);
}

/// The file has changed; `None` where it could not be taken.
pub fn reloaded(text: Option<&str>) {
    let status = if text.is_some() { "success" } else { "failure" };
    RELOADS.with_label_values(&[status, &IDENTITY]).inc();
    RELOADED.with_label_values(&[status, &IDENTITY]).set(now());
    if let Some(text) = text {
        in_force(text);
    }
}

fn now() -> f64 {
    jiff::Timestamp::now().as_millisecond() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_those_of_the_standard() {
        assert_eq!(base32(b"foobar"), "mzxw6ytboi");
        assert_eq!(hash(b""), "");
        assert!(hash(b"a").starts_with("sha256:ca978112"));
    }
}
