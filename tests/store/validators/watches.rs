//! A watch shows every event of its keys from its start on: in order, once, those of one revision
//! together; a bookmark says that nothing before it is still to come; and a watch that is resumed
//! after the last revision it saw goes on as if nothing had happened.

use etcd_protocol::etcdserverpb::watch_create_request::FilterType;
use etcd_protocol::mvccpb::Event;

use super::linearizability::Timeline;
use crate::history::{History, Micros, Outcome, Session, Violation, Watch, violated};
use crate::model::{Request, within};

const ORDERED: &str = "a watch is ordered";
const UNIQUE: &str = "a watch shows no event twice";
const RELIABLE: &str = "a watch leaves nothing out";
const ATOMIC: &str = "a watch shows a revision as a whole";
const BOOKMARK: &str = "a bookmark covers what came before";
const RESUMABLE: &str = "a watch resumes where it ended";
const EXACT: &str = "a watch shows what happened";

pub fn check(history: &History, timeline: &Timeline) -> Result<(), Violation> {
    let compactions = history.operations.iter().filter_map(|operation| match operation.request {
        Request::Compact(revision) if !matches!(operation.outcome, Outcome::Refused { .. }) => {
            Some((operation.sent, revision))
        }
        _ => None,
    });
    let compactions: Vec<(Micros, i64)> = compactions.collect();
    history.watches.iter().try_for_each(|watch| Check { watch, timeline, compactions: &compactions }.run())
}

struct Check<'a> {
    watch: &'a Watch,
    timeline: &'a Timeline,
    compactions: &'a [(Micros, i64)],
}

impl Check<'_> {
    fn run(&self) -> Result<(), Violation> {
        let mut next: Option<i64> = None;
        for session in &self.watch.sessions {
            // What the one before had seen for certain: the revision of its last answer.
            if let Some(next) = next
                && session.from != next
            {
                return violated(RESUMABLE, format!("resumed at {} instead of {next}", session.from));
            }
            next = Some(self.session(session)?);
        }
        Ok(())
    }

    fn wants(&self, event: &Event) -> bool {
        let request = &self.watch.request;
        let filter = if is_delete(event) { FilterType::Nodelete } else { FilterType::Noput };
        !request.filters().any(|f| f == filter)
            && event.kv.as_ref().is_some_and(|kv| within(&request.key, &request.range_end, &kv.key))
    }

    /// What is to be seen from a revision on.
    fn expected(&self, from: i64) -> impl Iterator<Item = (i64, &Event)> {
        let skipped = usize::try_from(from - 2).unwrap_or(0);
        let moments = self.timeline.moments.iter().skip(skipped);
        moments.flat_map(|m| m.events.iter().map(|e| (m.revision, e))).filter(|(_, event)| self.wants(event))
    }

    /// Returns where the next session has to start.
    fn session(&self, session: &Session) -> Result<i64, Violation> {
        let mut expected = self.expected(session.from).peekable();
        let mut next = session.from;
        let mut last = session.from - 1;
        let mut continued = false;
        for seen in &session.seen {
            let shown = |detail: String| {
                format!("{detail} (watch of {:?} from {})", self.watch.request.key, session.from)
            };
            if seen.is_progress() {
                if let Some((missing, _)) = expected.peek()
                    && *missing <= seen.revision
                {
                    return violated(
                        BOOKMARK,
                        shown(format!("{missing} is missing before {}", seen.revision)),
                    );
                }
                next = next.max(seen.revision + 1);
                continue;
            }
            for event in &seen.events {
                let revision = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
                if revision < last {
                    return violated(ORDERED, shown(format!("{revision} after {last}")));
                }
                let Some((due, wanted)) = expected.next() else {
                    return violated(UNIQUE, shown(format!("nothing is left to be seen, but {event:?}")));
                };
                if revision > due {
                    return violated(RELIABLE, shown(format!("{due} was left out before {revision}")));
                }
                if revision < due {
                    return violated(UNIQUE, shown(format!("{event:?} again, {due} is due")));
                }
                self.same(event, wanted, revision, seen.at)
                    .or_else(|detail| violated(EXACT, shown(detail)))?;
                last = revision;
            }
            // A revision goes on in the next answer only if this one says so.
            if !seen.fragment
                && let Some((due, _)) = expected.peek()
                && *due == last
            {
                return violated(ATOMIC, shown(format!("revision {last} was split")));
            }
            if !continued && seen.revision < last {
                return violated(EXACT, shown(format!("{last} under a header of {}", seen.revision)));
            }
            continued = seen.fragment;
            next = next.max(last + 1);
        }
        Ok(next)
    }

    fn same(&self, event: &Event, wanted: &Event, revision: i64, at: Micros) -> Result<(), String> {
        let unequal = || Err(format!("{event:?} instead of {wanted:?}"));
        if (event.r#type, &event.kv) != (wanted.r#type, &wanted.kv) {
            return unequal();
        }
        let previous = wanted.prev_kv.as_ref().filter(|_| self.watch.request.prev_kv);
        match (&event.prev_kv, previous) {
            (Some(kv), Some(wanted)) if kv == wanted => Ok(()),
            (None, None) => Ok(()),
            // What was compacted by then cannot be shown.
            (None, Some(_)) if self.compactions.iter().any(|(sent, to)| *sent <= at && *to >= revision) => {
                Ok(())
            }
            _ => unequal(),
        }
    }
}

fn is_delete(event: &Event) -> bool {
    event.kv.as_ref().is_some_and(|kv| kv.version == 0)
}
