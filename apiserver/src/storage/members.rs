//! The store's members and which of them is asked, as etcd's own client goes about it.
//!
//! A request goes to a member that can be reached, the one with the fewest requests under way. A member that
//! cannot be connected to is left aside for a while; what was meant for it goes to another one, writes too,
//! since none of it was sent. Reads are asked again elsewhere when a member has lost its leader, ends or
//! stays silent. A write that may have been sent is never repeated: its outcome is not known.

use std::error::Error as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Status};

/// How often and how soon a read is asked again, as etcd's client does it.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(25);
/// How long a silent member is waited for before another one is asked the same; doubled each time.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a member is left aside after the first failure to connect, and at most.
const ASIDE: Duration = Duration::from_secs(1);
const ASIDE_MOST: Duration = Duration::from_secs(16);

/// What is asked of a member.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// May be asked twice.
    Read,
    /// May not.
    Write,
}

/// What follows a failure.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Nothing was sent: at once, while there is a member that was not tried.
    Elsewhere,
    /// After a pause.
    Again,
    Over,
}

struct Member {
    channel: Channel,
    under_way: AtomicUsize,
    /// Until when it is left aside, and for how long it was the last time.
    aside: Mutex<Option<(Instant, Duration)>>,
}

/// All members.
pub struct Members {
    all: Vec<Member>,
    turn: AtomicUsize,
}

/// Counts a request for as long as it is under way.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Members {
    /// Connections are opened when needed.
    pub fn new(endpoints: &[Endpoint]) -> Self {
        let member = |endpoint: &Endpoint| Member {
            channel: endpoint.connect_lazy(),
            under_way: AtomicUsize::new(0),
            aside: Mutex::new(None),
        };
        Self { all: endpoints.iter().map(member).collect(), turn: AtomicUsize::new(0) }
    }

    /// Asks what may be asked twice.
    pub async fn read<T, F>(&self, ask: impl Fn(Channel) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        self.ask(Kind::Read, ask).await
    }

    /// Asks what must be done once.
    pub async fn write<T, F>(&self, ask: impl Fn(Channel) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        self.ask(Kind::Write, ask).await
    }

    async fn ask<T, F>(&self, kind: Kind, ask: impl Fn(Channel) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let mut patience = PATIENCE;
        let mut elsewhere = self.all.len();
        for _ in 0..TRIES {
            let member = &self.all[self.pick(Instant::now())];
            let counted = Counted::new(&member.under_way);
            let asked = ask(member.channel.clone());
            let answer = if kind == Kind::Read && self.all.len() > 1 {
                tokio::time::timeout(patience, asked).await
            } else {
                Ok(asked.await)
            };
            let status = match answer {
                Ok(Ok(answer)) => {
                    *member.aside.lock() = None;
                    return Ok(answer);
                }
                Ok(Err(status)) => status,
                Err(_) => {
                    // Still counted while the next one is chosen.
                    patience *= 2;
                    continue;
                }
            };
            drop(counted);
            if unsent(&status) {
                member.leave_aside(Instant::now());
            }
            match next(&status, kind, elsewhere) {
                Next::Elsewhere => elsewhere -= 1,
                Next::Again => tokio::time::sleep(PAUSE).await,
                Next::Over => return Err(status),
            }
        }
        Err(Status::unavailable("etcdserver: request timed out"))
    }

    /// Which member is asked.
    fn pick(&self, now: Instant) -> usize {
        if self.all.len() == 1 {
            return 0;
        }
        let seen: Vec<(bool, usize)> = self
            .all
            .iter()
            .map(|member| (member.is_aside(now), member.under_way.load(Ordering::Relaxed)))
            .collect();
        choose(&seen, self.turn.fetch_add(1, Ordering::Relaxed))
    }
}

impl Member {
    fn is_aside(&self, now: Instant) -> bool {
        self.aside.lock().is_some_and(|(until, _)| now < until)
    }

    /// Several requests that fail together count once.
    fn leave_aside(&self, now: Instant) {
        let mut aside = self.aside.lock();
        let length = match *aside {
            Some((until, _)) if now < until => return,
            Some((_, last)) => (last * 2).min(ASIDE_MOST),
            None => ASIDE,
        };
        *aside = Some((now + length, length));
    }
}

/// Of members that are aside or not, with so many requests under way: the least busy of those that are not
/// aside, or of all; among equals each in its turn.
fn choose(seen: &[(bool, usize)], turn: usize) -> usize {
    let count = seen.len().max(1);
    (0..seen.len()).map(|n| (turn + n) % count).min_by_key(|&n| seen[n]).unwrap_or(0)
}

/// Whether the request never left: its member could not be connected to.
fn unsent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn next(status: &Status, kind: Kind, elsewhere: usize) -> Next {
    if unsent(status) && elsewhere > 1 {
        return Next::Elsewhere;
    }
    // Of a connection that ends while a request is under way tonic says Unknown or Cancelled.
    let passing = matches!(status.code(), Code::Unavailable)
        || matches!(status.code(), Code::Unknown | Code::Cancelled) && status.source().is_some();
    if kind == Kind::Read && passing { Next::Again } else { Next::Over }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_busy_that_can_be_reached_is_asked() {
        for (seen, turn, chosen) in [
            (&[(false, 0), (false, 0), (false, 0)][..], 4, 1),
            (&[(false, 2), (false, 1), (false, 3)], 0, 1),
            (&[(true, 0), (false, 9), (false, 8)], 0, 2),
            (&[(true, 1), (true, 0)], 0, 1),
        ] {
            assert_eq!(choose(seen, turn), chosen, "{seen:?} {turn}");
        }
    }

    #[test]
    fn what_may_be_asked_again() {
        let lost = Status::unavailable("etcdserver: leader changed");
        assert_eq!(next(&lost, Kind::Read, 1), Next::Again);
        assert_eq!(next(&lost, Kind::Write, 3), Next::Over);
        let refused = Status::from_error(Box::new(ConnectError("refused".into())));
        assert!(unsent(&refused));
        assert_eq!(next(&refused, Kind::Write, 3), Next::Elsewhere);
        assert_eq!(next(&refused, Kind::Write, 1), Next::Over);
        assert_eq!(next(&refused, Kind::Read, 1), Next::Again);
        let large = Status::invalid_argument("etcdserver: request is too large");
        assert_eq!(next(&large, Kind::Read, 3), Next::Over);
    }

    #[test]
    fn a_member_that_stays_away_is_tried_more_seldom() {
        let endpoint = Endpoint::from_static("http://127.0.0.1:1");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let _inside = runtime.enter();
        let members = Members::new(&[endpoint.clone(), endpoint]);
        let (member, start) = (&members.all[0], Instant::now());
        member.leave_aside(start);
        member.leave_aside(start + ASIDE / 2);
        assert!(member.is_aside(start + ASIDE / 2) && !member.is_aside(start + ASIDE));
        assert_eq!((0..4).map(|_| members.pick(start)).collect::<Vec<_>>(), [1, 1, 1, 1]);
        member.leave_aside(start + ASIDE);
        assert!(member.is_aside(start + ASIDE * 2) && !member.is_aside(start + ASIDE * 3));
    }
}
