//! How long the kubelet's certificates still hold and whether they can be renewed: what alerts on expiring nodes
//! read, under upstream's names.

use std::sync::LazyLock;

use daemon::metrics::{Histogram, IntCounter, global};
use jiff::Timestamp;
use parking_lot::Mutex;

use super::Use;
use super::store::Life;

const AGES: [f64; 10] = [
    60.0,
    3600.0,
    14400.0,
    86400.0,
    604_800.0,
    2_592_000.0,
    7_776_000.0,
    15_552_000.0,
    31_104_000.0,
    124_416_000.0,
];

/// When the certificates that are kept current end: the client's and the server's. `None`: not kept current here.
static ENDS: Mutex<[Option<Option<Timestamp>>; 2]> = Mutex::new([None; 2]);

fn place(purpose: &Use) -> usize {
    usize::from(matches!(purpose, Use::Server(_)))
}

fn errors(purpose: &Use) -> IntCounter {
    // COMPAT: the server's has another name than one would think.
    let name = match purpose {
        Use::Client => "kubelet_certificate_manager_client_expiration_renew_errors",
        Use::Server(_) => "kubelet_server_expiration_renew_errors",
    };
    global().counter(name, "Counter of certificate renewal errors.")
}

static AGE: LazyLock<Histogram> = LazyLock::new(|| {
    global().histogram(
        "kubelet_certificate_manager_server_rotation_seconds",
        "Histogram of the number of seconds the previous certificate lived before being rotated.",
        &AGES,
    )
});

/// This is the certificate that there is now, if there is one.
pub fn current(purpose: &Use, life: Option<Life>) {
    errors(purpose);
    if matches!(purpose, Use::Server(_)) {
        LazyLock::force(&AGE);
    }
    ENDS.lock()[place(purpose)] = Some(life.map(|life| life.not_after));
}

/// There is a new one in the place of `before`.
pub fn renewed(purpose: &Use, before: Option<Life>, now: Timestamp) {
    if let (Use::Server(_), Some(before)) = (purpose, before) {
        AGE.observe(now.duration_since(before.not_before).as_secs_f64());
    }
}

/// There is no new one, although there should be.
pub fn failed(purpose: &Use) {
    errors(purpose).inc();
}

/// Shows how long they hold; call it before the page is written.
pub fn show(now: Timestamp) {
    let names = [("client", "client certificate", "TTL"), ("server", "serving certificate", "shortest TTL")];
    for ((name, what, which), end) in names.into_iter().zip(*ENDS.lock()) {
        let Some(end) = end else { continue };
        let help = format!(
            "Gauge of the {which} (time-to-live) of the Kubelet's {what}. The value is in seconds until \
             certificate expiry (negative if already expired). If {what} is invalid or unused, the value will be \
             +INF."
        );
        let left = end.map_or(f64::INFINITY, |end| end.duration_since(now).as_secs() as f64);
        global().gauge(&format!("kubelet_certificate_manager_{name}_ttl_seconds"), &help).set(left);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::node::addresses::{Addresses, plan::Asked};

    #[test]
    fn what_alerts_read() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let asked = Asked::parse("", "", "n").unwrap().0;
        let server = Use::Server(Arc::new(Addresses::new(asked, "n")));
        let life = Life { not_before: at(0), not_after: at(1000) };
        current(&Use::Client, Some(life));
        current(&server, None);
        failed(&Use::Client);
        renewed(&server, Some(life), at(100));
        show(at(1010));
        let text = String::from_utf8(global().text()).unwrap();
        for line in [
            "kubelet_certificate_manager_client_ttl_seconds -10\n",
            // As Prometheus reads it.
            "kubelet_certificate_manager_server_ttl_seconds +Inf\n",
            "kubelet_certificate_manager_client_expiration_renew_errors 1\n",
            "kubelet_server_expiration_renew_errors 0\n",
            "kubelet_certificate_manager_server_rotation_seconds_bucket{le=\"3600\"} 1\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
