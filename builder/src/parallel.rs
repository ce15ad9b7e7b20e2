//! The same work on many things, on every core.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How many items a thread takes at most at a time.
const LARGEST_SHARE: usize = 64;

/// Returns what `work` gives for each item, in no order. `start` makes what each thread keeps from
/// item to item, such as a buffer.
///
/// # Errors
/// The first failure of a thread; the others go on.
pub(crate) fn map<T: Sync, S, R: Send, E: Send>(
    items: &[T],
    start: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Neighbours go to one thread: files of one directory do not wait for each other's locks. There are
    // enough shares for all threads to end at about the same time.
    let share_size = (items.len() / (cores * 8)).clamp(1, LARGEST_SHARE);
    let shares: Vec<&[T]> = items.chunks(share_size).collect();
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::with_capacity(items.len()));
    let share = || -> Result<(), E> {
        let (mut state, mut own) = (start(), Vec::new());
        while let Some(items) = shares.get(next.fetch_add(1, Ordering::Relaxed)) {
            for item in *items {
                own.push(work(&mut state, item)?);
            }
        }
        found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .append(&mut own);
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..cores.min(shares.len()))
            .map(|_| scope.spawn(share))
            .collect();
        let first = share();
        let others = threads
            .into_iter()
            .map(|thread| thread.join().expect("the work does not panic"));
        others.fold(first, Result::and)
    })?;
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once() {
        let items: Vec<u32> = (0..1000).collect();
        let doubled = map(
            &items,
            || 0,
            |count, item| {
                *count += 1;
                Ok::<_, ()>(item * 2)
            },
        );
        let mut doubled = doubled.expect("nothing fails");
        doubled.sort_unstable();
        assert_eq!(
            doubled,
            items.iter().map(|item| item * 2).collect::<Vec<_>>()
        );
        let failed = map(
            &items,
            || (),
            |(), item| if *item == 500 { Err(500) } else { Ok(()) },
        );
        assert_eq!(failed, Err(500));
        assert_eq!(
            map(&[] as &[u32], || (), |(), _| Ok::<_, ()>(())),
            Ok(vec![])
        );
    }
}
