//! Which shards are here. Those who need some wait for them, and the last one who needed some lets them go.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::HubError;

/// Most shards that are on disk at a time, the one that arrives included.
const PRESENT: usize = 3;

/// The shards of an import.
#[derive(Debug)]
pub(crate) struct Shards {
    state: Mutex<State>,
    changed: Condvar,
    /// Shards that each layer is made of.
    needs: HashMap<String, BTreeSet<usize>>,
}

#[derive(Debug)]
struct State {
    shards: Vec<Shard>,
    /// Needs of those who wait.
    waiting: Vec<BTreeSet<usize>>,
    /// Number of layers that are being made.
    making: usize,
    /// Whether the import is over, well or not.
    is_over: bool,
    error: Option<HubError>,
}

#[derive(Debug, Clone, Copy)]
struct Shard {
    place: Place,
    /// Number of layers that are still to be made of it.
    left: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Elsewhere.
    Away,
    /// On its way.
    Coming,
    /// Here, whole and verified.
    Here,
    /// Not needed any more.
    Gone,
}

impl Shards {
    /// Makes the shards of layers that are still to be made. `here` says which are there already.
    pub(crate) fn new(needs: HashMap<String, BTreeSet<usize>>, here: &[bool]) -> Self {
        let mut shards: Vec<Shard> =
            here.iter().map(|here| Shard { place: if *here { Place::Here } else { Place::Away }, left: 0 }).collect();
        for shard in needs.values().flatten() {
            shards[*shard].left += 1;
        }
        let state = State { shards, waiting: Vec::new(), making: 0, is_over: false, error: None };
        Self { state: Mutex::new(state), changed: Condvar::new(), needs }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        // Wakes now and then for who looks whether to stop.
        self.changed.wait_timeout(state, Duration::from_millis(200)).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Turn of a layer: that of the last shard which it is made of.
    pub(crate) fn turn(&self, layer: &str) -> usize {
        self.needs.get(layer).and_then(BTreeSet::last).map_or(0, |last| last + 1)
    }

    /// The shards that are to come, in order.
    pub(crate) fn to_come(&self) -> Vec<usize> {
        let state = self.state();
        let is_wanted = |shard: &(usize, &Shard)| shard.1.left > 0 && shard.1.place == Place::Away;
        state.shards.iter().enumerate().filter(is_wanted).map(|(at, _)| at).collect()
    }

    /// Whether a shard has layers that are still to be made.
    pub(crate) fn is_needed(&self, shard: usize) -> bool {
        self.state().shards[shard].left > 0
    }

    /// Waits until the shards of a layer are here. Returns false if the import is over.
    pub(crate) fn enter(&self, layer: &str, stop: &dyn Fn() -> bool) -> bool {
        let Some(needs) = self.needs.get(layer) else { return true };
        let mut state = self.state();
        state.waiting.push(needs.clone());
        self.changed.notify_all();
        let entered = loop {
            if state.is_over || state.error.is_some() || stop() {
                break false;
            }
            if needs.iter().all(|shard| state.shards[*shard].place == Place::Here) {
                break true;
            }
            state = self.wait(state);
        };
        let at = state.waiting.iter().position(|waiting| waiting == needs).expect("it was put there above");
        state.waiting.swap_remove(at);
        state.making += usize::from(entered);
        entered
    }

    /// Notes that a layer is finished, or given up. Returns the shards that nobody needs any more.
    pub(crate) fn leave(&self, layer: &str, is_finished: bool) -> Vec<usize> {
        let Some(needs) = self.needs.get(layer) else { return Vec::new() };
        let mut state = self.state();
        state.making -= 1;
        let mut gone = Vec::new();
        if is_finished {
            for &at in needs {
                let shard = &mut state.shards[at];
                shard.left -= 1;
                if shard.left == 0 {
                    shard.place = Place::Gone;
                    gone.push(at);
                }
            }
        }
        self.changed.notify_all();
        gone
    }

    /// Waits until there is room for another shard. Returns false if the import is over.
    pub(crate) fn room(&self, shard: usize, stop: &dyn Fn() -> bool) -> bool {
        let mut state = self.state();
        loop {
            if state.is_over || stop() {
                return false;
            }
            let present =
                state.shards.iter().filter(|shard| matches!(shard.place, Place::Coming | Place::Here)).count();
            // If all wait for shards that are away, more have to come: a group of experts may lie in many.
            let is_stuck = state.making == 0
                && !state.waiting.is_empty()
                && state.waiting.iter().all(|needs| needs.iter().any(|at| state.shards[*at].place == Place::Away));
            if present < PRESENT || is_stuck {
                state.shards[shard].place = Place::Coming;
                return true;
            }
            state = self.wait(state);
        }
    }

    /// Notes that a shard is here.
    pub(crate) fn arrived(&self, shard: usize) {
        self.state().shards[shard].place = Place::Here;
        self.changed.notify_all();
    }

    /// Ends the import because a shard does not come.
    pub(crate) fn fail(&self, error: HubError) {
        self.state().error.get_or_insert(error);
        self.changed.notify_all();
    }

    /// Ends the import.
    pub(crate) fn end(&self) {
        self.state().is_over = true;
        self.changed.notify_all();
    }

    /// The error because of which a shard did not come.
    pub(crate) fn take_error(&self) -> Option<HubError> {
        self.state().error.take()
    }
}

/// Ends the import when it goes, so that nobody waits for who has panicked.
pub(crate) struct End<'s> {
    pub(crate) shards: &'s Shards,
    /// Set with the end.
    pub(crate) is_over: &'s AtomicBool,
    /// Whether only a panic ends it.
    pub(crate) only_panics: bool,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        if !self.only_panics || std::thread::panicking() {
            self.is_over.store(true, Ordering::Relaxed);
            self.shards.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(layers: &[(&str, &[usize])]) -> HashMap<String, BTreeSet<usize>> {
        layers.iter().map(|(name, shards)| ((*name).to_owned(), shards.iter().copied().collect())).collect()
    }

    #[test]
    fn shards_go_with_the_last_layer_that_needs_them() {
        let shards = Shards::new(needs(&[("a", &[0]), ("b", &[0, 1]), ("c", &[1])]), &[false; 2]);
        assert_eq!((shards.turn("a"), shards.turn("b"), shards.turn("file")), (1, 2, 0));
        assert_eq!(shards.to_come(), [0, 1]);
        for shard in 0..2 {
            assert!(shards.room(shard, &|| false));
            shards.arrived(shard);
        }
        for layer in ["a", "b", "c", "file"] {
            assert!(shards.enter(layer, &|| false));
        }
        assert_eq!(shards.leave("a", true), [0; 0]);
        assert_eq!(shards.leave("b", true), [0]);
        assert_eq!(shards.leave("c", false), [0; 0]);
        assert!(shards.leave("file", true).is_empty());
    }

    #[test]
    fn no_more_than_three_are_here_unless_all_wait_for_more() {
        let shards = Shards::new(needs(&[("all", &[0, 1, 2, 3, 4])]), &[false; 5]);
        for shard in 0..3 {
            assert!(shards.room(shard, &|| false));
            shards.arrived(shard);
        }
        assert!(!shards.room(3, &|| true));
        std::thread::scope(|scope| {
            let layer = scope.spawn(|| shards.enter("all", &|| false));
            for shard in 3..5 {
                assert!(shards.room(shard, &|| false));
                shards.arrived(shard);
            }
            assert!(layer.join().expect("it does not panic"));
        });
        assert_eq!(shards.leave("all", true).len(), 5);
    }

    #[test]
    fn a_panic_ends_the_import() {
        let shards = Shards::new(needs(&[("a", &[0])]), &[false]);
        let is_over = AtomicBool::new(false);
        drop(End { shards: &shards, is_over: &is_over, only_panics: true });
        assert!(!is_over.load(Ordering::Relaxed));
        std::thread::scope(|scope| {
            let loader = scope.spawn(|| {
                let _end = End { shards: &shards, is_over: &is_over, only_panics: true };
                panic!("a test's");
            });
            assert!(!shards.enter("a", &|| false));
            assert!(loader.join().is_err());
        });
        assert!(is_over.load(Ordering::Relaxed) && !shards.room(0, &|| false));
    }

    #[test]
    fn who_waits_is_told_of_the_end() {
        let shards = Shards::new(needs(&[("a", &[0])]), &[false]);
        shards.fail(HubError::Cancelled);
        assert!(!shards.enter("a", &|| false));
        assert!(shards.take_error().is_some());
        shards.end();
        assert!(!shards.enter("a", &|| false) && !shards.room(0, &|| false));
    }
}
