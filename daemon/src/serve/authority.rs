//! Requests whose `:authority` is a URL, as Go's gRPC before 1.30 sends it when that is what it was told to
//! dial (`etcdctl` up to 3.4: `endpoint status --endpoints=http://host:port`). HTTP/2 has no such authority,
//! and our library ends the stream; Go's servers take it. So the scheme is taken off before the library
//! reads it: between the connection and HTTP, in the bytes.
//!
//! ```text
//! frame     length u24 BE, type u8, flags u8, stream u32 BE, payload     (HEADERS is type 1)
//! payload   [padding u8] [priority 5 bytes] fields …                     (RFC 9113 section 6.2)
//! field     1xxxxxxx            an entry of the table                    (RFC 7541 section 6)
//!           01nnnnnn | 0000nnnn | 0001nnnn  [name]  value                nnnnnn = 1 is `:authority`
//!           001xxxxx            the table's size
//! text      h length, bytes                                              h: in Huffman's code
//! ```
//! An authority that gets shorter makes a smaller entry in the reader's table: it keeps its entries longer
//! than the writer believes, and none is counted otherwise. A connection whose first request names a proper
//! authority, or none, is not looked at any further.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER: usize = 9;
const HEADERS: u8 = 1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// Nobody may send larger frames before we say so, and we do not.
const LARGEST_FRAME: usize = 16 << 10;
/// Place of `:authority` in the static table.
const AUTHORITY: usize = 1;

enum Reading {
    /// Whether this is HTTP/2 at all is not known yet.
    Preface,
    Frames {
        /// Bytes of the present frame that are of no interest.
        pass: usize,
        /// A URL has been seen.
        found: bool,
    },
    /// Nothing (more) to see.
    Through,
}

/// A connection that is read without schemes in its authorities.
pub struct BareAuthority<S> {
    stream: S,
    reading: Reading,
    /// As it came.
    raw: BytesMut,
    /// As it is to be read.
    ready: BytesMut,
}

