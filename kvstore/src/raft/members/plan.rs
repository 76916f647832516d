//! Whether a change of the members may be made. Pure: decides by what the leader sees. The rules are
//! etcd's (`--strict-reconfig-check`), and so are the errors.

use std::collections::BTreeSet;

use etcd_protocol::etcdserverpb::Member;

use crate::error::Error;

/// A learner has caught up when it has this much of the leader's log, in hundredths.
const READY: u64 = 90;

/// What the leader sees of the cluster.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// As `member list` shows them: who is to vote and does not yet counts as a voter.
    pub members: Vec<Member>,
    /// Who has been heard of lately, the leader included.
    pub active: BTreeSet<u64>,
    pub leader: u64,
    pub strict: bool,
    pub max_learners: usize,
}

impl View {
    fn member(&self, id: u64) -> Result<&Member, Error> {
        self.members.iter().find(|member| member.id == id).ok_or(Error::MemberNotFound)
    }

    fn voters(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| !member.is_learner)
    }

    fn url_is_taken(&self, urls: &[String], but_by: u64) -> bool {
        let mut others = self.members.iter().filter(|member| member.id != but_by);
        others.any(|member| member.peer_urls.iter().any(|url| urls.contains(url)))
    }

    /// Whether a member may be added.
    pub fn add(&self, id: u64, urls: &[String], learner: bool) -> Result<(), Error> {
        if self.strict {
            if !learner && !self.ready_for_another_voter() {
                return Err(Error::MemberNotEnoughStarted);
            }
            if !self.voters().all(|voter| self.active.contains(&voter.id)) {
                return Err(Error::Unhealthy);
            }
        }
        if self.member(id).is_ok() {
            return Err(Error::MemberExists);
        }
        if self.url_is_taken(urls, 0) {
            return Err(Error::PeerUrlExists);
        }
        let learners = self.members.iter().filter(|member| member.is_learner).count();
        if learner && learners >= self.max_learners {
            return Err(Error::TooManyLearners);
        }
        Ok(())
    }

    fn ready_for_another_voter(&self) -> bool {
        let voters = self.voters().count() + 1;
        let started = self.voters().filter(|voter| is_started(voter)).count();
        // One that becomes two: how a cluster that was restored from one member grows.
        (started == 1 && voters == 2) || started > voters / 2
    }

    pub fn remove(&self, id: u64) -> Result<(), Error> {
        let learner = self.member(id)?.is_learner;
        if !self.strict || learner {
            return Ok(());
        }
        let others = self.voters().filter(|voter| voter.id != id);
        let (left, started) = others
            .fold((0, 0), |(left, started), voter| (left + 1, started + usize::from(is_started(voter))));
        if started < left / 2 + 1 {
            return Err(Error::MemberNotEnoughStarted);
        }
        // One that is down is no part of the quorum that is up.
        if id != self.leader && !self.active.contains(&id) {
            return Ok(());
        }
        let active = self.voters().filter(|voter| self.active.contains(&voter.id)).count();
        if active - 1 < 1 + (self.voters().count() - 1) / 2 {
            return Err(Error::Unhealthy);
        }
        Ok(())
    }

    pub fn update(&self, id: u64, urls: &[String]) -> Result<(), Error> {
        self.member(id)?;
        if self.url_is_taken(urls, id) {
            return Err(Error::PeerUrlExists);
        }
        Ok(())
    }

    /// `matched` and `last`: how far the log of the member and of the leader goes.
    ///
    /// COMPAT: whether the member is a learner at all is looked at last, as etcd does: a voter that never started is
    /// told to be behind.
    pub fn promote(&self, id: u64, matched: Option<u64>, last: u64) -> Result<(), Error> {
        let member = self.member(id)?;
        if id != self.leader && !caught_up(matched, last) {
            return Err(Error::LearnerNotReady);
        }
        if self.strict {
            let voters = self.voters().filter(|voter| voter.id != id).count() + 1;
            let others = self.voters().filter(|voter| voter.id != id);
            let started = others.chain([member]).filter(|member| is_started(member)).count();
            if started < voters / 2 + 1 {
                return Err(Error::MemberNotEnoughStarted);
            }
        }
        if member.is_learner { Ok(()) } else { Err(Error::MemberNotLearner) }
    }
}

/// COMPAT: one that has not told its name has not started.
pub fn is_started(member: &Member) -> bool {
    !member.name.is_empty()
}

