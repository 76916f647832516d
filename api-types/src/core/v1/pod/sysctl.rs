//! Kernel settings that belong to a namespace of the kernel: which one, by name.

/// The namespace of the kernel that a setting belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// Of processes that talk to each other.
    Ipc,
    /// Of the network.
    Net,
}

const IPC: [&str; 10] = [
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
    "kernel.shm",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.msg",
];

/// The name with dots between its parts. With slashes first, dots are part of a name: `net/ipv4/conf/eth0.1`.
pub fn dotted(name: &str) -> String {
    let turned = |c: char| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    match name.find(['.', '/']) {
        Some(at) if name.as_bytes()[at] == b'/' => name.chars().map(turned).collect(),
        _ => name.to_owned(),
    }
}

/// The namespace of a setting, or of all that begin as the pattern does (`net.*`); none for what the node has once.
pub fn namespace(name: &str) -> Option<Namespace> {
    let name = dotted(name);
    let name = name.split('*').next().unwrap_or_default();
    if IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        Some(Namespace::Ipc)
    } else if name.starts_with("net.") {
        Some(Namespace::Net)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_slashes() {
        assert_eq!(dotted("net/ipv4/conf/eno2.100/rp_filter"), "net.ipv4.conf.eno2/100.rp_filter");
        assert_eq!(dotted("net.ipv4.conf.eno2/100.rp_filter"), "net.ipv4.conf.eno2/100.rp_filter");
    }

    #[test]
    fn namespaces() {
        let check = |name: &str, expected: Option<Namespace>| assert_eq!(namespace(name), expected, "{name}");
        check("net/core/somaxconn", Some(Namespace::Net));
        check("kernel.shm*", Some(Namespace::Ipc));
        check("fs.mqueue.msg_max", Some(Namespace::Ipc));
        check("kernel.pid_max", None);
        check("kernel.s*", None);
    }
}
