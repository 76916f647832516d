//! Names that several daemons must agree on: resources, labels, taints, annotations, finalizers.
//!
//! Only what crosses crates; a name that one controller alone uses stands with it.

/// Names of node and pod resources.
pub mod resource {
    pub const CPU: &str = "cpu";
    pub const MEMORY: &str = "memory";
    pub const STORAGE: &str = "storage";
    pub const EPHEMERAL_STORAGE: &str = "ephemeral-storage";
    pub const PODS: &str = "pods";
    pub const HUGE_PAGES_PREFIX: &str = "hugepages-";
}

/// Labels of nodes, endpoints and namespaces.
pub mod label {
    pub const HOSTNAME: &str = "kubernetes.io/hostname";
    pub const OS: &str = "kubernetes.io/os";
    pub const ARCH: &str = "kubernetes.io/arch";
    pub const ZONE: &str = "topology.kubernetes.io/zone";
    pub const REGION: &str = "topology.kubernetes.io/region";
    pub const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";
    pub const EXCLUDE_FROM_LOAD_BALANCERS: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
    pub const METADATA_NAME: &str = "kubernetes.io/metadata.name";
    pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";
    pub const HEADLESS_SERVICE: &str = "service.kubernetes.io/headless";
    pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
    pub const SERVICE_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
    pub const ENDPOINT_SLICE_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
    pub const ENDPOINT_SLICE_SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
}

/// Taints that the node lifecycle puts on nodes.
pub mod taint {
    pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
    pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
    pub const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
    pub const MEMORY_PRESSURE: &str = "node.kubernetes.io/memory-pressure";
    pub const DISK_PRESSURE: &str = "node.kubernetes.io/disk-pressure";
    pub const PID_PRESSURE: &str = "node.kubernetes.io/pid-pressure";
    pub const NETWORK_UNAVAILABLE: &str = "node.kubernetes.io/network-unavailable";
    pub const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
}

/// Annotations that more than one daemon reads or writes.
pub mod annotation {
    pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
    pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
    pub const STATIC_POD_SOURCE: &str = "kubernetes.io/config.source";
    pub const STATIC_POD_HASH: &str = "kubernetes.io/config.hash";
    pub const STATIC_POD_MIRROR: &str = "kubernetes.io/config.mirror";
    pub const STATIC_POD_SEEN: &str = "kubernetes.io/config.seen";
    pub const DEPLOYMENT_REVISION: &str = "deployment.kubernetes.io/revision";
    pub const ENDPOINTS_LAST_CHANGE: &str = "endpoints.kubernetes.io/last-change-trigger-time";
    pub const ENDPOINTS_OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
    pub const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
    /// Class of a claim or volume, from before there was a field.
    pub const STORAGE_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
    pub const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";
    pub const SERVICE_ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
    pub const SERVICE_ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
}

/// Finalizers of the API machinery.
pub mod finalizer {
    /// In a namespace's spec, until everything in it is gone.
    pub const KUBERNETES: &str = "kubernetes";
    pub const ORPHAN: &str = "orphan";
    pub const FOREGROUND: &str = "foregroundDeletion";
    /// On claims, while a pod uses them.
    pub const PVC_PROTECTION: &str = "kubernetes.io/pvc-protection";
    /// On volumes, while they are bound.
    pub const PV_PROTECTION: &str = "kubernetes.io/pv-protection";
    /// On Jobs' pods, until they are counted.
    pub const JOB_TRACKING: &str = "batch.kubernetes.io/job-tracking";
}

/// Namespaces that exist from the start.
pub mod namespace {
    pub const DEFAULT: &str = "default";
    pub const SYSTEM: &str = "kube-system";
    pub const PUBLIC: &str = "kube-public";
    pub const NODE_LEASE: &str = "kube-node-lease";
}

/// Fixed names of the built-in priority classes, schedulers and objects.
pub mod name {
    pub const DEFAULT_SCHEDULER: &str = "default-scheduler";
    pub const SYSTEM_CLUSTER_CRITICAL: &str = "system-cluster-critical";
    pub const SYSTEM_NODE_CRITICAL: &str = "system-node-critical";
    pub const DEFAULT_SERVICE_ACCOUNT: &str = "default";
    pub const ROOT_CA_CONFIG_MAP: &str = "kube-root-ca.crt";
    /// `clusterIP` of a headless Service.
    pub const NO_CLUSTER_IP: &str = "None";
}
