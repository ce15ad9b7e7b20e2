//! The same work on many things, on every core.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How many items a thread takes at most at a time.
const LARGEST_SHARE: usize = 64;

/// Returns what `work` gives for each item, in their order. `start` makes what each thread keeps from
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
    let found = Mutex::new(Vec::with_capacity(shares.len()));
    let share = || -> Result<(), E> {
        let mut state = start();
        loop {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            let Some(items) = shares.get(turn) else {
                return Ok(());
            };
            let done = items.iter().map(|item| work(&mut state, item));
            let done: Vec<R> = done.collect::<Result<_, E>>()?;
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.push((turn, done));
        }
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
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_unstable_by_key(|(turn, _)| *turn);
    Ok(found.into_iter().flat_map(|(_, done)| done).collect())
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
        assert_eq!(
            doubled.expect("nothing fails"),
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
