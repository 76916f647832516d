//! A state whose writes are gathered in memory and passed on together, by a thread of its own. sled pays for
//! each batch, however small: two rolls of its buffer, each of which wakes seven threads and writes to the
//! file; a put of a single client cost more there than in the log.
//!
//! ```text
//! write -> fresh (newest) -> going (being written) -> the store below
//! ```
//! Reads look in that order. Batches arrive below in order, several as one: what a crash leaves are the
//! first so many batches, as without this (the log has the rest). An error of the store below is told to the
//! next write, and ends it.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::{Batch, StateError, StateStore, Visit};

/// Bytes that are passed on together. The store below answers no reads meanwhile: not too many.
const GATHERED: usize = 256 << 10;
/// What a pair costs in memory beside itself.
const OVERHEAD: usize = 64;

/// What was written, by key; none where the key was deleted.
type Pairs = BTreeMap<Vec<u8>, Option<Bytes>>;

#[derive(Default)]
struct Layers {
    fresh: Pairs,
    bytes: usize,
    going: Option<Arc<Pairs>>,
    /// Of what is going.
    going_bytes: usize,
    failed: Option<StateError>,
    /// An error was told, or nobody is there any more.
    ended: bool,
}

struct Shared {
    below: Arc<dyn StateStore>,
    layers: Mutex<Layers>,
    /// Rung whenever there is something to pass on, or no longer.
    moved: Condvar,
    limit: usize,
}

/// A store with a buffer above it.
pub struct Buffered {
    shared: Arc<Shared>,
    /// None: whoever fills the buffer empties it.
    thread: Option<JoinHandle<()>>,
}

impl Buffered {
    pub fn new(below: Arc<dyn StateStore>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::new(below, GATHERED));
        let writer = shared.clone();
        let thread = std::thread::Builder::new().name("state-writer".into()).spawn(move || writer.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Without a thread, for simulations: what was gathered is passed on by the write that makes it `limit`
    /// bytes.
    pub fn inline(below: Arc<dyn StateStore>, limit: usize) -> Self {
        Self { shared: Arc::new(Shared::new(below, limit)), thread: None }
    }

    /// Waits until everything is below.
    fn drain(&self) -> Result<(), StateError> {
        let mut layers = self.shared.layers.lock();
        while !layers.fresh.is_empty() || layers.going.is_some() {
            layers.check()?;
            if layers.going.is_none() {
                layers.turn();
                self.shared.moved.notify_all();
            }
            match self.thread {
                Some(_) => self.shared.moved.wait(&mut layers),
                None => self.shared.pass_on(&mut layers),
            }
        }
        layers.check()
    }
}

impl Layers {
    fn check(&mut self) -> Result<(), StateError> {
        match self.failed.take() {
            Some(error) => Err(error),
            None if self.ended => Err(StateError::Ended),
            None => Ok(()),
        }
    }

    fn add(&mut self, batch: Batch) {
        for (key, value) in batch.writes {
            let cost = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
            self.bytes += cost(&value);
            let length = key.len();
            match self.fresh.insert(key, value) {
                Some(before) => self.bytes -= cost(&before),
                None => self.bytes += length + OVERHEAD,
            }
        }
    }

    /// What is fresh is to go.
    fn turn(&mut self) {
        self.going = Some(Arc::new(std::mem::take(&mut self.fresh)));
        self.going_bytes = std::mem::take(&mut self.bytes);
    }

    /// The newest that is known of a key here.
    fn find(&self, key: &[u8]) -> Option<Option<Bytes>> {
        let going = || self.going.as_ref().and_then(|going| going.get(key));
        self.fresh.get(key).or_else(going).cloned()
    }

    /// What is known here of the keys from `from` to `to`.
    fn between(&self, from: &[u8], to: &[u8]) -> Pairs {
        let bounds = (Bound::Included(from), Bound::Excluded(to));
        let going = self.going.iter().flat_map(|going| going.range::<[u8], _>(bounds));
        let all = going.chain(self.fresh.range::<[u8], _>(bounds));
        all.map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

impl Shared {
    fn new(below: Arc<dyn StateStore>, limit: usize) -> Self {
        Self { below, layers: Mutex::default(), moved: Condvar::new(), limit }
    }

    /// Writes what is going. The lock is free meanwhile.
    fn pass_on(&self, layers: &mut parking_lot::MutexGuard<'_, Layers>) {
        let Some(going) = layers.going.clone() else { return };
        let result = parking_lot::MutexGuard::unlocked(layers, || {
            let writes = going.iter().map(|(key, value)| (key.clone(), value.clone()));
            let batch = Batch { writes: writes.collect() };
            drop(going);
            // sled panics on some damage.
            let write = std::panic::AssertUnwindSafe(|| self.below.write(batch));
            std::panic::catch_unwind(write).unwrap_or(Err(StateError::Ended))
        });
        match result {
            Ok(()) => (layers.going, layers.going_bytes) = (None, 0),
            // It stays where reads find it.
            Err(error) => {
                layers.failed = Some(error);
                layers.ended = true;
            }
        }
        self.moved.notify_all();
    }

    fn run(&self) {
        let mut layers = self.layers.lock();
        while !layers.ended {
            match layers.going {
                Some(_) => self.pass_on(&mut layers),
                None => self.moved.wait(&mut layers),
            }
        }
    }
}

impl StateStore for Buffered {
    fn write(&self, batch: Batch) -> Result<(), StateError> {
        let mut layers = self.shared.layers.lock();
        layers.check()?;
        layers.add(batch);
        while layers.bytes >= self.shared.limit {
            if layers.going.is_none() {
                layers.turn();
                self.shared.moved.notify_all();
            } else if self.thread.is_some() {
                // Not faster than the store below.
                self.shared.moved.wait(&mut layers);
                layers.check()?;
            }
            if self.thread.is_none() {
                self.shared.pass_on(&mut layers);
                layers.check()?;
            }
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        let known = self.shared.layers.lock().find(key);
        match known {
            Some(value) => Ok(value),
            None => self.shared.below.get(key),
        }
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StateError> {
        if from >= to {
            return Ok(());
        }
        let mut above = self.shared.layers.lock().between(from, to).into_iter().peekable();
        let mut ended = false;
        self.shared.below.scan(from, to, &mut |key, value| {
            // Those that come before it, and what has taken its place.
            while let Some((newer, newest)) = above.next_if(|(newer, _)| newer.as_slice() <= key) {
                let same = newer.as_slice() == key;
                if let Some(newest) = newest
                    && visit(&newer, newest).is_break()
                {
                    ended = true;
                    return ControlFlow::Break(());
                }
                if same {
                    return ControlFlow::Continue(());
                }
            }
            let flow = visit(key, value);
            ended = flow.is_break();
            flow
        })?;
        if ended {
            return Ok(());
        }
        for (key, value) in above {
            if let Some(value) = value
                && visit(&key, value).is_break()
            {
                break;
            }
        }
        Ok(())
    }

    fn clear(&self) -> Result<(), StateError> {
        // In order: see `reset`.
        self.drain()?;
        self.shared.below.clear()
    }

    fn size(&self) -> u64 {
        let layers = self.shared.layers.lock();
        let here = (layers.bytes + layers.going_bytes) as u64;
        drop(layers);
        self.shared.below.size() + here
    }

    fn sync(&self) -> Result<(), StateError> {
        self.drain()?;
        self.shared.below.sync()
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        self.shared.layers.lock().ended = true;
        self.shared.moved.notify_all();
        if let Some(thread) = self.thread.take() {
            // Panics of the store below are caught in it.
            thread.join().ok();
        }
    }
}
