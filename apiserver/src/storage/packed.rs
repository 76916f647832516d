//! Bytes that are kept for long and read now and then, in little room.
//!
//! A cache is full of objects that are nearly the same: the pods of a Deployment, the nodes of a cluster. Those
//! are kept as LZ4 blocks against the text of one like them, which they share; what is like nothing else is a
//! block of its own, and what is short stays as it is. Opening costs some microseconds and new bytes.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use api_types::codec::transcoder::Template;
use bytes::Bytes;
use lz4_flex::block;

use super::alike;

/// Shorter bytes stay as they are.
const WORTH: usize = 384;
/// A block of at most one part in so many is good: nothing better is looked for.
const GOOD: usize = 5;
/// Messages that are made without a template.
const ASKED: usize = 2;
/// LZ4 does not see farther.
const REACH: usize = 64 * 1024;

/// Bytes, packed or not.
#[derive(Debug)]
pub struct Packed(Form);

#[derive(Debug)]
enum Form {
    Plain(Bytes),
    Block { block: Box<[u8]>, length: u32, like: Option<Arc<Sample>> },
}

/// What others are packed against; it lasts for as long as they do.
#[derive(Debug)]
pub struct Sample {
    bytes: Box<[u8]>,
    /// Of JSON from which messages are made, once several are.
    template: OnceLock<Option<Template>>,
    asked: AtomicUsize,
}

impl Packed {
    /// Bytes as they are: those that are read soon.
    pub fn plain(bytes: Bytes) -> Self {
        Self(Form::Plain(bytes))
    }

    /// Packs bytes against one of the samples, or against a new one made of `near`, whichever is worth it.
    /// `near` is something that may be alike and has no sample itself.
    pub fn pack<'a>(
        bytes: Bytes,
        samples: impl IntoIterator<Item = &'a Arc<Sample>>,
        near: Option<impl FnOnce() -> Bytes>,
    ) -> Self {
        let Ok(length) = u32::try_from(bytes.len()) else { return Self::plain(bytes) };
        if bytes.len() < WORTH {
            return Self::plain(bytes);
        }
        let is_good = |block: &[u8]| block.len() * GOOD <= bytes.len();
        let mut best: Option<(Vec<u8>, Arc<Sample>)> = None;
        for sample in samples {
            let block = compressed(&bytes, Some(sample));
            if best.as_ref().is_none_or(|(least, _)| block.len() < least.len()) {
                best = Some((block, sample.clone()));
            }
            if best.as_ref().is_some_and(|(least, _)| is_good(least)) {
                break;
            }
        }
        if let Some(near) = near.filter(|_| !best.as_ref().is_some_and(|(least, _)| is_good(least))) {
            let sample = Sample::of(&near());
            let block = compressed(&bytes, Some(&sample));
            // A sample takes room itself.
            if is_good(&block) {
                best = Some((block, Arc::new(sample)));
            }
        }
        if let Some((block, like)) = best.take_if(|(least, _)| is_good(least)) {
            return Self(Form::Block { block: block.into(), length, like: Some(like) });
        }
        let alone = compressed(&bytes, None);
        match best {
            // A sample lives on with those that are packed against it: only a clear gain is worth that.
            Some((block, like)) if block.len() * 4 <= alone.len() * 3 => {
                Self(Form::Block { block: block.into(), length, like: Some(like) })
            }
            _ if alone.len() * 8 <= bytes.len() * 7 => {
                Self(Form::Block { block: alone.into(), length, like: None })
            }
            _ => Self::plain(bytes),
        }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Plain(bytes) => bytes.len(),
            Form::Block { length, .. } => *length as usize,
        }
    }

    /// The bytes.
    pub fn open(&self) -> Bytes {
        match &self.0 {
            Form::Plain(bytes) => bytes.clone(),
            Form::Block { .. } => {
                let mut out = Vec::new();
                self.append_to(&mut out);
                out.into()
            }
        }
    }

    /// The bytes, without a count of references where they are plain.
    pub fn read(&self) -> Cow<'_, [u8]> {
        match &self.0 {
            Form::Plain(bytes) => Cow::Borrowed(bytes),
            Form::Block { .. } => {
                let mut out = Vec::new();
                self.append_to(&mut out);
                Cow::Owned(out)
            }
        }
    }

    /// Puts the bytes behind those of `out`.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Form::Plain(bytes) => out.extend_from_slice(bytes),
            Form::Block { block, length, like } => {
                let start = out.len();
                out.resize(start + *length as usize, 0);
                let like = like.as_ref().map_or(&[][..], |sample| &sample.bytes);
                let read = block::decompress_into_with_dict(block, &mut out[start..], like);
                assert_eq!(read.ok(), Some(*length as usize), "a block that `pack` made");
            }
        }
    }

    /// What it is packed against.
    pub fn sample(&self) -> Option<&Arc<Sample>> {
        match &self.0 {
            Form::Block { like: Some(sample), .. } => Some(sample),
            _ => None,
        }
    }
}

