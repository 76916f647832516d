//! How often the runtime was asked for what, how long it took and how often it refused: the metrics
//! `kubelet_runtime_operations_*`, under upstream's names for the operations.

use std::sync::LazyLock;
use std::time::Instant;

use daemon::metrics::{self, HistogramVec, IntCounterVec};

struct Operations {
    total: IntCounterVec,
    errors: IntCounterVec,
    seconds: HistogramVec,
}

static OPERATIONS: LazyLock<Operations> = LazyLock::new(|| {
    let registry = metrics::global();
    let label = ["operation_type"];
    Operations {
        total: registry.counter_vec(
            "kubelet_runtime_operations_total",
            "Cumulative number of runtime operations by operation type.",
            &label,
        ),
        errors: registry.counter_vec(
            "kubelet_runtime_operations_errors_total",
            "Cumulative number of runtime operation errors by operation type.",
            &label,
        ),
        seconds: registry.histogram_vec(
            "kubelet_runtime_operations_duration_seconds",
            "Duration in seconds of runtime operations. Broken down by operation type.",
            &label,
            &metrics::exponential_buckets(0.005, 2.5, 14).expect("constants that make buckets"),
        ),
    }
});

/// COMPAT: upstream says `podsandbox` where the calls say `pod_sandbox`.
fn operation(method: &str) -> String {
    method.replace("pod_sandbox", "podsandbox")
}

/// Awaits a call and counts it.
pub async fn counted<T, E>(method: &'static str, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let began = Instant::now();
    let result = call.await;
    let name = operation(method);
    let labels = [name.as_str()];
    OPERATIONS.total.with_label_values(&labels).inc();
    OPERATIONS.seconds.with_label_values(&labels).observe(began.elapsed().as_secs_f64());
    if result.is_err() {
        OPERATIONS.errors.with_label_values(&labels).inc();
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_and_their_errors_are_counted_by_upstreams_names() {
        let _ = counted("run_pod_sandbox", async { Err::<(), ()>(()) }).await;
        let _ = counted("run_pod_sandbox", async { Ok::<(), ()>(()) }).await;
        let page = String::from_utf8(metrics::global().text()).unwrap();
        let line = |name: &str, value: u32| format!("{name}{{operation_type=\"run_podsandbox\"}} {value}\n");
        assert!(page.contains(&line("kubelet_runtime_operations_total", 2)), "{page}");
        assert!(page.contains(&line("kubelet_runtime_operations_errors_total", 1)), "{page}");
    }
}
