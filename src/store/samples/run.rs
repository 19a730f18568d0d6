//! Runs of frames. A frame encodes the value changes of several lines at one sample, as varints.
//!
//! A frame starts with its distance from the sample of the previous frame, followed by the ranges of consecutive lines
//! that change. Each range is its distance from the previous range plus 1, and its length; a 0 ends the list. If the
//! frame is of the next sample and has the same lines as the previous frame, a single 0 replaces all that. The changes
//! follow, each minus the change of the same line in the previous frame, if that had one. A line that moves steadily
//! therefore takes one byte per sample.

use super::SampleNumber;

/// Number of frames in a full run.
const FRAMES: u32 = 64;
/// Start of a frame of the next sample with the same lines as the previous frame.
const SAME: u64 = 0;
/// End of the list of line ranges.
const END: u64 = 0;

/// Lines in ascending order, with the (wrapping) changes of their values.
pub(super) type Changes = Vec<(u32, i64)>;

/// Consecutive frames. A full run is immutable.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    bytes: Vec<u8>,
    frames: u32,
    /// The sample before the first frame.
    base: SampleNumber,
    /// The sample of the last frame.
    last: SampleNumber,
    /// The changes of the last frame; empty once the run is full.
    newest: Changes,
}

impl Run {
    /// Appends a frame.
    pub(super) fn push(&mut self, index: SampleNumber, changes: Changes) {
        if self.is_empty() {
            (self.base, self.last) = (index.saturating_sub(1), index.saturating_sub(1));
        }
        // A cloned run has no spare capacity; without this, the vector would double.
        self.bytes.reserve_exact(4 + 2 * changes.len());
        let lines = |changes: &Changes| changes.iter().map(|(line, _)| *line).collect::<Vec<u32>>();
        if index == self.last.saturating_add(1) && lines(&changes) == lines(&self.newest) {
            write_varint(SAME, &mut self.bytes);
        } else {
            write_varint(u64::from(index.saturating_sub(self.last)), &mut self.bytes);
            let mut next = 0;
            for row in changes.chunk_by(|(line, _), (other, _)| line.checked_add(1) == Some(*other)) {
                let first = row.first().map_or(next, |(line, _)| u64::from(*line));
                write_varint(first.saturating_sub(next) + 1, &mut self.bytes);
                write_varint(row.len() as u64, &mut self.bytes);
                next = first + row.len() as u64;
            }
            write_varint(END, &mut self.bytes);
        }
        for (line, by) in &changes {
            write_varint(zigzag(by.wrapping_sub(change_of(&self.newest, *line))), &mut self.bytes);
        }
        (self.newest, self.last) = (changes, index);
        self.frames += 1;
        if self.is_full() {
            self.newest = vec![];
            self.bytes.shrink_to_fit();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.frames >= FRAMES
    }

    /// Returns the sample of the last frame; 0 without one.
    pub(super) fn last(&self) -> SampleNumber {
        self.last
    }

    pub(super) fn heap(&self) -> usize {
        self.bytes.capacity() + self.newest.capacity() * size_of::<(u32, i64)>()
    }

    /// Calls `each` with the sample, line and change of every change, in order.
    pub(super) fn read(&self, each: &mut dyn FnMut(SampleNumber, u32, i64)) {
        // The bytes were written by `push`, so they do not end early.
        let _ = self.try_read(each);
    }

    fn try_read(&self, each: &mut dyn FnMut(SampleNumber, u32, i64)) -> Option<()> {
        let mut bytes = self.bytes.iter();
        let (mut index, mut changes) = (self.base, Changes::new());
        for _ in 0..self.frames {
            match read_varint(&mut bytes)? {
                SAME => index += 1,
                distance => {
                    index += SampleNumber::try_from(distance).ok()?;
                    let before = std::mem::take(&mut changes);
                    let mut next = 0_u32;
                    while let Some(skipped) = read_varint(&mut bytes)?.checked_sub(END + 1) {
                        let first = next.checked_add(u32::try_from(skipped).ok()?)?;
                        next = first.checked_add(u32::try_from(read_varint(&mut bytes)?).ok()?)?;
                        changes.extend((first..next).map(|line| (line, change_of(&before, line))));
                    }
                }
            }
            for (line, by) in &mut changes {
                *by = by.wrapping_add(unzigzag(read_varint(&mut bytes)?));
                each(index, *line, *by);
            }
        }
        Some(())
    }
}

/// Returns the change of a line; 0 without one.
fn change_of(changes: &[(u32, i64)], line: u32) -> i64 {
    let found = changes.binary_search_by_key(&line, |(line, _)| *line);
    found.ok().and_then(|at| changes.get(at)).map_or(0, |(_, by)| *by)
}

/// Maps numbers near 0 to small ones: negative numbers become the odd ones.
fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Writes seven bits per byte, the low ones first, as in Protocol Buffers.
fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0));
}

/// Reads a varint. Returns `None` if the bytes end within a number.
fn read_varint(bytes: &mut std::slice::Iter<'_, u8>) -> Option<u64> {
    let (mut value, mut shift) = (0_u64, 0_u32);
    loop {
        let byte = *bytes.next()?;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(value);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests;
