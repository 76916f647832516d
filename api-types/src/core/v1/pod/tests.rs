//! Pods on their way to the store: defaults, what is refused, what updates may not do, columns.

use super::*;
use crate::field::Errors;
use crate::kind::{Object, Strategy};
use crate::kinds;
use crate::meta::v1::ConditionStatus;
use crate::value::{Quantity, Time};
use jiff::{Timestamp, ToSpan};

/// A pod that nothing is wrong with, with defaults.
fn pod(change: impl FnOnce(&mut Pod)) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name = "web".into();
    pod.metadata.namespace = "shop".into();
    pod.metadata.resource_version = "1".into();
    pod.spec.containers = vec![container("main")];
    change(&mut pod);
    let row = kinds::by_kind("", "v1", "Pod").expect("a kind");
    row.default(&mut pod as &mut dyn Object);
    pod
}

fn container(name: &str) -> Container {
    Container { name: name.into(), image: "nginx:1.27".into(), ..Container::default() }
}

fn texts(errors: &Errors) -> Vec<String> {
    errors.0.iter().map(ToString::to_string).collect()
}

/// What is refused in a new pod.
#[track_caller]
fn check(change: impl FnOnce(&mut Pod), expected: &[&str]) {
    let pod = pod(change);
    let mut errors = Errors::default();
    pod.validate(&mut errors);
    pod.validate_create(&mut errors);
    assert_eq!(texts(&errors), expected);
}

#[test]
fn defaults() {
    let pod = pod(|pod| {
        let main = &mut pod.spec.containers[0];
        main.image = "nginx".into();
        main.ports = vec![ContainerPort { container_port: 80, ..Default::default() }];
        main.resources.limits.insert("cpu".into(), Quantity::from_milli(500));
        main.liveness_probe = Some(Box::new(Probe {
            handler: ProbeHandler {
                http_get: Some(Box::new(HTTPGetAction { port: 80.into(), ..Default::default() })),
                ..Default::default()
            },
            ..Default::default()
        }));
        pod.spec.volumes = vec![Volume { name: "tmp".into(), ..Default::default() }];
        pod.spec.host_network = true;
    });
    let spec = &pod.spec;
    assert_eq!(spec.restart_policy, RestartPolicy::Always);
    assert_eq!(spec.dns_policy, DNSPolicy::ClusterFirst);
    assert_eq!(spec.scheduler_name, "default-scheduler");
    assert_eq!(spec.termination_grace_period_seconds, Some(30));
    assert_eq!(spec.enable_service_links, Some(true));
    assert!(spec.security_context.is_some());
    assert!(spec.volumes[0].source.empty_dir.is_some());
    let main = &spec.containers[0];
    assert_eq!(main.image_pull_policy, PullPolicy::Always);
    assert_eq!(main.termination_message_path, "/dev/termination-log");
    assert_eq!(main.termination_message_policy, TerminationMessagePolicy::File);
    assert_eq!((main.ports[0].protocol.as_str(), main.ports[0].host_port), ("TCP", 80));
    assert_eq!(main.resources.requests, main.resources.limits);
    let probe = main.liveness_probe.as_ref().expect("given");
    assert_eq!(
        (probe.timeout_seconds, probe.period_seconds, probe.success_threshold, probe.failure_threshold),
        (1, 10, 1, 3)
    );
    let get = probe.handler.http_get.as_ref().expect("given");
    assert_eq!((get.path.as_str(), get.scheme.as_str()), ("/", "HTTP"));
}

#[test]
fn creation_sets_status_and_generation() {
    let mut own = pod(|pod| {
        pod.status.phase = PodPhase::Running;
        pod.status.pod_ip = "10.0.0.1".into();
        pod.spec.scheduling_gates = vec![PodSchedulingGate { name: "wait".into() }];
    });
    own.prepare_for_create();
    assert_eq!(own.metadata.generation, 1);
    assert_eq!(own.status.phase, PodPhase::Pending);
    assert_eq!(own.status.qos_class, PodQOSClass::BestEffort);
    assert_eq!(own.status.pod_ip, "");
    assert_eq!(own.status.conditions[0].reason, "SchedulingGated");
}

#[test]
fn classes_of_service() {
    let amounts = |cpu: i64, memory: &str| {
        let memory = Quantity::parse(memory).expect("a quantity");
        ResourceList::from([("cpu".to_owned(), Quantity::from_milli(cpu)), ("memory".to_owned(), memory)])
    };
    let class = |limits: ResourceList, requests: ResourceList| {
        let own = pod(|pod| {
            pod.spec.containers[0].resources = ResourceRequirements { limits, requests, claims: vec![] };
        });
        demand::qos_class(&own.spec)
    };
    let none = ResourceList::new;
    assert_eq!(class(none(), none()), PodQOSClass::BestEffort);
    assert_eq!(class(amounts(100, "1Gi"), none()), PodQOSClass::Guaranteed);
    assert_eq!(class(amounts(100, "1Gi"), amounts(50, "1Gi")), PodQOSClass::Burstable);
    assert_eq!(class(none(), amounts(50, "1Gi")), PodQOSClass::Burstable);
}

