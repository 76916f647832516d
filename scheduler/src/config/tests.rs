//! What configurations are taken and refused, and the profiles that they make.

use std::path::Path;

use super::*;

fn config(body: &str) -> Result<SchedulerConfig, String> {
    let text =
        format!("apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n{body}");
    let expected =
        Expected { kind: "KubeSchedulerConfiguration", api_versions: &["kubescheduler.config.k8s.io/v1"] };
    let config: SchedulerConfig =
        config_file::parse(&text, Path::new("c.yaml"), expected).map_err(|e| e.to_string())?;
    config.check().map_err(|e| e.to_string())?;
    Ok(config)
}

fn scores(config: &SchedulerConfig, profile: usize) -> Vec<(&'static str, i64)> {
    config.profiles().unwrap()[profile].score.iter().map(|(p, weight)| (p.name(), *weight)).collect()
}

#[test]
fn defaults_are_upstreams() {
    let config = SchedulerConfig::default();
    assert_eq!(
        scores(&config, 0),
        [
            ("TaintToleration", 3),
            ("NodeAffinity", 2),
            ("NodeResourcesFit", 1),
            ("PodTopologySpread", 2),
            ("InterPodAffinity", 2),
            ("DynamicResources", 2),
            ("NodeResourcesBalancedAllocation", 1),
            ("ImageLocality", 1),
        ]
    );
    assert_eq!(&*config.profiles().unwrap()[0].name, "default-scheduler");
}

#[test]
fn points_and_weights_can_be_changed() {
    let config = config(
        "profiles:\n- schedulerName: a\n  plugins:\n    multiPoint:\n      enabled: [{name: ImageLocality, weight: 7}]\n    score:\n      disabled: [{name: '*'}]\n      enabled: [{name: NodeResourcesFit, weight: 5}]\n- schedulerName: b\n  plugins:\n    multiPoint:\n      disabled: [{name: InterPodAffinity}, {name: GangScheduling}]\n      enabled: [{name: ImageLocality, weight: 7}]\n",
    )
    .unwrap();
    assert_eq!(scores(&config, 0), [("NodeResourcesFit", 5)]);
    assert!(scores(&config, 1).contains(&("ImageLocality", 7)));
    let profiles = config.profiles().unwrap();
    assert!(profiles[1].filter.iter().all(|p| p.name() != "InterPodAffinity"));
}

#[test]
fn arguments_reach_their_plugins() {
    let config = config(
        "profiles:\n- pluginConfig:\n  - name: NodeResourcesFit\n    args:\n      apiVersion: kubescheduler.config.k8s.io/v1\n      kind: NodeResourcesFitArgs\n      scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 3}]}\n  - name: NodeAffinity\n    args:\n      addedAffinity:\n        requiredDuringSchedulingIgnoredDuringExecution:\n          nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]\n",
    );
    config.unwrap().profiles().unwrap();
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for (body, part) in [
        ("podMaxBackoff: 3", "unknown field \"podMaxBackoff\""),
        ("profiles: [{plugins: {filter: {enabled: [{name: Mine}]}}}]", "plugin \"Mine\" is not supported"),
        (
            "profiles: [{plugins: {multiPoint: {enabled: [{name: GangScheduling}]}}}]",
            "plugin \"GangScheduling\" is not supported",
        ),
        ("profiles: [{plugins: {filter: {enabled: [{name: ImageLocality}]}}}]", "does not extend filter"),
        ("profiles: [{plugins: {preFlight: {}}}]", "plugins.preFlight is not supported"),
        ("profiles: [{}, {}]", "schedulerName: Required value"),
        ("profiles: [{schedulerName: a}, {schedulerName: a}]", "Duplicate value: \"a\""),
        ("profiles: [{plugins: {bind: {disabled: [{name: '*'}]}}}]", "at least one bind plugin"),
        ("profiles: [{pluginConfig: [{name: NodeName, args: {}}]}]", "takes no arguments"),
        (
            "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: RequestedToCapacityRatio}}}]}]",
            "must be specified when type is RequestedToCapacityRatio",
        ),
        (
            "profiles: [{pluginConfig: [{name: InterPodAffinity, args: {hardPodAffinity: 3}}]}]",
            "unknown field `hardPodAffinity`",
        ),
        ("leaderElection: {resourceLock: endpoints}", "must be \"leases\""),
        ("podInitialBackoffSeconds: 20", "podMaxBackoffSeconds"),
    ] {
        let error = config(body).expect_err(body);
        assert!(error.contains(part), "{body}: {error}");
    }
}

#[test]
fn extenders_are_read_and_checked() {
    daemon::tls::install_default_provider();
    let extenders = |body: &str| config(&format!("extenders:\n{body}"));
    extenders(
        "- urlPrefix: https://gpu.example:8443/scheduler\n  filterVerb: filter\n  prioritizeVerb: prioritize\n  \
         preemptVerb: preempt\n  bindVerb: bind\n  weight: 3\n  enableHTTPS: true\n  httpTimeout: 2s\n  \
         nodeCacheCapable: true\n  ignorable: true\n  tlsConfig: {insecure: true, serverName: gpu}\n  \
         managedResources: [{name: example.com/gpu, ignoredByScheduler: true}]\n",
    )
    .unwrap();
    let refused = |body: &str, why: &str| {
        let error = extenders(body).unwrap_err();
        assert!(error.contains(why), "{error}");
    };
    refused(
        "- {urlPrefix: 'http://a', prioritizeVerb: p}\n",
        "extenders[0].weight: Invalid value: 0: must have a positive weight applied to it",
    );
    refused(
        "- {urlPrefix: 'http://a', bindVerb: b}\n- {urlPrefix: 'http://b', bindVerb: b}\n",
        "extenders: Invalid value: \"found 2 extenders implementing bind\": only one extender can implement bind",
    );
    refused(
        "- {urlPrefix: 'http://a', managedResources: [{name: cpu}]}\n",
        "extenders[0].managedResources[0].name: Invalid value: \"cpu\": is an invalid extended resource name",
    );
    refused(
        "- {urlPrefix: 'http://a', managedResources: [{name: e.com/a}]}\n- {urlPrefix: 'http://b', managedResources: [{name: e.com/a}]}\n",
        "extenders[1].managedResources[0].name: Invalid value: \"e.com/a\": duplicate extender managed resource name",
    );
    refused("- {urlPrefix: 'ftp://a'}\n", "ftp://a");
    refused("- {urlPrefix: 'http://a', tlsConfig: {caData: '!'}}\n", "tlsConfig.caData");
}

#[test]
fn weights_of_resources_have_limits() {
    let args = |plugin: &str, args: &str| {
        config(&format!("profiles: [{{pluginConfig: [{{name: {plugin}, args: {args}}}]}}]")).map(drop)
    };
    let fit = |weight: i64| {
        let resources = format!("{{scoringStrategy: {{resources: [{{name: cpu, weight: {weight}}}]}}}}");
        args("NodeResourcesFit", &resources)
    };
    assert!(fit(100).is_ok());
    assert!(fit(101).unwrap_err().contains("resource weight of cpu not in valid range (0, 100]"));
    let balanced =
        |resources: &str| args("NodeResourcesBalancedAllocation", &format!("{{resources: [{resources}]}}"));
    assert!(balanced("{name: cpu, weight: 1}, {name: example.com/gpu}").is_ok());
    assert!(balanced("{name: cpu, weight: 2}").unwrap_err().contains("must be 1"));
    assert!(balanced("{name: cpu}, {name: cpu}").unwrap_err().contains("Duplicate value: \"cpu\""));
}
