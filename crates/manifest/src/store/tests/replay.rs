//! States of a disk that a crash may leave, computed from a log of changes.
//!
//! A sync of a file makes its contents durable, a sync of a directory its entries, and a sync of everything all earlier
//! changes. Any part of the remaining changes may have reached the disk, in any order: renames as a whole, and contents
//! as nothing, as a part, or as a length without bytes.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Component, Path, PathBuf},
};

use crate::fs::record::Done;

/// A file or directory, independent of its current name.
type Node = usize;
/// Files with their contents, and directories.
pub(super) type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

const ROOT: Node = 0;

/// Effect of one step on the disk, and the number of steps after which it is durable.
#[derive(Debug)]
struct Effect {
    /// Step of the effect. `None` stands for the time before the first step.
    step: Option<usize>,
    durable: Option<usize>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Entries of directories that change together.
    Entries(Vec<(Node, String, Option<Node>)>),
    Contents(Node, u64, Vec<u8>),
}

/// Form of contents that are not durable.
#[derive(Debug, Clone, Copy)]
enum Torn {
    Absent,
    Half,
    Zeros,
    Whole,
    /// One of the forms for each file, chosen by this number.
    Mixed(u64),
}

const TORN: [Torn; 6] = [Torn::Absent, Torn::Half, Torn::Zeros, Torn::Whole, Torn::Mixed(1), Torn::Mixed(2)];

/// A log, split into effects.
#[derive(Debug)]
pub(super) struct Disk {
    effects: Vec<Effect>,
    directories: HashSet<Node>,
    steps: usize,
}

impl Disk {
    /// Makes the disk of a log. `before` is its durable state before the first step. Only the contents of files in a
    /// directory `tmp` that are not blobs are not durable, because a killed process may have left them. The log's paths
    /// are below `root`.
    pub(super) fn new(root: &Path, before: &Tree, log: &[Done]) -> Self {
        let mut live = Live { entries: HashMap::new(), directories: HashSet::from([ROOT]), nodes: 1 };
        let mut effects: Vec<Effect> = Vec::new();
        for (path, content) in before {
            let node = live.add(path, content.is_none());
            let (dir, name) = live.place(path);
            let entry = Kind::Entries(vec![(dir, name, Some(node))]);
            let contents = content.iter().map(|bytes| Kind::Contents(node, 0, bytes.clone()));
            effects.push(Effect { step: None, durable: Some(0), kind: entry });
            let is_blob = live.place(path).1.starts_with("sha256-");
            let is_durable = is_blob || path.components().all(|part| part.as_os_str() != "tmp");
            let durable = is_durable.then_some(0);
            effects.extend(contents.map(|kind| Effect { step: None, durable, kind }));
        }
        for (step, done) in log.iter().enumerate() {
            let below = |path: &Path| path.strip_prefix(root).unwrap().to_path_buf();
            let kind = match done {
                Done::Create(path) | Done::CreateDir(path) => {
                    let path = below(path);
                    let node = live.add(&path, matches!(done, Done::CreateDir(_)));
                    let (dir, name) = live.place(&path);
                    Kind::Entries(vec![(dir, name, Some(node))])
                }
                Done::RemoveFile(path) | Done::RemoveDir(path) => {
                    let (dir, name) = live.place(&below(path));
                    live.entries.remove(&(dir, name.clone()));
                    Kind::Entries(vec![(dir, name, None)])
                }
                Done::Rename(from, to) => {
                    let ((from_dir, from), (to_dir, to)) = (live.place(&below(from)), live.place(&below(to)));
                    let node = live.entries.remove(&(from_dir, from.clone())).unwrap();
                    live.entries.insert((to_dir, to.clone()), node);
                    Kind::Entries(vec![(from_dir, from, None), (to_dir, to, Some(node))])
                }
                Done::Write(path, offset, bytes) => Kind::Contents(live.find(&below(path)), *offset, bytes.clone()),
                Done::SyncFile(path) | Done::SyncDir(path) => {
                    let synced = live.find(&below(path));
                    for effect in effects.iter_mut().filter(|effect| effect.durable.is_none()) {
                        let covered = match &effect.kind {
                            // A rename is durable once the directory of the new name is synced.
                            Kind::Entries(changes) => changes.last().is_some_and(|(dir, ..)| *dir == synced),
                            Kind::Contents(node, ..) => *node == synced,
                        };
                        effect.durable = covered.then_some(step + 1);
                    }
                    continue;
                }
                Done::SyncAll => {
                    for effect in &mut effects {
                        effect.durable = effect.durable.or(Some(step + 1));
                    }
                    continue;
                }
            };
            effects.push(Effect { step: Some(step), durable: None, kind });
        }
        Self { effects, directories: live.directories, steps: log.len() }
    }