impl Sample {
    /// The template of these bytes, and they themselves. For the first who ask it is not worth its making.
    pub fn template(&self, make: impl FnOnce(&[u8]) -> Option<Template>) -> Option<(&Template, &[u8])> {
        if self.template.get().is_none() && self.asked.fetch_add(1, Ordering::Relaxed) < ASKED {
            return None;
        }
        let template = self.template.get_or_init(|| make(&self.bytes));
        template.as_ref().map(|template| (template, &*self.bytes))
    }

    fn of(bytes: &[u8]) -> Self {
        let bytes = bytes[bytes.len().saturating_sub(REACH)..].into();
        Self { bytes, template: OnceLock::new(), asked: AtomicUsize::new(0) }
    }
}

fn compressed(bytes: &[u8], like: Option<&Sample>) -> Vec<u8> {
    match like {
        Some(sample) => alike::block(bytes, &sample.bytes)
            .unwrap_or_else(|| block::compress_with_dict(bytes, &sample.bytes)),
        None => block::compress(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Nothing = fn() -> Bytes;

    /// Text that repeats itself little: numbers in a row of a generator.
    fn text(seed: u64, length: usize) -> Bytes {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..length).map(|_| random.alphanumeric() as u8).collect::<Vec<u8>>().into()
    }

    /// The same text but for some bytes in the middle.
    fn like(text: &Bytes, n: u8) -> Bytes {
        let mut other = text.to_vec();
        let middle = other.len() / 2;
        other[middle..].iter_mut().take(8).for_each(|byte| *byte = b'0' + n);
        other.into()
    }

    fn room(packed: &Packed) -> usize {
        match &packed.0 {
            Form::Plain(bytes) => bytes.len(),
            Form::Block { block, .. } => block.len(),
        }
    }

    #[test]
    fn what_is_packed_is_what_is_read() {
        for length in [0, 1, WORTH - 1, WORTH, WORTH + 1, 3_000, REACH, 3 * REACH] {
            for bytes in [text(1, length), vec![b'a'; length].into()] {
                let near = text(2, length);
                let first = Packed::pack(bytes.clone(), [], Some(|| like(&bytes, 1)));
                let others = Packed::pack(like(&bytes, 2), first.sample(), Some(|| near.clone()));
                for (packed, given) in [(&first, &bytes), (&others, &like(&bytes, 2))] {
                    assert_eq!((packed.len(), &packed.open()), (given.len(), given));
                    assert_eq!(&*packed.read(), given);
                    let mut out = b"before".to_vec();
                    packed.append_to(&mut out);
                    assert_eq!(out, [b"before", &given[..]].concat());
                }
            }
        }
    }

    #[test]
    fn what_is_alike_shares_a_sample() {
        let bytes = text(3, 4_000);
        let first = Packed::pack(bytes.clone(), [], Some(|| like(&bytes, 1)));
        let second = Packed::pack(like(&bytes, 2), first.sample(), None::<Nothing>);
        assert!(room(&first) < 100 && room(&second) < 100);
        let sample = first.sample().expect("a sample");
        assert!(Arc::ptr_eq(sample, second.sample().expect("a sample")));
        let kept = Arc::downgrade(sample);
        drop(first);
        assert!(kept.upgrade().is_some());
        drop(second);
        assert!(kept.upgrade().is_none());
    }

    #[test]
    fn what_is_like_nothing_stands_alone() {
        let other = Arc::new(Sample::of(&text(5, 4_000)));
        let plain = Packed::pack(text(4, 4_000), [&other], Some(|| text(6, 4_000)));
        assert_eq!((plain.sample().is_some(), room(&plain)), (false, 4_000));
        let mut repeats = text(7, 1_000).to_vec();
        repeats.extend_from_within(..);
        let block = Packed::pack(repeats.into(), [&other], Some(|| text(6, 4_000)));
        assert!(block.sample().is_none() && room(&block) < 1_200);
    }
}
