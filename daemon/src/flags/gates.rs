//! Upstream's feature gates of 1.36 with their stages and defaults. None of them can be changed here: a gate may be
//! named with upstream's default only.

use super::feature_gates::{Feature, FeatureGateError, FeatureGates, Stage};

/// Why a gate cannot be set.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FixedGateError {
    #[error(transparent)]
    Gate(#[from] FeatureGateError),
    #[error("feature gate {name} cannot be changed: it is {default} in this build")]
    Fixed { name: &'static str, default: bool },
}

/// Checks a flag's value, `A=true,B=false`.
///
/// # Errors
/// When it is malformed, names what upstream does not know, or asks for another value than the default.
pub fn held_to_defaults(text: &str) -> Result<(), FixedGateError> {
    let known: &'static [Feature] = table();
    let mut gates = FeatureGates::new(known);
    gates.set(text)?;
    let changed = known.iter().find(|feature| gates.enabled(feature.name) != feature.default);
    match changed {
        Some(feature) => Err(FixedGateError::Fixed { name: feature.name, default: feature.default }),
        None => Ok(()),
    }
}

/// [`held_to_defaults`] for the `featureGates` of a configuration file.
///
/// # Errors
/// Likewise.
pub fn all_held_to_defaults(wanted: &std::collections::BTreeMap<String, bool>) -> Result<(), FixedGateError> {
    let pairs: Vec<String> = wanted.iter().map(|(name, value)| format!("{name}={value}")).collect();
    held_to_defaults(&pairs.join(","))
}

fn table() -> &'static [Feature] {
    static TABLE: std::sync::OnceLock<Vec<Feature>> = std::sync::OnceLock::new();
    TABLE.get_or_init(|| {
        let of = |row: &'static Row| {
            let (stage, default, locked, names) = *row;
            names.split_ascii_whitespace().map(move |name| Feature { name, stage, default, locked })
        };
        GATES.iter().flat_map(of).collect()
    })
}

