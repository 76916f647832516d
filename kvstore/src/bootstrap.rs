//! Who this member is when it starts for the first time: computed from `--initial-cluster` when the
//! cluster is new, told by its members when it exists. Later starts find it in the data directory and
//! look at none of these flags, as with etcd.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use daemon::tls::ClientTls;
use openraft::BasicNode;

use crate::data_dir::Identity;
use crate::flags::{FlagError, Flags, Url, urls};
use crate::raft::peers::members_at;
use crate::raft::wire::MembersReply;

/// The members that `--initial-cluster` names: peer URLs by name, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialCluster {
    members: BTreeMap<String, BTreeSet<String>>,
    name: String,
    token: String,
}

/// Why a member cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("member {0:x} has already been bootstrapped")]
    AlreadyBootstrapped(u64),
    #[error(
        "cannot fetch cluster info from peer urls: could not retrieve cluster information from the given URLs"
    )]
    NoAnswer,
    #[error("error validating peerURLs: member count is unequal: {given} are given, the cluster has {known}")]
    CountDiffers { given: usize, known: usize },
    #[error("error validating peerURLs: {0} is no member of the cluster; add it with `member add` first")]
    NoMember(String),
}

impl InitialCluster {
    /// `name=URL` with commas between them; a name that comes several times has several URLs.
    pub fn parse(text: &str, name: &str, advertised: &str, token: &str) -> Result<Self, FlagError> {
        let invalid = |reason: String| FlagError::Invalid { flag: "initial-cluster", reason };
        let own = set(&urls("initial-advertise-peer-urls", advertised)?);
        let mut members: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, url) =
                part.split_once('=').ok_or_else(|| invalid("members are written as name=URL".to_owned()))?;
            members.entry(name.to_owned()).or_default().extend(set(&urls("initial-cluster", url)?));
        }
        if members.is_empty() {
            members.insert(name.to_owned(), own.clone());
        }
        match members.get(name) {
            None => {
                let reason =
                    format!("couldn't find local name \"{name}\" in the initial cluster configuration");
                return Err(invalid(reason));
            }
            Some(urls) if *urls != own => {
                let reason =
                    format!("it has {} but --initial-advertise-peer-urls={advertised}", joined(urls));
                return Err(invalid(reason));
            }
            Some(_) => {}
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = members.values().flatten().find(|url| !seen.insert(*url)) {
            return Err(invalid(format!("duplicate URL {twice} in cluster config")));
        }
        Ok(Self { members, name: name.to_owned(), token: token.to_owned() })
    }

    pub fn of(flags: &Flags) -> Result<Self, FlagError> {
        let advertised = &flags.initial_advertise_peer_urls;
        Self::parse(&flags.initial_cluster, &flags.name, advertised, &flags.initial_cluster_token)
    }

    pub fn is_alone(&self) -> bool {
        self.members.len() == 1
    }

    fn all(&self) -> Vec<String> {
        self.members.values().map(joined).collect()
    }

    fn own(&self) -> String {
        joined(&self.members[&self.name])
    }

    /// Who this member is in a new cluster.
    pub fn identity(&self) -> Identity {
        Identity::of_cluster(&self.token, &self.own(), &self.all())
    }

    /// The first configuration.
    pub fn nodes(&self) -> BTreeMap<u64, BasicNode> {
        let all = self.all();
        all.iter()
            .map(|urls| {
                let id = Identity::of_cluster(&self.token, urls, &all).member_id;
                (id, BasicNode::new(urls))
            })
            .collect()
    }

    fn others(&self) -> Vec<Url> {
        let others = self.members.iter().filter(|(name, _)| **name != self.name);
        // They were parsed before.
        others
            .flat_map(|(_, addresses)| urls("initial-cluster", &joined(addresses)).unwrap_or_default())
            .collect()
    }

    /// Makes sure that no cluster knows this member as one that has run: it has lost its data, and the
    /// others would count on what it had acknowledged.
    pub async fn begin(&self, tls: Option<Arc<ClientTls>>) -> Result<Identity, BootstrapError> {
        let identity = self.identity();
        for reply in self.ask(tls).await {
            if reply.cluster_id == identity.cluster_id {
                refuse_known(&reply, identity.member_id)?;
            }
        }
        Ok(identity)
    }

    /// Joins the cluster that the others are members of.
    pub async fn join(&self, tls: Option<Arc<ClientTls>>) -> Result<Identity, BootstrapError> {
        let reply = self.ask(tls).await.into_iter().next().ok_or(BootstrapError::NoAnswer)?;
        let (given, known) = (self.members.len(), reply.members.len());
        if given != known {
            return Err(BootstrapError::CountDiffers { given, known });
        }
        let own = &self.members[&self.name];
        let found = reply.members.iter().find(|member| member.peer_urls.iter().any(|url| own.contains(url)));
        let member = found.ok_or_else(|| BootstrapError::NoMember(joined(own)))?;
        refuse_known(&reply, member.id)?;
        Ok(Identity::given(reply.cluster_id, member.id))
    }

    async fn ask(&self, tls: Option<Arc<ClientTls>>) -> Vec<MembersReply> {
        let others = self.others();
        let asked = others.iter().map(|url| {
            let tls = tls.clone();
            async move {
                match members_at(url, tls).await {
                    Ok(reply) => Some(reply),
                    Err(status) => {
                        tracing::info!(%url, error = status.message(), "a peer does not name the members");
                        None
                    }
                }
            }
        });
        futures::future::join_all(asked).await.into_iter().flatten().collect()
    }
}

/// COMPAT: a member that has told its client URLs has run.
fn refuse_known(reply: &MembersReply, id: u64) -> Result<(), BootstrapError> {
    let known = reply.members.iter().any(|member| member.id == id && !member.client_urls.is_empty());
    if known { Err(BootstrapError::AlreadyBootstrapped(id)) } else { Ok(()) }
}

fn set(urls: &[Url]) -> BTreeSet<String> {
    urls.iter().map(ToString::to_string).collect()
}

fn joined(urls: &BTreeSet<String>) -> String {
    urls.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: &str = "a=http://a:1,b=http://b:1,c=http://c:2,c=http://c:1";

    fn parse(text: &str, name: &str, advertised: &str) -> Result<InitialCluster, String> {
        InitialCluster::parse(text, name, advertised, "t").map_err(|error| error.to_string())
    }

    #[test]
    fn every_member_computes_the_same_cluster() {
        let a = parse(THREE, "a", "http://a:1").unwrap();
        let c = parse(THREE, "c", "http://c:1,http://c:2").unwrap();
        assert_eq!(a.nodes(), c.nodes());
        assert_eq!(a.nodes().len(), 3);
        assert_eq!(a.identity().cluster_id, c.identity().cluster_id);
        assert_eq!(c.nodes()[&c.identity().member_id].addr, "http://c:1,http://c:2");
        assert!(!a.is_alone());
        let alone = parse("", "a", "http://a:1").unwrap();
        assert!(alone.is_alone());
        assert_eq!(alone.identity(), Identity::derive("t", "http://a:1"));
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let refused = |text, name, advertised, part: &str| {
            let error = parse(text, name, advertised).unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        refused(THREE, "d", "http://d:1", "couldn't find local name \"d\"");
        refused(THREE, "a", "http://x:1", "--initial-advertise-peer-urls=http://x:1");
        refused("a=http://a:1,b=http://a:1", "a", "http://a:1", "duplicate URL http://a:1");
        refused("a", "a", "http://a:1", "name=URL");
    }
}
