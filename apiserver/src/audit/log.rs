//! The audit log's file: one event a line, `-` for the standard output. A file that reaches its size
//! is renamed with the time in its name (`audit-2026-01-31T12-00-00.000.log`), and old ones go by age
//! and number.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::AuditError;
use super::record::Event;

/// The time in the name of a file that has been put away.
const STAMP: &str = "%Y-%m-%dT%H-%M-%S%.3f";

/// Where events go and for how long they are kept.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// `-` for the standard output.
    pub path: PathBuf,
    /// One line of text instead of JSON.
    pub legacy: bool,
    /// Bytes of a file; zero for no limit.
    pub max_size: u64,
    /// How long files that were put away are kept; zero for ever.
    pub max_age: Duration,
    /// How many of them are kept; zero for all.
    pub max_backups: usize,
    /// Whether they are compressed.
    pub compress: bool,
}

/// The open log.
pub struct Log {
    options: LogOptions,
    open: Mutex<Option<(File, u64)>>,
}

impl Log {
    pub fn open(options: LogOptions) -> Result<Self, AuditError> {
        let open = if options.path == Path::new("-") {
            None
        } else {
            let opened = append(&options.path)
                .map_err(|source| AuditError::Open { path: options.path.display().to_string(), source })?;
            Some(opened)
        };
        Ok(Self { options, open: Mutex::new(open) })
    }

    /// Writes one event.
    pub fn write(&self, event: &Event<'_>) -> io::Result<()> {
        let mut line = if self.options.legacy {
            legacy(event).into_bytes()
        } else {
            serde_json::to_vec(event).map_err(io::Error::other)?
        };
        line.push(b'\n');
        let mut open = self.open.lock();
        let Some((file, size)) = &mut *open else { return io::stdout().lock().write_all(&line) };
        let most = self.options.max_size;
        if most > 0 && *size > 0 && *size + line.len() as u64 > most {
            (*file, *size) = rotate(&self.options, Timestamp::now())?;
        }
        file.write_all(&line)?;
        *size += line.len() as u64;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<(File, u64)> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// `audit`, `.log`
fn name_parts(path: &Path) -> (String, String) {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let ending = path.extension().map(|ending| format!(".{}", ending.to_string_lossy())).unwrap_or_default();
    (stem, ending)
}

fn rotate(options: &LogOptions, now: Timestamp) -> io::Result<(File, u64)> {
    let path = &options.path;
    let (stem, ending) = name_parts(path);
    let away = path.with_file_name(format!("{stem}-{}{ending}", now.strftime(STAMP)));
    std::fs::rename(path, &away)?;
    let opened = append(path)?;
    // What is put away is kept as long as it can be: failing to tidy up must not lose events.
    if options.compress
        && let Err(error) = compress(&away)
    {
        tracing::warn!(%error, file = %away.display(), "Cannot compress an audit log");
    }
    if let Err(error) = tidy(options, now) {
        tracing::warn!(%error, "Cannot remove old audit logs");
    }
    Ok(opened)
}

fn compress(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    let out = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&name)?;
    let mut out = flate2::write::GzEncoder::new(out, flate2::Compression::default());
    io::copy(&mut File::open(path)?, &mut out)?;
    out.finish()?;
    std::fs::remove_file(path)
}

fn tidy(options: &LogOptions, now: Timestamp) -> io::Result<()> {
    let folder = options.path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (stem, ending) = name_parts(&options.path);
    let mut old = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let bare = name.strip_suffix(".gz").unwrap_or(&name);
        let stamp =
            bare.strip_prefix(&stem).and_then(|r| r.strip_prefix('-')).and_then(|r| r.strip_suffix(&ending));
        let time = stamp.and_then(|stamp| jiff::civil::DateTime::strptime(STAMP, stamp).ok());
        if let Some(time) = time.and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC).ok()) {
            old.push((time.timestamp(), name));
        }
    }
    for name in outdated(old, options, now) {
        std::fs::remove_file(folder.join(name))?;
    }
    Ok(())
}

/// The files to remove of those that were put away.
fn outdated(mut files: Vec<(Timestamp, String)>, options: &LogOptions, now: Timestamp) -> Vec<String> {
    files.sort_by(|a, b| b.cmp(a));
    files
        .into_iter()
        .enumerate()
        .filter(|(place, (time, _))| {
            let too_many = options.max_backups > 0 && *place >= options.max_backups;
            let age = now.duration_since(*time);
            let too_old =
                !options.max_age.is_zero() && age.unsigned_abs() > options.max_age && age.is_positive();
            too_many || too_old
        })
        .map(|(_, (_, name))| name)
        .collect()
}

/// The one-line text form.
fn legacy(event: &Event<'_>) -> String {
    let quoted = |list: &[String]| list.iter().map(|e| format!("{e:?}")).collect::<Vec<_>>().join(",");
    let or = |text: &str, stand_in: &str| if text.is_empty() { stand_in.to_owned() } else { text.to_owned() };
    let groups = if event.user.groups.is_empty() { "<none>".to_owned() } else { quoted(&event.user.groups) };
    let (as_user, as_groups) = match event.impersonated_user {
        Some(user) if user.groups.is_empty() => (user.username.clone(), "<lookup>".to_owned()),
        Some(user) => (user.username.clone(), quoted(&user.groups)),
        None => ("<self>".to_owned(), "<lookup>".to_owned()),
    };
    let response = event.response_status.map_or("<deferred>".to_owned(), |s| s["code"].to_string());
    format!(
        "{} AUDIT: id={:?} stage=\"{:?}\" ip={:?} method={:?} user={:?} groups={groups:?} as={as_user:?} \
         asgroups={as_groups:?} user-agent={:?} namespace={:?} uri={:?} response=\"{response}\"",
        event.request_received_timestamp,
        event.audit_id,
        event.stage,
        event.source_ips.first().map_or("<unknown>", String::as_str),
        event.verb,
        or(&event.user.username, "<none>"),
        event.user_agent,
        or(event.object_ref.map_or("", |reference| &reference.namespace), "<none>"),
        event.request_uri,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(path: PathBuf) -> LogOptions {
        LogOptions {
            path,
            legacy: false,
            max_size: 10,
            max_age: Duration::from_secs(3600),
            max_backups: 2,
            compress: false,
        }
    }

    #[test]
    fn files_go_by_age_and_number() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().expect("a time");
        let ago = |minutes: i64| (now - jiff::SignedDuration::from_mins(minutes), format!("{minutes}"));
        let options = options("audit.log".into());
        assert_eq!(outdated(vec![ago(10), ago(90), ago(20), ago(30)], &options, now), ["30", "90"]);
        let all = LogOptions { max_age: Duration::ZERO, max_backups: 0, ..options };
        assert!(outdated(vec![ago(10), ago(9999)], &all, now).is_empty());
    }

    #[test]
    fn a_full_file_is_put_away() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = options(folder.path().join("audit.log"));
        options.max_backups = 1;
        std::fs::write(&options.path, "0123456789").expect("a file");
        for second in 0..3 {
            let now: Timestamp = format!("2026-01-31T12:00:0{second}Z").parse().expect("a time");
            rotate(&options, now).expect("it rotates");
        }
        let mut names: Vec<String> = std::fs::read_dir(folder.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names, ["audit-2026-01-31T12-00-02.000.log", "audit.log"]);
    }
}
