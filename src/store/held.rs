//! Bytes that only readers keep alive: versions that their writer has replaced since.
//!
//! A writer copies what a reader still holds and goes on with the copy; from then on the old version is the readers'
//! alone. It is marked then, and counted until the last of them lets go. Nothing is counted, nor looked at, where no
//! reader is in the way.

use std::{
    mem,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use once_cell::race::OnceBox;

/// What the two counters of an `Arc` take.
const COUNTERS: usize = 2 * size_of::<usize>();

/// The bytes of a store that only readers keep alive.
#[derive(Default)]
pub struct Held {
    bytes: AtomicUsize,
    cap: OnceLock<Cap>,
}

struct Cap {
    bytes: usize,
    exceeded: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl Held {
    /// How many there are now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Calls `exceeded` whenever there come to be more while there are more than `bytes`. On the thread of the writer,
    /// which holds a lock: it must be quick. Only the first call of this has an effect.
    pub fn cap(&self, bytes: usize, exceeded: impl Fn() + Send + Sync + 'static) {
        let _ = self.cap.set(Cap { bytes, exceeded: Box::new(exceeded) });
    }

    fn add(&self, bytes: usize) {
        let now = self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if let Some(cap) = self.cap.get().filter(|cap| now > cap.bytes) {
            (cap.exceeded)();
        }
    }
}

/// Counts while it lives.
#[derive(Debug)]
struct Claim {
    held: Arc<Held>,
    bytes: usize,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.held.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Room for the mark of a version; a copy is not marked.
#[derive(Debug, Default)]
pub(super) struct Mark(OnceBox<Claim>);

impl Clone for Mark {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// What is replaced rather than changed while a reader holds it.
pub(super) trait Version: Clone {
    /// Bytes beside the value itself that go when it goes.
    fn heap(&self) -> usize;
    fn mark(&self) -> &Mark;
}

/// [`Arc::make_mut`] for the one writer, who counts the version before if a reader keeps it.
pub(super) fn make_mut<'a, T: Version>(version: &'a mut Arc<T>, held: &Arc<Held>) -> &'a mut T {
    // Nobody but the writer can hand out another, so that 1 is sure and more is not.
    if Arc::strong_count(version) > 1 {
        let copy = Arc::new(T::clone(version));
        let old = mem::replace(version, copy);
        leave(&old, held);
    }
    Arc::make_mut(version)
}

/// Counts a version that its writer is about to drop.
pub(super) fn leave<T: Version>(version: &Arc<T>, held: &Arc<Held>) {
    let bytes = COUNTERS + size_of::<T>() + version.heap();
    // First, so that it is never less than nothing.
    held.add(bytes);
    // Once: it was the writer's until now.
    let _ = version.mark().0.set(Box::new(Claim { held: Arc::clone(held), bytes }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Text {
        text: String,
        mark: Mark,
    }

    impl Version for Text {
        fn heap(&self) -> usize {
            self.text.capacity()
        }

        fn mark(&self) -> &Mark {
            &self.mark
        }
    }

    const BARE: usize = COUNTERS + size_of::<Text>();

    fn text(length: usize) -> Arc<Text> {
        Arc::new(Text { text: "x".repeat(length), ..Text::default() })
    }

    #[test]
    fn a_mark_takes_eight_bytes() {
        assert_eq!(size_of::<Mark>(), 8);
    }

    #[test]
    fn what_nobody_reads_is_changed_in_place_and_not_counted() {
        let (mut version, held) = (text(10), Arc::default());
        let place = Arc::as_ptr(&version);
        make_mut(&mut version, &held).text.push('y');
        assert_eq!((Arc::as_ptr(&version), held.bytes()), (place, 0));
    }

    #[test]
    fn an_old_version_counts_until_its_last_reader_lets_go() {
        let (mut version, held) = (text(100), Arc::default());
        let (first, second) = (Arc::clone(&version), Arc::clone(&version));
        make_mut(&mut version, &held).text.push('y');
        make_mut(&mut version, &held).text.push('z');
        assert_eq!(held.bytes(), BARE + 100, "copied once, and the copy is the writer's");
        assert_eq!((first.text.len(), version.text.len()), (100, 102));
        let third = Arc::clone(&version);
        make_mut(&mut version, &held).text.clear();
        assert_eq!(held.bytes(), 2 * BARE + 100 + third.text.capacity());
        drop(first);
        drop(third);
        assert_eq!(held.bytes(), BARE + 100);
        drop(second);
        assert_eq!(held.bytes(), 0);
        drop(version);
        assert_eq!(held.bytes(), 0, "the writer's own was never counted");
    }

    #[test]
    fn more_than_the_cap_is_told_each_time() {
        let (held, told) = (Arc::new(Held::default()), Arc::new(AtomicUsize::new(0)));
        let tell = Arc::clone(&told);
        held.cap(2 * BARE, move || {
            tell.fetch_add(1, Ordering::Relaxed);
        });
        let versions: Vec<_> = (0..4).map(|_| text(0)).collect();
        let told = |_| {
            leave(versions.get(held.bytes() / BARE).unwrap(), &held);
            told.load(Ordering::Relaxed)
        };
        assert_eq!((0..4).map(told).collect::<Vec<_>>(), [0, 0, 1, 2]);
        drop(versions);
        assert_eq!(held.bytes(), 0);
    }
}
