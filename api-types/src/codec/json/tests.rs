//! Reading and writing JSON, on Pod: errors' texts, strict findings, Go's habits.

use super::*;
use crate::core::v1::Pod;

fn strict(text: &str) -> Vec<String> {
    let (_, found) = from_slice_strict::<Pod>(text.as_bytes()).expect("readable");
    found.iter().map(ToString::to_string).collect()
}

fn refused(text: &str) -> String {
    from_slice::<Pod>(text.as_bytes()).expect_err("unreadable").to_string()
}

#[test]
fn an_object_comes_back_as_it_was() {
    let text = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","labels":{"x":"1"}},"spec":{"containers":[{"name":"c","image":"i","resources":{}}],"terminationGracePeriodSeconds":0},"status":{}}"#;
    let pod: Pod = from_slice(text.as_bytes()).expect("readable");
    assert_eq!(String::from_utf8_lossy(&to_vec(&pod)), text);
}

#[test]
fn strict_reading_names_unknown_and_duplicate_fields() {
    let text = r#"{"kind":"Pod","metadata":{"name":"a","name":"b"},
        "spec":{"containers":[{"name":"c","imag":"i"}],"kind":"x"},"spce":{}}"#;
    assert_eq!(
        strict(text),
        [
            "duplicate field \"metadata.name\"",
            "unknown field \"spec.containers[0].imag\"",
            "unknown field \"spec.kind\"",
            "unknown field \"spce\"",
        ]
    );
}

#[test]
fn a_wrong_type_is_named_as_go_names_it() {
    assert_eq!(
        refused(r#"{"spec":{"terminationGracePeriodSeconds":"x"}}"#),
        "json: cannot unmarshal string into Go struct field PodSpec.spec.terminationGracePeriodSeconds of type int64"
    );
    assert_eq!(
        refused(r#"{"metadata":{"labels":{"a":1}}}"#),
        "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string"
    );
    assert_eq!(
        refused(r#"{"spec":{"containers":{}}}"#),
        "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container"
    );
}

#[test]
fn broken_text_is_told_in_gos_words() {
    for (text, error) in [
        ("", "unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        ("{a", "invalid character 'a' looking for beginning of object key string"),
        (r#"{"metadata":{} "spec"}"#, "invalid character '\"' after object key:value pair"),
        (r#"{"metadata":x}"#, "invalid character 'x' looking for beginning of value"),
        ("{} x", "invalid character 'x' after top-level value"),
        (r#"{"spec":{"hostNetwork":tru}}"#, "invalid character '}' in literal true (expecting 'e')"),
    ] {
        assert_eq!(refused(text), error, "{text}");
    }
}

#[test]
fn strings_keep_escapes_and_code_points() {
    let pod: Pod =
        from_slice(br#"{"metadata":{"annotations":{"k":"a\u00e9\ud83d\ude00\n<&>"}}}"#).expect("readable");
    assert_eq!(pod.metadata.annotations["k"], "aé😀\n<&>");
    let text = to_vec(&pod);
    assert!(String::from_utf8_lossy(&text).contains(r#""aé😀\n\u003c\u0026\u003e""#));
}

#[test]
fn nulls_are_zero_values() {
    let pod: Pod = from_slice(br#"{"metadata":{"creationTimestamp":null,"labels":null},"spec":null}"#)
        .expect("readable");
    assert_eq!(pod, Pod::default());
}

#[test]
fn deep_nesting_takes_no_stack() {
    let nested = |levels: usize| format!(r#"{{"x":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    let read: Pod = from_slice(nested(9_998).as_bytes()).expect("unknown fields are skipped");
    assert_eq!(read, Pod::default());
    assert_eq!(refused(&nested(10_001)), "exceeded max depth");
    let objects =
        format!(r#"{{"x":{}1{},"metadata":{{"name":"a"}}}}"#, r#"{"a":"#.repeat(9_000), "}".repeat(9_000));
    let read: Pod = from_slice(objects.as_bytes()).expect("unknown fields are skipped");
    assert_eq!(read.metadata.name, "a");
}

#[test]
fn any_string_is_read_as_another_reader_reads_it() {
    const PARTS: [&str; 13] =
        ["", "a", "0123456", "\"", "\\", "\n", "\u{1f}", "\u{7f}", "ä", "\u{2028}", "😀", "<&>", "        "];
    for n in 0..PARTS.len().pow(4) {
        let text: String = (0..4).map(|place| PARTS[n / PARTS.len().pow(place) % PARTS.len()]).collect();
        let written = value_to_vec(&text);
        assert_eq!(serde_json::from_slice::<String>(&written).expect("JSON"), text);
        assert_eq!(from_slice::<String>(&written).expect("a string"), text);
        // The same as others write it, and with something after it that is no UTF-8.
        let list = |between: &str| {
            let text = serde_json::to_string(&text).expect("a string");
            [format!("[{text}{between}\"").as_bytes(), b"\xff\"]"].concat()
        };
        let both: Vec<String> = from_slice(&list(", ")).expect("two strings");
        assert_eq!(both, [text.as_str(), "\u{fffd}"]);
        assert_eq!(compact(&list(" ,\n ")), list(","), "{text:?}");
        for cut in 0..written.len() {
            assert!(from_slice::<String>(&written[..cut]).is_err(), "{text:?} cut at {cut}");
        }
    }
    for raw in [&b"\"a\nb\""[..], b"\"01234567\x01\"", b"\"0123456\\x\"", b"\"\\u12g4\""] {
        assert!(
            from_slice::<String>(raw).is_err() && Reader::new(raw, false).skip_value().is_err(),
            "{raw:?}"
        );
    }
}
