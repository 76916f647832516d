//! Who listens on a port: /proc/net/tcp tells the socket, /proc/PID/fd tells its owner.

use std::collections::HashMap;
use std::path::Path;

/// A port that someone else has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub port: u16,
    pub pid: Option<i32>,
    pub program: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "port {} is taken by {} (process {pid})", self.port, self.program),
            None => write!(f, "port {} is taken by a process that cannot be seen from here", self.port),
        }
    }
}

/// Those of `ports` on which some process listens, in this network namespace.
pub fn taken(ports: &[u16]) -> Vec<Holder> {
    let mut sockets = HashMap::new();
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        if let Ok(text) = std::fs::read_to_string(table) {
            sockets.extend(listening(&text).filter(|(port, _)| ports.contains(port)));
        }
    }
    let mut holders: Vec<Holder> = sockets
        .into_iter()
        .map(|(port, inode)| {
            let owner = owner(inode);
            Holder { port, pid: owner.as_ref().map(|o| o.0), program: owner.map(|o| o.1).unwrap_or_default() }
        })
        .collect();
    holders.sort_by_key(|h| h.port);
    holders
}

/// Port and socket inode of each row in state LISTEN (proc_net(5)).
fn listening(table: &str) -> impl Iterator<Item = (u16, u64)> + '_ {
    const LISTEN: &str = "0A";
    table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port = u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?;
        (*fields.get(3)? == LISTEN).then_some((port, fields.get(9)?.parse().ok()?))
    })
}

fn owner(inode: u64) -> Option<(i32, String)> {
    let link = format!("socket:[{inode}]");
    super::processes::all().find_map(|pid| {
        let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let holds =
            fds.flatten().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|t| t == Path::new(&link)));
        let name =
            || std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned();
        holds.then(|| (pid, name()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_is_found_with_its_owner() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let holders = taken(&[port]);
        assert_eq!(holders.len(), 1);
        assert_eq!(holders[0].pid, Some(std::process::id() as i32));
        assert!(holders[0].to_string().starts_with(&format!("port {port} is taken by ")));
        drop(listener);
        assert_eq!(taken(&[port]), vec![]);
    }

    #[test]
    fn only_listening_rows_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                     0: 0100007F:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1\n\
                     1: 0100007F:192C 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4243 1\n";
        assert_eq!(listening(table).collect::<Vec<_>>(), vec![(6443, 4242)]);
    }
}
