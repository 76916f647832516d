//! The node as volumes of disks see it: files below `/sys` and `/dev`, and the programs that are run.
//!
//! All that the kinds `iscsi` and `fc` do to the node goes through here, so that tests drive them with a folder in
//! place of `/` and a list of what was run.

use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What a program said, and with which code it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// `None`: a signal ended it.
    pub code: Option<i32>,
    /// Both of its outputs.
    pub text: String,
}

impl Said {
    /// It ended with code 0.
    pub fn is_fine(&self) -> bool {
        self.code == Some(0)
    }

    /// COMPAT: the end of a program as Go words it.
    pub fn end(&self) -> String {
        self.code.map_or_else(|| "signal: killed".to_owned(), |code| format!("exit status {code}"))
    }
}

type Run = dyn Fn(&str, &[&str]) -> Result<Said, String> + Send + Sync;

/// See the module.
pub struct Host {
    root: PathBuf,
    run: Box<Run>,
    wait: fn(Duration),
}

impl Host {
    /// This machine.
    pub fn this() -> Self {
        Self { root: "/".into(), run: Box::new(run), wait: std::thread::sleep }
    }

    /// Of a test: nothing is waited for.
    #[cfg(test)]
    pub fn fake(
        root: &Path,
        run: impl Fn(&str, &[&str]) -> Result<Said, String> + Send + Sync + 'static,
    ) -> Self {
        Self { root: root.into(), run: Box::new(run), wait: |_| {} }
    }

    /// Runs a program to its end. An error says why it could not be started, as Go words it.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<Said, String> {
        let said = (self.run)(program, arguments);
        if let Ok(said) = &said {
            tracing::debug!(program, code = said.code, "ran");
        }
        said
    }

    /// Lets time go by.
    pub fn pause(&self, time: Duration) {
        (self.wait)(time);
    }

    /// Where a path of the node is.
    pub fn real(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The names in a directory, sorted; `None` when it is not there.
    pub fn names(&self, path: &str) -> Result<Option<Vec<String>>, String> {
        let listing = match std::fs::read_dir(self.real(path)) {
            Ok(listing) => listing,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(told("open", path, &error)),
        };
        let mut names: Vec<String> =
            listing.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        Ok(Some(names))
    }

    /// The names in a directory that may be absent or closed.
    pub fn any_names(&self, path: &str) -> Vec<String> {
        self.names(path).ok().flatten().unwrap_or_default()
    }

    /// What a file holds, without space around it.
    pub fn read(&self, path: &str) -> Result<String, String> {
        let text = std::fs::read_to_string(self.real(path)).map_err(|error| told("open", path, &error))?;
        Ok(text.trim().to_owned())
    }

    /// Writes to a file that is there.
    pub fn write(&self, path: &str, text: &str) -> Result<(), String> {
        let file = std::fs::OpenOptions::new().write(true).open(self.real(path));
        let mut file = file.map_err(|error| told("open", path, &error))?;
        std::io::Write::write_all(&mut file, text.as_bytes()).map_err(|error| told("write", path, &error))
    }

    /// Something is there, a link that leads nowhere not counted.
    pub fn exists(&self, path: &str) -> bool {
        self.real(path).exists()
    }

    /// Something is there, be it a link that leads nowhere.
    pub fn is_there(&self, path: &str) -> bool {
        self.real(path).symlink_metadata().is_ok()
    }

    /// Where a path leads once all links are followed.
    pub fn resolve(&self, path: &str) -> Result<String, String> {
        let real = self.real(path).canonicalize().map_err(|error| told("lstat", path, &error))?;
        let below = real.strip_prefix(&self.root).unwrap_or(&real);
        Ok(Path::new("/").join(below).to_string_lossy().into_owned())
    }

    /// Somebody holds the device: a mount, another device on top of it.
    pub fn is_held(&self, device: &str) -> bool {
        let exclusive = rustix::fs::OFlags::EXCL.bits().cast_signed();
        let opened = std::fs::OpenOptions::new().read(true).custom_flags(exclusive).open(self.real(device));
        opened.is_err_and(|error| error.raw_os_error() == Some(nix::errno::Errno::EBUSY as i32))
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<Said, String> {
    let text = |error: std::io::Error| daemon::go_words::of(&error);
    // One pipe, so that what was said stays in its order.
    let (mut said, ours) = std::io::pipe().map_err(text)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(ours.try_clone().map_err(text)?).stderr(ours);
    let mut child = command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => "executable file not found in $PATH".to_owned(),
        _ => text(error),
    })?;
    // Its ends of the pipe, or reading would not end.
    drop(command);
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut said, &mut bytes).map_err(text)?;
    let status = child.wait().map_err(text)?;
    Ok(Said { code: status.code(), text: String::from_utf8_lossy(&bytes).into_owned() })
}

/// COMPAT: `open /x: no such file or directory`.
fn told(what: &str, path: &str, error: &std::io::Error) -> String {
    format!("{what} {path}: {}", daemon::go_words::of(error))
}

/// A loop device, let go of at the end.
#[cfg(test)]
pub struct Loop(pub String);

#[cfg(test)]
impl Loop {
    pub fn new(file: &Path) -> Option<Self> {
        std::fs::File::create(file).ok()?.set_len(16 << 20).ok()?;
        let said = Host::this().run("losetup", &["-f", "--show", &file.to_string_lossy()]).ok()?;
        said.is_fine().then(|| Self(said.text.trim().to_owned()))
    }
}

#[cfg(test)]
impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Host::this().run("losetup", &["-d", &self.0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_says_stays_in_order() {
        let script = "echo one; echo two >&2; echo three; exit 3";
        let said = Host::this().run("sh", &["-c", script]).unwrap();
        assert_eq!(said, Said { code: Some(3), text: "one\ntwo\nthree\n".into() });
        assert_eq!(said.end(), "exit status 3");
        let error = Host::this().run("no-such-program-here", &[]).unwrap_err();
        assert_eq!(error, "executable file not found in $PATH");
    }
}
