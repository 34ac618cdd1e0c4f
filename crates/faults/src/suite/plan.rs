//! The calls that are to fail, with their faults.

use super::place::Clean;
use crate::{Class, Fault, Strike};

/// Whether this is no error for a program, which goes on: what the kernel's manual says of calls of these classes.
pub(crate) fn is_harmless(class: Class, fault: Fault) -> bool {
    match fault {
        Fault::Short => true,
        Fault::Eintr => matches!(class, Class::Read | Class::Write | Class::Sync | Class::Open),
        Fault::Eio | Fault::Enospc | Fault::Kill => false,
    }
}

/// Faults for calls of a class, each once or from a call on. Answers that no kernel gives are left out, and so is an interrupt that never ends.
pub(crate) fn faults(class: Class) -> Vec<(Fault, bool)> {
    let mut faults = vec![(Fault::Eio, false), (Fault::Eio, true)];
    let is_writing = matches!(class, Class::Write | Class::Sync | Class::Rename | Class::Open | Class::Make);
    if is_writing {
        faults.extend([(Fault::Enospc, false), (Fault::Enospc, true)]);
    }
    if is_harmless(class, Fault::Eintr) {
        faults.push((Fault::Eintr, false));
    }
    if matches!(class, Class::Read | Class::Write) {
        faults.extend([(Fault::Short, false), (Fault::Short, true)]);
    }
    // Death between two calls that only look is the same as before the next one that does something.
    if is_writing || matches!(class, Class::Remove | Class::Touch) {
        faults.push((Fault::Kill, false));
    }
    faults
}

/// Everything that is to be tried of a verb: each call of each class, or at most so many of each class and fault, spread evenly, the first
/// and the last among them.
pub(crate) fn strikes(clean: &Clean, sample: Option<u64>, keep: impl Fn(&Strike) -> bool) -> Vec<Strike> {
    let mut strikes = Vec::new();
    for class in Class::ALL {
        let calls = clean.run.calls.iter().filter(|call| call.class == class).count() as u64;
        for (fault, goes_on) in faults(class) {
            let all = (1..=calls).map(|nth| Strike { class, fault, nth, goes_on }).filter(&keep);
            let all: Vec<_> = all.collect();
            strikes.extend(
                spread(all.len() as u64, sample).into_iter().filter_map(|at| all.get(usize::try_from(at).ok()?)),
            );
        }
    }
    strikes
}

/// At most `most` of the numbers below `count`, spread evenly.
fn spread(count: u64, most: Option<u64>) -> Vec<u64> {
    match most {
        Some(most) if most < count => {
            (0..most).map(|at| if most == 1 { count / 2 } else { at * (count - 1) / (most - 1) }).collect()
        }
        _ => (0..count).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn a_sample_has_both_ends() {
        assert_eq!(spread(3, None), [0, 1, 2]);
        assert_eq!(spread(3, Some(3)), [0, 1, 2]);
        assert_eq!(spread(10, Some(3)), [0, 4, 9]);
        assert_eq!(spread(10, Some(2)), [0, 9]);
        assert_eq!(spread(10, Some(1)), [5]);
        assert_eq!(spread(0, Some(1)), [0; 0]);
    }
}
