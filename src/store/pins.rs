//! Pins of readers, and the count of bytes that only pins keep alive.
//!
//! A writer copies a version that a reader still pins and continues with the copy; from then on only readers use the
//! old version. Its bytes are counted as retained until the last reader drops it. Versions that no reader pins are
//! changed in place and cost nothing. If all pins together retain too much, the reader that retains the most is
//! cancelled.

use std::{
    mem,
    ops::Deref,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use once_cell::race::OnceBox;
use parking_lot::Mutex;

use crate::work::{CancelHandle, EndReason};

/// Bytes of the two counters of an `Arc`.
const COUNTERS: usize = 2 * size_of::<usize>();

/// Interval between checks whether a cancelled reader has dropped its pin.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// The bytes that only readers retain, and the pins that retain them.
#[derive(Debug, Default)]
pub struct Pins {
    bytes: AtomicUsize,
    cap: OnceLock<usize>,
    active: Mutex<Vec<Pinned>>,
    /// Whether a thread is cancelling readers.
    is_enforcing: AtomicBool,
}

#[derive(Clone, Debug)]
struct Pinned {
    value: Weak<dyn Retains>,
    cancel: CancelHandle,
}

/// A value that readers can pin.
pub trait Retains: Send + Sync + std::fmt::Debug + 'static {
    /// Returns the bytes of this value that its writer has replaced since it was pinned. Walks the whole value.
    fn retained(&self) -> usize;
}

/// A reader's pin on a part of the store. Versions that writers replace are retained for it, and counted. The reader is
/// cancelled at its deadline, or when it retains the most while all pins together exceed the cap.
#[derive(Debug)]
pub struct Pin<T> {
    value: Arc<T>,
    cancel: CancelHandle,
}

impl<T> Pin<T> {
    /// Returns the pinned value.
    #[must_use]
    pub fn shared(&self) -> &Arc<T> {
        &self.value
    }

    /// Returns the cancel handle of the reader.
    #[must_use]
    pub fn cancel(&self) -> &CancelHandle {
        &self.cancel
    }
}

impl<T> Deref for Pin<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl Pins {
    /// Returns the number of bytes that only readers retain now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Sets the maximum number of retained bytes. Beyond it, the reader that retains the most is cancelled, and no
    /// other. Only the first call has an effect.
    pub fn set_cap(&self, bytes: usize) {
        let _ = self.cap.set(bytes);
    }

    /// Pins a value for a reader.
    #[must_use]
    pub fn pin<T: Retains>(&self, value: impl Into<Arc<T>>, cancel: &CancelHandle) -> Pin<T> {
        let value = value.into();
        let pinned: Weak<dyn Retains> = Arc::<T>::downgrade(&value);
        let mut active = self.active.lock();
        active.retain(|pin| pin.value.strong_count() > 0);
        active.push(Pinned { value: pinned, cancel: cancel.clone() });
        Pin { value, cancel: cancel.clone() }
    }

    fn is_exceeded(&self) -> bool {
        self.cap.get().is_some_and(|cap| self.bytes() > *cap)
    }

    /// Counts retained bytes. The writer calls this while it holds a lock, so that a separate thread cancels readers.
    fn add(self: &Arc<Self>, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.is_exceeded() && !self.is_enforcing.swap(true, Ordering::AcqRel) {
            let pins = Arc::clone(self);
            let enforce = move || {
                pins.enforce_cap();
                pins.is_enforcing.store(false, Ordering::Release);
            };
            if let Err(error) = std::thread::Builder::new().name("pins".to_owned()).spawn(enforce) {
                tracing::warn!(%error, "cannot start the thread that cancels readers which retain too much memory");
                self.is_enforcing.store(false, Ordering::Release);
            }
        }
    }

    /// Cancels the reader that retains the most, and waits until it drops its pin, until the cap is respected.
    fn enforce_cap(&self) {
        while let Some(cap) = self.cap.get().filter(|_| self.is_exceeded()) {
            let Some((bytes, cancel)) = self.greatest() else { return };
            if cancel.reason().is_none() {
                cancel.end(EndReason::Retained { bytes, cap: *cap });
            }
            // One reader at a time: a cancelled reader needs a moment to drop its pin, and no other is cancelled
            // meanwhile.
            std::thread::sleep(CHECK_INTERVAL);
        }
    }

    /// Returns the pin that retains the most; of several, the oldest.
    fn greatest(&self) -> Option<(usize, CancelHandle)> {
        // The lock is released first, because counting walks every pinned value.
        let active = self.active.lock().clone();
        let retained = active.iter().rev().filter_map(|pin| Some((pin.value.upgrade()?.retained(), pin)));
        let (bytes, pin) = retained.max_by_key(|(bytes, _)| *bytes).filter(|(bytes, _)| *bytes > 0)?;
        Some((bytes, pin.cancel.clone()))
    }
}

/// Bytes of one replaced version, counted until this is dropped.
#[derive(Debug)]
struct RetainedBytes {
    pins: Arc<Pins>,
    bytes: usize,
}

