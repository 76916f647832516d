//! A disk that is as bad as one may be: until a sync, any sector of what was written may be on it or
//! not, whenever it was written; until a folder's sync, its last changes of names may be undone. It
//! stops at any call, or fails.
//!
//! A crash of the process loses nothing of it (what was written is in the kernel's cache), a crash of
//! the machine whatever was not synced. An error of a sync loses it too, and says so only once: the
//! cache still shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use fastrand::Rng;
use kvstore::disk::{Disk, DiskFile};

const SECTOR: usize = 512;

#[derive(Clone, Default)]
struct Inode {
    /// As the process sees it.
    current: Vec<u8>,
    /// As it is on the medium; `length` of it counts.
    medium: Vec<u8>,
    length: usize,
    /// Sectors that were written since they last reached the medium.
    dirty: BTreeSet<usize>,
}

impl Inode {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.current.len() < end {
            self.current.resize(end, 0);
        }
        self.current[offset..end].copy_from_slice(bytes);
        self.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    fn resize(&mut self, length: usize) {
        let from = self.current.len().min(length);
        self.current.resize(length, 0);
        self.dirty.extend(from / SECTOR..length.max(from).div_ceil(SECTOR));
    }

    fn reaches_medium(&mut self, sector: usize) {
        let (start, end) = (sector * SECTOR, (sector * SECTOR + SECTOR).min(self.current.len()));
        if start < end {
            if self.medium.len() < end {
                self.medium.resize(end, 0);
            }
            self.medium[start..end].copy_from_slice(&self.current[start..end]);
        }
    }

    fn sync(&mut self) {
        for sector in std::mem::take(&mut self.dirty) {
            self.reaches_medium(sector);
        }
        self.length = self.current.len();
    }

    /// The machine went down: each sector made it or did not.
    fn lose(&mut self, rng: &mut Rng) {
        for sector in std::mem::take(&mut self.dirty) {
            if rng.bool() {
                self.reaches_medium(sector);
            }
        }
        if rng.bool() {
            self.length = self.current.len();
        }
        self.medium.resize(self.length, 0);
        self.current = self.medium.clone();
    }
}

type Names = BTreeMap<PathBuf, Arc<Mutex<Inode>>>;

#[derive(Clone)]
enum Change {
    Set(PathBuf, Arc<Mutex<Inode>>),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

fn apply(names: &mut Names, change: &Change) {
    match change {
        Change::Set(path, inode) => drop(names.insert(path.clone(), inode.clone())),
        Change::Remove(path) => drop(names.remove(path)),
        Change::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
    }
}

struct Inner {
    names: Names,
    synced: Names,
    changes: Vec<Change>,
    rng: Rng,
    /// Calls until everything ends.
    crash_in: Option<u64>,
    crashed: bool,
    /// Syncs until one fails.
    sync_error_in: Option<u64>,
    /// One has failed.
    failed: bool,
    full: bool,
    calls: u64,
}

/// Shared by a member and the files it has open.
pub struct SimulatedDisk {
    inner: Mutex<Inner>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it")
}

impl SimulatedDisk {
    pub fn new(seed: u64) -> Arc<Self> {
        let inner = Inner {
            names: Names::new(),
            synced: Names::new(),
            changes: Vec::new(),
            rng: Rng::with_seed(seed),
            crash_in: None,
            crashed: false,
            sync_error_in: None,
            failed: false,
            full: false,
            calls: 0,
        };
        Arc::new(Self { inner: Mutex::new(inner) })
    }

    /// The process ends in the middle of a call, after so many more.
    pub fn crash_in(&self, calls: u64) {
        locked(&self.inner).crash_in = Some(calls);
    }

    pub fn fail_sync_in(&self, syncs: u64) {
        locked(&self.inner).sync_error_in = Some(syncs);
    }

    pub fn fill(&self) {
        locked(&self.inner).full = true;
    }

    /// Nothing bad is to come any more.
    pub fn disarm(&self) {
        let mut inner = locked(&self.inner);
        (inner.crash_in, inner.sync_error_in, inner.full) = (None, None, false);
    }

    pub fn is_full(&self) -> bool {
        locked(&self.inner).full
    }

    /// Ends the process now: nothing more is written through this.
    pub fn stop(&self) {
        locked(&self.inner).crashed = true;
    }

    pub fn stopped(&self) -> bool {
        locked(&self.inner).crashed
    }

    /// A sync has failed: whoever used it ends.
    pub fn failed(&self) -> bool {
        locked(&self.inner).failed
    }

    pub fn calls(&self) -> u64 {
        locked(&self.inner).calls
    }

    /// A copy to look at; the run goes on as if nobody had.
    pub fn copy(&self) -> Arc<Self> {
        let rng = locked(&self.inner).rng.clone();
        let copy = self.after(false);
        locked(&self.inner).rng = rng;
        copy
    }

