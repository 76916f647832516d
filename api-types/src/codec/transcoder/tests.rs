//! What is transcoded is what the codecs make of the text; what is not sure is left to them.

use super::*;
use crate::codec::protobuf;
use crate::core::v1::{ConfigMap, Event, Pod};
use crate::kinds;
use crate::policy::v1::PodDisruptionBudget;
use crate::value::{Struct, Typed};

fn both<T: Struct + Typed + Default>(text: &str) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let typed = json::from_slice::<T>(text.as_bytes()).ok();
    let table = T::type_of().as_struct().expect("a struct");
    (message(table, text.as_bytes()), typed.map(|value| protobuf::to_vec(&value)))
}

/// Transcoded, as the codecs do.
fn same<T: Struct + Typed + Default>(text: &str) {
    let (ours, typed) = both::<T>(text);
    assert!(typed.is_some() && ours == typed, "{text}: {ours:?} / {typed:?}");
}

/// Left to the codecs.
fn left<T: Struct + Typed + Default>(text: &str) {
    assert_eq!(both::<T>(text).0, None, "{text}");
}

#[test]
fn fields_are_written_in_their_order_and_those_that_are_not_given_too() {
    same::<Pod>("{}");
    same::<Pod>("{}\n");
    same::<Pod>(r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","creationTimestamp":null}}"#);
    same::<Pod>(
        r#"{"status":{"podIP":"10.0.0.1","phase":"Running"},"spec":{"hostNetwork":true,"containers":[]},"metadata":{"uid":"u","name":"a"}}"#,
    );
    same::<Pod>(
        r#"{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n","uid":"u"},{"uid":""}]}}"#,
    );
    same::<Pod>(r#"{"spec":null,"status":null,"metadata":null}"#);
    same::<Pod>(r#"{"metadata":{},"other":{"spec":[1,{"a":"\u00e9"}]},"spec":{"nobody":1.5e-3}}"#);
}

#[test]
fn zero_values_are_written_where_they_can_be_told_from_none() {
    same::<Pod>(
        r#"{"spec":{"terminationGracePeriodSeconds":0,"hostNetwork":false,"enableServiceLinks":false,"priority":-0,"nodeName":"","restartPolicy":""}}"#,
    );
    same::<Pod>(
        r#"{"spec":{"containers":[{"name":"","env":[{"name":"A","value":""}],"args":["","x"],"lifecycle":{},"stdin":true}],"nodeSelector":{"a":""}}}"#,
    );
    same::<Pod>(
        r#"{"metadata":{"labels":{},"finalizers":[],"deletionGracePeriodSeconds":-9223372036854775808}}"#,
    );
}

#[test]
fn fields_of_inline_structs_are_messages_of_their_own() {
    same::<Pod>(
        r#"{"spec":{"volumes":[{"name":"a","configMap":{"name":"c","defaultMode":420}},{"name":"b"},{"emptyDir":{},"name":"c"}]}}"#,
    );
    same::<Pod>(
        r#"{"spec":{"ephemeralContainers":[{"name":"a","image":"i","targetContainerName":"t"},{"targetContainerName":"t","name":"n"}]}}"#,
    );
    same::<Pod>(
        r#"{"spec":{"containers":[{"livenessProbe":{"httpGet":{"port":80},"periodSeconds":1}},{"livenessProbe":{"periodSeconds":1,"exec":{"command":["a"]}}}]}}"#,
    );
    // Those that stand apart.
    left::<Pod>(
        r#"{"spec":{"containers":[{"livenessProbe":{"exec":{},"periodSeconds":1,"httpGet":{"port":80}}}]}}"#,
    );
}

#[test]
fn values_of_their_own_form() {
    for port in ["0", "80", "-1", r#""http""#, r#""""#, r#""a\"b""#] {
        same::<Pod>(&format!(
            r#"{{"spec":{{"containers":[{{"livenessProbe":{{"tcpSocket":{{"port":{port}}}}}}}]}}}}"#
        ));
    }
    same::<PodDisruptionBudget>(
        r#"{"spec":{"minAvailable":"50%"},"status":{"disruptedPods":{"a":"2026-01-02T03:04:05Z"},"disruptionsAllowed":1}}"#,
    );
    left::<PodDisruptionBudget>(r#"{"status":{"disruptedPods":{"a":null}}}"#);
    same::<ConfigMap>(
        r#"{"binaryData":{"a":"","b":"AAECAw==","c":"YWJj"},"data":{"a":"x\ny\u00e9\u2028","b":""}}"#,
    );
    left::<ConfigMap>(r#"{"binaryData":{"b":"AAECAw="}}"#);
    same::<Event>(
        r#"{"eventTime":"2026-11-22T12:50:24.000017Z","firstTimestamp":null,"lastTimestamp":"1969-12-31T23:59:59Z"}"#,
    );
    same::<Pod>(
        r#"{"metadata":{"managedFields":[{"manager":"m","fieldsV1":{"f:a":{".":{},"k:{\"b\":[1,true,null,-1.5E+3]}":{}}}},{"fieldsV1":null}]}}"#,
    );
    left::<Pod>(r#"{"metadata":{"managedFields":[{"fieldsV1":{"f:a" :{}}}]}}"#);
}

#[test]
fn what_is_not_sure_is_left_to_the_codecs() {
    for text in [
        r#"{"metadata":{"name":"a"},"metadata":{"uid":"b"}}"#,
        r#"{"metadata":{"name":"a","name":"b"}}"#,
        r#"{"metadata":{"labels":{"b":"1","a":"2"}}}"#,
        r#"{"metadata":{"labels":{"a":"1","a":"2"}}}"#,
        r#"{"metadata":{"labels":{"a":null}}}"#,
        r#"{"metadata":{"finalizers":[null]}}"#,
        r#"{"metadata":{"n\u0061me":"a"}}"#,
        r#"{"metadata": {}}"#,
        r#" {}"#,
        "null",
        r#"{"metadata":{"name":"\ud83d\ude00"}}"#,
    ] {
        left::<Pod>(text);
        assert!(both::<Pod>(text).1.is_some(), "{text}");
    }
}

#[test]
fn what_the_codecs_refuse_is_refused() {
    for text in [
        "",
        "{",
        "[]",
        r#"{"metadata":{}"#,
        r#"{"metadata":{},}"#,
        r#"{"metadata":{}}}"#,
        r#"{"metadata":{"name":1}}"#,
        r#"{"metadata":{"name":"a}}"#,
        "{\"metadata\":{\"name\":\"a\nb\"}}",
        r#"{"metadata":{"name":"\x"}}"#,
        r#"{"metadata":{"generation":1.0}}"#,
        r#"{"metadata":{"generation":01}}"#,
        r#"{"metadata":{"generation":-}}"#,
        r#"{"metadata":{"generation":9223372036854775808}}"#,
        r#"{"metadata":{"generation":"1"}}"#,
        r#"{"metadata":{"finalizers":["a",]}}"#,
        r#"{"metadata":{"finalizers":["a""b"]}}"#,
        r#"{"metadata":{"creationTimestamp":"2026-02-30T00:00:00Z"}}"#,
        r#"{"metadata":{"creationTimestamp":""}}"#,
        r#"{"metadata":{"managedFields":[{"fieldsV1":{"f:a":tru}}]}}"#,
        r#"{"metadata":{"managedFields":[{"fieldsV1":[1,2}}]}}"#,
        r#"{"spec":{"priority":2147483648}}"#,
        r#"{"spec":{"hostNetwork":tru}}"#,
        r#"{"spec":{"overhead":{"cpu":"x"}}}"#,
        r#"{"other":{"a":01}}"#,
        r#"{"other":"\u12"}"#,
    ] {
        assert_eq!(both::<Pod>(text), (None, None), "{text}");
    }
    assert_eq!(message(Pod::schema(), b"{\"metadata\":{\"name\":\"\xff\"}}"), None);
}

#[test]
fn a_text_that_is_cut_is_none() {
    let text = br#"{"metadata":{"name":"a\"b","labels":{"a":"b"},"generation":12,"managedFields":[{"fieldsV1":{"a":[{}]}}]},"x":[1.5e3]}"#;
    assert!(message(Pod::schema(), text).is_some());
    for cut in 0..text.len() {
        assert_eq!(message(Pod::schema(), &text[..cut]), None, "{cut}");
    }
}

#[test]
fn long_messages_say_their_length_too() {
    for length in [0, 1, 126, 127, 128, 129, 16_380, 16_383, 16_384, 70_000, 2_100_000] {
        let long = "x".repeat(length);
        same::<ConfigMap>(&format!(
            r#"{{"metadata":{{"name":"{long}"}},"data":{{"a":"{long}","b":"\"{long}"}}}}"#
        ));
    }
}

#[test]
fn depth_ends_it() {
    let nested = |levels: usize| format!(r#"{{"x":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    same::<Pod>(&nested(50));
    left::<Pod>(&nested(100));
    left::<Pod>(&nested(20_000));
}

#[test]
fn amounts_and_times_are_those_of_their_types() {
    let suffixes =
        ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e3", "E"];
    let numbers = [
        "0",
        "1",
        "9",
        "10",
        "12",
        "100",
        "999",
        "1000",
        "1001",
        "1024",
        "1500",
        "2048",
        "1023",
        "10000",
        "100000",
        "1048576",
        "123456789",
        "999999999",
        "1000000000",
        "1234567890",
        "999999999999999",
        "1000000000000000",
        "9223372036854775807",
        "00",
        "01",
        "-1",
        "+1",
        "1.5",
        "",
    ];
    for (number, suffix) in numbers.iter().flat_map(|number| suffixes.map(|suffix| (number, suffix))) {
        let text = format!("{number}{suffix}");
        let written = Quantity::parse(&text).map(|amount| amount.to_string());
        if Quantity::is_canonical(text.as_bytes()) {
            assert_eq!(written.as_deref(), Ok(text.as_str()));
        }
    }
    assert!(
        ["0", "100m", "128Mi", "1", "110", "1500m", "20Gi", "500k"]
            .iter()
            .all(|text| Quantity::is_canonical(text.as_bytes()))
    );

    let mut times = 0;
    for year in
        [0, 1, 4, 99, 100, 400, 1582, 1899, 1900, 1969, 1970, 1999, 2000, 2023, 2024, 2026, 2100, 9998, 9999]
    {
        for (month, day) in
            (0..=13).flat_map(|month| [0, 1, 2, 27, 28, 29, 30, 31, 32].map(|day| (month, day)))
        {
            for clock in ["00:00:00", "23:59:59", "24:00:00", "12:60:00", "12:30:60"] {
                let text = format!("{year:04}-{month:02}-{day:02}T{clock}Z");
                let Some(seconds) = Time::seconds_of(text.as_bytes()) else { continue };
                let time: Time = text.parse().unwrap_or_else(|_| panic!("{text}"));
                assert_eq!(seconds, time.0.as_second(), "{text}");
                times += 1;
            }
        }
    }
    assert!(times > 2000);
    for text in
        ["2026-01-02T03:04:05z", "2026-01-02 03:04:05Z", "2026-01-0aT03:04:05Z", "2026-01-02T03:04:05.0Z"]
    {
        assert_eq!(Time::seconds_of(text.as_bytes()), None);
    }
}

#[test]
fn all_structs_have_plans() {
    fn walk(table: &'static StructType, seen: &mut Vec<*const StructType>) {
        if seen.contains(&std::ptr::from_ref(table)) {
            return;
        }
        seen.push(table);
        let plan = table.index().plan().unwrap_or_else(|| panic!("{} has none", table.name));
        for step in &plan.steps {
            if let Kind::Struct(inner) = step.kind {
                walk(inner(), seen);
            }
        }
    }
    let mut seen = Vec::new();
    kinds::all().iter().for_each(|row| walk((row.schema)(), &mut seen));
    assert!(seen.len() > 300, "{}", seen.len());
}

#[test]
fn objects_that_differ_in_values_share_a_template() {
    let pod = |name: &str, uid: &str, start: &str, address: &str, ready: bool| {
        format!(
            r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"{name}","uid":"{uid}","labels":{{"a":"{name}"}},"ownerReferences":[{{"apiVersion":"v1","kind":"Node","name":"{name}","uid":"u"}}],"managedFields":[{{"manager":"m","time":"{start}","fieldsV1":{{"k:{{\"ip\":\"{address}\"}}":{{}}}}}}]}},"spec":{{"nodeName":"n1","overhead":{{"cpu":"1"}},"containers":[{{"name":"{name}","livenessProbe":{{"httpGet":{{"port":"{uid}"}}}}}}]}},"status":{{"podIP":"{address}","startTime":"{start}","containerStatuses":[{{"name":"c","ready":{ready}}}]}}}}"#
        )
    };
    let own = pod("web", "1", "2026-01-02T03:04:05Z", "10.0.0.1", true);
    let template = Template::of(Pod::schema(), own.as_bytes()).expect("a template");
    let check = |text: &str, made: bool| {
        let expected = both::<Pod>(text).1.filter(|_| made);
        assert_eq!(template.message(own.as_bytes(), text.as_bytes()), expected, "{text}");
    };
    check(&own, true);
    for length in [1, 2, 3, 60, 100, 127, 128, 300, 20_000] {
        let long = "x".repeat(length);
        check(&pod(&long, "22", "2026-01-02T03:04:06Z", "10.0.0.14", true), true);
        check(&pod("web", &long, "1970-01-01T00:00:01Z", "::1", true), true);
    }
    for (name, start) in [
        ("", "2026-01-02T03:04:05Z"),
        ("a\\\"b", "2026-01-02T03:04:05Z"),
        ("é", "2026-01-02T03:04:05Z"),
        ("a", "now"),
        ("a", ""),
    ] {
        check(&pod(name, "1", start, "10.0.0.1", true), false);
    }
    check(&pod("web", "1", "2026-01-02T03:04:05Z", "10.0.0.1", false), false);
    check(&own.replace("n1\",", "n1\",\"hostNetwork\":true,"), false);
    check(&own.replace("\"1\"}", "\"2\"}"), false);
    check(&own.replace("{\"a\":", "{\"b\":"), false);
    for cut in 0..own.len() {
        check(&own[..cut], false);
    }
}
