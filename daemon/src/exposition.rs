//! Prometheus' text format, written as upstream's Go library writes it.
//!
//! Numbers are Go's shortest form (`1e+06`, `+Inf`): they stand in labels, too (`le`), by which recording
//! rules and dashboards that were made for upstream select.

use std::fmt::Write as _;

use prometheus::proto::{LabelPair, MetricFamily, MetricType};

/// A number in Go's shortest form (`%g`): with an exponent below 0.0001 and from a million on.
pub fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let short = format!("{value:e}");
    let (digits, exponent) = short.split_once('e').unwrap_or((&short, "0"));
    match exponent.parse::<i32>().unwrap_or_default() {
        -4..6 => value.to_string(),
        exponent => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
    }
}

/// A label's value, or with `quotes` unset a help text, as it stands in a line.
pub fn escaped(text: &str, quotes: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes { text.replace('"', "\\\"") } else { text }
}

/// The families' lines. A family without metrics has none.
pub fn write(families: &[MetricFamily], to: &mut String) {
    for family in families.iter().filter(|family| !family.get_metric().is_empty()) {
        let (name, kind) = (family.name(), family.get_field_type());
        if !family.help().is_empty() {
            line(to, format_args!("# HELP {name} {}", escaped(family.help(), false)));
        }
        line(to, format_args!("# TYPE {name} {}", format!("{kind:?}").to_lowercase()));
        for metric in family.get_metric() {
            let mut sample = |suffix: &str, more: Option<(&str, &str)>, value: f64| {
                let labels = labels(metric.get_label(), more);
                let value = number(value);
                match metric.timestamp_ms() {
                    0 => line(to, format_args!("{name}{suffix}{labels} {value}")),
                    at => line(to, format_args!("{name}{suffix}{labels} {value} {at}")),
                }
            };
            match kind {
                MetricType::COUNTER => sample("", None, metric.get_counter().get_value()),
                MetricType::GAUGE => sample("", None, metric.get_gauge().get_value()),
                // The library makes none.
                MetricType::UNTYPED => {}
                MetricType::HISTOGRAM => {
                    let all = metric.get_histogram();
                    let finite =
                        all.get_bucket().iter().filter(|bucket| bucket.upper_bound() < f64::INFINITY);
                    for bucket in finite {
                        let bound = number(bucket.upper_bound());
                        sample("_bucket", Some(("le", &bound)), count(bucket.cumulative_count()));
                    }
                    sample("_bucket", Some(("le", "+Inf")), count(all.get_sample_count()));
                    sample("_sum", None, all.get_sample_sum());
                    sample("_count", None, count(all.get_sample_count()));
                }
                MetricType::SUMMARY => {
                    let all = metric.get_summary();
                    for one in all.get_quantile() {
                        sample("", Some(("quantile", &number(one.quantile()))), one.value());
                    }
                    sample("_sum", None, all.sample_sum());
                    sample("_count", None, count(all.sample_count()));
                }
            }
        }
    }
}

fn line(to: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(to, "{text}");
}

/// The format knows no whole numbers.
fn count(count: u64) -> f64 {
    count as f64
}

fn labels(own: &[LabelPair], more: Option<(&str, &str)>) -> String {
    let own = own.iter().map(|label| (label.name(), label.value()));
    let all: Vec<String> =
        own.chain(more).map(|(name, value)| format!("{name}=\"{}\"", escaped(value, true))).collect();
    if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Registry;

    #[test]
    fn numbers_are_gos() {
        let check = |value: f64, expected: &str| assert_eq!(number(value), expected);
        check(0.0, "0");
        check(1.0, "1");
        check(-2.5, "-2.5");
        check(0.1, "0.1");
        check(0.0001, "0.0001");
        check(0.000_012_5, "1.25e-05");
        check(1e-8, "1e-08");
        check(123_456.0, "123456");
        check(999_999.0, "999999");
        check(1_000_000.0, "1e+06");
        check(12_345_678.0, "1.2345678e+07");
        check(1_763_803_000.25, "1.76380300025e+09");
        check(9.223_372_036_854_775e18, "9.223372036854775e+18");
        check(1e100, "1e+100");
        check(f64::INFINITY, "+Inf");
        check(f64::NEG_INFINITY, "-Inf");
        check(f64::NAN, "NaN");
    }

    #[test]
    fn a_page_is_what_gos_library_writes() {
        let registry = Registry::default();
        registry.gauge("a", "Some\nhelp \\.").set(f64::INFINITY);
        let histogram = registry.histogram_vec("h", "H.", &["name"], &[1e-8, 1e6]);
        histogram.with_label_values(&["x\"y"]).observe(2_000_000.0);
        let text = String::from_utf8(registry.text()).unwrap();
        assert!(text.contains("# HELP a Some\\nhelp \\\\.\n# TYPE a gauge\na +Inf\n"), "{text}");
        let lines = [
            "# TYPE h histogram",
            r#"h_bucket{name="x\"y",le="1e-08"} 0"#,
            r#"h_bucket{name="x\"y",le="1e+06"} 0"#,
            r#"h_bucket{name="x\"y",le="+Inf"} 1"#,
            r#"h_sum{name="x\"y"} 2e+06"#,
            r#"h_count{name="x\"y"} 1"#,
        ];
        assert!(text.contains(&lines.join("\n")), "{text}");
    }
}
