//! Reading a container's log for the API: from where ([`Options`]), and following it as it grows and is
//! rotated. Lines are copied from the file to the client; nothing is held but one buffer.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::line::{self, Stream};

/// How often a followed log is looked at when nothing wakes us.
const POLL: Duration = Duration::from_millis(250);
const CHUNK: usize = 64 << 10;

/// What the client asks for (`PodLogOptions`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Wait for more.
    pub follow: bool,
    /// Only lines from then on.
    pub since: Option<Timestamp>,
    /// Only so many lines from the end.
    pub tail: Option<u64>,
    /// At most so many bytes.
    pub limit: Option<u64>,
    /// Each line with its time.
    pub timestamps: bool,
    /// Only this stream.
    pub stream: Option<Stream>,
}

/// Copies the log at `path` to `out` until its end, the limit, or, when following, until `running`
/// says that the container ended.
pub async fn copy<F, Fut>(
    path: PathBuf,
    options: Options,
    out: mpsc::Sender<Bytes>,
    running: F,
) -> io::Result<()>
where
    F: Fn() -> Fut,
    Fut: Future<Output = bool>,
{
    let mut reader = Reader::open(&path, &options)?;
    // The runtime writes to a new file: what is left of this one is read first.
    let mut rotated = false;
    loop {
        let step = tokio::task::spawn_blocking(move || {
            let chunk = reader.chunk();
            (reader, chunk)
        });
        let (back, chunk) = step.await.map_err(io::Error::other)?;
        reader = back;
        let chunk = chunk?;
        let done = reader.exhausted();
        if !chunk.is_empty() {
            if out.send(chunk.into()).await.is_err() || done {
                return Ok(());
            }
            continue;
        }
        if !options.follow || done {
            return Ok(());
        }
        if rotated {
            reader.reopen(&path)?;
            rotated = false;
            continue;
        }
        if reader.rotated(&path)? {
            rotated = true;
            continue;
        }
        // Asked before the last look, so that what was written before the end is not missed.
        let alive = running().await;
        if !alive && reader.at_end()? {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = out.closed() => return Ok(()),
        }
    }
}

/// A position in a log.
struct Reader {
    file: std::fs::File,
    /// Read, and not yet a whole line.
    rest: Vec<u8>,
    options: Options,
    left: Option<u64>,
    /// The last line given was only a part: what follows continues it.
    within_line: bool,
}

impl Reader {
    fn open(path: &Path, options: &Options) -> io::Result<Self> {
        let mut file = std::fs::File::open(path)?;
        if let Some(lines) = options.tail {
            let start = tail(&mut file, lines)?;
            file.seek(SeekFrom::Start(start))?;
        }
        Ok(Self { file, rest: Vec::new(), left: options.limit, options: options.clone(), within_line: false })
    }

    fn exhausted(&self) -> bool {
        self.left == Some(0)
    }

    fn rotated(&self, path: &Path) -> io::Result<bool> {
        use std::os::unix::fs::MetadataExt;
        match std::fs::metadata(path) {
            Ok(now) => Ok(now.ino() != self.file.metadata()?.ino()),
            // Between the renaming and the reopening.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn reopen(&mut self, path: &Path) -> io::Result<()> {
        self.file = std::fs::File::open(path)?;
        self.rest.clear();
        Ok(())
    }

    fn at_end(&mut self) -> io::Result<bool> {
        let at = self.file.stream_position()?;
        Ok(at >= self.file.metadata()?.len())
    }

    /// The next piece for the client; empty at the end of what is there.
    fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = self.file.read(&mut buffer)?;
            if read == 0 {
                return Ok(Vec::new());
            }
            self.rest.extend_from_slice(&buffer[..read]);
            let mut out = Vec::new();
            let mut start = 0;
            while let Some(length) = self.rest[start..].iter().position(|byte| *byte == b'\n') {
                let line = self.rest[start..start + length].to_vec();
                start += length + 1;
                self.line(&line, &mut out);
                if self.exhausted() {
                    break;
                }
            }
            self.rest.drain(..start);
            if !out.is_empty() || self.exhausted() {
                return Ok(out);
            }
        }
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let Some(line) = line::parse(line) else { return };
        if self.options.since.is_some_and(|since| line.at < since)
            || self.options.stream.is_some_and(|stream| line.stream != stream)
        {
            return;
        }
        let mut text = Vec::with_capacity(line.text.len() + 40);
        if self.options.timestamps && !self.within_line {
            text.extend_from_slice(line.stamp.as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(line.text);
        if !line.partial {
            text.push(b'\n');
        }
        self.within_line = line.partial;
        if let Some(left) = &mut self.left {
            let take = usize::try_from(*left).unwrap_or(usize::MAX).min(text.len());
            text.truncate(take);
            *left -= take as u64;
        }
        out.extend_from_slice(&text);
    }
}

/// Where the last `lines` lines of a file begin.
fn tail(file: &mut std::fs::File, lines: u64) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    if lines == 0 {
        return Ok(end);
    }
    let mut left = lines;
    let mut buffer = vec![0; CHUNK];
    // The newline that ends the last line is not the one before it.
    let mut last = true;
    while end > 0 {
        let size = usize::try_from(end).unwrap_or(CHUNK).min(CHUNK);
        let start = end - size as u64;
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut buffer[..size])?;
        for at in (0..size).rev() {
            let ends_file = std::mem::take(&mut last);
            if buffer[at] != b'\n' || ends_file {
                continue;
            }
            left -= 1;
            if left == 0 {
                return Ok(start + at as u64 + 1);
            }
        }
        end = start;
    }
    Ok(0)
}

