//! The event log of a resource (or of one value of an indexed field): appended by the cache's one
//! watch, read by any number of cursors.
//!
//! A cursor is a place in the log and costs no queue. The log is bounded: a cursor whose place was
//! dropped has fallen off and its watcher ends with 410, so that no event is ever skipped.
//! `floor` is the revision up to which events were dropped: what lies after it is complete.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use slab::Slab;

use super::Entry;

/// Kinds of change times encodings: see `answer::watch`.
pub const FRAMES: usize = 8;

/// One change of one object.
#[derive(Debug)]
pub struct Event {
    pub revision: i64,
    /// Before; `None` for a creation.
    pub old: Option<Arc<Entry>>,
    /// After; `None` for a deletion.
    pub new: Option<Arc<Entry>>,
    /// For a deletion: the last state under the deletion's revision.
    pub last: Option<Arc<Entry>>,
    /// Watch frames, by change and encoding, made once for all watchers; none once the event is old.
    frames: ArcSwapOption<[OnceLock<Bytes>; FRAMES]>,
}

impl Event {
    pub fn new(
        revision: i64,
        old: Option<Arc<Entry>>,
        new: Option<Arc<Entry>>,
        last: Option<Arc<Entry>>,
    ) -> Self {
        Self { revision, old, new, last, frames: ArcSwapOption::from_pointee(<[_; FRAMES]>::default()) }
    }

    /// The frame at `place`: made at its first use, and for each watcher that comes late.
    pub fn frame(&self, place: usize, make: impl FnOnce() -> Bytes) -> Bytes {
        match &*self.frames.load() {
            Some(frames) => frames[place].get_or_init(make).clone(),
            None => make(),
        }
    }
}

/// An append-only, bounded log of events.
#[derive(Debug)]
pub struct Log {
    inner: RwLock<Inner>,
    /// How often the cursors were woken.
    turns: AtomicU64,
    /// Cursors that wait for the next turn, in the order in which they came: those of a connection came together and
    /// are woken together, so that it tells them all at once.
    waiting: Mutex<Slab<Waker>>,
}

#[derive(Debug)]
struct Inner {
    events: VecDeque<Arc<Event>>,
    /// The number of the first event still kept.
    first: u64,
    floor: i64,
    capacity: usize,
    /// The number of the first event that was not there yet when frames were forgotten last.
    seen: u64,
    /// The cache starts anew: what happened since is not known.
    broken: bool,
    /// Nothing is appended any more: the server leaves.
    ended: bool,
}

/// The log does not reach back to the revision asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct TooOld {
    pub floor: i64,
}

/// A place in a log.
#[derive(Debug)]
pub struct Cursor {
    log: Arc<Log>,
    next: u64,
    /// What lies up to here its owner knows, also where the cache learns of it only now.
    after: i64,
    /// The turn that it has seen.
    seen: u64,
    /// Where it waits, in which turn.
    waits: Option<(u64, usize)>,
}

impl Log {
    /// An empty log that is complete after `floor`.
    pub fn new(floor: i64, capacity: usize) -> Arc<Self> {
        let inner = Inner {
            events: VecDeque::new(),
            first: 0,
            floor,
            capacity,
            seen: 0,
            broken: false,
            ended: false,
        };
        Arc::new(Self { inner: RwLock::new(inner), turns: AtomicU64::new(0), waiting: Mutex::default() })
    }

    /// Appends without waking anyone; `wake` follows once a batch is complete. Gives the event that had to go.
    pub fn append(&self, event: Arc<Event>) -> Option<Arc<Event>> {
        let mut inner = self.inner.write();
        let dropped = if inner.events.len() == inner.capacity { inner.events.pop_front() } else { None };
        if let Some(dropped) = &dropped {
            inner.first += 1;
            inner.floor = dropped.revision;
        }
        inner.events.push_back(event);
        dropped
    }

    /// Drops the events up to `revision`.
    pub fn drop_until(&self, revision: i64) {
        let mut inner = self.inner.write();
        while inner.events.front().is_some_and(|event| event.revision <= revision) {
            inner.events.pop_front();
            inner.first += 1;
        }
        inner.floor = inner.floor.max(revision);
    }

    /// Whether there are no events and nobody could notice if there were no log either.
    pub fn is_idle(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1 && self.inner.read().events.is_empty()
    }

    /// Lets go of the frames of events that were here the last time already: who watches has them by now.
    pub fn forget_frames(&self) {
        let mut inner = self.inner.write();
        let old = usize::try_from(inner.seen.saturating_sub(inner.first)).unwrap_or(usize::MAX);
        // Those further back have none any more.
        for event in inner.events.iter().take(old).rev().take_while(|event| event.frames.load().is_some()) {
            event.frames.store(None);
        }
        inner.seen = inner.first + inner.events.len() as u64;
    }

