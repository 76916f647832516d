//! The command line of kube-scheduler, in upstream's sections. What is given here overrides the
//! configuration file only where upstream's does: leader election and `--master`.

use std::path::PathBuf;

use clap::Parser;
use daemon::flags::{GoDuration, LoggingFlags};
use daemon::serve::{DelegatedFlags, ServingFlags};

use crate::config::SchedulerConfig;

/// The Kubernetes scheduler gives each pod a node: it finds the nodes that satisfy what the pod
/// needs, ranks them, and binds the pod to the best.
#[derive(Parser, Debug)]
#[command(name = "kube-scheduler")]
pub struct Flags {
    /// The path to the configuration file
    #[arg(long, value_name = "string", help_heading = "Misc flags")]
    pub config: Option<PathBuf>,
    /// The address of the Kubernetes API server (overrides any value in kubeconfig)
    #[arg(long, value_name = "string", help_heading = "Misc flags")]
    pub master: Option<String>,

    #[command(flatten)]
    pub serving: ServingFlags,
    #[command(flatten)]
    pub delegated: DelegatedFlags,

    /// DEPRECATED: path to kubeconfig file with authorization and master location information. Ignored if a config file is given
    #[arg(long, value_name = "string", help_heading = "Deprecated flags")]
    pub kubeconfig: Option<String>,
    /// DEPRECATED: QPS to use while talking with kubernetes apiserver. Ignored if a config file is given
    #[arg(long, value_name = "float", help_heading = "Deprecated flags")]
    pub kube_api_qps: Option<f32>,
    /// DEPRECATED: burst to use while talking with kubernetes apiserver. Ignored if a config file is given
    #[arg(long, value_name = "int", help_heading = "Deprecated flags")]
    pub kube_api_burst: Option<i32>,
    /// DEPRECATED: profiling via web interface. There is none: only false is accepted
    #[arg(long, help_heading = "Deprecated flags")]
    pub profiling: bool,

    /// Gain leadership before scheduling. Enable this when running several schedulers for high availability
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = daemon::flags::parse_bool, help_heading = "Leader election flags")]
    pub leader_elect: Option<bool>,
    /// How long other candidates wait after the last renewal that they saw
    #[arg(long, value_name = "duration", help_heading = "Leader election flags")]
    pub leader_elect_lease_duration: Option<GoDuration>,
    /// How long the leader tries to renew before it stops leading
    #[arg(long, value_name = "duration", help_heading = "Leader election flags")]
    pub leader_elect_renew_deadline: Option<GoDuration>,
    /// How long candidates wait between tries
    #[arg(long, value_name = "duration", help_heading = "Leader election flags")]
    pub leader_elect_retry_period: Option<GoDuration>,
    /// The kind of lock: leases
    #[arg(long, value_name = "string", value_parser = ["leases"], help_heading = "Leader election flags")]
    pub leader_elect_resource_lock: Option<String>,
    /// The name of the lock
    #[arg(long, value_name = "string", help_heading = "Leader election flags")]
    pub leader_elect_resource_name: Option<String>,
    /// The namespace of the lock
    #[arg(long, value_name = "string", help_heading = "Leader election flags")]
    pub leader_elect_resource_namespace: Option<String>,

    #[command(flatten)]
    pub logging: LoggingFlags,
}

impl Flags {
    /// The configuration: the file, or the defaults with the deprecated flags; then leader election.
    ///
    /// # Errors
    /// When the file cannot be used, or a flag asks for what there is not.
    pub fn config(&self) -> anyhow::Result<SchedulerConfig> {
        anyhow::ensure!(!self.profiling, "--profiling=true is not supported by this scheduler");
        let mut config = match &self.config {
            Some(path) => SchedulerConfig::load(path)?,
            None => SchedulerConfig::default(),
        };
        if self.config.is_none() {
            let connection = &mut config.client_connection;
            set(&mut connection.kubeconfig, &self.kubeconfig);
            set(&mut connection.qps, &self.kube_api_qps);
            set(&mut connection.burst, &self.kube_api_burst);
        }
        let election = &mut config.leader_election;
        set(&mut election.leader_elect, &self.leader_elect);
        set(&mut election.lease_duration, &self.leader_elect_lease_duration);
        set(&mut election.renew_deadline, &self.leader_elect_renew_deadline);
        set(&mut election.retry_period, &self.leader_elect_retry_period);
        set(&mut election.resource_name, &self.leader_elect_resource_name);
        set(&mut election.resource_namespace, &self.leader_elect_resource_namespace);
        anyhow::ensure!(
            election.lease_duration > election.renew_deadline,
            "leaderElection.renewDeadline: Invalid value: LeaseDuration must be greater than RenewDeadline"
        );
        Ok(config)
    }
}

fn set<T: Clone>(slot: &mut T, value: &Option<T>) {
    if let Some(value) = value {
        *slot = value.clone();
    }
}
