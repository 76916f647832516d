//! The pause image: the process that holds a pod's namespaces. It does nothing, and as process 1 of
//! a shared process namespace it must not leave zombies behind. That is two system calls, so the
//! program stands here as the ELF file itself: one header, one loadable segment.
//!
//! ```text
//!         mov eax, 13            ; rt_sigaction(SIGCHLD, {SIG_IGN}, NULL, 8): the kernel reaps
//!         mov edi, 17
//!         lea rsi, [rip+ignore]
//!         xor edx, edx
//!         mov r10d, 8
//!         syscall
//! wait:   mov eax, 34            ; pause()
//!         syscall
//!         jmp wait
//! ignore: dq 1, 0, 0, 0          ; handler SIG_IGN, no flags, no restorer, empty mask
//! ```
//! Outside a process namespace of its own (hostPID) the default action of SIGTERM ends it.

use anyhow::ensure;

use super::oci;
use super::tar::Archive;

/// The name under which containerd is told of it.
pub const NAME: &str = "localhost/ferrokube/pause:1";

const CODE: [u8; 40] = [
    0xb8, 13, 0, 0, 0, 0xbf, 17, 0, 0, 0, 0x48, 0x8d, 0x35, 23, 0, 0, 0, 0x31, 0xd2, 0x41, 0xba, 8, 0, 0, 0,
    0x0f, 0x05, //
    0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7, //
    0, 0, 0, 0, // so that the data is aligned
];
const IGNORE: [u64; 4] = [1, 0, 0, 0];

const ELF_HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;
const LOAD_ADDRESS: u64 = 0x40_0000;

/// The program for x86-64 Linux.
fn program() -> Vec<u8> {
    let start = ELF_HEADER + PROGRAM_HEADER;
    let size = start + CODE.len() as u64 + size_of_val(&IGNORE) as u64;
    let mut elf = Vec::new();
    // e_ident: 64-bit, little-endian, version 1.
    elf.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    let half = |elf: &mut Vec<u8>, v: u16| elf.extend_from_slice(&v.to_le_bytes());
    let word = |elf: &mut Vec<u8>, v: u32| elf.extend_from_slice(&v.to_le_bytes());
    let long = |elf: &mut Vec<u8>, v: u64| elf.extend_from_slice(&v.to_le_bytes());
    half(&mut elf, 2); // e_type: executable
    half(&mut elf, 62); // e_machine: x86-64
    word(&mut elf, 1); // e_version
    long(&mut elf, LOAD_ADDRESS + start); // e_entry
    long(&mut elf, ELF_HEADER); // e_phoff
    long(&mut elf, 0); // e_shoff
    word(&mut elf, 0); // e_flags
    for v in [64, 56, 1, 64, 0, 0] {
        half(&mut elf, v); // e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx
    }
    word(&mut elf, 1); // p_type: load
    word(&mut elf, 5); // p_flags: read, execute
    for v in [0, LOAD_ADDRESS, LOAD_ADDRESS, size, size, 0x1000] {
        long(&mut elf, v); // p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align
    }
    elf.extend_from_slice(&CODE);
    for v in IGNORE {
        long(&mut elf, v);
    }
    elf
}

/// The image as an OCI archive.
pub fn archive() -> anyhow::Result<Vec<u8>> {
    ensure!(cfg!(target_arch = "x86_64"), "the pause image is made for x86-64 only so far");
    let mut layer = Archive::default();
    layer.file("pause", 0o755, &program());
    let process =
        oci::Process { entrypoint: vec!["/pause".into()], user: "65535:65535".into(), ..Default::default() };
    Ok(oci::archive(layer.finish(), &process, &[NAME.to_owned()]))
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn it_waits_ignores_children_and_ends_on_sigterm() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pause");
        std::fs::write(&file, program()).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut child = std::process::Command::new(&file).spawn().unwrap();
        let status_file = format!("/proc/{}/status", child.id());
        // Bit 16 is SIGCHLD (17). Ends when the program has set it; a crash would end the process.
        let ignored = loop {
            assert!(child.try_wait().unwrap().is_none(), "it ended");
            let status = std::fs::read_to_string(&status_file).unwrap();
            let mask = status.lines().find_map(|l| l.strip_prefix("SigIgn:")).unwrap().trim().to_owned();
            let mask = u64::from_str_radix(&mask, 16).unwrap();
            if mask & 1 << 16 != 0 {
                break mask;
            }
        };
        assert_ne!(ignored, 0);
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(child.id() as i32),
            nix::sys::signal::Signal::SIGTERM,
        )
        .unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(15));
    }
}
