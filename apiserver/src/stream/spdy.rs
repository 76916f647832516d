//! The client's side of SPDY/3.1 framing: as much as remote commands need.
//!
//! ```text
//! control  1 | version 15 = 3 | type 16 | flags 8 | length 24 | payload
//! data     0 | stream id 31             | flags 8 | length 24 | bytes
//! SYN_STREAM payload: id 32 | associated 32 | priority 3, unused 13 | zlib(header block)
//! header block: count 32 | (name length 32, name, value length 32, value)*
//! ```
//!
//! We open every stream, so the peer's header blocks are never read. Ours are compressed without
//! SPDY's dictionary, which a zlib stream may do: its header says so. The peer (Go's spdystream)
//! does no flow control.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use flate2::{Compress, Compression, FlushCompress};

const VERSION: u16 = 3;
const SYN_STREAM: u16 = 1;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const FLAG_FIN: u8 = 1;

/// A number of a stream; ours are odd.
pub type StreamId = u32;

/// What the peer said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Data {
        stream: StreamId,
        bytes: Bytes,
        fin: bool,
    },
    Reset {
        stream: StreamId,
    },
    /// To be sent back as it is.
    Ping(u32),
    GoAway,
    /// Settings, replies and whatever else needs no answer.
    Other,
}

/// Writes our frames. Header blocks share one compression context, in the order they are sent.
#[derive(Debug)]
pub struct Encoder {
    headers: Compress,
    next: StreamId,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { headers: Compress::new(Compression::fast(), true), next: 1 }
    }
}

impl Encoder {
    /// Opens a stream; `headers` in lower case.
    pub fn open(&mut self, headers: &[(&str, &str)]) -> (StreamId, Bytes) {
        let stream = self.next;
        self.next += 2;
        let mut block = BytesMut::new();
        block.put_u32(headers.len() as u32);
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            block.put_u32(text.len() as u32);
            block.put_slice(text.as_bytes());
        }
        let block = self.compress(&block);
        let mut frame = control(SYN_STREAM, 0, 10 + block.len());
        frame.put_u32(stream);
        frame.put_u32(0);
        frame.put_u16(0);
        frame.put_slice(&block);
        (stream, frame.freeze())
    }

    fn compress(&mut self, block: &[u8]) -> Vec<u8> {
        // A sync flush needs a few bytes beyond the worst case of the data itself.
        let mut out = Vec::with_capacity(block.len() + block.len() / 8 + 256);
        self.headers
            .compress_vec(block, &mut out, FlushCompress::Sync)
            .expect("deflate takes any input, and the output has room");
        out
    }
}

/// Bytes of a stream; with `fin` no more follow from us.
pub fn data(stream: StreamId, bytes: &[u8], fin: bool) -> Bytes {
    let mut frame = BytesMut::with_capacity(8 + bytes.len());
    frame.put_u32(stream & 0x7FFF_FFFF);
    put_length(&mut frame, if fin { FLAG_FIN } else { 0 }, bytes.len());
    frame.put_slice(bytes);
    frame.freeze()
}

pub fn ping(id: u32) -> Bytes {
    let mut frame = control(PING, 0, 4);
    frame.put_u32(id);
    frame.freeze()
}

fn control(kind: u16, flags: u8, length: usize) -> BytesMut {
    let mut frame = BytesMut::with_capacity(8 + length);
    frame.put_u16(0x8000 | VERSION);
    frame.put_u16(kind);
    put_length(&mut frame, flags, length);
    frame
}

fn put_length(frame: &mut BytesMut, flags: u8, length: usize) {
    frame.put_u32(u32::from(flags) << 24 | (length as u32 & 0x00FF_FFFF));
}

/// Takes one whole frame off the front of `buffer`, if it is there.
pub fn decode(buffer: &mut BytesMut) -> Option<Frame> {
    let head = buffer.get(..8)?;
    let first = u32::from_be_bytes(head[..4].try_into().ok()?);
    let second = u32::from_be_bytes(head[4..].try_into().ok()?);
    let (flags, length) = ((second >> 24) as u8, (second & 0x00FF_FFFF) as usize);
    if buffer.len() < 8 + length {
        return None;
    }
    buffer.advance(8);
    let mut payload = buffer.split_to(length).freeze();
    if first & 0x8000_0000 == 0 {
        return Some(Frame::Data { stream: first, bytes: payload, fin: flags & FLAG_FIN != 0 });
    }
    Some(match (first & 0xFFFF) as u16 {
        RST_STREAM if payload.len() >= 4 => Frame::Reset { stream: payload.get_u32() },
        PING if payload.len() >= 4 => Frame::Ping(payload.get_u32()),
        GOAWAY => Frame::GoAway,
        _ => Frame::Other,
    })
}