/// The last lines of a log, at most `lines` and `bytes`: a termination message in need.
pub fn last_words(path: &Path, lines: u64, bytes: usize) -> io::Result<String> {
    let options = Options { tail: Some(lines), ..Default::default() };
    let mut reader = Reader::open(path, &options)?;
    let mut text = Vec::new();
    loop {
        let chunk = reader.chunk()?;
        if chunk.is_empty() {
            break;
        }
        text.extend_from_slice(&chunk);
    }
    if text.len() > bytes {
        text.drain(..text.len() - bytes);
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[&str]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("kubelet-log-{}", uuid::Uuid::new_v4()));
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, text).unwrap();
        path
    }

    async fn check(options: Options, expected: &str) {
        let path = log(&[
            "2026-01-01T00:00:00Z stdout F one",
            "2026-01-01T00:00:01Z stdout P tw",
            "2026-01-01T00:00:01Z stdout F o",
            "2026-01-01T00:00:02Z stderr F three",
        ]);
        let (sender, mut receiver) = mpsc::channel(8);
        copy(path.clone(), options, sender, || async { false }).await.unwrap();
        let mut text = Vec::new();
        while let Some(chunk) = receiver.recv().await {
            text.extend_from_slice(&chunk);
        }
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        std::fs::remove_file(path).unwrap();
    }

    #[tokio::test]
    async fn selections() {
        let all = Options::default();
        check(all.clone(), "one\ntwo\nthree\n").await;
        check(Options { tail: Some(1), ..all.clone() }, "three\n").await;
        check(Options { tail: Some(0), ..all.clone() }, "").await;
        check(Options { tail: Some(99), ..all.clone() }, "one\ntwo\nthree\n").await;
        check(Options { limit: Some(5), ..all.clone() }, "one\nt").await;
        check(Options { stream: Some(Stream::Stderr), ..all.clone() }, "three\n").await;
        let since = Some("2026-01-01T00:00:02Z".parse().unwrap());
        check(Options { since, timestamps: true, ..all.clone() }, "2026-01-01T00:00:02Z three\n").await;
        check(Options { follow: true, ..all }, "one\ntwo\nthree\n").await;
    }

    #[tokio::test]
    async fn following_crosses_a_rotation() {
        let path = log(&["2026-01-01T00:00:00Z stdout F one"]);
        let (sender, mut receiver) = mpsc::channel(8);
        let options = Options { follow: true, ..Default::default() };
        let copying = tokio::spawn(copy(path.clone(), options, sender, || async { true }));
        assert_eq!(receiver.recv().await.unwrap(), "one\n");
        let rotated = path.with_extension("old");
        std::fs::rename(&path, &rotated).unwrap();
        std::fs::write(&path, "2026-01-01T00:00:01Z stdout F two\n").unwrap();
        assert_eq!(receiver.recv().await.unwrap(), "two\n");
        drop(receiver);
        copying.await.unwrap().unwrap();
        std::fs::remove_file(path).unwrap();
        std::fs::remove_file(rotated).unwrap();
    }
}