#[test]
fn a_plain_pod_is_taken() {
    check(|_| {}, &[]);
}

#[test]
fn containers() {
    check(|p| p.spec.containers.clear(), &["spec.containers: Required value"]);
    check(
        |p| p.spec.containers[0] = Container::default(),
        &["spec.containers[0].name: Required value", "spec.containers[0].image: Required value"],
    );
    check(
        |p| p.spec.containers.push(container("main")),
        &[r#"spec.containers[1].name: Duplicate value: "main""#],
    );
    check(
        |p| p.spec.containers[0].image = " nginx".into(),
        &[
            r#"spec.containers[0].image: Invalid value: " nginx": must not have leading or trailing whitespace"#,
        ],
    );
    check(
        |p| p.spec.containers[0].image_pull_policy = "Sometimes".into(),
        &[
            r#"spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never""#,
        ],
    );
    check(
        |p| {
            p.spec.ephemeral_containers =
                vec![EphemeralContainer { common: container("x"), ..Default::default() }]
        },
        &["spec.ephemeralContainers: Forbidden: cannot be set on create"],
    );
    check(
        |p| {
            let mut init = container("setup");
            init.liveness_probe = Some(Box::default());
            p.spec.init_containers = vec![init];
        },
        &[
            "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
        ],
    );
}

#[test]
fn ports() {
    let port = |name: &str, number: i32, host: i32| ContainerPort {
        name: name.into(),
        container_port: number,
        host_port: host,
        ..Default::default()
    };
    check(
        |p| p.spec.containers[0].ports = vec![port("http", 0, 0), port("http", 70_000, 0)],
        &[
            "spec.containers[0].ports[0].containerPort: Required value",
            r#"spec.containers[0].ports[1].name: Duplicate value: "http""#,
            "spec.containers[0].ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ],
    );
    check(
        |p| p.spec.containers[0].ports = vec![port("a", 80, 80), port("b", 81, 80)],
        &[r#"spec.containers[0].ports[1].hostPort: Duplicate value: "TCP//80""#],
    );
}

#[test]
fn variables() {
    let variable = |name: &str| EnvVar { name: name.into(), ..Default::default() };
    check(
        |p| {
            p.spec.containers[0].env = vec![
                variable(""),
                variable("a=b"),
                EnvVar { value_from: Some(Box::default()), ..variable("from") },
                EnvVar {
                    value_from: Some(Box::new(EnvVarSource {
                        field_ref: Some(Box::new(ObjectFieldSelector {
                            field_path: "status.phase".into(),
                            ..Default::default()
                        })),
                        ..Default::default()
                    })),
                    ..variable("phase")
                },
            ];
        },
        &[
            "spec.containers[0].env[0].name: Required value",
            r#"spec.containers[0].env[1].name: Invalid value: "a=b": a valid environment variable name must consist only of printable ASCII characters other than '='"#,
            r#"spec.containers[0].env[2].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"#,
            r#"spec.containers[0].env[3].valueFrom.fieldRef.fieldPath: Unsupported value: "status.phase": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs""#,
        ],
    );
}

#[test]
fn volumes_and_mounts() {
    let mount = |name: &str, path: &str| VolumeMount {
        name: name.into(),
        mount_path: path.into(),
        ..Default::default()
    };
    check(
        |p| {
            p.spec.volumes = vec![Volume {
                name: "data".into(),
                source: VolumeSource {
                    empty_dir: Some(Box::default()),
                    config_map: Some(Box::default()),
                    ..Default::default()
                },
            }];
            p.spec.containers[0].volume_mounts = vec![mount("other", "/a")];
        },
        &[
            "spec.volumes[0].configMap: Forbidden: may not specify more than 1 volume type",
            r#"spec.containers[0].volumeMounts[0].name: Not found: "other""#,
        ],
    );
    check(
        |p| {
            p.spec.volumes = vec![Volume { name: "tmp".into(), ..Default::default() }];
            p.spec.containers[0].volume_mounts = vec![mount("tmp", "/a"), mount("tmp", "/a")];
        },
        &[r#"spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique"#],
    );
}

#[test]
fn probes() {
    check(
        |p| {
            let main = &mut p.spec.containers[0];
            main.readiness_probe = Some(Box::default());
            main.liveness_probe = Some(Box::new(Probe {
                handler: ProbeHandler {
                    exec: Some(Box::new(ExecAction { command: vec!["true".into()] })),
                    tcp_socket: Some(Box::default()),
                    ..Default::default()
                },
                success_threshold: 2,
                period_seconds: -1,
                ..Default::default()
            }));
        },
        &[
            "spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
            "spec.containers[0].livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
            "spec.containers[0].readinessProbe: Required value: must specify a handler type",
        ],
    );
}

#[test]
fn resources() {
    let amount = |text: &str| Quantity::parse(text).expect("a quantity");
    check(
        |p| {
            let resources = &mut p.spec.containers[0].resources;
            resources.limits = [("memory".to_owned(), amount("1Gi"))].into();
            resources.requests =
                [("memory".to_owned(), amount("2Gi")), ("gold".to_owned(), amount("1"))].into();
        },
        &[
            r#"spec.containers[0].resources.requests[gold]: Invalid value: "gold": must be a standard resource type or fully qualified"#,
            r#"spec.containers[0].resources.requests[gold]: Invalid value: "gold": must be a standard resource for containers"#,
            r#"spec.containers[0].resources.requests: Invalid value: "2Gi": must be less than or equal to memory limit of 1Gi"#,
        ],
    );
}

#[test]
fn placement() {
    check(
        |p| {
            p.spec.tolerations = vec![
                Toleration { operator: TolerationOperator::Equal, ..Default::default() },
                Toleration { key: "a".into(), toleration_seconds: Some(1), ..Default::default() },
            ];
            p.spec.topology_spread_constraints = vec![TopologySpreadConstraint {
                topology_key: "zone".into(),
                when_unsatisfiable: UnsatisfiableConstraintAction::DoNotSchedule,
                ..Default::default()
            }];
            p.spec.affinity = Some(Box::new(Affinity {
                node_affinity: Some(Box::new(NodeAffinity {
                    required_during_scheduling_ignored_during_execution: Some(Box::default()),
                    ..Default::default()
                })),
                ..Default::default()
            }));
        },
        &[
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term",
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
            r#"spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys""#,
            r#"spec.tolerations[1].effect: Invalid value: "": effect must be 'NoExecute' when `tolerationSeconds` is set"#,
        ],
    );
}

#[test]
fn confinement() {
    check(
        |p| {
            p.spec.host_network = true;
            p.spec.security_context = Some(Box::new(PodSecurityContext {
                run_as_user: Some(-1),
                sysctls: vec![Sysctl { name: "net.core.somaxconn".into(), value: "1".into() }],
                seccomp_profile: Some(Box::new(SeccompProfile {
                    type_: SeccompProfileType::Localhost,
                    ..Default::default()
                })),
                ..Default::default()
            }));
        },
        &[
            "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            r#"spec.securityContext.sysctls[0].name: Invalid value: "net.core.somaxconn": may not be specified when 'hostNetwork' is true"#,
            "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
        ],
    );
}

/// What an update of a pod is refused for.
#[track_caller]
fn check_update(change: impl FnOnce(&mut Pod), expected: &[&str]) {
    let old = pod(|_| {});
    let mut new = old.clone();
    change(&mut new);
    let mut errors = Errors::default();
    new.validate_update(&old, &mut errors);
    let firsts: Vec<String> =
        texts(&errors).iter().map(|text| text.lines().next().unwrap_or_default().to_owned()).collect();
    assert_eq!(firsts, expected);
}

#[test]
fn updates() {
    const FROZEN: &str = "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
    check_update(|p| p.spec.containers[0].image = "nginx:2".into(), &[]);
    check_update(|p| p.spec.active_deadline_seconds = Some(5), &[]);
    check_update(|p| p.spec.tolerations.push(Toleration { key: "a".into(), ..Default::default() }), &[]);
    check_update(|p| p.spec.hostname = "x".into(), &[FROZEN]);
    check_update(
        |p| p.spec.containers.push(container("more")),
        &["spec.containers: Forbidden: pod updates may not add or remove containers"],
    );
    check_update(
        |p| p.spec.scheduling_gates.push(PodSchedulingGate { name: "late".into() }),
        &[
            "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'late'",
        ],
    );
}

#[test]
fn updates_of_the_status() {
    let ended = |code: i32| ContainerStatus {
        name: "main".into(),
        state: ContainerState {
            terminated: Some(Box::new(ContainerStateTerminated { exit_code: code, ..Default::default() })),
            ..Default::default()
        },
        ..Default::default()
    };
    let running = ContainerStatus { name: "main".into(), ..Default::default() };
    let check = |policy: RestartPolicy, code: i32, expected: &[&str]| {
        let mut old = pod(|p| p.spec.restart_policy = policy);
        old.status.container_statuses = vec![ended(code)];
        let mut new = old.clone();
        new.status.container_statuses = vec![running.clone()];
        let mut errors = Errors::default();
        new.validate_status_update(&old, &mut errors);
        assert_eq!(texts(&errors), expected);
    };
    const NO: &str =
        "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state";
    check(RestartPolicy::Always, 0, &[]);
    check(RestartPolicy::OnFailure, 1, &[]);
    check(RestartPolicy::OnFailure, 0, &[NO]);
    check(RestartPolicy::Never, 1, &[NO]);
}

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().expect("a time")
}

/// READY, STATUS, RESTARTS and AGE.
#[track_caller]
fn check_columns(change: impl FnOnce(&mut Pod), expected: &str) {
    let mut own = pod(|_| {});
    own.metadata.creation_timestamp = Some(Time(now() - 90.seconds()));
    own.status.phase = PodPhase::Running;
    change(&mut own);
    let cells: Vec<String> = Pod::columns()[1..5]
        .iter()
        .map(|column| (column.cell)(&own, now()).as_str().expect("a text").to_owned())
        .collect();
    assert_eq!(cells.join(" | "), expected);
}

fn status_of(name: &str, state: ContainerState) -> ContainerStatus {
    ContainerStatus { name: name.into(), state, ..Default::default() }
}

fn waiting(reason: &str) -> ContainerState {
    let waiting = ContainerStateWaiting { reason: reason.into(), ..Default::default() };
    ContainerState { waiting: Some(Box::new(waiting)), ..Default::default() }
}

fn terminated(reason: &str, exit_code: i32) -> ContainerState {
    let ended = ContainerStateTerminated { reason: reason.into(), exit_code, ..Default::default() };
    ContainerState { terminated: Some(Box::new(ended)), ..Default::default() }
}

fn running() -> ContainerState {
    ContainerState { running: Some(Box::default()), ..Default::default() }
}

#[test]
fn columns() {
    check_columns(|p| p.status.phase = PodPhase::Pending, "0/1 | Pending | 0 | 90s");
    check_columns(
        |p| {
            let mut main = status_of("main", running());
            main.ready = true;
            main.restart_count = 3;
            main.last_state = terminated("Error", 1);
            main.last_state.terminated.as_mut().expect("set").finished_at = Some(Time(now() - 5.minutes()));
            p.status.container_statuses = vec![main];
        },
        "1/1 | Running | 3 (5m ago) | 90s",
    );
    check_columns(
        |p| p.status.container_statuses = vec![status_of("main", waiting("CrashLoopBackOff"))],
        "0/1 | CrashLoopBackOff | 0 | 90s",
    );
    check_columns(
        |p| {
            p.spec.init_containers = vec![container("setup")];
            p.status.init_container_statuses = vec![status_of("setup", ContainerState::default())];
        },
        "0/1 | Init:0/1 | 0 | 90s",
    );
    check_columns(
        |p| {
            p.status.phase = PodPhase::Succeeded;
            p.status.container_statuses = vec![status_of("main", terminated("Completed", 0))];
        },
        "0/1 | Completed | 0 | 90s",
    );
    check_columns(
        |p| p.status.container_statuses = vec![status_of("main", terminated("", 137))],
        "0/1 | ExitCode:137 | 0 | 90s",
    );
    check_columns(|p| p.metadata.deletion_timestamp = Some(Time(now())), "0/1 | Terminating | 0 | 90s");
    check_columns(
        |p| {
            p.spec.containers.push(container("side"));
            let mut main = status_of("main", running());
            main.ready = true;
            p.status.container_statuses = vec![status_of("done", terminated("Completed", 0)), main];
            p.status.conditions = vec![PodCondition {
                type_: PodConditionType::Ready,
                status: ConditionStatus::False,
                ..Default::default()
            }];
        },
        "1/2 | NotReady | 0 | 90s",
    );
}

#[test]
fn status_writes_keep_what_is_not_theirs() {
    let mut old = pod(|_| {});
    old.prepare_for_create();
    old.status.observed_generation = 1;
    let mut new = old.clone();
    new.spec.hostname = "x".into();
    new.status = PodStatus { phase: PodPhase::Running, ..PodStatus::default() };
    new.prepare_for_status_update(&old);
    assert_eq!(new.spec, old.spec);
    assert_eq!(new.status.qos_class, PodQOSClass::BestEffort);
    assert_eq!(new.status.observed_generation, 1);
    let mut spec_change = old.clone();
    spec_change.spec.containers[0].image = "nginx:2".into();
    spec_change.status.phase = PodPhase::Failed;
    spec_change.prepare_for_update(&old);
    assert_eq!((spec_change.metadata.generation, spec_change.status.phase), (2, PodPhase::Pending));
}