    /// Calls `check` with every different state that a crash may leave at any time. Up to `exhaustive` entries that are
    /// not durable are tried in all subsets. More are tried without each one, with each one alone, and in a sample.
    pub(super) fn states(&self, exhaustive: usize, mut check: impl FnMut(usize, &Tree)) {
        let mut seen = HashSet::new();
        for steps in 0..=self.steps {
            let done: Vec<&Effect> =
                self.effects.iter().filter(|effect| effect.step.is_none_or(|step| step < steps)).collect();
            let is_open = |effect: &Effect| effect.durable.is_none_or(|durable| durable > steps);
            let is_entry = |effect: &Effect| matches!(effect.kind, Kind::Entries(_));
            let open: Vec<usize> = (0..done.len()).filter(|at| is_open(done[*at]) && is_entry(done[*at])).collect();
            let torn = done.iter().any(|effect| is_open(effect) && !is_entry(effect));
            for kept in subsets(&open, exhaustive, steps as u64) {
                for mode in if torn { &TORN[..] } else { &TORN[..1] } {
                    let tree = self.tree(&done, &|at, effect| !is_open(effect) || kept.contains(&at), &is_open, *mode);
                    if seen.insert(tree.clone()) {
                        check(steps, &tree);
                    }
                }
            }
        }
    }

    fn tree(
        &self,
        done: &[&Effect],
        is_kept: &dyn Fn(usize, &Effect) -> bool,
        is_open: &dyn Fn(&Effect) -> bool,
        mode: Torn,
    ) -> Tree {
        let mut entries: BTreeMap<(Node, &str), Node> = BTreeMap::new();
        let mut contents: HashMap<Node, Vec<u8>> = HashMap::new();
        for (at, effect) in done.iter().enumerate() {
            let (kept, open) = (is_kept(at, effect), is_open(effect));
            match &effect.kind {
                Kind::Entries(changes) if kept => {
                    for (dir, name, node) in changes {
                        match node {
                            Some(node) => drop(entries.insert((*dir, name), *node)),
                            None => drop(entries.remove(&(*dir, name.as_str()))),
                        }
                    }
                }
                Kind::Entries(_) => {}
                Kind::Contents(node, offset, bytes) => {
                    let bytes = if open { torn(mode, *node, bytes) } else { Some(bytes.clone()) };
                    let Some(bytes) = bytes else { continue };
                    let (start, file) = (usize::try_from(*offset).unwrap(), contents.entry(*node).or_default());
                    file.resize(file.len().max(start + bytes.len()), 0);
                    file[start..start + bytes.len()].copy_from_slice(&bytes);
                }
            }
        }
        let mut tree = Tree::new();
        let mut todo = vec![(ROOT, PathBuf::new())];
        while let Some((dir, path)) = todo.pop() {
            for ((_, name), node) in entries.range((dir, "")..(dir + 1, "")) {
                let path = path.join(name);
                if self.directories.contains(node) {
                    todo.push((*node, path.clone()));
                    tree.insert(path, None);
                } else {
                    tree.insert(path, Some(contents.get(node).cloned().unwrap_or_default()));
                }
            }
        }
        tree
    }
}

/// Names of files and directories at the time of a step.
#[derive(Debug)]
struct Live {
    entries: HashMap<(Node, String), Node>,
    directories: HashSet<Node>,
    nodes: usize,
}

impl Live {
    fn find(&self, path: &Path) -> Node {
        path.components().filter(|part| !matches!(part, Component::CurDir)).fold(ROOT, |dir, part| {
            let name = part.as_os_str().to_str().unwrap().to_owned();
            *self.entries.get(&(dir, name)).unwrap_or_else(|| panic!("{} was never made", path.display()))
        })
    }

    fn place(&self, path: &Path) -> (Node, String) {
        (self.find(path.parent().unwrap()), path.file_name().unwrap().to_str().unwrap().to_owned())
    }

    fn add(&mut self, path: &Path, is_dir: bool) -> Node {
        let node = self.nodes;
        self.nodes += 1;
        let place = self.place(path);
        self.entries.insert(place, node);
        if is_dir {
            self.directories.insert(node);
        }
        node
    }
}

