//! Pods against levels, and labels against upstream's rules.

use super::checks::violations;
use super::level::{Level, LevelVersion, Policy, Version};
use api_types::codec::json;
use api_types::core::v1::Pod;
use std::collections::BTreeMap;

fn check(level: Level, minor: Option<u32>, pod: &str, expected: &str) {
    let pod: Pod = json::from_slice(pod.as_bytes()).unwrap_or_else(|e| panic!("{e}: {pod}"));
    let at = LevelVersion { level, version: Version(minor) };
    let found = violations(at, &pod.metadata, &pod.spec).unwrap_or_default();
    assert_eq!(found, expected, "{at}");
}

/// A pod with one container `a`; `container` and `spec` are fields with a comma in front.
fn pod(container: &str, spec: &str) -> String {
    format!(r#"{{"spec":{{"containers":[{{"name":"a"{container}}}]{spec}}}}}"#)
}

fn with(security: &str) -> String {
    pod(&format!(r#","securityContext":{{{security}}}"#), "")
}

#[test]
fn baseline_finds_ways_out_of_the_pod() {
    let cases = [
        (pod("", ""), ""),
        (
            pod("", r#","hostNetwork":true,"hostPID":true"#),
            "host namespaces (hostNetwork=true, hostPID=true)",
        ),
        (
            pod(r#","ports":[{"hostPort":80},{"hostPort":443}]"#, ""),
            r#"hostPort (container "a" uses hostPorts 443, 80)"#,
        ),
        (
            pod(
                "",
                r#","volumes":[{"name":"v","hostPath":{"path":"/"}},{"name":"w","hostPath":{"path":"/"}}]"#,
            ),
            r#"hostPath volumes (volumes "v", "w")"#,
        ),
        (
            with(r#""privileged":true"#),
            r#"privileged (container "a" must not set securityContext.privileged=true)"#,
        ),
        (
            with(r#""capabilities":{"add":["NET_ADMIN","CHOWN","BPF"]}"#),
            concat!(
                r#"non-default capabilities (container "a" must not include "BPF", "NET_ADMIN" "#,
                "in securityContext.capabilities.add)"
            ),
        ),
        (
            with(r#""procMount":"Unmasked""#),
            r#"procMount (container "a" must not set securityContext.procMount to "Unmasked")"#,
        ),
        (
            with(r#""seccompProfile":{"type":"Unconfined"}"#),
            concat!(
                r#"seccompProfile (container "a" must not set securityContext.seccompProfile.type "#,
                r#"to "Unconfined")"#
            ),
        ),
        (
            with(r#""seLinuxOptions":{"type":"spc_t","user":"u"}"#),
            concat!(
                r#"seLinuxOptions (container "a" set forbidden securityContext.seLinuxOptions: "#,
                r#"type "spc_t"; user may not be set)"#
            ),
        ),
        (
            with(r#""appArmorProfile":{"type":"Unconfined"}"#),
            concat!(
                r#"forbidden AppArmor profile (container "a" must not set AppArmor profile type "#,
                r#"to "Unconfined")"#
            ),
        ),
        (
            pod(
                "",
                r#","securityContext":{"sysctls":[{"name":"kernel.msgmax"},{"name":"net.ipv4.tcp_rmem"}]}"#,
            ),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            with(r#""windowsOptions":{"hostProcess":true}"#),
            r#"hostProcess (container "a" must not set securityContext.windowsOptions.hostProcess=true)"#,
        ),
        (
            pod(r#","livenessProbe":{"httpGet":{"host":"10.0.0.1","port":80}}"#, ""),
            r#"probe or lifecycle host (container "a" uses probe or lifecycle host "10.0.0.1")"#,
        ),
    ];
    for (pod, expected) in cases {
        check(Level::Baseline, None, &pod, expected);
        check(Level::Privileged, None, &pod, "");
    }
}

#[test]
fn restricted_wants_everything_locked_down() {
    check(
        Level::Restricted,
        None,
        &pod("", ""),
        concat!(
            r#"allowPrivilegeEscalation != false (container "a" must set securityContext.allowPrivilegeEscalation=false), "#,
            r#"unrestricted capabilities (container "a" must set securityContext.capabilities.drop=["ALL"]), "#,
            r#"runAsNonRoot != true (pod or container "a" must set securityContext.runAsNonRoot=true), "#,
            r#"seccompProfile (pod or container "a" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")"#,
        ),
    );
    let locked = concat!(
        r#""allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"],"add":["NET_BIND_SERVICE"]},"#,
        r#""runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}"#
    );
    check(Level::Restricted, None, &with(locked), "");
    check(
        Level::Restricted,
        None,
        &with(&format!(r#"{locked},"runAsUser":0"#)),
        r#"runAsUser=0 (container "a" must not set runAsUser=0)"#,
    );
    let volumes = r#","volumes":[{"name":"v","nfs":{"path":"/"}},{"name":"w","emptyDir":{}}]"#;
    check(
        Level::Restricted,
        None,
        &pod(&format!(r#","securityContext":{{{locked}}}"#), volumes),
        r#"restricted volume types (volume "v" uses restricted volume type "nfs")"#,
    );
}

#[test]
fn versions_keep_to_their_edition() {
    let probe = pod(r#","livenessProbe":{"tcpSocket":{"host":"h","port":80}}"#, "");
    check(Level::Baseline, Some(33), &probe, "");
    let rmem = pod("", r#","securityContext":{"sysctls":[{"name":"net.ipv4.tcp_rmem"}]}"#);
    check(Level::Baseline, Some(31), &rmem, "forbidden sysctls (net.ipv4.tcp_rmem)");
    check(Level::Baseline, Some(32), &rmem, "");
    // A user namespace makes an unmasked /proc harmless, since v1.35, at baseline.
    let unmasked = pod(r#","securityContext":{"procMount":"Unmasked"}"#, r#","hostUsers":false"#);
    let text = r#"procMount (container "a" must not set securityContext.procMount to "Unmasked")"#;
    check(Level::Baseline, Some(34), &unmasked, text);
    check(Level::Baseline, None, &unmasked, "");
}

#[test]
fn labels_choose_the_policy() {
    let of = |labels: &[(&str, &str)]| {
        let labels: BTreeMap<String, String> = labels
            .iter()
            .map(|(k, v)| (format!("pod-security.kubernetes.io/{k}"), (*v).to_owned()))
            .collect();
        let (policy, errors) = Policy::of(&labels);
        format!("{} {} {errors}", policy.enforce, policy.warn)
    };
    let path = |name: &str| format!("metadata.labels[pod-security.kubernetes.io/{name}]");
    assert_eq!(of(&[]), "privileged:latest privileged:latest ");
    assert_eq!(of(&[("enforce", "baseline")]), "baseline:latest baseline:latest ");
    assert_eq!(
        of(&[("enforce", "baseline"), ("enforce-version", "v1.30"), ("warn", "restricted")]),
        "baseline:v1.30 restricted:latest "
    );
    assert_eq!(
        of(&[("enforce", "tight")]),
        format!(
            "restricted:latest privileged:latest {}: Invalid value: \"tight\": must be one of privileged, baseline, restricted",
            path("enforce")
        )
    );
    assert_eq!(
        of(&[("warn-version", "1.30")]),
        format!(
            "privileged:latest privileged:latest {}: Invalid value: \"1.30\": must be \"latest\" or \"v1.x\"",
            path("warn-version")
        )
    );
}
