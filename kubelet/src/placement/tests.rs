//! Policies on machines of tests: who gets which CPUs and memory, what it says of NUMA nodes, what is refused.

use super::memory::Block;
use super::settings::ReservedMemory;
use super::topology::fixtures::machine;
use super::*;

fn container(name: &str, cpu: &str, memory: &str) -> Container {
    let mut container = Container { name: name.into(), ..Default::default() };
    for (kind, amount) in [("cpu", cpu), ("memory", memory)] {
        container.resources.requests.insert(kind.into(), amount.parse().unwrap());
    }
    container.resources.limits = container.resources.requests.clone();
    container
}

fn pod(uid: &str, containers: Vec<Container>) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.uid = uid.into();
    pod.spec.containers = containers;
    pod
}

fn one(uid: &str, cpu: &str, memory: &str) -> Pod {
    pod(uid, vec![container("c", cpu, memory)])
}

/// Two sockets with two cores of two threads and 1 GiB each; CPU 0 and 256 MiB of each node are reserved.
struct Bench {
    root: PathBuf,
    devices: Devices,
    placement: Placement,
}

fn settings(topology_policy: &str, scope: &str) -> Settings {
    let reserved =
        |numa_node| ReservedMemory { numa_node, limits: [("memory".to_owned(), "256Mi".to_owned())].into() };
    Settings {
        cpu_policy: "static".into(),
        memory_policy: "Static".into(),
        reserved_memory: vec![reserved(0), reserved(1)],
        topology_policy: topology_policy.into(),
        topology_scope: scope.into(),
        ..Default::default()
    }
}

fn reserved() -> ResourceList {
    [("cpu", "500m"), ("memory", "512Mi")]
        .map(|(name, amount)| (name.to_owned(), amount.parse().unwrap()))
        .into()
}

fn load(root: &Path, settings: &Settings) -> Result<Placement, String> {
    Placement::load(root, settings, machine(2, 2, true), &reserved())
}

