//! `kubeforge`: makes and runs a cluster on this machine.
//! `cluster` is the local cluster's life (up, down, status, logs, kill, purge); `image` makes the
//! container images that a machine without a registry needs.
//!
//! The flow of `up`: settings → host (is this machine fit?) → pki → config → supervisor (a process of
//! its own, which survives us) → readiness. Every step looks at what is there and does what is
//! missing, so that `up` can be repeated. Errors in this crate are read by a person and by nobody
//! else: they are anyhow's throughout, each with the step that failed.

mod addons;
mod cluster;
mod config;
mod daemons;
mod host;
mod image;
mod layout;
mod pki;
mod probe;
mod progress;
mod readiness;
mod settings;
mod supervisor;
mod teardown;
mod workers;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::cluster::Cluster;
use crate::settings::Overrides;

/// Makes and runs Ferrokube clusters on this machine.
#[derive(Parser)]
#[command(name = "kubeforge", version = daemon::version::GIT_VERSION, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The cluster on this machine
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Container images without a registry
    #[command(subcommand)]
    Image(ImageCommand),
}

/// Which cluster: all that belongs to it is in one folder.
#[derive(Args)]
struct Dir {
    /// The cluster's folder
    #[arg(long, value_name = "DIR", default_value = ".cluster")]
    dir: PathBuf,
}

#[derive(Subcommand)]
enum ClusterCommand {
    /// Start the cluster, making what is missing; safe to repeat
    Up {
        #[command(flatten)]
        dir: Dir,
        #[command(flatten)]
        overrides: Box<Overrides>,
    },
    /// Stop everything, keep the data
    Down(Dir),
    /// Stop everything and delete the data
    Purge(Dir),
    /// What runs, since when, how often restarted
    Status(Dir),
    /// Print a daemon's log
    Logs {
        #[command(flatten)]
        dir: Dir,
        /// kvstore, kube-apiserver, …
        name: String,
        /// How many of the last lines; all when omitted
        #[arg(long, short = 'n')]
        tail: Option<usize>,
    },
    /// kill -9 a daemon; the supervisor restarts it
    Kill {
        #[command(flatten)]
        dir: Dir,
        /// kvstore, kube-apiserver, … or `all`
        name: String,
    },
    /// Run a program in the cluster's network, with KUBECONFIG set
    Run {
        #[command(flatten)]
        dir: Dir,
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// The process that keeps the daemons running (started by `up`)
    #[command(hide = true)]
    Supervise(Dir),
}

#[derive(Subcommand)]
enum ImageCommand {
    /// Make a busybox image from this machine's static busybox and load it
    Busybox {
        #[command(flatten)]
        dir: Dir,
        /// Names for the image; a set of usual ones when omitted
        #[arg(long = "tag", value_name = "NAME")]
        tags: Vec<String>,
        /// Write the OCI archive here and load nothing
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Load an OCI or Docker archive
    Load {
        #[command(flatten)]
        dir: Dir,
        archive: PathBuf,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    daemon::tls::install_default_provider();
    match run(Cli::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kubeforge: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Cluster(ClusterCommand::Up { dir, overrides }) => cluster::up(&dir.dir, &overrides).await,
        Command::Cluster(ClusterCommand::Down(dir)) => cluster::down(&Cluster::open(&dir.dir)?).await,
        Command::Cluster(ClusterCommand::Purge(dir)) => cluster::purge(&Cluster::open(&dir.dir)?).await,
        Command::Cluster(ClusterCommand::Status(dir)) => cluster::status(&Cluster::open(&dir.dir)?),
        Command::Cluster(ClusterCommand::Logs { dir, name, tail }) => {
            cluster::logs(&Cluster::open(&dir.dir)?, &name, tail)
        }
        Command::Cluster(ClusterCommand::Kill { dir, name }) => {
            cluster::kill(&Cluster::open(&dir.dir)?, &name)
        }
        Command::Cluster(ClusterCommand::Run { dir, command }) => {
            cluster::run(&Cluster::open(&dir.dir)?, &command)
        }
        Command::Cluster(ClusterCommand::Supervise(dir)) => supervisor::run(Cluster::open(&dir.dir)?).await,
        Command::Image(ImageCommand::Busybox { dir, tags, output }) => {
            let archive = image::busybox(&tags)?;
            match output {
                Some(file) => Ok(std::fs::write(file, archive)?),
                None => {
                    for node in Cluster::open(&dir.dir)?.nodes()? {
                        image::load(&node, "busybox", &archive)?;
                    }
                    println!("loaded busybox");
                    Ok(())
                }
            }
        }
        Command::Image(ImageCommand::Load { dir, archive }) => {
            Cluster::open(&dir.dir)?.nodes()?.iter().try_for_each(|node| image::load_file(node, &archive))
        }
    }
}
