//! A client of D-Bus for the little that the kubelet asks of systemd and logind: calls with answers,
//! signals, file descriptors. Blocking, with a deadline on every call: whoever must not block gives it
//! a thread.

pub mod message;

use std::collections::VecDeque;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use message::{Kind, Malformed, Message, PREFIX, Value};

const BUS: &str = "org.freedesktop.DBus";
const BUS_SOCKET: &str = "/run/dbus/system_bus_socket";
/// systemd's own socket, on hosts without a bus.
const SYSTEMD_SOCKET: &str = "/run/systemd/private";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(25);
/// Signals that nobody has asked for yet.
const KEPT: usize = 1024;

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No one listens there.
    #[error("dial unix {path}: {source}")]
    Connect {
        /// The socket.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The peer does not let us in.
    #[error("D-Bus authentication failed: {0}")]
    Authentication(String),
    /// The connection broke.
    #[error("D-Bus connection: {0}")]
    Connection(#[from] std::io::Error),
    /// Bytes that are no message.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Nothing came in time.
    #[error("no answer on D-Bus in time")]
    Timeout,
    /// The peer's answer.
    #[error("{message}")]
    Refused {
        /// `org.freedesktop.systemd1.UnitExists`
        name: String,
        /// For people.
        message: String,
    },
}

/// An object's interface.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its owner's name on the bus.
    pub service: &'static str,
    /// The object.
    pub path: &'static str,
    /// The interface.
    pub interface: &'static str,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    socket: UnixStream,
    serial: u32,
    received: Vec<u8>,
    handles: VecDeque<OwnedFd>,
    signals: VecDeque<Message>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its values.
    pub values: Vec<Value>,
    /// What its handles stand for.
    pub handles: Vec<OwnedFd>,
}

impl Connection {
    /// The system bus.
    pub fn system() -> Result<Self, Error> {
        // `unix:path=/run/…,guid=…`
        let given = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").ok();
        let path = given.as_deref().and_then(|address| address.strip_prefix("unix:path="));
        let path = path.and_then(|rest| rest.split([',', ';']).next()).unwrap_or(BUS_SOCKET);
        let mut bus = Self::open(Path::new(path))?;
        bus.call(Target { service: BUS, path: "/org/freedesktop/DBus", interface: BUS }, "Hello", &[])?;
        Ok(bus)
    }

    /// systemd, by the bus or without it.
    pub fn systemd() -> Result<Self, Error> {
        Self::system().or_else(|error| Self::open(Path::new(SYSTEMD_SOCKET)).map_err(|_| error))
    }

    fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Connect { path: path.display().to_string(), source };
        let mut socket = UnixStream::connect(path).map_err(failed)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let uid = hex::encode(rustix::process::geteuid().as_raw().to_string());
        for (say, expected) in
            [(format!("\0AUTH EXTERNAL {uid}\r\n"), "OK "), ("NEGOTIATE_UNIX_FD\r\n".into(), "AGREE_UNIX_FD")]
        {
            socket.write_all(say.as_bytes())?;
            let answer = line(&mut socket)?;
            if !answer.starts_with(expected) {
                return Err(Error::Authentication(answer));
            }
        }
        socket.write_all(b"BEGIN\r\n")?;
        Ok(Self {
            socket,
            serial: 0,
            received: Vec::new(),
            handles: VecDeque::new(),
            signals: VecDeque::new(),
        })
    }

    /// Calls a method and waits for what it answers.
    pub fn call(&mut self, target: Target, method: &str, body: &[Value]) -> Result<Answer, Error> {
        let mut call = Message::call(target.service, target.path, target.interface, method, body);
        self.serial += 1;
        call.serial = self.serial;
        self.socket.write_all(&call.encode())?;
        let until = Instant::now() + PATIENCE;
        loop {
            let (message, handles) = self.receive(Some(until))?;
            match message.kind {
                Kind::Signal => {
                    if self.signals.len() == KEPT {
                        self.signals.pop_front();
                    }
                    self.signals.push_back(message);
                }
                Kind::Return if message.reply_to == call.serial => {
                    return Ok(Answer { values: message.body()?, handles });
                }
                Kind::Error if message.reply_to == call.serial => {
                    let values = message.body().unwrap_or_default();
                    let text = values.first().and_then(Value::text).unwrap_or(&message.error).to_owned();
                    return Err(Error::Refused { name: message.error, message: text });
                }
                // An answer to a call that was given up.
                _ => {}
            }
        }
    }

    /// Asks the bus for a signal. Without a bus all signals come.
    pub fn subscribe(&mut self, interface: &str, member: &str) -> Result<(), Error> {
        let rule = format!("type='signal',interface='{interface}',member='{member}'");
        let bus = Target { service: BUS, path: "/org/freedesktop/DBus", interface: BUS };
        match self.call(bus, "AddMatch", &[Value::Str(rule)]) {
            Err(Error::Refused { .. }) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Forgets the signals that came so far.
    pub fn forget_signals(&mut self) {
        self.signals.clear();
    }

    /// The next signal of that name; waits until then, or for ever.
    pub fn signal(&mut self, member: &str, until: Option<Instant>) -> Result<Vec<Value>, Error> {
        loop {
            let message = match self.signals.pop_front() {
                Some(message) => message,
                None => self.receive(until)?.0,
            };
            if message.kind == Kind::Signal && message.member == member {
                return Ok(message.body()?);
            }
        }
    }

    fn receive(&mut self, until: Option<Instant>) -> Result<(Message, Vec<OwnedFd>), Error> {
        loop {
            if self.received.len() >= PREFIX {
                let length = Message::length(&self.received[..PREFIX])?;
                if self.received.len() >= length {
                    let bytes: Vec<u8> = self.received.drain(..length).collect();
                    let message = Message::decode(&bytes)?;
                    let count = (message.handles as usize).min(self.handles.len());
                    return Ok((message, self.handles.drain(..count).collect()));
                }
            }
            self.fill(until)?;
        }
    }

    fn fill(&mut self, until: Option<Instant>) -> Result<(), Error> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Err(Error::Timeout);
        }
        self.socket.set_read_timeout(left)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut chunk = [0; 4096];
        let got = loop {
            let mut slices = [IoSliceMut::new(&mut chunk)];
            match recvmsg(&self.socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(got) => break got.bytes,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Err(Error::Timeout),
                Err(error) => return Err(Error::Connection(error.into())),
            }
        };
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(handles) = part {
                self.handles.extend(handles);
            }
        }
        if got == 0 {
            return Err(Error::Connection(std::io::ErrorKind::UnexpectedEof.into()));
        }
        self.received.extend(&chunk[..got]);
        Ok(())
    }
}

/// A line of the handshake. Byte by byte: what follows it is not to be swallowed.
fn line(socket: &mut UnixStream) -> Result<String, Error> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while !line.ends_with(b"\r\n") {
        socket.read_exact(&mut byte)?;
        line.push(byte[0]);
        if line.len() > 1024 {
            return Err(Error::Authentication("an endless line".into()));
        }
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}