impl<S> BareAuthority<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, reading: Reading::Preface, raw: BytesMut::new(), ready: BytesMut::new() }
    }

    /// Moves what may be read from `raw` to `ready`.
    fn sort(&mut self) {
        loop {
            match &mut self.reading {
                Reading::Preface => {
                    let seen = self.raw.len().min(PREFACE.len());
                    if self.raw[..seen] != PREFACE[..seen] {
                        self.reading = Reading::Through;
                    } else if seen == PREFACE.len() {
                        self.reading = Reading::Frames { pass: seen, found: false };
                    } else {
                        return;
                    }
                }
                Reading::Frames { pass, .. } if *pass > 0 => {
                    let now = self.raw.len().min(*pass);
                    self.ready.extend_from_slice(&self.raw.split_to(now));
                    *pass -= now;
                    if self.raw.is_empty() {
                        return;
                    }
                }
                Reading::Frames { pass, found } => {
                    if self.raw.len() < FRAME_HEADER {
                        return;
                    }
                    let length = u32::from_be_bytes([0, self.raw[0], self.raw[1], self.raw[2]]) as usize;
                    if self.raw[3] != HEADERS {
                        *pass = FRAME_HEADER + length;
                    } else if length > LARGEST_FRAME {
                        self.reading = Reading::Through;
                    } else if self.raw.len() < FRAME_HEADER + length {
                        return;
                    } else {
                        let frame = self.raw.split_to(FRAME_HEADER + length);
                        match without_scheme(&frame) {
                            Some(bare) => {
                                *found = true;
                                self.ready.extend_from_slice(&bare);
                            }
                            None => {
                                self.ready.extend_from_slice(&frame);
                                if !*found {
                                    self.reading = Reading::Through;
                                }
                            }
                        }
                    }
                }
                Reading::Through => {
                    self.ready.extend_from_slice(&self.raw);
                    self.raw = BytesMut::new();
                    return;
                }
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BareAuthority<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.ready.is_empty() {
                let now = this.ready.len().min(buffer.remaining());
                buffer.put_slice(&this.ready.split_to(now));
                if this.ready.is_empty() {
                    this.ready = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            if matches!(this.reading, Reading::Through) {
                return Pin::new(&mut this.stream).poll_read(cx, buffer);
            }
            if ready!(poll_read_buf(Pin::new(&mut this.stream), cx, &mut this.raw))? == 0 {
                this.reading = Reading::Through;
            }
            this.sort();
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BareAuthority<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// A HEADERS frame with its authority bare; none when it has no URL there.
fn without_scheme(frame: &[u8]) -> Option<Vec<u8>> {
    let (header, payload) = frame.split_at(FRAME_HEADER);
    let flags = header[4];
    let before = usize::from(flags & PADDED != 0) + if flags & PRIORITY != 0 { 5 } else { 0 };
    let mut fields = Fields { bytes: payload, at: before };
    loop {
        let first = *payload.get(fields.at)?;
        if first & 0x80 != 0 {
            fields.number(7)?;
        } else if first & 0xe0 == 0x20 {
            fields.number(5)?;
        } else {
            let name = fields.number(if first & 0x40 != 0 { 6 } else { 4 })?;
            if name == 0 {
                fields.text()?;
            }
            let value_at = fields.at;
            let (huffman, value) = fields.text()?;
            if name != AUTHORITY {
                continue;
            }
            let value = if huffman { plain(value)? } else { value.to_vec() };
            let bare =
                [&b"http://"[..], b"https://"].iter().find_map(|scheme| value.strip_prefix(*scheme))?;
            let mut payload_now = payload[..value_at].to_vec();
            // Short, and not in Huffman's code: the length is one byte.
            payload_now.push(u8::try_from(bare.len()).ok().filter(|length| *length < 0x7f)?);
            payload_now.extend_from_slice(bare);
            payload_now.extend_from_slice(&payload[fields.at..]);
            let length = u32::try_from(payload_now.len()).ok()?.to_be_bytes();
            let fits = payload_now.len() <= LARGEST_FRAME;
            return fits.then(|| [&length[1..], &header[3..], &payload_now].concat());
        }
    }
}

/// Reads on in a block of fields.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> Option<u8> {
        self.at += 1;
        self.bytes.get(self.at - 1).copied()
    }

    /// A number in the last so many bits of a byte, and those that follow when it does not fit.
    fn number(&mut self, bits: u32) -> Option<usize> {
        let most = (1 << bits) - 1;
        let mut number = usize::from(self.next()?) & most;
        if number < most {
            return Some(number);
        }
        for shift in [0, 7, 14] {
            let more = self.next()?;
            number += usize::from(more & 0x7f) << shift;
            if more & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// Whether it is in Huffman's code, and its bytes.
    fn text(&mut self) -> Option<(bool, &'a [u8])> {
        let huffman = self.bytes.get(self.at)? & 0x80 != 0;
        let length = self.number(7)?;
        let text = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some((huffman, text))
    }
}

/// RFC 7541, appendix B: length in bits, first code, and the characters in the order of their codes. Those
/// that a URL of this sort can have.
const CODES: [(u32, u32, &[u8]); 5] = [
    (5, 0x0, b"012aceiost"),
    (6, 0x14, b" %-./3456789=A_bdfghlmnpru"),
    (7, 0x5c, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, 0xf8, b"&*,;XZ"),
    (13, 0x1ffa, b"@[]"),
];

/// Text out of Huffman's code; none when it holds a character that is not in the table.
fn plain(coded: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let (mut code, mut length) = (0_u32, 0);
    for bit in coded.iter().flat_map(|byte| (0..8).rev().map(move |n| u32::from(byte >> n & 1))) {
        (code, length) = (code << 1 | bit, length + 1);
        let row = CODES.iter().find(|(bits, first, _)| *bits == length && code >= *first);
        let found = row.and_then(|(_, first, characters)| characters.get((code - first) as usize));
        if let Some(character) = found {
            text.push(*character);
            (code, length) = (0, 0);
        } else if length > 13 {
            return None;
        }
    }
    // Ones fill up the last byte.
    (length < 8 && code == (1 << length) - 1).then_some(text)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// Packed bits, filled up with ones.
    fn huffman(text: &str) -> Vec<u8> {
        let mut bits = String::new();
        for character in text.bytes() {
            let (length, code) = CODES
                .iter()
                .find_map(|(length, first, all)| {
                    let at = all.iter().position(|known| *known == character)?;
                    Some((*length as usize, first + at as u32))
                })
                .unwrap();
            bits += &format!("{code:0length$b}");
        }
        while !bits.len().is_multiple_of(8) {
            bits.push('1');
        }
        bits.as_bytes()
            .chunks(8)
            .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
            .collect()
    }

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// POST, an authority, a path, a header with a name of its own.
    fn request(authority: &[u8], coded: bool) -> Vec<u8> {
        let length = authority.len() as u8 | if coded { 0x80 } else { 0 };
        [&[0x83, 0x41, length], authority, b"\x44\x02/x", b"\x40\x01a\x01b"].concat()
    }

    /// What is read of bytes that come in pieces of so many.
    async fn read(bytes: &[u8], piece: usize) -> Vec<u8> {
        let (mut there, here) = tokio::io::duplex(1 << 16);
        let bytes = bytes.to_vec();
        tokio::spawn(async move {
            for piece in bytes.chunks(piece) {
                tokio::io::AsyncWriteExt::write_all(&mut there, piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let mut all = Vec::new();
        BareAuthority::new(here).read_to_end(&mut all).await.unwrap();
        all
    }

    async fn check(given: &[Vec<u8>], expected: &[Vec<u8>]) {
        let given = [PREFACE, &given.concat()].concat();
        let expected = [PREFACE, &expected.concat()].concat();
        for piece in [1, 7, 1 << 12] {
            assert_eq!(read(&given, piece).await, expected, "in pieces of {piece}");
        }
    }

    #[tokio::test]
    async fn a_scheme_is_taken_off_an_authority() {
        let settings = frame(4, 0, &[]);
        let data = frame(0, 1, b"\0\0\0\0\x03http://");
        for url in ["http://127.0.0.1:41001", "https://h9.example:2379", "http://[::1]:2379"] {
            let bare = url.split_once("//").unwrap().1.as_bytes();
            let expected = frame(1, 4, &request(bare, false));
            for coded in [true, false] {
                let value = if coded { huffman(url) } else { url.as_bytes().to_vec() };
                let given = frame(1, 4, &request(&value, coded));
                // The next one too: the writer's table may have lost the entry.
                let all = [settings.clone(), given.clone(), data.clone(), given];
                let read = [settings.clone(), expected.clone(), data.clone(), expected.clone()];
                check(&all, &read).await;
            }
        }
        // With padding and a priority before the fields.
        let padded = |authority: &[u8]| {
            let before = [&[2, 0, 0, 0, 0, 9], &request(authority, false)[..], &[0, 0]].concat();
            frame(1, 4 | PADDED | PRIORITY, &before)
        };
        check(&[padded(b"http://h:1")], &[padded(b"h:1")]).await;
    }

    #[tokio::test]
    async fn everything_else_is_read_as_it_came() {
        let proper = frame(1, 4, &request(&huffman("127.0.0.1:41001"), true));
        let url = frame(1, 4, &request(b"http://h:1", false));
        check(&[proper.clone(), url.clone()], &[proper, url]).await;
        let odd = [frame(1, 4, &[0x83, 0x41, 0x7f]), frame(1, 4, &[]), frame(1, 4 | PADDED, &[])];
        for odd in odd {
            check(std::slice::from_ref(&odd), std::slice::from_ref(&odd)).await;
        }
        for text in [&b"GET /health HTTP/1.1\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nXX", b"P"] {
            for piece in [1, 100] {
                assert_eq!(read(text, piece).await, text);
            }
        }
    }
}
