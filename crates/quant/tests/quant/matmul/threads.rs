//! The pool: every piece once, whoever calls, whatever panics.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use longshore_quant::{
    FloatType, Scheme,
    matmul::{Multiplier, Precision, Threads},
};

use super::Matrix;
use crate::support::gaussian;

/// Counts how often each piece is done.
fn count(threads: &Threads, pieces: usize) -> Vec<usize> {
    let done: Vec<_> = (0..pieces).map(|_| AtomicUsize::new(0)).collect();
    threads.each(pieces, |piece| {
        done[piece].fetch_add(1, Ordering::Relaxed);
    });
    done.into_iter().map(AtomicUsize::into_inner).collect()
}

#[test]
fn every_piece_is_done_once() {
    for threads in [0, 1, 2, 3, 8] {
        let threads = Threads::new(threads).expect("threads start");
        for pieces in [0, 1, 2, 3, 7, 100] {
            for _ in 0..50 {
                assert_eq!(count(&threads, pieces), vec![1; pieces]);
            }
        }
    }
}

#[test]
fn every_element_is_in_one_chunk() {
    let threads = Threads::new(3).expect("threads start");
    for len in [1, 2, 5, 9, 100] {
        let mut places = vec![(usize::MAX, usize::MAX); 17];
        threads.each_chunk(&mut places, len, |chunk, places| {
            for (i, place) in places.iter_mut().enumerate() {
                *place = (chunk, i);
            }
        });
        let expected: Vec<_> = (0..17).map(|i| (i / len, i % len)).collect();
        assert_eq!(places, expected);
    }
    threads.each_chunk(&mut [0u8; 0], 4, |_, _| unreachable!("there is no chunk"));
}

#[test]
fn threads_that_sleep_are_woken() {
    let threads = Threads::new(3).expect("threads start");
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(1));
        let others = AtomicUsize::new(0);
        let caller = thread::current().id();
        // Two pieces wait for each other, so another thread has to come.
        let arrived = AtomicUsize::new(0);
        threads.each(2, |_| {
            others.fetch_add(usize::from(thread::current().id() != caller), Ordering::Relaxed);
            arrived.fetch_add(1, Ordering::SeqCst);
            while arrived.load(Ordering::SeqCst) < 2 {
                thread::yield_now();
            }
        });
        assert!(others.into_inner() > 0);
    }
}

#[test]
fn a_panic_of_a_piece_reaches_the_caller_and_the_pool_goes_on() {
    let threads = Threads::new(3).expect("threads start");
    for bad in 0..40 {
        let panic = catch_unwind(AssertUnwindSafe(|| {
            threads.each(40, |piece| assert!(piece != bad, "piece {piece} is bad"));
        }));
        let panic = panic.expect_err("a piece panics");
        assert_eq!(panic.downcast_ref::<String>().map(String::as_str), Some(&*format!("piece {bad} is bad")));
        assert_eq!(count(&threads, 9), [1; 9]);
    }
    // All pieces panic, on all threads.
    catch_unwind(AssertUnwindSafe(|| threads.each(40, |_| panic!("all are bad")))).expect_err("they panic");
    assert_eq!(count(&threads, 9), [1; 9]);
}

#[test]
fn pieces_may_begin_regions() {
    let threads = Threads::new(3).expect("threads start");
    let done = AtomicUsize::new(0);
    threads.each(5, |_| {
        threads.each(7, |_| {
            threads.each(3, |_| {
                done.fetch_add(1, Ordering::Relaxed);
            });
        });
    });
    assert_eq!(done.into_inner(), 5 * 7 * 3);
}

#[test]
fn many_callers_may_share_a_pool() {
    let threads = Threads::new(2).expect("threads start");
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for pieces in 0..300 {
                    assert_eq!(count(&threads, pieces % 11), vec![1; pieces % 11]);
                }
            });
        }
    });
}

#[test]
fn pools_come_and_go() {
    for i in 0..60 {
        let threads = Threads::new(4).expect("threads start");
        if i % 3 == 1 {
            thread::sleep(Duration::from_micros(300));
        }
        if i % 2 == 0 {
            assert_eq!(count(&threads, 5), [1; 5]);
        }
    }
}

#[test]
fn products_have_the_same_bits_with_any_number_of_threads() {
    let matrix = Matrix::new(Scheme::INT4, FloatType::BF16, [700, 512], 1);
    for rows in [1, 3, 37] {
        let x = gaussian(2, rows * 512, 1.0);
        for precision in [Precision::Exact, Precision::Fast] {
            let multiply = || {
                let mut y = vec![0.0; rows * 700];
                Multiplier::new(precision).multiply(matrix.weights(), rows, &x, &mut y).expect("the lengths fit");
                y.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            };
            let alone = Threads::new(1).expect("nothing is started").install(multiply);
            for count in [2, 3, 5] {
                let threads = Threads::new(count).expect("threads start");
                assert_eq!(threads.install(multiply), alone, "{count} threads");
                // Products within a piece are computed by the thread that has it.
                threads.install(|| threads.each(4, |_| assert_eq!(multiply(), alone)));
            }
        }
    }
}

#[test]
fn pools_are_installed_one_in_another_and_after_a_panic_no_more() {
    let (outer, inner) = (Threads::new(2).expect("threads start"), Threads::new(3).expect("threads start"));
    outer.install(|| {
        inner.install(|| ());
        catch_unwind(|| inner.install(|| panic!("on purpose"))).expect_err("it panics");
    });
    assert_eq!((outer.count(), inner.count()), (2, 3));
    let error = Threads::new(usize::MAX).expect_err("so many threads do not fit");
    assert!(error.to_string().contains("expected at most 65535 threads"), "{error}");
}