impl Bench {
    fn new(settings: &Settings) -> Self {
        let root = std::env::temp_dir().join(format!("kubelet-placing-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&root).unwrap();
        Self { devices: Devices::load(&root), placement: load(&root, settings).unwrap(), root }
    }

    async fn admit(&self, pod: &Pod) -> Result<(), Refusal> {
        self.placement.admit(&self.devices, pod, true, |_| true).await
    }

    fn shows(&self, expected: &[(&str, &str, &str, &str)]) {
        for (uid, container, cpus, nodes) in expected {
            let found = (
                self.placement.cpus(uid, container).to_string(),
                self.placement.memory_nodes(uid, container),
            );
            assert_eq!(found, ((*cpus).to_owned(), (*nodes).to_owned()), "{uid} {container}");
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

#[tokio::test]
async fn whole_cpus_of_guaranteed_pods_are_their_own_until_they_are_over() {
    let bench = Bench::new(&settings("none", "container"));
    bench.shows(&[("a", "c", "0-7", "")]);
    bench.admit(&one("a", "2", "100Mi")).await.unwrap();
    bench.admit(&one("half", "1500m", "100Mi")).await.unwrap();
    let mut burstable = one("burstable", "1", "100Mi");
    burstable.spec.containers[0].resources.limits.clear();
    bench.admit(&burstable).await.unwrap();
    // Socket 0 has the fewest free CPUs, and a core of it is whole.
    bench.shows(&[
        ("a", "c", "1,5", "0"),
        ("half", "c", "0,2-4,6-7", "0"),
        ("burstable", "c", "0,2-4,6-7", ""),
    ]);
    assert!(bench.placement.pod_has_own_cpus("a") && !bench.placement.pod_has_own_cpus("half"));
    bench.admit(&one("a", "2", "100Mi")).await.unwrap();
    bench.shows(&[("a", "c", "1,5", "0")]);

    // Another kubelet, as after a restart, finds what was given.
    let later = load(&bench.root, &settings("none", "container")).unwrap();
    assert_eq!(later.own_cpus("a", "c").to_string(), "1,5");
    assert_eq!(later.cpus("else", "c").to_string(), "0,2-4,6-7");
    assert_eq!(later.memory("a", "c")[0].size, 100 << 20);

    bench.placement.release("a");
    bench.shows(&[("half", "c", "0-7", "0"), ("a", "c", "0-7", "")]);
    let refused = bench.admit(&one("b", "8", "100Mi")).await.unwrap_err();
    assert_eq!(refused.reason, "UnexpectedAdmissionError");
    assert_eq!(
        refused.message,
        "Allocate failed due to not enough cpus available to satisfy request: requested=8, available=7, which is unexpected"
    );
}

#[tokio::test]
async fn what_an_init_container_had_is_there_for_those_after_it() {
    let bench = Bench::new(&settings("none", "container"));
    let mut whole = pod("a", vec![container("c", "3", "300Mi")]);
    let mut sidecar = container("sidecar", "1", "100Mi");
    sidecar.restart_policy = Some(api_types::core::v1::ContainerRestartPolicy::Always);
    whole.spec.init_containers = vec![sidecar, container("init", "2", "200Mi")];
    bench.admit(&whole).await.unwrap();
    let own = |name: &str| bench.placement.own_cpus("a", name);
    assert!(own("init").is_within(&own("c")), "{} {}", own("init"), own("c"));
    assert!(own("sidecar").intersection(&own("c")).is_empty());
    let size = |name: &str| bench.placement.memory("a", name)[0].size >> 20;
    assert_eq!((size("sidecar"), size("init"), size("c")), (100, 0, 300), "what is used again counts once");
}

#[tokio::test]
async fn one_numa_node_for_cpus_and_memory_or_none() {
    for scope in ["container", "pod"] {
        let bench = Bench::new(&settings("single-numa-node", scope));
        bench.admit(&one("a", "2", "700Mi")).await.unwrap();
        bench.shows(&[("a", "c", "1,5", "0")]);
        // Node 0 has a CPU left, and no memory.
        bench.admit(&one("b", "1", "100Mi")).await.unwrap();
        bench.shows(&[("b", "c", "2", "1")]);
        let refused = bench.admit(&one("c", "4", "100Mi")).await.unwrap_err();
        assert_eq!(refused, Refusal::topology(), "{scope}");
        let wide = bench.admit(&one("d", "1", "800Mi")).await.unwrap_err();
        // COMPAT: memory that fits nowhere has no say, and fails only when it is given.
        assert_eq!(
            (wide.reason.as_str(), wide.message.as_str()),
            (
                "UnexpectedAdmissionError",
                "Allocate failed due to [memorymanager] failed to find NUMA nodes to extend the current topology hint, which is unexpected"
            )
        );
        // Who asks for nothing of that kind runs anywhere.
        let mut any = one("e", "1", "1Mi");
        any.spec.containers[0].resources.limits.clear();
        bench.admit(&any).await.unwrap();
    }
}

#[tokio::test]
async fn best_effort_takes_what_there_is_and_restricted_what_could_not_be_better() {
    let bench = Bench::new(&settings("best-effort", "container"));
    bench.admit(&one("a", "3", "100Mi")).await.unwrap();
    bench.shows(&[("a", "c", "1,4-5", "0")]);
    bench.admit(&one("b", "4", "100Mi")).await.unwrap();
    bench.shows(&[("b", "c", "2-3,6-7", "1")]);
    let bench = Bench::new(&settings("restricted", "container"));
    // Six CPUs cannot come from one node: two are as good as it gets.
    bench.admit(&one("a", "6", "1200Mi")).await.unwrap();
    bench.shows(&[("a", "c", "1-3,5-7", "0,1")]);
    // Both nodes are used as a pair now.
    let refused = bench.admit(&one("b", "1", "100Mi")).await.unwrap_err();
    assert_eq!(refused.reason, "TopologyAffinityError");
}

#[tokio::test]
async fn pods_scope_counts_all_containers() {
    let two = |uid: &str| pod(uid, vec![container("c", "2", "100Mi"), container("d", "2", "100Mi")]);
    let bench = Bench::new(&settings("single-numa-node", "pod"));
    bench.admit(&two("a")).await.unwrap();
    bench.shows(&[("a", "c", "2,6", "1"), ("a", "d", "3,7", "1")]);
    let refused = bench.admit(&two("b")).await.unwrap_err();
    assert_eq!(refused.reason, "TopologyAffinityError");
}

#[tokio::test]
async fn whole_cores_only_where_that_was_asked_for() {
    let mut settings = settings("none", "container");
    settings.cpu_options.insert("full-pcpus-only".into(), "true".into());
    let bench = Bench::new(&settings);
    let refused = bench.admit(&one("a", "3", "100Mi")).await.unwrap_err();
    assert_eq!(refused.reason, "SMTAlignmentError");
    assert_eq!(refused.message, "SMT Alignment Error: requested 3 cpus not multiple cpus per core = 2");
    bench.admit(&one("a", "4", "100Mi")).await.unwrap();
    bench.shows(&[("a", "c", "2-3,6-7", "0")]);
    let refused = bench.admit(&one("b", "4", "100Mi")).await.unwrap_err();
    assert_eq!(
        refused.message,
        "SMT Alignment Error: not enough free physical CPUs: available physical CPUs = 2, requested CPUs = 4, CPUs per core = 2"
    );
}

#[test]
fn settings_that_cannot_be_on_this_machine() {
    let root = std::env::temp_dir().join(format!("kubelet-settings-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&root).unwrap();
    let refused = |change: &dyn Fn(&mut Settings)| {
        let mut settings = settings("none", "container");
        change(&mut settings);
        load(&root, &settings).map(drop).unwrap_err()
    };
    assert_eq!(refused(&|s| s.cpu_policy = "some".into()), "unknown policy: \"some\"");
    assert_eq!(
        refused(&|s| drop(s.cpu_options.insert("align-by-socket".into(), "true".into()))),
        "new static policy error: CPU Manager Policy Alpha-level Options not enabled, but option \"align-by-socket\" provided"
    );
    assert_eq!(
        refused(&|s| drop(s.cpu_options.insert("x".into(), "true".into()))),
        "new static policy error: unknown CPU Manager Policy option: \"x\""
    );
    assert_eq!(
        refused(&|s| s.reserved_cpus = "0,9".into()),
        "reserved-cpus: 0,9 is not a subset of online-cpus: 0-7"
    );
    assert_eq!(
        refused(&|s| drop(s.reserved_memory.pop())),
        "the total amount \"256Mi\" of type \"memory\" is not equal to the value \"512Mi\" determined by Node Allocatable feature"
    );
    assert_eq!(
        refused(&|s| s.reserved_memory[0].numa_node = 7),
        "the reserved memory configuration references a NUMA node 7 that does not exist on this machine"
    );
    assert_eq!(
        refused(&|s| {
            s.cpu_policy = "none".into();
            s.cpu_options.insert("full-pcpus-only".into(), "true".into());
        }),
        "new none policy error: None policy: received unsupported options=map[full-pcpus-only:true]"
    );
    // A file of another policy, and one of another machine.
    std::fs::write(root.join(CPU_FILE), r#"{"policyName":"none","defaultCpuSet":"","checksum":1353318690}"#)
        .unwrap();
    assert_eq!(
        refused(&|_| ()),
        format!(
            "start cpu manager error: could not restore state from checkpoint: configured policy \"static\" differs from state checkpoint policy \"none\", please drain this node and delete the CPU manager checkpoint file \"{}/cpu_manager_state\" before restarting Kubelet",
            root.display()
        )
    );
    std::fs::write(root.join(CPU_FILE), r#"{"policyName":"static","defaultCpuSet":"0-3","checksum":0}"#)
        .unwrap();
    assert!(
        refused(&|_| ())
            .contains("current set of available CPUs \"0-7\" doesn't match with CPUs in state \"0-3\"")
    );
    std::fs::remove_dir_all(&root).unwrap();
}

#[test]
fn reserved_cpus_may_be_strict_or_named() {
    let root = std::env::temp_dir().join(format!("kubelet-strict-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&root).unwrap();
    let mut settings = settings("none", "container");
    settings.cpu_options.insert("strict-cpu-reservation".into(), "true".into());
    settings.reserved_cpus = "7".into();
    for _ in 0..2 {
        // The second time from the file that the first wrote.
        let placement = load(&root, &settings).unwrap();
        assert_eq!(placement.cpus("any", "c").to_string(), "0-6", "no one runs on it");
        assert_eq!(placement.allocatable_cpus().to_string(), "0-6");
    }
    settings.cpu_options.clear();
    assert!(
        load(&root, &settings).map(drop).unwrap_err().contains("not all reserved cpus: \"7\" are present")
    );
    std::fs::remove_dir_all(&root).unwrap();
}

#[test]
fn memory_over_several_nodes_is_laid_and_given_back_whole() {
    let topology = machine(2, 2, true);
    let reserved = [(0, [("memory".to_owned(), 256 << 20)].into())].into();
    let policy = memory::Static::new(&topology, &reserved).unwrap();
    let empty = policy.start(memory::State::default()).unwrap();
    let mut state = empty.clone();
    let large = one("a", "1", "1500Mi");
    let any = Hint { nodes: None, preferred: false };
    let container = (&large.spec.containers[0], false);
    policy.allocate(&mut state, &large, container, any, &mut Default::default()).unwrap();
    let free: Vec<u64> = state.machine.values().map(|node| node.memory_map["memory"].free >> 20).collect();
    assert_eq!(free, [0, 292]);
    assert_eq!(
        state.of("a", "c").unwrap(),
        &[Block { numa_affinity: vec![0, 1], kind: "memory".into(), size: 1500 << 20 }]
    );
    assert_eq!(policy.start(state.clone()).unwrap(), state, "as after a restart");
    let small = one("b", "1", "300Mi");
    let container = (&small.spec.containers[0], false);
    let refused = policy.allocate(&mut state, &small, container, any, &mut Default::default()).unwrap_err();
    assert_eq!(
        refused,
        "[memorymanager] failed to get the default NUMA affinity, no NUMA nodes with enough memory is available"
    );
    assert!(state.retain(|uid| uid != "a"));
    assert_eq!(state, empty);
    let mut other = state.clone();
    other.machine.get_mut(&0).unwrap().memory_map.get_mut("memory").unwrap().total = 1;
    assert_eq!(
        policy.start(other).unwrap_err(),
        "[memorymanager] the expected machine state is different from the real one"
    );
}
