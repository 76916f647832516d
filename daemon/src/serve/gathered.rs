//! What a connection writes in one turn, put on the wire together.
//!
//! HTTP/2 writes and flushes each larger frame by itself: of a hundred watches that hear of the same change
//! each would cost a TLS record and a system call. Here small writes are kept, and a flush is put off until
//! the connection's next turn, for which it is woken at once: the tasks that are ready by then have added
//! theirs. A turn begins with reading, and that is where what is kept goes out.
//!
//! Only for connections that read in every turn, as those of HTTP/2 do. Large writes are passed on
//! uncopied, after what is kept. An idle connection keeps no buffer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes that are kept: two TLS records.
const MOST: usize = 32 << 10;
/// Writes of this size and more are not copied.
const LARGE: usize = 8 << 10;

/// A stream whose small writes leave together.
pub struct Gathered<S> {
    stream: S,
    kept: Vec<u8>,
    /// How much of it has been passed on.
    passed: usize,
    /// A flush has been put off.
    due: bool,
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, kept: Vec::new(), passed: 0, due: false }
    }

    /// Passes on what is kept.
    fn pass_on(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.passed < self.kept.len() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.kept[self.passed..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.passed += count;
        }
        (self.kept, self.passed) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// Does the flush that was put off.
    fn put_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.pass_on(cx))?;
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.due = false;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Where it cannot be written the peer does not read; it may still have something to say.
        if self.due
            && let Poll::Ready(Err(error)) = self.put_out(cx)
        {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let size = parts.iter().map(|part| part.len()).sum();
        if size >= LARGE || self.kept.len() + size > MOST {
            ready!(self.pass_on(cx))?;
        }
        if size >= LARGE {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        }
        for part in parts {
            self.kept.extend_from_slice(part);
        }
        Poll::Ready(Ok(size))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.kept.is_empty() {
            return self.put_out(cx);
        }
        self.due = true;
        // Each time: there is always a turn after the last write.
        cx.waker().wake_by_ref();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.put_out(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use futures::FutureExt as _;
    use parking_lot::Mutex;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Takes everything at once and never has anything to read.
    #[derive(Clone, Default)]
    struct Wire(Arc<Mutex<Vec<Vec<u8>>>>);

    impl AsyncRead for Wire {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Wire {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.0.lock().push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl Wire {
        fn sizes(&self) -> Vec<usize> {
            self.0.lock().iter().map(Vec::len).collect()
        }
    }

    #[tokio::test]
    async fn small_writes_of_a_turn_leave_at_the_next_read() {
        let wire = Wire::default();
        let mut stream = Gathered::new(wire.clone());
        for _ in 0..3 {
            stream.write_all(b"0123456789").await.unwrap();
            stream.flush().await.unwrap();
        }
        assert_eq!(wire.sizes(), [0_usize; 0]);
        assert!(stream.read_u8().now_or_never().is_none());
        assert_eq!((wire.sizes(), stream.kept.capacity()), (vec![30], 0));
        // With nothing kept a flush is a flush.
        stream.flush().await.unwrap();
        assert!(!stream.due);
    }

    #[tokio::test]
    async fn large_writes_follow_what_is_kept_and_it_is_bounded() {
        let wire = Wire::default();
        let mut stream = Gathered::new(wire.clone());
        stream.write_all(&[1; 100]).await.unwrap();
        stream.write_all(&[2; LARGE]).await.unwrap();
        assert_eq!(wire.sizes(), [100, LARGE]);
        for _ in 0..9 {
            stream.write_all(&[3; LARGE / 2]).await.unwrap();
        }
        assert_eq!(wire.sizes(), [100, LARGE, MOST]);
        stream.shutdown().await.unwrap();
        assert_eq!(wire.sizes(), [100, LARGE, MOST, LARGE / 2]);
    }

    /// Turns as a connection takes them: read, then write what fits and flush.
    #[tokio::test]
    async fn nothing_is_lost_or_reordered_when_the_peer_is_slow() {
        let (mut there, here) = tokio::io::duplex(1000);
        let all: Vec<u8> = (0..400_000_u32).map(|n| (n % 251) as u8).collect();
        let wanted = all.clone();
        let written = tokio::spawn(async move {
            let mut stream = Gathered::new(here);
            let (mut at, mut turn) = (0, 1_usize);
            poll_fn(|cx| {
                let mut nothing = [0; 8];
                let mut nothing = ReadBuf::new(&mut nothing);
                let _ = Pin::new(&mut stream).poll_read(cx, &mut nothing);
                for _ in 0..3 {
                    turn += 1;
                    let size = (turn * 7919 % 12_000).min(all.len() - at);
                    if size > 0 {
                        at += ready!(Pin::new(&mut stream).poll_write(cx, &all[at..at + size])).unwrap();
                        ready!(Pin::new(&mut stream).poll_flush(cx)).unwrap();
                    }
                }
                if at == all.len() && !stream.due {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
        });
        let mut read = vec![0; wanted.len()];
        there.read_exact(&mut read).await.unwrap();
        written.await.unwrap();
        assert!(read == wanted);
    }
}
