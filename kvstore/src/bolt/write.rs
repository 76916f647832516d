//! Writes a database from pairs that come in order, bucket after bucket: leaves as they fill, branches
//! when a bucket ends, metas at the very end.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::BufMut;

use super::{
    BRANCH_PAGE, BUCKET, BoltError, ELEMENT, FREELIST_PAGE, LEAF_PAGE, MAGIC, META, META_PAGE, PAGE_HEADER,
    VERSION, checksum,
};

const PAGE: usize = 4096;
/// First page that is neither a meta nor the (empty) list of free pages.
const FIRST: u64 = 3;
const FREELIST: u64 = 2;

/// A database being written.
pub struct Writer {
    path: PathBuf,
    out: BufWriter<File>,
    next: u64,
    /// Finished buckets and their root pages.
    buckets: Vec<(Vec<u8>, u64)>,
}

impl Writer {
    pub fn create(path: &Path) -> Result<Self, BoltError> {
        let io = |source| BoltError::Io { step: "create", path: path.to_owned(), source };
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path).map_err(io)?);
        out.write_all(&[0; FIRST as usize * PAGE]).map_err(io)?;
        Ok(Self { path: path.to_owned(), out, next: FIRST, buckets: Vec::new() })
    }

    /// Writes a bucket; `fill` hands its pairs, ascending, to what it is given.
    pub fn bucket<E: From<BoltError>>(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut dyn FnMut(&[u8], &[u8]) -> Result<(), BoltError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut tree = Tree { writer: self, leaf: Leaf::default(), pages: Vec::new() };
        fill(&mut |key, value| tree.put(key, value))?;
        let root = tree.finish()?;
        self.buckets.push((name.as_bytes().to_vec(), root));
        Ok(())
    }

    /// Writes what holds the buckets together and waits for the disk. Returns the length in bytes.
    pub fn finish(mut self) -> Result<u64, BoltError> {
        let mut buckets = std::mem::take(&mut self.buckets);
        buckets.sort();
        let mut root = Leaf::default();
        for (name, page) in buckets {
            let mut value = Vec::with_capacity(16);
            value.put_u64_le(page);
            value.put_u64_le(0);
            root.push(BUCKET, &name, &value);
        }
        let page = self.leaf(&mut root)?;
        let mut start = Vec::with_capacity(FIRST as usize * PAGE);
        for id in 0..2_u64 {
            header(&mut start, id, META_PAGE, 0, 0);
            start.extend(meta(page, self.next, id));
            start.resize((id as usize + 1) * PAGE, 0);
        }
        header(&mut start, FREELIST, FREELIST_PAGE, 0, 0);
        let path = self.path;
        let io = |source| BoltError::Io { step: "finish", path: path.clone(), source };
        let length = self.next * PAGE as u64;
        let mut file = self.out.into_inner().map_err(|error| io(error.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        file.write_all(&start).map_err(io)?;
        file.sync_all().map_err(io)?;
        Ok(length)
    }

    fn leaf(&mut self, leaf: &mut Leaf) -> Result<u64, BoltError> {
        let elements = std::mem::take(leaf);
        let mut body = Vec::with_capacity(elements.bytes());
        let mut place = elements.lengths.len() * ELEMENT;
        for (n, (flags, key, value)) in elements.lengths.iter().enumerate() {
            body.put_u32_le(*flags);
            body.put_u32_le((place - n * ELEMENT) as u32);
            body.put_u32_le(*key as u32);
            body.put_u32_le(*value as u32);
            place += key + value;
        }
        body.extend(elements.data);
        self.page(LEAF_PAGE, elements.lengths.len(), &body)
    }

    fn branch(&mut self, children: &[(Vec<u8>, u64)]) -> Result<u64, BoltError> {
        let mut body = Vec::new();
        let mut place = children.len() * ELEMENT;
        for (n, (key, page)) in children.iter().enumerate() {
            body.put_u32_le((place - n * ELEMENT) as u32);
            body.put_u32_le(key.len() as u32);
            body.put_u64_le(*page);
            place += key.len();
        }
        children.iter().for_each(|(key, _)| body.extend(key));
        self.page(BRANCH_PAGE, children.len(), &body)
    }

    fn page(&mut self, flags: u16, count: usize, body: &[u8]) -> Result<u64, BoltError> {
        let id = self.next;
        let pages = (PAGE_HEADER + body.len()).div_ceil(PAGE).max(1);
        let mut bytes = Vec::with_capacity(pages * PAGE);
        header(&mut bytes, id, flags, count as u16, pages as u32 - 1);
        bytes.extend_from_slice(body);
        bytes.resize(pages * PAGE, 0);
        let path = &self.path;
        let io = |source| BoltError::Io { step: "write", path: path.clone(), source };
        self.out.write_all(&bytes).map_err(io)?;
        self.next += pages as u64;
        Ok(id)
    }
}

/// The pairs of one leaf page.
#[derive(Default)]
struct Leaf {
    /// Flags, length of the key, length of the value.
    lengths: Vec<(u32, usize, usize)>,
    data: Vec<u8>,
}

impl Leaf {
    fn push(&mut self, flags: u32, key: &[u8], value: &[u8]) {
        self.lengths.push((flags, key.len(), value.len()));
        self.data.extend_from_slice(key);
        self.data.extend_from_slice(value);
    }

    fn bytes(&self) -> usize {
        self.lengths.len() * ELEMENT + self.data.len()
    }

    fn first_key(&self) -> Vec<u8> {
        let length = self.lengths.first().map_or(0, |(_, key, _)| *key);
        self.data[..length].to_vec()
    }
}

/// The tree of one bucket: first keys and numbers of its leaves so far.
struct Tree<'a> {
    writer: &'a mut Writer,
    leaf: Leaf,
    pages: Vec<(Vec<u8>, u64)>,
}