/// Stage, default, whether it is locked to it, names.
type Row = (Stage, bool, bool, &'static str);

const GATES: &[Row] = &[
    (
        Stage::Alpha,
        false,
        false,
        "APIServingWithRoutine AllowUnsafeMalformedObjectDeletion CBORServingAndStorage \
         CPUManagerPolicyAlphaOptions CRIListStreaming CSIVolumeHealth \
         CloudControllerManagerWatchBasedRoutesReconciliation CloudControllerManagerWebhook \
         ContainerStopSignals ControllerManagerReleaseLeaderElectionLockOnExit \
         CrossNamespaceVolumeDataSource DRAListTypeAttributes DRANodeAllocatableResources \
         DRAResourcePoolStatus DRAWorkloadResourceClaims EventedPLEG GangScheduling GenericWorkload \
         HPAScaleToZero ImageVolumeWithDigest InPlacePodVerticalScalingExclusiveCPUs \
         InPlacePodVerticalScalingExclusiveMemory KubeletInUserNamespace LoggingAlphaOptions \
         ManifestBasedAdmissionControlConfig MemoryQoS MutablePVNodeAffinity NativeHistograms \
         PersistentVolumeClaimUnusedSinceTime PodAndContainerStatsFromCRI PodLevelResourceManagers \
         PodLogsQuerySplitStreams PodsAPI QOSReserved ReduceDefaultCrashLoopBackOffDecay \
         RuntimeClassInImageCriAPI ShardedListAndWatch StorageCapacityScoring StorageVersionAPI \
         TaintTolerationComparisonOperators TopologyAwareWorkloadScheduling \
         TopologyManagerPolicyAlphaOptions UserNamespacesHostNetworkSupport VolumeLimitScaling \
         WindowsCPUAndMemoryAffinity WorkloadAwarePreemption WorkloadWithJob",
    ),
    (
        Stage::Beta,
        false,
        false,
        "ClusterTrustBundle ClusterTrustBundleProjection ConcurrentWatchObjectDecode \
         CoordinatedLeaderElection DRADeviceTaintRules LocalStorageCapacityIsolationFSQuotaMonitoring \
         MaxUnavailableStatefulSet PodCertificateRequest SELinuxMount SchedulerAsyncAPICalls \
         StorageVersionMigrator",
    ),
    (
        Stage::Beta,
        true,
        false,
        "APIResponseCompression APIServerIdentity AllowParsingUserUIDFromCertAuth \
         AuthorizePodWebsocketUpgradeCreatePermission CPUManagerPolicyBetaOptions \
         CRDObservedGenerationTracking ClearingNominatedNodeNameAfterBinding ComponentFlagz \
         ComponentStatusz ConstrainedImpersonation ContainerCheckpoint ContainerRestartRules \
         ContextualLogging DRAConsumableCapacity DRADeviceBindingConditions DRADeviceTaints \
         DRAExtendedResource DRAPartitionableDevices DRAResourceClaimDeviceStatus \
         DRAResourceClaimGranularStatusAuthorization DRASchedulerFilterTimeout \
         DeclarativeValidationBeta DeploymentReplicaSetTerminatingReplicas DetectCacheInconsistency \
         EnvFiles ExtendWebSocketsToKubelet GracefulNodeShutdown \
         GracefulNodeShutdownBasedOnPodPriority HPAConfigurableTolerance HostnameOverride \
         InPlacePodLevelResourcesVerticalScaling InPlacePodVerticalScalingInitContainers \
         KubeletCrashLoopBackOffMax KubeletEnsureSecretPulledImages KubeletSeparateDiskGC \
         KubeletServiceAccountTokenForCredentialProviders ListFromCacheSnapshot LoggingBetaOptions \
         MatchLabelKeysInPodTopologySpread MatchLabelKeysInPodTopologySpreadSelectorMerge \
         MutablePodResourcesForSuspendedJobs MutableSchedulingDirectivesForSuspendedJobs \
         NodeDeclaredFeatures NominatedNodeNameForExpectation OpenAPIEnums OpportunisticBatching \
         PLEGOnDemandRelist PodDeletionCost PodLevelResources PodReadyToStartContainersCondition \
         PodTopologyLabelsAdmission PortForwardWebsockets PreventStaticPodAPIReferences \
         RelaxedServiceNameValidation ReloadKubeletClientCAFile ReloadKubeletServerCertificateFile \
         RemoteRequestHeaderUID ResourceHealthStatus ResourceHealthStatusMessage \
         RestartAllContainersOnContainerExits RotateKubeletServerCertificate SchedulerAsyncPreemption \
         SchedulerPopFromBackoffQ ServiceAccountNodeAudienceRestriction SizeBasedListCostEstimate \
         StaleControllerConsistencyDaemonSet StaleControllerConsistencyJob \
         StaleControllerConsistencyReplicaSet StaleControllerConsistencyStatefulSet \
         StatefulSetSemanticRevisionComparison StorageVersionHash StrictIPCIDRValidation \
         StructuredAuthenticationConfigurationEgressSelector \
         StructuredAuthenticationConfigurationJWKSMetrics TokenRequestServiceAccountUIDValidation \
         TopologyManagerPolicyBetaOptions TranslateStreamCloseWebsocketRequests \
         UnauthenticatedHTTP2DOSMitigation UnknownVersionInteroperabilityProxy \
         WatchCacheInitializationPostStartHook WatchList WindowsGracefulNodeShutdown",
    ),
    (
        Stage::Deprecated,
        false,
        false,
        "AllowDNSOnlyNodeCSR AllowInsecureKubeletCertificateSigningRequests \
         ChangeContainerStatusOnKubeletRestart DeclarativeValidationTakeover KMSv1 \
         KubeletRegistrationGetOnExistsOnly WindowsHostNetwork",
    ),
    (
        Stage::Deprecated,
        false,
        true,
        "AllowOverwriteTerminationGracePeriodSeconds GitRepoVolumeDriver SeparateCacheWatchRPC",
    ),
    (
        Stage::Deprecated,
        true,
        false,
        "DisableCPUQuotaWithExclusiveCPUs KubeletPodResourcesListUseActivePods \
         ServiceCIDRStatusFieldWiping StorageNamespaceIndex",
    ),
    (Stage::Deprecated, true, true, "AggregatedDiscoveryRemoveBetaType DisableNodeKubeProxyVersion"),
    (
        Stage::Ga,
        true,
        false,
        "AllowServiceExternalIPs CPUCFSQuotaPeriod DRAPrioritizedList MutatingAdmissionPolicy",
    ),
    (
        Stage::Ga,
        true,
        true,
        "APIServerTracing AnonymousAuthConfigurableEndpoints AnyVolumeDataSource \
         AuthorizeNodeWithSelectors AuthorizeWithSelectors BtreeWatchCache CPUManagerPolicyOptions \
         CRDValidationRatcheting CSIServiceAccountTokenSecrets ConsistentListFromCache \
         CustomResourceFieldSelectors DRAAdminAccess DeclarativeValidation DisableAllocatorDualWrite \
         DynamicResourceAllocation ExecProbeTimeout ExternalServiceAccountTokenSigner \
         ImageMaximumGCAge ImageVolume InPlacePodVerticalScaling JobBackoffLimitPerIndex JobManagedBy \
         JobPodReplacementPolicy JobSuccessPolicy KubeletCgroupDriverFromCRI KubeletFineGrainedAuthz \
         KubeletPSI KubeletPodResourcesDynamicResources KubeletPodResourcesGet KubeletTracing \
         LogarithmicScaleDown MatchLabelKeysInPodAffinity MultiCIDRServiceAllocator \
         MutableCSINodeAllocatableCount NFTablesProxyMode NodeInclusionPolicyInPodTopologySpread \
         NodeLogQuery NodeSwap OrderedNamespaceDeletion PodLifecycleSleepAction \
         PodLifecycleSleepActionAllowZero PodObservedGenerationTracking PodSchedulingReadiness \
         PreferSameTrafficDistribution ProcMountType RecoverVolumeExpansionFailure \
         RecursiveReadOnlyMounts RelaxedDNSSearchValidation RelaxedEnvironmentVariableValidation \
         ResilientWatchCacheInitialization RetryGenerateName SELinuxChangePolicy \
         SELinuxMountReadWriteOncePod SchedulerQueueingHints SeparateTaintEvictionController \
         ServiceAccountTokenJTI ServiceAccountTokenNodeBinding \
         ServiceAccountTokenNodeBindingValidation ServiceAccountTokenPodNodeInfo SidecarContainers \
         StreamingCollectionEncodingToJSON StreamingCollectionEncodingToProtobuf \
         StructuredAuthenticationConfiguration SupplementalGroupsPolicy SystemdWatchdog \
         TopologyManagerPolicyOptions UserNamespacesSupport VolumeAttributesClass WinDSR WinOverlay",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_may_be_named_with_their_defaults() {
        held_to_defaults("").unwrap();
        held_to_defaults("AllAlpha=false,InPlacePodVerticalScaling=true,SidecarContainers=true").unwrap();
        let error = |text: &str| held_to_defaults(text).unwrap_err().to_string();
        assert_eq!(error("Nope=true"), "unrecognized feature gate: Nope");
        assert_eq!(
            error("CBORServingAndStorage=true"),
            "feature gate CBORServingAndStorage cannot be changed: it is false in this build"
        );
        assert!(error("AllBeta=false").contains("cannot be changed: it is true in this build"));
    }

    #[test]
    fn each_gate_stands_once() {
        let mut names: Vec<&str> = table().iter().map(|feature| feature.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