    /// Lets the cursors see what was appended.
    pub fn wake(&self) {
        let woken: Vec<Waker> = {
            let mut waiting = self.waiting.lock();
            self.turns.fetch_add(1, Ordering::Release);
            waiting.drain().collect()
        };
        woken.into_iter().for_each(Waker::wake);
    }

    /// Ends all cursors: later events are not in this log.
    pub fn break_off(&self) {
        self.inner.write().broken = true;
        self.wake();
    }

    /// Ends the cursors once they have seen all that is there.
    pub fn end(&self) {
        self.inner.write().ended = true;
        self.wake();
    }

    /// A cursor at the first event after `revision`.
    ///
    /// # Errors
    /// [`TooOld`] when such events were dropped.
    pub fn cursor_after(self: &Arc<Self>, revision: i64) -> Result<Cursor, TooOld> {
        let inner = self.inner.read();
        if revision < inner.floor {
            return Err(TooOld { floor: inner.floor });
        }
        let place = inner.events.partition_point(|event| event.revision <= revision);
        let next = inner.first + place as u64;
        let seen = self.turns.load(Ordering::Acquire);
        Ok(Cursor { log: self.clone(), next, after: revision, seen, waits: None })
    }
}

/// What a cursor finds.
#[derive(Debug)]
pub enum Batch {
    Events(Vec<Arc<Event>>),
    /// Nothing new.
    Empty,
    /// Nothing new, and nothing will come.
    Ended,
    /// The next event was dropped, or the log broke off.
    FellOff,
}

impl Cursor {
    /// Up to `max` events, and the cursor moves past them.
    pub fn take(&mut self, max: usize) -> Batch {
        self.seen = self.log.turns.load(Ordering::Acquire);
        let inner = self.log.inner.read();
        if inner.broken || self.next < inner.first {
            return Batch::FellOff;
        }
        let mut start = (self.next - inner.first) as usize;
        while inner.events.get(start).is_some_and(|event| event.revision <= self.after) {
            start += 1;
            self.next += 1;
        }
        let events: Vec<_> = inner.events.iter().skip(start).take(max).cloned().collect();
        if events.is_empty() {
            return if inner.ended { Batch::Ended } else { Batch::Empty };
        }
        self.next += events.len() as u64;
        Batch::Events(events)
    }

    /// Resolves when events may have been appended since the last `take`.
    pub async fn appended(&mut self) {
        std::future::poll_fn(|cx| self.poll_appended(cx)).await;
    }

