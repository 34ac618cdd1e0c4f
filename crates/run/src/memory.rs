//! Memory that is available to the process.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Bytes of memory that the system says are available, or the limit of the process's control group if that is less. `None` where
/// neither is known.
pub(crate) fn available() -> Option<u64> {
    let read = |path: &Path| fs::read_to_string(path).ok();
    let system = read(Path::new("/proc/meminfo")).and_then(|text| in_system(&text));
    let groups = read(Path::new("/proc/self/cgroup")).and_then(|text| of_groups(&text, &read));
    [system, groups].into_iter().flatten().min()
}

fn in_system(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The least limit of a group and of those that it is in, by the text of `/proc/self/cgroup`. A group that is not visible, as in a container, is
/// taken for the outermost that is.
fn of_groups(text: &str, read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let limits = text.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let (roots, file) = match controllers {
            "" => (&["/sys/fs/cgroup", "/sys/fs/cgroup/unified"][..], "memory.max"),
            named if named.split(',').any(|name| name == "memory") => {
                (&["/sys/fs/cgroup/memory"][..], "memory.limit_in_bytes")
            }
            _ => (&[][..], ""),
        };
        let group = PathBuf::from(path.trim_start_matches('/'));
        let places = roots.iter().flat_map(move |root| {
            let groups: Vec<PathBuf> = group.ancestors().map(|group| Path::new(root).join(group).join(file)).collect();
            groups
        });
        places.filter_map(|place| read(&place)?.trim().parse::<u64>().ok()).collect::<Vec<_>>()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_says_what_is_available() {
        let text = "MemTotal:       16318480 kB\nMemFree:          123 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(in_system(text), Some(2 << 20));
        assert_eq!(in_system("MemTotal: 5 kB\n"), None);
    }

    #[test]
    fn the_least_limit_of_a_group_and_of_those_around_it_counts() {
        let files = [
            ("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "700\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/sys/fs/cgroup/a/memory.max", "500\n"),
            ("/sys/fs/cgroup/memory.max", "max\n"),
        ];
        let read =
            |path: &Path| files.iter().find(|(file, _)| Path::new(file) == path).map(|(_, text)| (*text).to_owned());
        assert_eq!(of_groups("4:memory:/a/b\n0::/\n", &read), Some(700));
        assert_eq!(of_groups("3:cpuset:/a\n0::/a/c\n", &read), Some(500));
        // A group of the host, which a container does not see.
        assert_eq!(of_groups("4:cpu,memory:/docker/1234\n", &read), Some(9_223_372_036_854_771_712));
        assert_eq!(of_groups("0::/\n", &read), None);
    }
}
