//! Structured log lines on stderr, one per event, through `tracing`.
//!
//! Text (default), in klog's structured form with the time written as RFC 3339:
//! `I2026-11-21T10:40:25.123456Z kubelet::pod_worker] "Pod started" pod="default/web" attempt=2`
//! JSON (`--logging-format=json`), with the keys of upstream's JSON format:
//! `{"ts":"2026-11-21T10:40:25.123456Z","level":"info","caller":"kubelet::pod_worker","msg":"Pod started","pod":"default/web"}`
//! Verbosity is upstream's number: 0-3 info, 4-5 debug, 6 and up trace; dependencies speak from
//! warnings up until 8 (debug) and 10 (trace), but for those that warn of the everyday (`CHATTY`).

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU8, Ordering};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer as _;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::layer::{Context, Filter, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// The crates whose lines follow `-v`; all others count as dependencies.
const OURS: &[&str] = &[
    "api_types",
    "expressions",
    "daemon",
    "client",
    "etcd_protocol",
    "kvstore",
    "apiserver",
    "kube_apiserver",
    "scheduler",
    "kube_scheduler",
    "controller_manager",
    "kube_controller_manager",
    "kubelet",
    "kube_proxy",
    "kubeforge",
];

/// Dependencies whose warnings repeat what our own lines say once: errors only until 4. openraft warns of
/// each heartbeat that a member which is down does not answer.
const CHATTY: &[&str] = &["openraft"];

/// The verbosity in effect.
static VERBOSITY: AtomicU8 = AtomicU8::new(0);

/// Lets lines through by the verbosity in effect.
struct ByVerbosity;

impl<S> Filter<S> for ByVerbosity {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        enabled(metadata, VERBOSITY.load(Ordering::Relaxed))
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Asked anew whenever the verbosity changes.
        match enabled(metadata, VERBOSITY.load(Ordering::Relaxed)) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // The hint lets go of finer lines before anything looks at them: sled and others trace every step.
        Some(finest_level(true, VERBOSITY.load(Ordering::Relaxed)).into())
    }
}

/// COMPAT: what `PUT /debug/flags/v` does; answers upstream's text.
///
/// # Errors
/// For a text that is no number, in Go's words.
pub fn set_verbosity(text: &str) -> Result<String, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let wrong = |why: &str| format!("strconv.ParseUint: parsing {text:?}: {why}");
    let number: u32 = match text.parse() {
        Ok(number) if digits => number,
        _ if digits => return Err(wrong("value out of range")),
        _ => return Err(wrong("invalid syntax")),
    };
    VERBOSITY.store(number.try_into().unwrap_or(u8::MAX), Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
    Ok(format!("successfully set klog.logging.verbosity to {text}"))
}

/// Installs the process's logger. A second call does nothing, so that tests may call it freely.
pub fn init(format: Format, verbosity: u8) {
    VERBOSITY.store(verbosity, Ordering::Relaxed);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .event_format(Line { format })
        .with_filter(ByVerbosity);
    // Err means that a logger is installed already.
    let _ = tracing_subscriber::registry().with(layer).try_init();
}

fn enabled(metadata: &Metadata<'_>, verbosity: u8) -> bool {
    let krate = metadata.target().split("::").next().unwrap_or_default();
    if CHATTY.contains(&krate) && verbosity < 4 {
        return *metadata.level() <= Level::ERROR;
    }
    *metadata.level() <= finest_level(OURS.contains(&krate), verbosity)
}

fn finest_level(ours: bool, verbosity: u8) -> Level {
    match (ours, verbosity) {
        (true, 0..=3) => Level::INFO,
        (true, 4..=5) => Level::DEBUG,
        (true, _) | (false, 10..) => Level::TRACE,
        (false, 0..=7) => Level::WARN,
        (false, 8..=9) => Level::DEBUG,
    }
}

struct Line {
    format: Format,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let now = jiff::Timestamp::now();
        let line = match self.format {
            Format::Text => text_line(now, event.metadata(), &fields),
            Format::Json => json_line(now, event.metadata(), fields),
        };
        out.write_str(&line)
    }
}

