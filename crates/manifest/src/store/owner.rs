//! Owners of temporaries, and whether the owning process has certainly ended.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

/// Identity of a process that no other process ever has. It is part of the name of everything that the process creates
/// in `tmp`.
///
/// A name exists as soon as the file does and needs no sync. A file that held the identity might be empty after a
/// crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    process: u32,
    /// Start of the process, in clock ticks since the system was started.
    started: u64,
    /// Inodes of the namespaces in which the process id and the start count.
    namespaces: (u64, u64),
    /// Random id of this boot of the system, 32 hexadecimal digits.
    boot: String,
}

/// State of an owner, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The process is running.
    Running,
    /// The process has certainly ended.
    Gone,
    /// The process was started in another boot, of this machine or of another machine with the same disk.
    OtherBoot,
    /// The process may be on another machine or in another container.
    Unknown,
}

impl Owner {
    /// Returns the identity of this process, or `None` if the system does not provide it.
    #[cfg(target_os = "linux")]
    pub(super) fn current() -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let namespace = |kind: &str| std::fs::metadata(format!("/proc/self/ns/{kind}")).map(|found| found.ino()).ok();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let boot: String = boot.trim().chars().filter(|c| *c != '-').collect();
        let process = std::process::id();
        Some(Self {
            process,
            started: linux::stat(process)?.started,
            // Systems without clock namespaces have one clock.
            namespaces: (namespace("pid")?, namespace("time").unwrap_or(0)),
            boot: is_boot(&boot).then_some(boot)?,
        })
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn current() -> Option<Self> {
        None
    }

    /// Parses the owner from the name of a temporary.
    pub(super) fn of(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.split('-').collect();
        let [process, started, pids, clock, boot, _count] = parts[..] else { return None };
        Some(Self {
            process: process.parse().ok()?,
            started: started.parse().ok()?,
            namespaces: (pids.parse().ok()?, clock.parse().ok()?),
            boot: is_boot(boot).then(|| boot.to_owned())?,
        })
    }

    /// Returns the state of this owner, as seen by the process `me`.
    pub(super) fn fate(&self, me: &Self) -> Fate {
        if self.boot != me.boot {
            return Fate::OtherBoot;
        }
        if self.namespaces != me.namespaces {
            return Fate::Unknown;
        }
        process_fate(self.process, self.started)
    }
}

fn is_boot(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) && text.bytes().any(|byte| byte != b'0')
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pids, clock) = self.namespaces;
        write!(f, "{}-{}-{pids}-{clock}-{}", self.process, self.started, self.boot)
    }
}

/// Makes a name that no other writer uses: the owner and a count.
pub(super) fn unique_name() -> String {
    use std::time::{SystemTime, UNIX_EPOCH};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    if let Some(owner) = Owner::current() {
        return format!("{owner}-{count}");
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{}-{since:x}-{count}", std::process::id())
}

/// Whether [`unique_name`] makes names like `name` on any system.
pub(super) fn is_unique_name(name: &str) -> bool {
    let parts: Vec<&str> = name.split('-').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    matches!(parts.len(), 3 | 6) && parts.iter().all(is_number)
}

/// Returns the time at which the system was started, or `None` if it is not known.
#[cfg(target_os = "linux")]
pub(super) fn boot_time() -> Option<std::time::SystemTime> {
    let running = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let running = std::time::Duration::new(running.tv_sec.try_into().ok()?, running.tv_nsec.try_into().ok()?);
    std::time::SystemTime::now().checked_sub(running)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn boot_time() -> Option<std::time::SystemTime> {
    None
}

/// Whether `path` is on a file system of a local disk. Other machines may still write to it, if this machine or its
/// host lends the disk to them.
#[cfg(target_os = "linux")]
pub(super) fn is_local(path: &std::path::Path) -> bool {
    // ext2 to ext4, XFS, Btrfs, F2FS, ZFS, bcachefs, tmpfs, overlayfs. All others may be shared.
    const LOCAL: [u64; 8] =
        [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0x2FC1_2FC1, 0xCA45_1A4E, 0x0102_1994, 0x794C_7630];
    rustix::fs::statfs(path).is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|kind| LOCAL.contains(&kind)))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn is_local(_path: &std::path::Path) -> bool {
    false
}

#[cfg(target_os = "linux")]
fn process_fate(process: u32, started: u64) -> Fate {
    let Some(id) = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw) else { return Fate::Unknown };
    // `/proc` may hide processes of other users, so its silence does not prove that a process has ended.
    if rustix::process::test_kill_process(id) == Err(rustix::io::Errno::SRCH) {
        return Fate::Gone;
    }
    match linux::stat(process) {
        Some(found) if found.started != started || found.is_dead => Fate::Gone,
        Some(_) => Fate::Running,
        None => Fate::Unknown,
    }
}