    /// The disk as the next process finds it.
    pub fn after(&self, machine_went_down: bool) -> Arc<Self> {
        let mut inner = locked(&self.inner);
        let seed = inner.rng.u64(..);
        let mut rng = Rng::with_seed(seed);
        if machine_went_down {
            let kept = rng.usize(..=inner.changes.len());
            let changes: Vec<Change> = inner.changes.drain(..).collect();
            changes[..kept].iter().for_each(|change| apply(&mut inner.synced, change));
            inner.names = inner.synced.clone();
        }
        // Copies: what the old process still does with its files concerns nobody.
        let copies: BTreeMap<*const Mutex<Inode>, Arc<Mutex<Inode>>> = inner
            .names
            .values()
            .chain(inner.synced.values())
            .chain(inner.changes.iter().filter_map(|change| match change {
                Change::Set(_, inode) => Some(inode),
                _ => None,
            }))
            .map(|inode| {
                let mut copy = locked(inode).clone();
                if machine_went_down {
                    copy.lose(&mut rng);
                }
                (Arc::as_ptr(inode), Arc::new(Mutex::new(copy)))
            })
            .collect();
        let copy = |inode: &Arc<Mutex<Inode>>| copies[&Arc::as_ptr(inode)].clone();
        let copied = |names: &Names| names.iter().map(|(path, inode)| (path.clone(), copy(inode))).collect();
        let changes = inner.changes.iter().map(|change| match change {
            Change::Set(path, inode) => Change::Set(path.clone(), copy(inode)),
            other => other.clone(),
        });
        let next = Inner {
            names: copied(&inner.names),
            synced: copied(&inner.synced),
            changes: changes.collect(),
            rng,
            crash_in: None,
            crashed: false,
            sync_error_in: None,
            failed: false,
            full: false,
            calls: inner.calls,
        };
        Arc::new(Self { inner: Mutex::new(next) })
    }

    /// Counts a call; the error if the process does not outlive it. `last` is done half-way then.
    fn call(&self, last: impl FnOnce()) -> io::Result<MutexGuard<'_, Inner>> {
        let mut inner = locked(&self.inner);
        inner.calls += 1;
        if inner.crash_in == Some(0) && !inner.crashed {
            inner.crashed = true;
            if inner.rng.bool() {
                last();
            }
        }
        inner.crash_in = inner.crash_in.map(|calls| calls.saturating_sub(1));
        if inner.crashed { Err(io::Error::other("the process has ended")) } else { Ok(inner) }
    }

    fn full(inner: &Inner) -> io::Result<()> {
        if inner.full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

/// A disk as a member holds it: files refer back to it.
pub struct Handle(pub Arc<SimulatedDisk>);

impl Handle {
    fn file(&self, inode: Arc<Mutex<Inode>>) -> Arc<dyn DiskFile> {
        Arc::new(File { disk: self.0.clone(), inode })
    }
}

impl Disk for Handle {
    fn create_folder(&self, _path: &Path) -> io::Result<()> {
        self.0.call(|| {}).map(drop)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let inner = self.0.call(|| {})?;
        let inside = inner.names.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let inner = self.0.call(|| {})?;
        let inode = inner.names.get(path).ok_or_else(missing)?;
        Ok(locked(inode).current.clone())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.0.call(|| {})?;
        SimulatedDisk::full(&inner)?;
        let inode = match inner.names.get(path) {
            Some(inode) => {
                locked(inode).resize(0);
                inode.clone()
            }
            None => {
                let change = Change::Set(path.to_owned(), Arc::default());
                apply(&mut inner.names, &change);
                inner.changes.push(change);
                inner.names[path].clone()
            }
        };
        drop(inner);
        Ok(self.file(inode))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.0.call(|| {})?;
        let inode = inner.names.get(path).ok_or_else(missing)?.clone();
        drop(inner);
        Ok(self.file(inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.0.call(|| {})?;
        let change = Change::Rename(from.to_owned(), to.to_owned());
        apply(&mut inner.names, &change);
        inner.changes.push(change);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.0.call(|| {})?;
        let change = Change::Remove(path.to_owned());
        apply(&mut inner.names, &change);
        inner.changes.push(change);
        Ok(())
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        let mut inner = self.0.call(|| {})?;
        let changes = std::mem::take(&mut inner.changes);
        changes.iter().for_each(|change| apply(&mut inner.synced, change));
        Ok(())
    }
}

struct File {
    disk: Arc<SimulatedDisk>,
    inode: Arc<Mutex<Inode>>,
}

impl DiskFile for File {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let _inner = self.disk.call(|| {})?;
        let inode = locked(&self.inode);
        let offset = offset as usize;
        let bytes = inode.current.get(offset..offset + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let write = || locked(&self.inode).write(bytes, offset as usize);
        let mut inner = self.disk.call(write)?;
        let mut inode = locked(&self.inode);
        if inode.current.len() < offset as usize + bytes.len() {
            SimulatedDisk::full(&inner)?;
        }
        inode.write(bytes, offset as usize);
        // The kernel writes back when it likes.
        let sectors: Vec<usize> = inode.dirty.iter().copied().collect();
        for sector in sectors {
            if inner.rng.u8(..) < 20 {
                inode.reaches_medium(sector);
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let _inner = self.disk.call(|| {})?;
        locked(&self.inode).resize(length as usize);
        Ok(())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let inner = self.disk.call(|| {})?;
        let mut inode = locked(&self.inode);
        if inode.current.len() < length as usize {
            SimulatedDisk::full(&inner)?;
            inode.resize(length as usize);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.disk.call(|| {})?;
        let fails = match &mut inner.sync_error_in {
            Some(0) => true,
            Some(syncs) => {
                *syncs -= 1;
                false
            }
            None => false,
        };
        let mut inode = locked(&self.inode);
        if fails {
            inner.sync_error_in = None;
            inner.failed = true;
            // What was to be written counts as written, and is not.
            inode.dirty.clear();
            return Err(io::Error::other("the disk failed"));
        }
        inode.sync();
        Ok(())
    }
}