impl Tree<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), BoltError> {
        let bytes = self.leaf.bytes() + ELEMENT + key.len() + value.len();
        if PAGE_HEADER + bytes > PAGE && !self.leaf.lengths.is_empty() {
            self.flush()?;
        }
        self.leaf.push(0, key, value);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BoltError> {
        let first = self.leaf.first_key();
        let page = self.writer.leaf(&mut self.leaf)?;
        self.pages.push((first, page));
        Ok(())
    }

    /// Branches above branches until there is one page; returns it.
    fn finish(mut self) -> Result<u64, BoltError> {
        if !self.leaf.lengths.is_empty() || self.pages.is_empty() {
            self.flush()?;
        }
        let mut level = self.pages;
        while level.len() > 1 {
            let mut above = Vec::new();
            let mut rest = level.as_slice();
            while !rest.is_empty() {
                let mut bytes = PAGE_HEADER;
                let fits = rest.iter().take_while(|(key, _)| {
                    bytes += ELEMENT + key.len();
                    bytes <= PAGE
                });
                // Long keys overflow: a branch of one child would never come to an end.
                let count = fits.count().max(2).min(rest.len());
                let (children, others) = rest.split_at(count);
                above.push((children[0].0.clone(), self.writer.branch(children)?));
                rest = others;
            }
            level = above;
        }
        Ok(level[0].1)
    }
}

fn header(bytes: &mut Vec<u8>, id: u64, flags: u16, count: u16, overflow: u32) {
    bytes.put_u64_le(id);
    bytes.put_u16_le(flags);
    bytes.put_u16_le(count);
    bytes.put_u32_le(overflow);
}

fn meta(root: u64, pages: u64, transaction: u64) -> Vec<u8> {
    let mut meta = Vec::with_capacity(META + 8);
    meta.put_u32_le(MAGIC);
    meta.put_u32_le(VERSION);
    meta.put_u32_le(PAGE as u32);
    meta.put_u32_le(0);
    meta.put_u64_le(root);
    meta.put_u64_le(0);
    meta.put_u64_le(FREELIST);
    meta.put_u64_le(pages);
    meta.put_u64_le(transaction);
    let sum = checksum(&meta);
    meta.put_u64_le(sum);
    meta
}