#[cfg(not(target_os = "linux"))]
fn process_fate(_process: u32, _started: u64) -> Fate {
    Fate::Unknown
}

#[cfg(target_os = "linux")]
mod linux {
    /// Facts from `/proc/<process>/stat`.
    #[derive(Debug, PartialEq, Eq)]
    pub(super) struct Stat {
        /// Start of the process, in clock ticks since the system was started.
        pub(super) started: u64,
        /// Whether the process has ended and only waits for its parent to read its exit status.
        pub(super) is_dead: bool,
    }

    pub(super) fn stat(process: u32) -> Option<Stat> {
        parse(&std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
    }

    pub(super) fn parse(text: &str) -> Option<Stat> {
        // The second field is the program's name in parentheses, and may contain any characters.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let (state, threads, started) = (*fields.first()?, *fields.get(17)?, *fields.get(19)?);
        // The first thread may have ended before the others.
        let is_dead = matches!(state, "Z" | "X") && threads.parse::<u64>().ok()? <= 1;
        Some(Stat { started: started.parse().ok()?, is_dead })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]
mod tests {
    use super::*;

    fn somebody(process: u32, started: u64, boot: char) -> Owner {
        Owner { process, started, namespaces: (1, 2), boot: boot.to_string().repeat(32) }
    }

    #[test]
    fn a_name_says_who_made_it() {
        let owner = somebody(7, 8, 'a');
        assert_eq!(Owner::of(&format!("{owner}-3")), Some(owner));
        let zeros = format!("7-8-1-2-{}-3", "0".repeat(32));
        for other in ["", "7-18b0-3", "marker-7-8", "7-8-1-2-xyz-3", "a-8-1-2-b-3", "sha256-00", &zeros] {
            assert_eq!(Owner::of(other), None, "{other}");
        }
        assert_ne!(unique_name(), unique_name());
        assert!(is_unique_name(&unique_name()) && is_unique_name("17-18f2a-0"));
        for other in ["thesis.tex", "a-b-letter", "1-2", "1--2", ""] {
            assert!(!is_unique_name(other), "{other}");
        }
    }

    #[test]
    fn only_a_process_that_could_be_seen_is_gone() {
        let me = somebody(1, 1, 'a');
        assert_eq!(somebody(1, 1, 'b').fate(&me), Fate::OtherBoot);
        let elsewhere = Owner { namespaces: (9, 2), ..me.clone() };
        assert_eq!(elsewhere.fate(&me), Fate::Unknown);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_process_itself_runs_and_one_with_another_start_does_not() {
        let me = Owner::current().unwrap();
        assert_eq!(Owner::of(&unique_name()).as_ref(), Some(&me));
        assert_eq!(me.fate(&me), Fate::Running);
        let earlier = Owner { started: me.started + 1, ..me.clone() };
        assert_eq!(earlier.fate(&me), Fate::Gone);
        // This id is larger than any that a process can have.
        let nobody = Owner { process: 1 << 30, ..me.clone() };
        assert_eq!(nobody.fate(&me), Fate::Gone);
        // The first process belongs to another user, and is running.
        let first = Owner { process: 1, started: linux::stat(1).unwrap().started, ..me.clone() };
        assert_eq!(first.fate(&me), Fate::Running);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_killed_child_is_gone_before_its_parent_asks() {
        let me = Owner::current().unwrap();
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let started = linux::stat(child.id()).unwrap().started;
        let owner = Owner { process: child.id(), started, ..me.clone() };
        assert_eq!(owner.fate(&me), Fate::Running);
        child.kill().unwrap();
        while owner.fate(&me) != Fate::Gone {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(owner.fate(&me), Fate::Gone);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_program_may_have_any_name() {
        let stat =
            |state, threads| format!("5 (a) b) {state} 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 {threads} 17 4711 19");
        let found = |is_dead| Some(linux::Stat { started: 4711, is_dead });
        assert_eq!(linux::parse(&stat("S", 4)), found(false));
        assert_eq!(linux::parse(&stat("Z", 1)), found(true));
        assert_eq!(linux::parse(&stat("Z", 4)), found(false));
        assert_eq!(linux::parse("5 (a) S"), None);
    }
}