    /// As `appended`, for who polls.
    pub fn poll_appended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiting = self.log.waiting.lock();
        let turn = self.log.turns.load(Ordering::Acquire);
        if turn != self.seen {
            return Poll::Ready(());
        }
        match self.waits.filter(|(since, _)| *since == turn).and_then(|(_, place)| waiting.get_mut(place)) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waits = Some((turn, waiting.insert(cx.waker().clone()))),
        }
        Poll::Pending
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        let Some((turn, place)) = self.waits else { return };
        let mut waiting = self.log.waiting.lock();
        if turn == self.log.turns.load(Ordering::Acquire) {
            waiting.try_remove(place);
        }
        if waiting.is_empty() {
            waiting.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(revision: i64) -> Arc<Event> {
        Arc::new(Event::new(revision, None, None, None))
    }

    fn log(floor: i64, capacity: usize, revisions: &[i64]) -> Arc<Log> {
        let log = Log::new(floor, capacity);
        for revision in revisions {
            log.append(event(*revision));
        }
        log.wake();
        log
    }

    fn taken(cursor: &mut Cursor) -> Vec<i64> {
        match cursor.take(100) {
            Batch::Events(events) => events.iter().map(|e| e.revision).collect(),
            Batch::Empty => vec![],
            Batch::Ended => vec![0],
            Batch::FellOff => vec![-1],
        }
    }

    #[test]
    fn a_cursor_sees_each_event_once() {
        let log = log(10, 8, &[11, 13, 13, 15]);
        let mut cursor = log.cursor_after(11).expect("in reach");
        assert_eq!(taken(&mut cursor), [13, 13, 15]);
        assert!(taken(&mut cursor).is_empty());
        log.append(event(16));
        assert_eq!(taken(&mut cursor), [16]);
    }

    #[test]
    fn what_a_cache_that_is_behind_learns_late_is_not_told_again() {
        let log = log(10, 8, &[11]);
        let mut cursor = log.cursor_after(13).expect("in reach");
        for revision in [12, 13, 13, 14] {
            log.append(event(revision));
        }
        assert_eq!(taken(&mut cursor), [14]);
        log.append(event(15));
        assert_eq!(taken(&mut cursor), [15]);
    }

    #[test]
    fn what_was_dropped_cannot_be_asked_for() {
        let log = log(10, 2, &[11, 12, 13]);
        assert_eq!(log.cursor_after(10).map(|_| ()), Err(TooOld { floor: 11 }));
        assert_eq!(taken(&mut log.cursor_after(11).expect("in reach")), [12, 13]);
    }

    #[test]
    fn frames_last_for_a_while() {
        let log = log(0, 3, &[1, 2]);
        let made = std::cell::Cell::new(0);
        let frames = |log: &Arc<Log>| {
            made.set(0);
            let Batch::Events(events) = log.cursor_after(1).expect("in reach").take(9) else {
                panic!("events")
            };
            for event in events {
                let frame = event.frame(3, || {
                    made.set(made.get() + 1);
                    Bytes::from(event.revision.to_string())
                });
                assert_eq!(frame, event.revision.to_string());
            }
            made.get()
        };
        assert_eq!((frames(&log), frames(&log)), (1, 0));
        log.forget_frames();
        log.append(event(3));
        assert_eq!((frames(&log), frames(&log)), (1, 0));
        log.forget_frames();
        assert_eq!((frames(&log), frames(&log)), (1, 1));
        log.append(event(4));
        assert_eq!((frames(&log), frames(&log)), (2, 1));
        log.forget_frames();
        log.forget_frames();
        assert_eq!((frames(&log), frames(&log)), (3, 3));
    }

    #[test]
    fn events_go_from_a_log_when_the_others_have_let_them_go() {
        let log = log(10, 8, &[11, 12, 12, 14]);
        let mut cursor = log.cursor_after(12).expect("in reach");
        log.drop_until(12);
        assert_eq!(taken(&mut cursor), [14]);
        assert_eq!(log.cursor_after(11).map(|_| ()), Err(TooOld { floor: 12 }));
        log.drop_until(20);
        assert!(!log.is_idle());
        drop(cursor);
        assert!(log.is_idle());
        assert_eq!(log.cursor_after(19).map(|_| ()), Err(TooOld { floor: 20 }));
    }

    #[test]
    fn a_slow_cursor_falls_off() {
        let log = log(0, 2, &[1]);
        let mut cursor = log.cursor_after(0).expect("in reach");
        for revision in 2..5 {
            log.append(event(revision));
        }
        assert_eq!(taken(&mut cursor), [-1]);
    }

    #[test]
    fn who_waits_is_woken_once_in_the_order_of_coming() {
        struct Bell(usize, Arc<Mutex<Vec<usize>>>);
        impl std::task::Wake for Bell {
            fn wake(self: Arc<Self>) {
                self.1.lock().push(self.0);
            }
        }
        let (log, rung) = (log(0, 8, &[]), Arc::<Mutex<Vec<usize>>>::default());
        let bells: Vec<Waker> = (0..5).map(|n| Arc::new(Bell(n, rung.clone())).into()).collect();
        let mut cursors: Vec<_> = (0..5).map(|_| log.cursor_after(0).expect("in reach")).collect();
        let wait = |cursor: &mut Cursor, n: usize| cursor.poll_appended(&mut Context::from_waker(&bells[n]));
        for n in [3, 1, 4, 2] {
            assert!(wait(&mut cursors[n], n).is_pending());
        }
        // Another task goes on with it; one that is gone waits no more.
        assert!(wait(&mut cursors[1], 0).is_pending());
        cursors.remove(4);
        log.append(event(1));
        log.wake();
        assert_eq!(std::mem::take(&mut *rung.lock()), [3, 0, 2]);
        log.wake();
        assert!(rung.lock().is_empty());
        assert!(wait(&mut cursors[1], 1).is_ready());
        assert_eq!(taken(&mut cursors[1]), [1]);
        assert!(wait(&mut cursors[1], 1).is_pending());
        drop(cursors);
        let waiting = log.waiting.lock();
        assert_eq!((waiting.len(), waiting.capacity()), (0, 0));
    }

    #[test]
    fn a_log_that_ends_is_told_to_its_end() {
        let log = log(0, 8, &[1]);
        let mut cursor = log.cursor_after(0).expect("in reach");
        log.end();
        assert_eq!((taken(&mut cursor), taken(&mut cursor)), (vec![1], vec![0]));
        log.append(event(2));
        assert_eq!((taken(&mut cursor), taken(&mut cursor)), (vec![2], vec![0]));
    }

    #[tokio::test]
    async fn breaking_off_ends_cursors() {
        let log = log(0, 2, &[1]);
        let mut cursor = log.cursor_after(1).expect("in reach");
        assert!(taken(&mut cursor).is_empty());
        log.break_off();
        cursor.appended().await;
        assert_eq!(taken(&mut cursor), [-1]);
    }
}