/// A line's message and key/value pairs, in the order in which they were given.
#[derive(Default)]
struct Fields {
    message: String,
    pairs: Vec<(&'static str, serde_json::Value)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: serde_json::Value) {
        if field.name() == "message" {
            self.message = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        } else {
            self.pairs.push((field.name(), value));
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, error_chain(value).into());
    }
}

/// An error and its causes on one line: `cannot load the certificate: No such file or directory`.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

fn text_line(now: jiff::Timestamp, metadata: &Metadata<'_>, fields: &Fields) -> String {
    let letter = match *metadata.level() {
        Level::ERROR => 'E',
        Level::WARN => 'W',
        _ => 'I',
    };
    let mut line = format!("{letter}{now:.6} {}] {:?}", metadata.target(), fields.message);
    for (key, value) in &fields.pairs {
        let _ = match value {
            serde_json::Value::String(s) => write!(line, " {key}={s:?}"),
            other => write!(line, " {key}={other}"),
        };
    }
    line.push('\n');
    line
}

fn json_line(now: jiff::Timestamp, metadata: &Metadata<'_>, fields: Fields) -> String {
    let mut object = serde_json::Map::new();
    object.insert("ts".into(), format!("{now:.6}").into());
    object.insert("level".into(), metadata.level().as_str().to_ascii_lowercase().into());
    object.insert("caller".into(), metadata.target().into());
    object.insert("msg".into(), fields.message.into());
    for (key, value) in fields.pairs {
        object.insert(key.into(), value);
    }
    let mut line = serde_json::Value::Object(object).to_string();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn the_verbosity_can_change() {
        assert_eq!(set_verbosity("5").as_deref(), Ok("successfully set klog.logging.verbosity to 5"));
        assert_eq!(VERBOSITY.load(Ordering::Relaxed), 5);
        let check = |text: &str, why: &str| {
            let expected = format!("strconv.ParseUint: parsing {text:?}: {why}");
            assert_eq!(set_verbosity(text), Err(expected));
        };
        check("", "invalid syntax");
        check("-1", "invalid syntax");
        check("+1", "invalid syntax");
        check("4294967296", "value out of range");
        assert_eq!(VERBOSITY.load(Ordering::Relaxed), 5);
    }

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, verbosity: u8, speak: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .event_format(Line { format })
            .with_filter(tracing_subscriber::filter::filter_fn(move |m| enabled(m, verbosity)));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), speak);
        let bytes = buffer.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn nothing_is_finer_than_the_hint() {
        for verbosity in 0..=12 {
            for ours in [true, false] {
                assert!(finest_level(ours, verbosity) <= finest_level(true, verbosity), "{verbosity}");
            }
        }
    }

    #[test]
    fn text_lines_are_klog_shaped() {
        let line = logged(Format::Text, 0, || {
            tracing::warn!(pod = "default/web", attempt = 2, "Pod \"web\" restarted");
        });
        assert!(line.starts_with('W'), "{line}");
        let (time, rest) = line[1..].split_once(' ').unwrap();
        time.parse::<jiff::Timestamp>().unwrap();
        assert_eq!(
            rest,
            "daemon::logging::tests] \"Pod \\\"web\\\" restarted\" pod=\"default/web\" attempt=2\n"
        );
    }

    #[test]
    fn json_lines_parse_and_keep_types() {
        let line = logged(Format::Json, 0, || tracing::info!(revision = 7, ready = true, "Synced"));
        let v: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&v["level"], &v["msg"], &v["revision"]), (&"info".into(), &"Synced".into(), &7.into()));
        assert_eq!(v["ready"], true);
    }

    #[test]
    fn verbosity_opens_our_lines_before_those_of_dependencies() {
        let speak = || {
            tracing::debug!("ours");
            tracing::debug!(target: "h2::proto", "theirs");
        };
        assert_eq!(logged(Format::Text, 2, speak), "");
        let four = logged(Format::Text, 4, speak);
        assert!(four.contains("ours") && !four.contains("theirs"), "{four}");
        assert!(logged(Format::Text, 8, speak).contains("theirs"));
    }

    #[test]
    fn error_chains_read_on_one_line() {
        let inner = io::Error::other("disk on fire");
        #[derive(Debug, thiserror::Error)]
        #[error("cannot save")]
        struct Outer(#[source] io::Error);
        assert_eq!(error_chain(&Outer(inner)), "cannot save: disk on fire");
    }
}