pub fn caught_up(matched: Option<u64>, last: u64) -> bool {
    matched.is_some_and(|matched| matched * 100 >= last * READY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, learner: bool) -> Member {
        Member {
            id,
            name: format!("m{id}"),
            peer_urls: vec![format!("http://m{id}:2380")],
            client_urls: vec![format!("http://m{id}:2379")],
            is_learner: learner,
        }
    }

    fn view(voters: u64, active: &[u64]) -> View {
        View {
            members: (1..=voters).map(|id| member(id, false)).collect(),
            active: active.iter().copied().collect(),
            leader: 1,
            strict: true,
            max_learners: 1,
        }
    }

    fn url(id: u64) -> Vec<String> {
        vec![format!("http://m{id}:2380")]
    }

    #[test]
    fn a_member_joins_a_healthy_cluster() {
        assert_eq!(view(1, &[1]).add(9, &url(9), false), Ok(()));
        assert_eq!(view(3, &[1, 2, 3]).add(9, &url(9), false), Ok(()));
        assert_eq!(view(3, &[1, 2]).add(9, &url(9), false), Err(Error::Unhealthy));
        assert_eq!(view(3, &[1, 2]).add(9, &url(9), true), Err(Error::Unhealthy));
        assert_eq!(View { strict: false, ..view(3, &[1, 2]) }.add(9, &url(9), false), Ok(()));
        assert_eq!(view(3, &[1, 2, 3]).add(9, &url(2), false), Err(Error::PeerUrlExists));
        assert_eq!(view(3, &[1, 2, 3]).add(2, &url(9), false), Err(Error::MemberExists));
    }

    #[test]
    fn voters_that_have_not_started_count() {
        let mut two = view(2, &[1, 2]);
        two.members[1].name.clear();
        assert_eq!(two.add(9, &url(9), false), Err(Error::MemberNotEnoughStarted));
        assert_eq!(two.add(9, &url(9), true), Ok(()), "a learner does not");
        assert_eq!(two.remove(1), Err(Error::MemberNotEnoughStarted));
        two.active.remove(&2);
        assert_eq!(two.remove(2), Ok(()));
    }

    #[test]
    fn learners_are_few() {
        let mut view = view(3, &[1, 2, 3, 4]);
        view.members.push(member(4, true));
        assert_eq!(view.add(9, &url(9), true), Err(Error::TooManyLearners));
        assert_eq!(view.add(9, &url(9), false), Ok(()));
        assert_eq!(view.remove(4), Ok(()));
    }

    #[test]
    fn a_removal_leaves_a_quorum() {
        assert_eq!(view(1, &[1]).remove(1), Err(Error::MemberNotEnoughStarted));
        assert_eq!(view(3, &[1, 2, 3]).remove(7), Err(Error::MemberNotFound));
        assert_eq!(view(3, &[1, 2, 3]).remove(1), Ok(()));
        assert_eq!(view(3, &[1, 2]).remove(3), Ok(()), "the one that is down");
        assert_eq!(view(3, &[1, 2]).remove(2), Err(Error::Unhealthy));
    }

    #[test]
    fn learners_vote_once_they_have_caught_up() {
        let mut view = view(3, &[1, 2, 3, 4]);
        view.members.push(member(4, true));
        assert_eq!(view.promote(2, Some(100), 100), Err(Error::MemberNotLearner));
        assert_eq!(view.promote(1, None, 100), Err(Error::MemberNotLearner), "the leader");
        assert_eq!(view.promote(2, None, 100), Err(Error::LearnerNotReady), "a voter that has not started");
        assert_eq!(view.promote(9, None, 100), Err(Error::MemberNotFound));
        assert_eq!(view.promote(4, None, 100), Err(Error::LearnerNotReady));
        assert_eq!(view.promote(4, Some(89), 100), Err(Error::LearnerNotReady));
        assert_eq!(view.promote(4, Some(90), 100), Ok(()));
    }

    #[test]
    fn addresses_belong_to_one_member() {
        assert_eq!(view(3, &[1]).update(2, &url(3)), Err(Error::PeerUrlExists));
        assert_eq!(view(3, &[1]).update(2, &url(2)), Ok(()));
        assert_eq!(view(3, &[1]).update(4, &url(9)), Err(Error::MemberNotFound));
    }
}
