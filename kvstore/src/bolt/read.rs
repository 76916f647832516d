//! Reads a database: every pair of a bucket, in order. Nothing is trusted: places and lengths are checked
//! before they are followed.

use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Buf;

use super::{
    BRANCH_PAGE, BUCKET, BUCKET_HEADER, BoltError, ELEMENT, LEAF_PAGE, MAGIC, META, PAGE_HEADER, VERSION,
    checksum,
};

/// Deeper than any tree that fits a file.
const DEEPEST: usize = 64;

/// An open database.
pub struct Database {
    path: PathBuf,
    file: File,
    page_size: u64,
    length: u64,
    root: u64,
}

/// Called for each pair; may end it.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

struct Element<'a> {
    flags: u32,
    key: &'a [u8],
    value: &'a [u8],
}

impl Database {
    /// Whether a file starts as a database does.
    pub fn is_one(path: &Path) -> Result<bool, BoltError> {
        let io = |source| BoltError::Io { step: "open", path: path.to_owned(), source };
        let mut start = [0; PAGE_HEADER + 4];
        match File::open(path).map_err(io)?.read_exact_at(&mut start, 0) {
            Ok(()) => Ok((&start[PAGE_HEADER..]).get_u32_le() == MAGIC),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            Err(source) => Err(io(source)),
        }
    }

    pub fn open(path: &Path) -> Result<Self, BoltError> {
        let io = |source| BoltError::Io { step: "open", path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut database = Self { path: path.to_owned(), file, page_size: 0, length, root: 0 };
        // Where the second meta stands depends on the page size, which the first may not tell.
        let first = database.meta(0);
        let sizes =
            first.as_ref().map_or_else(|| vec![4096, 8192, 16384, 65536], |meta| vec![meta.page_size]);
        let second = sizes.into_iter().find_map(|size| database.meta(size));
        let meta = first.into_iter().chain(second).max_by_key(|meta| meta.transaction);
        let meta = meta.ok_or_else(|| database.damaged("neither meta page checks out"))?;
        (database.page_size, database.root) = (meta.page_size, meta.root);
        Ok(database)
    }

    fn meta(&self, at: u64) -> Option<Meta> {
        let mut bytes = [0; PAGE_HEADER + META + 8];
        self.file.read_exact_at(&mut bytes, at).ok()?;
        let (body, mut sum) = bytes[PAGE_HEADER..].split_at(META);
        let mut fields = body;
        let (magic, version) = (fields.get_u32_le(), fields.get_u32_le());
        let page_size = u64::from(fields.get_u32_le());
        let sane = magic == MAGIC && version == VERSION && page_size.is_power_of_two() && page_size >= 1024;
        if !sane || sum.get_u64_le() != checksum(body) {
            return None;
        }
        fields.advance(4);
        let root = fields.get_u64_le();
        fields.advance(8 + 8 + 8);
        Some(Meta { page_size, root, transaction: fields.get_u64_le() })
    }

    /// Names of the buckets.
    pub fn buckets(&self) -> Result<Vec<Vec<u8>>, BoltError> {
        let mut names = Vec::new();
        self.top(&mut |element| {
            if element.flags & BUCKET != 0 {
                names.push(element.key.to_vec());
            }
            ControlFlow::Continue(())
        })?;
        Ok(names)
    }

    /// Visits the pairs of a bucket, ascending. A bucket that is not there has none.
    pub fn each(&self, bucket: &str, visit: Visit<'_>) -> Result<(), BoltError> {
        let mut header: Option<Vec<u8>> = None;
        self.top(&mut |element| {
            if element.key == bucket.as_bytes() && element.flags & BUCKET != 0 {
                header = Some(element.value.to_vec());
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        let Some(value) = header else { return Ok(()) };
        if value.len() < BUCKET_HEADER {
            return Err(self.damaged("a bucket is cut short"));
        }
        let mut pairs = |element: Element<'_>| visit(element.key, element.value);
        match value.as_slice().get_u64_le() {
            0 => self.leaf(&value[BUCKET_HEADER..], &mut pairs).map(|_| ()),
            root => self.walk(root, 0, &mut pairs).map(|_| ()),
        }
    }

    /// Visits the root bucket.
    fn top(&self, visit: &mut dyn FnMut(Element<'_>) -> ControlFlow<()>) -> Result<(), BoltError> {
        self.walk(self.root, 0, visit).map(|_| ())
    }

    fn walk(
        &self,
        page: u64,
        depth: usize,
        visit: &mut dyn FnMut(Element<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, BoltError> {
        if depth > DEEPEST {
            return Err(self.damaged("pages go in circles"));
        }
        let bytes = self.page(page)?;
        let mut header = &bytes[8..];
        let (flags, count) = (header.get_u16_le(), header.get_u16_le());
        match flags {
            LEAF_PAGE => self.leaf(&bytes, visit),
            BRANCH_PAGE => {
                for n in 0..usize::from(count) {
                    let at = PAGE_HEADER + n * ELEMENT;
                    let element =
                        bytes.get(at..at + ELEMENT).ok_or_else(|| self.damaged("a branch is cut short"))?;
                    let child = (&element[8..]).get_u64_le();
                    if self.walk(child, depth + 1, visit)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Ok(ControlFlow::Continue(()))
            }
            _ => Err(self.damaged(&format!("page {page} is of no known sort"))),
        }
    }

    fn leaf(
        &self,
        bytes: &[u8],
        visit: &mut dyn FnMut(Element<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, BoltError> {
        let cut = || self.damaged("a leaf is cut short");
        let count = bytes.get(10..12).ok_or_else(cut)?.get_u16_le();
        for n in 0..usize::from(count) {
            let at = PAGE_HEADER + n * ELEMENT;
            let mut fields = bytes.get(at..at + ELEMENT).ok_or_else(cut)?;
            let flags = fields.get_u32_le();
            let place = at + fields.get_u32_le() as usize;
            let (key, value) = (fields.get_u32_le() as usize, fields.get_u32_le() as usize);
            let pair = bytes.get(place..place + key + value).ok_or_else(cut)?;
            let (key, value) = pair.split_at(key);
            if visit(Element { flags, key, value }).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// A page with those that overflow from it.
    fn page(&self, page: u64) -> Result<Vec<u8>, BoltError> {
        let at = page.checked_mul(self.page_size).filter(|at| at + self.page_size <= self.length);
        let at = at.ok_or_else(|| self.damaged(&format!("page {page} lies outside of the file")))?;
        let io = |source| BoltError::Io { step: "read", path: self.path.clone(), source };
        let mut header = [0; PAGE_HEADER];
        self.file.read_exact_at(&mut header, at).map_err(io)?;
        if (&header[..]).get_u64_le() != page {
            return Err(self.damaged(&format!("page {page} is not where it should be")));
        }
        let length = (u64::from((&header[12..]).get_u32_le()) + 1) * self.page_size;
        if at + length > self.length {
            return Err(self.damaged(&format!("page {page} is cut short")));
        }
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, at).map_err(io)?;
        Ok(bytes)
    }

    fn damaged(&self, reason: &str) -> BoltError {
        BoltError::Damaged { path: self.path.clone(), reason: reason.to_owned() }
    }
}

struct Meta {
    page_size: u64,
    root: u64,
    transaction: u64,
}
