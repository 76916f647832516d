//! What configurations of people's tools become, and how others are refused.

use super::*;

fn parse(body: &str) -> Result<KubeletConfiguration, String> {
    let text = format!("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n{body}");
    let file = config_file::parse_leniently(&text, Path::new("kubelet.yaml"), EXPECTED);
    let config =
        KubeletConfiguration::from_file(file.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    config.check().map_err(|e| e.to_string())?;
    Ok(config)
}

#[test]
fn what_kubeadm_writes_is_accepted() {
    let config = parse(
        "authentication: {anonymous: {enabled: false}, webhook: {cacheTTL: 0s, enabled: true}, \
         x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}}\n\
         authorization: {mode: Webhook, webhook: {cacheAuthorizedTTL: 0s, cacheUnauthorizedTTL: 0s}}\n\
         cgroupDriver: cgroupfs\nclusterDNS: [10.96.0.10]\nclusterDomain: cluster.local\n\
         containerRuntimeEndpoint: \"\"\ncpuManagerReconcilePeriod: 0s\ncrashLoopBackOff: {}\n\
         healthzPort: 10248\nimageMinimumGCAge: 0s\nlogging: {flushFrequency: 0, options: {json: \
         {infoBufferSize: \"0\"}}, verbosity: 0}\nmemorySwap: {}\nnodeStatusReportFrequency: 0s\n\
         shutdownGracePeriod: 0s\nstaticPodPath: /etc/kubernetes/manifests\nrotateCertificates: true\nsyncFrequency: 0s\n",
    )
    .unwrap();
    assert_eq!(config.cluster_dns, ["10.96.0.10"]);
    assert_eq!(config.port, 10250);
    assert_eq!(config.node_status_report_frequency, None);
    assert_eq!(config.container_runtime_endpoint, "unix:///run/containerd/containerd.sock");
}

#[test]
fn images_are_pulled_at_once_when_it_is_said_how_many() {
    let check = |body: &str, expected: (Option<usize>, u32, u32)| {
        let pulls = parse(body).unwrap().pulls().unwrap();
        assert_eq!((pulls.at_once, pulls.per_second, pulls.burst), expected);
    };
    check("port: 1\n", (Some(1), 5, 10));
    check("maxParallelImagePulls: 3\n", (Some(3), 5, 10));
    check("maxParallelImagePulls: 1\n", (Some(1), 5, 10));
    check("serializeImagePulls: false\nregistryPullQPS: 0\nregistryBurst: 2\n", (None, 0, 2));
}

#[test]
fn what_would_be_ignored_is_refused_by_name() {
    let check = |body: &str, expected: &str| assert_eq!(parse(body).unwrap_err(), expected);
    check(
        "memoryThrottlingFactor: 0.5\n",
        "KubeletConfiguration: memoryThrottlingFactor: 0.5 is not supported by this kubelet",
    );
    check(
        "staticPodURL: ftp://x/\n",
        "invalid KubeletConfiguration: staticPodURL: \"ftp://x/\": only http and https are supported by this kubelet",
    );
    check(
        "evictionSoft: {memory.available: 5%}\n",
        "invalid KubeletConfiguration: grace period must be specified for the soft eviction threshold \
         memory.available",
    );
    check(
        "enableSystemLogHandler: false\nenableSystemLogQuery: true\n",
        "invalid KubeletConfiguration: enableSystemLogHandler is required for enableSystemLogQuery",
    );
    check(
        "topologyManagerPolicy: some\n",
        "invalid KubeletConfiguration: topologyManagerPolicy (--topology-manager-policy) \"some\" must be one of: [\"none\" \"best-effort\" \"restricted\" \"single-numa-node\"]",
    );
    check(
        "reservedMemory: [{numaNode: 0, limits: {cpu: 1}}]\n",
        "invalid KubeletConfiguration: the limit type \"cpu\" for NUMA node 0 is not supported, only [memory hugepages-<HugePageSize>] is accepted",
    );
    check(
        "userNamespaces: {idsPerPod: 65537}\n",
        "invalid KubeletConfiguration: userNamespaces.idsPerPod must be a multiple of 65536",
    );
    check(
        "imagePullCredentialsVerificationPolicy: AlwaysVerify\npreloadedImagesVerificationAllowlist: [a]\n",
        "invalid KubeletConfiguration: can't set `preloadedImagesVerificationAllowlist` if \
         `imagePullCredentialsVertificationPolicy` is not \"NeverVerifyAllowlistedImages\"",
    );
    check(
        "crashLoopBackOff: {maxContainerRestartPeriod: 301s}\n",
        "invalid KubeletConfiguration: CrashLoopBackOff.MaxContainerRestartPeriod (got: 301 seconds) must be set \
         between 1s and 300s",
    );
    check(
        "serializeImagePulls: true\nmaxParallelImagePulls: 2\n",
        "invalid KubeletConfiguration: maxParallelImagePulls cannot be larger than 1 unless SerializeImagePulls \
         (--serialize-image-pulls) is set to false",
    );
    assert!(parse("evictionHard: {memory.available: \"0%\"}\n").is_ok());
}

#[test]
fn fields_that_nobody_knows_are_told() {
    let body =
        "maxPods: 1\nfoo: 1\nmaxPods: 20\nregisterWithTaints: [{key: a, effect: NoSchedule, colour: red}]\n";
    let config = parse(body).unwrap();
    assert_eq!(config.max_pods, 20);
    assert_eq!(
        config.strict_error.as_deref(),
        Some(
            "strict decoding error: yaml: unmarshal errors:\n  line 5: key \"maxPods\" already set in map, unknown field \
             \"foo\", unknown field \"registerWithTaints[0].colour\""
        )
    );
    assert_eq!(parse("maxPods: 1\n").unwrap().strict_error, None);
}

/// Hardening guides, kubespray and RKE2 write these.
#[test]
fn what_hardened_nodes_have_is_accepted() {
    let config = parse(
        "protectKernelDefaults: true\nstreamingConnectionIdleTimeout: 5m\neventRecordQPS: 0\neventBurst: 20\n\
         kubeAPIQPS: 20\nkubeAPIBurst: 30\nmakeIPTablesUtilChains: true\nhairpinMode: hairpin-veth\n\
         enableDebuggingHandlers: false\nenableServer: false\noomScoreAdj: -500\nmaxOpenFiles: 65536\n\
         podsPerCore: 10\nnodeStatusMaxImages: -1\nimageMinimumGCAge: 5m\nsyncFrequency: 30s\niptablesMasqueradeBit: 3\n\
         authentication: {webhook: {cacheTTL: 10s}}\nauthorization: {webhook: {cacheAuthorizedTTL: 1m}}\n\
         enforceNodeAllocatable: [pods, kube-reserved, system-reserved]\nkubeReservedCgroup: /kube.slice\n\
         systemReservedCgroup: /system.slice\nkubeletCgroups: /kubelet.slice\nsystemCgroups: /rest\ncgroupRoot: /\n\
         volumePluginDir: /usr/libexec/k0s/kubelet-plugins/volume/exec\n\
         logging: {flushFrequency: 5s, format: json, options: {json: {infoBufferSize: \"0\"}, text: \
         {infoBufferSize: \"0\"}}, verbosity: 2}\n\
         featureGates: {RotateKubeletServerCertificate: true, GracefulNodeShutdown: true}\n",
    )
    .unwrap();
    assert!(config.protect_kernel_defaults && config.enforces("system-reserved") && !config.enforces("none"));
    assert_eq!(config.sync_frequency, Some(std::time::Duration::from_secs(30)));
    assert_eq!((config.logging.verbosity, config.logging.format.as_str()), (2, "json"));
    // COMPAT: none stands for client-go's own default.
    assert_eq!(config.event_rate().per_second, 5.0);
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let check = |body: &str, expected: &str| {
        let error = parse(body).unwrap_err();
        assert_eq!(error, format!("invalid KubeletConfiguration: {expected}"));
    };
    check(
        "hairpinMode: some\n",
        "option \"some\" specified for hairpinMode (--hairpin-mode). Valid options are \"none\", \"hairpin-veth\" or \"promiscuous-bridge\"",
    );
    check(
        "iptablesDropBit: 32\n",
        "iptablesDropBit (--iptables-drop-bit) 32 must be between 0 and 31, inclusive",
    );
    check(
        "oomScoreAdj: -1001\n",
        "oomScoreAdj (--oom-score-adj) -1001 must be between -1000 and 1000, inclusive",
    );
    check(
        "streamingConnectionIdleTimeout: soon\n",
        "streamingConnectionIdleTimeout: time: invalid duration \"soon\"",
    );
    check(
        "kubeAPIQPS: -1\npodsPerCore: -2\n",
        "[kubeAPIQPS (--kube-api-qps) -1 must not be a negative number, podsPerCore (--pods-per-core) -2 must not be \
         a negative number]",
    );
    check("imageMaximumGCAge: 1m\n", "imageMaximumGCAge 1m0s must be greater than imageMinimumGCAge 2m0s");
    let refused = parse("localStorageCapacityIsolation: false\n").unwrap_err();
    assert!(refused.contains("localStorageCapacityIsolation: false is not supported"), "{refused}");
    let field = "enforceNodeAllocatable (--enforce-node-allocatable)";
    check(
        "enforceNodeAllocatable: [system-reserved]\n",
        &format!(
            "systemReservedCgroup (--system-reserved-cgroup) must be specified when \"system-reserved\" or \
             \"system-reserved-compressible\" included in {field}"
        ),
    );
    check(
        "enforceNodeAllocatable: [none, pods, pods]\n",
        &format!(
            "[{field} may not contain additional enforcements when \"none\" is specified, duplicated enforcements \
             \"pods\" in {field}]"
        ),
    );
    check(
        "kubeReservedCgroup: /a\nenforceNodeAllocatable: [kube-reserved, kube-reserved-compressible]\n",
        &format!(
            "both \"kube-reserved\" and \"kube-reserved-compressible\" cannot be specified together in {field}"
        ),
    );
    check(
        "systemCgroups: /a\n",
        "systemCgroups (--system-cgroups) was specified and cgroupRoot (--cgroup-root) was not specified",
    );
    check(
        "reservedSystemCPUs: \"0\"\nkubeReservedCgroup: /a\n",
        "can't use reservedSystemCPUs (--reserved-cpus) with systemReservedCgroup (--system-reserved-cgroup) or \
         kubeReservedCgroup (--kube-reserved-cgroup)",
    );
}