impl Drop for RetainedBytes {
    fn drop(&mut self) {
        self.pins.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The retained bytes of a version, set once its writer has replaced it. A clone starts without.
#[derive(Debug, Default)]
pub(super) struct RetainedMark(OnceBox<RetainedBytes>);

impl RetainedMark {
    /// Returns the bytes of the version if only readers retain it, else 0.
    pub(super) fn bytes(&self) -> usize {
        self.0.get().map_or(0, |retained| retained.bytes)
    }
}

impl Clone for RetainedMark {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// A value of which the writer makes a new version instead of changing it, while a reader pins it.
pub(super) trait Version: Clone {
    /// Returns the heap bytes that are freed together with the value.
    fn heap(&self) -> usize;
    fn retained_mark(&self) -> &RetainedMark;
}

/// Makes a version writable, as [`Arc::make_mut`] does. Counts the old version if a reader pins it.
pub(super) fn make_mut<'a, T: Version>(version: &'a mut Arc<T>, pins: &Arc<Pins>) -> &'a mut T {
    // Only the writer can create further references, so a count of 1 is exact; a higher count may be outdated.
    if Arc::strong_count(version) > 1 {
        let copy = Arc::new(T::clone(version));
        let old = mem::replace(version, copy);
        count_retained(&old, pins);
    }
    Arc::make_mut(version)
}

/// Counts a version that its writer is about to drop.
pub(super) fn count_retained<T: Version>(version: &Arc<T>, pins: &Arc<Pins>) {
    let bytes = COUNTERS + size_of::<T>() + version.heap();
    // The bytes are added before `RetainedBytes` can subtract them, so that the counter never underflows.
    pins.add(bytes);
    // The mark is still empty: the writer used this version until now.
    let _ = version.retained_mark().0.set(Box::new(RetainedBytes { pins: Arc::clone(pins), bytes }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Text {
        text: String,
        retained_mark: RetainedMark,
    }

    impl Version for Text {
        fn heap(&self) -> usize {
            self.text.capacity()
        }

        fn retained_mark(&self) -> &RetainedMark {
            &self.retained_mark
        }
    }

    const BARE: usize = COUNTERS + size_of::<Text>();

    fn text(length: usize) -> Arc<Text> {
        Arc::new(Text { text: "x".repeat(length), ..Text::default() })
    }

    #[test]
    fn a_retained_mark_takes_eight_bytes() {
        assert_eq!(size_of::<RetainedMark>(), 8);
    }

    #[test]
    fn an_unpinned_version_is_changed_in_place_and_not_counted() {
        let (mut version, pins) = (text(10), Arc::default());
        let place = Arc::as_ptr(&version);
        make_mut(&mut version, &pins).text.push('y');
        assert_eq!((Arc::as_ptr(&version), pins.bytes()), (place, 0));
    }

    #[test]
    fn an_old_version_counts_until_its_last_reader_drops_it() {
        let (mut version, pins) = (text(100), Arc::default());
        let (first, second) = (Arc::clone(&version), Arc::clone(&version));
        make_mut(&mut version, &pins).text.push('y');
        make_mut(&mut version, &pins).text.push('z');
        assert_eq!(pins.bytes(), BARE + 100, "copied once; the copy belongs to the writer");
        assert_eq!((first.text.len(), version.text.len()), (100, 102));
        let third = Arc::clone(&version);
        make_mut(&mut version, &pins).text.clear();
        assert_eq!(pins.bytes(), 2 * BARE + 100 + third.text.capacity());
        drop(first);
        drop(third);
        assert_eq!(pins.bytes(), BARE + 100);
        drop(second);
        assert_eq!(pins.bytes(), 0);
        drop(version);
        assert_eq!(pins.bytes(), 0, "the version of the writer is not counted");
    }

    impl Retains for Vec<Arc<Text>> {
        fn retained(&self) -> usize {
            self.iter().map(|text| text.retained_mark.bytes()).sum()
        }
    }

    fn until(what: &str, holds: impl Fn() -> bool) {
        #[expect(clippy::disallowed_methods, reason = "bounds a wait")]
        let begun = std::time::Instant::now();
        while !holds() {
            assert!(begun.elapsed().as_secs() < 60, "waited for {what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn beyond_the_cap_only_the_reader_that_retains_the_most_is_cancelled() {
        let pins = Arc::new(Pins::default());
        pins.set_cap(3 * BARE);
        let endless = || CancelHandle::within(Duration::MAX);
        let [innocent, first, most] = [endless(), endless(), endless()];
        let mut versions: Vec<_> = (0..4).map(|_| text(0)).collect();
        // The first reader is the oldest, but the version that it reads does not change.
        let pin = |texts: &[Arc<Text>], cancel| -> Pin<Vec<Arc<Text>>> { pins.pin(texts.to_vec(), cancel) };
        let _innocent = pin(&[text(0)], &innocent);
        let (first_pin, most_pin) = (pin(&versions[..1], &first), pin(&versions, &most));
        for version in &mut versions {
            make_mut(version, &pins);
        }
        assert_eq!((first_pin.retained(), most_pin.retained()), (BARE, 4 * BARE));
        until("a reader to be cancelled", || most.reason().is_some());
        // The bytes are counted a moment before the version is marked as retained.
        let reasons = [3, 4].map(|versions| Some(EndReason::Retained { bytes: versions * BARE, cap: 3 * BARE }));
        assert!(reasons.contains(&most.reason()), "{:?}", most.reason());
        drop(most_pin);
        until("its bytes to be released", || pins.bytes() == BARE);
        assert_eq!((innocent.reason(), first.reason()), (None, None));
        drop(first_pin);
        assert_eq!(pins.bytes(), 0);
    }
}