fn torn(mode: Torn, node: Node, bytes: &[u8]) -> Option<Vec<u8>> {
    match mode {
        Torn::Absent => None,
        Torn::Half => Some(bytes[..bytes.len() / 2].to_vec()),
        Torn::Zeros => Some(vec![0; bytes.len()]),
        Torn::Whole => Some(bytes.to_vec()),
        Torn::Mixed(seed) => {
            let at = usize::try_from(scatter(seed, node as u64) % 4).unwrap();
            torn(TORN[at], node, bytes)
        }
    }
}

fn subsets(open: &[usize], exhaustive: usize, seed: u64) -> Vec<HashSet<usize>> {
    if open.len() <= exhaustive {
        let pick =
            |bits: u32| open.iter().enumerate().filter(move |(at, _)| bits >> at & 1 == 1).map(|(_, step)| *step);
        return (0..1_u32 << open.len()).map(|bits| pick(bits).collect()).collect();
    }
    let all = || open.iter().copied();
    let mut subsets = vec![HashSet::new(), all().collect()];
    for one in all() {
        subsets.push(HashSet::from([one]));
        subsets.push(all().filter(|step| *step != one).collect());
    }
    for sample in 0..16 {
        subsets.push(all().filter(|step| scatter(seed * 16 + sample, *step as u64) & 1 == 1).collect());
    }
    subsets
}

/// Returns bits that look random and depend only on the two numbers.
fn scatter(seed: u64, number: u64) -> u64 {
    let mixed = (seed << 32 ^ number ^ 0x9e37_79b9).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ mixed >> 31).wrapping_mul(0x94d0_49bb_1331_11eb) >> 40
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(before: &Tree, log: &[Done]) -> Vec<String> {
        let root = Path::new("/r");
        let mut found = Vec::new();
        Disk::new(root, before, log).states(10, |_, tree| {
            let text = tree.iter().map(|(path, content)| {
                let content = content.as_ref().map_or("/".into(), |bytes| String::from_utf8_lossy(bytes).into_owned());
                format!("{}={}", path.display(), content.replace('\0', "0"))
            });
            found.push(text.collect::<Vec<_>>().join(" "));
        });
        found.sort_unstable();
        found
    }

    fn path(text: &str) -> PathBuf {
        Path::new("/r").join(text)
    }

    #[test]
    fn what_is_not_synced_may_be_lost_or_torn() {
        let write = [Done::Create(path("f")), Done::Write(path("f"), 0, b"ab".to_vec())];
        assert_eq!(all(&Tree::new(), &write), ["", "f=", "f=00", "f=a", "f=ab"]);
        // The contents are durable in the end, and the entry is not.
        let synced = [&write[..], &[Done::SyncFile(path("f"))]].concat();
        assert_eq!(all(&Tree::new(), &synced), ["", "f=", "f=00", "f=a", "f=ab"]);
        let before = Tree::from([("f".into(), Some(b"xyz".to_vec()))]);
        let over = [Done::Write(path("f"), 1, b"ab".to_vec()), Done::SyncFile(path("f"))];
        assert_eq!(all(&before, &over), ["f=x00", "f=xab", "f=xaz", "f=xyz"]);
    }

    #[test]
    fn a_rename_happens_as_a_whole_and_in_any_order_until_its_directory_is_synced() {
        let before =
            Tree::from([("d".into(), None), ("f".into(), Some(b"1".to_vec())), ("g".into(), Some(b"2".to_vec()))]);
        let moves = [Done::Rename(path("f"), path("d/f")), Done::Rename(path("g"), path("d/g"))];
        assert_eq!(all(&before, &moves), ["d=/ d/f=1 d/g=2", "d=/ d/f=1 g=2", "d=/ d/g=2 f=1", "d=/ f=1 g=2"]);
        let ordered = [moves[0].clone(), Done::SyncDir(path("d")), moves[1].clone()];
        assert_eq!(all(&before, &ordered), ["d=/ d/f=1 d/g=2", "d=/ d/f=1 g=2", "d=/ f=1 g=2"]);
        let all_synced = [moves[0].clone(), Done::SyncAll, moves[1].clone()];
        assert_eq!(all(&before, &all_synced), all(&before, &ordered));
    }

    #[test]
    fn what_a_lost_directory_holds_is_lost() {
        let log = [Done::CreateDir(path("d")), Done::Create(path("d/f")), Done::SyncDir(path("d"))];
        assert_eq!(all(&Tree::new(), &log), ["", "d=/", "d=/ d/f="]);
    }
}
