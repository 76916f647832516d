//! LZ4 blocks of bytes that are nearly those of a sample.
//!
//! A compressor for any bytes first learns the sample: it hashes all of it, for each object anew. Objects of one
//! make differ from the sample in a name, a uid, some times, and mostly by as many bytes as the sample has there.
//! So both are walked side by side; where they part, the place where they meet again is looked for nearby. What
//! comes out is an ordinary block against the sample as its dictionary:
//!
//! ```text
//! token (literals << 4 | match - 4) [more of literals] literals offset:u16le [more of match] …  token literals
//! ```
//!
//! What parts too often is `None`, and packed otherwise.

use memchr::memmem;

/// A block's last match ends this many bytes before its end, and starts that many.
const LAST_LITERALS: usize = 5;
const LAST_MATCH: usize = 12;
/// The shortest match that is worth its place.
const SHORTEST: usize = 8;
/// How far the two may be apart and still be looked for side by side.
const ASIDE: usize = 48;
/// How much of the sample is searched for where the two go on, before and behind.
const BEFORE: usize = 32;
const BEHIND: usize = 160;
/// One literal in so many bytes is the most.
const MOST: usize = 6;

/// The block, where most of it is in the sample.
pub fn block(bytes: &[u8], sample: &[u8]) -> Option<Vec<u8>> {
    // Offsets reach from the end of the bytes to the start of the sample.
    if bytes.len() < 4 * LAST_MATCH || bytes.len() + sample.len() > usize::from(u16::MAX) {
        return None;
    }
    let mut out = Vec::with_capacity(bytes.len() / 8 + 64);
    let (mut literals, mut from) = (0, 0);
    // What stands at `at` is looked for in the sample from `from` on.
    let mut at = 0;
    while at + LAST_MATCH <= bytes.len() {
        let length = common(&bytes[at..bytes.len() - LAST_LITERALS], sample.get(from..).unwrap_or_default());
        if length >= SHORTEST {
            sequence(&bytes[literals..at], sample.len() + at - from, length, &mut out);
            (at, from) = (at + length, from + length);
            literals = at;
        }
        let Some((next, place)) = meeting(bytes, at, sample, from) else {
            break;
        };
        (at, from) = (next, place);
        if (at - literals + out.len()) * MOST > bytes.len() {
            return None;
        }
    }
    let rest = &bytes[literals..];
    if (rest.len() + out.len()) * MOST > bytes.len() {
        return None;
    }
    token(rest.len(), 0, &mut out);
    more(rest.len(), &mut out);
    out.extend_from_slice(rest);
    Some(out)
}

/// How many bytes both begin with.
fn common(one: &[u8], other: &[u8]) -> usize {
    let (ones, others) = (one.chunks_exact(8), other.chunks_exact(8));
    let mut at = 0;
    for (a, b) in ones.zip(others) {
        let word = |bytes: &[u8]| bytes.first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight));
        let differs = word(a) ^ word(b);
        if differs != 0 {
            return at + differs.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + one[at..].iter().zip(other.get(at..).unwrap_or_default()).take_while(|(a, b)| a == b).count()
}

/// Where both are the same again, after a place at which they are not: by as many bytes further in both, or else
/// wherever near it the sample has what follows.
fn meeting(bytes: &[u8], at: usize, sample: &[u8], from: usize) -> Option<(usize, usize)> {
    let last = bytes.len().checked_sub(LAST_MATCH)?;
    let here = |at: usize| bytes.get(at..at + SHORTEST);
    for step in 1..=ASIDE {
        if at + step > last {
            return None;
        }
        if here(at + step).is_some_and(|eight| sample.get(from + step..from + step + SHORTEST) == Some(eight))
        {
            return Some((at + step, from + step));
        }
    }
    let start = from.saturating_sub(BEFORE);
    let around = sample.get(start..(from + BEHIND).min(sample.len()))?;
    // Something may be longer here than there, or not be there at all.
    for step in [1, 4, 8, 16, 32, 64, 128] {
        let next = at + step;
        if next > last {
            return None;
        }
        if let Some(place) = here(next).and_then(|eight| memmem::find(around, eight)) {
            return Some((next, start + place));
        }
    }
    None
}

fn sequence(literals: &[u8], offset: usize, length: usize, out: &mut Vec<u8>) {
    token(literals.len(), length - 4, out);
    more(literals.len(), out);
    out.extend_from_slice(literals);
    // No more than 65,535: the bytes and their sample together.
    out.extend_from_slice(&(offset as u16).to_le_bytes());
    more(length - 4, out);
}

fn token(literals: usize, matched: usize, out: &mut Vec<u8>) {
    out.push((literals.min(15) << 4 | matched.min(15)) as u8);
}

/// What does not fit into a token's half.
fn more(length: usize, out: &mut Vec<u8>) {
    let Some(mut rest) = length.checked_sub(15) else { return };
    while rest >= 255 {
        out.push(255);
        rest -= 255;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], sample: &[u8]) -> Option<usize> {
        let block = block(bytes, sample)?;
        let mut out = vec![0; bytes.len()];
        let length = lz4_flex::block::decompress_into_with_dict(&block, &mut out, sample);
        assert_eq!((length.ok(), &out[..]), (Some(bytes.len()), bytes));
        Some(block.len())
    }

    #[test]
    fn what_is_the_same_or_nearly_is_short() {
        let mut random = fastrand::Rng::with_seed(1);
        for length in [120, 300, 1_000, 5_000, 32_000] {
            let sample: Vec<u8> = (0..length).map(|_| random.alphanumeric() as u8).collect();
            assert!(check(&sample, &sample).is_some_and(|block| block < 20 + length / 200));
            let mut other = sample.clone();
            other[length / 2] = b'-';
            check(&other, &sample).expect("nearly the same");
        }
    }

    /// Bytes changed, taken away, put in between and repeated.
    #[test]
    fn any_block_opens_to_its_bytes() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut packed = 0;
        for round in 0..4_000 {
            let length = random.usize(0..3_000);
            let sample: Vec<u8> = (0..length).map(|_| random.u8(b'a'..=b'a' + (round % 26) as u8)).collect();
            let mut bytes = sample.clone();
            for _ in 0..random.usize(0..12) {
                let at = random.usize(0..=bytes.len());
                let end = (at + random.usize(0..40)).min(bytes.len());
                match random.u8(0..4) {
                    0 => bytes[at..end].fill(b'-'),
                    1 => drop(bytes.drain(at..end)),
                    2 => drop(bytes.splice(at..at, (0..random.usize(0..300)).map(|n| n as u8))),
                    _ => bytes.extend_from_within(at..end),
                }
            }
            packed += usize::from(check(&bytes, &sample).is_some());
        }
        assert!(packed > 1_000, "{packed}");
    }

    #[test]
    fn what_is_not_alike_is_left() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut text = |length: usize| (0..length).map(|_| random.alphanumeric() as u8).collect::<Vec<u8>>();
        assert_eq!(block(&text(4_000), &text(4_000)), None);
        let long = text(40_000);
        assert_eq!(block(&long, &long), None, "farther than an offset reaches");
        assert_eq!(block(b"short", b"short"), None);
        assert_eq!(block(&long[..2_000], b""), None);
    }
}
