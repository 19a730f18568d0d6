//! Frames: what changed at a sample. An open run of them is bytes that grow, quick to write; a closed one is a block of
//! bits by line, small, and immutable.
//!
//! A frame is the distance of its number from the one before, then runs of neighbouring lines, each with what their values
//! changed by, less what they changed by in the frames before, then 0. In a block a line has: whether it changes at all; whether it does so in every frame, or in which;
//! and its changes as codes of their distance from their mean.

use std::sync::Arc;

use super::{
    Index,
    bits::{BitReader, BitWriter, PARAMETER_BITS, TRUNCATED, code_length, read_varint, unzigzag, write_varint, zigzag},
};

/// Frames of a block.
pub(super) const FRAMES: u32 = 64;

/// A change of a line's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Change {
    /// Which line.
    pub(super) line: u32,
    /// At which sample.
    pub(super) index: Index,
    /// By how much, wrapping.
    pub(super) by: i64,
}

/// Frames that are not closed yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Open {
    bytes: Vec<u8>,
    frames: u32,
    /// Before the first frame.
    base: Index,
    last: Index,
}

impl Open {
    /// Adds a frame: lines in order, with their changes less those before, as far as this has some.
    pub(super) fn push(&mut self, index: Index, changes: &[(u32, i64)]) {
        if self.frames == 0 {
            (self.base, self.last) = (index.saturating_sub(1), index.saturating_sub(1));
        }
        // A copy of another has no room to spare, and is not to have twice what it needs.
        self.bytes.reserve_exact(4 + 3 * changes.len());
        write_varint(u64::from(index.saturating_sub(self.last)), &mut self.bytes);
        let (mut at, mut next) = (0, 0);
        while let Some((line, _)) = changes.get(at) {
            let rest = changes.get(at..).unwrap_or_default();
            let run = rest.iter().zip(*line..).take_while(|((line, _), expected)| line == expected).count();
            write_varint((u64::from(line - next) + 1) << 1 | u64::from(run > 1), &mut self.bytes);
            if run > 1 {
                write_varint(run as u64, &mut self.bytes);
            }
            for (line, by) in rest.iter().take(run) {
                write_varint(zigzag(*by), &mut self.bytes);
                next = line + 1;
            }
            at += run;
        }
        self.bytes.push(0);
        self.last = index;
        self.frames += 1;
    }

    pub(super) fn is_full(&self) -> bool {
        self.frames >= FRAMES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// Whether a sample is not older than the first frame.
    pub(super) fn includes(&self, index: Index) -> bool {
        !self.is_empty() && index > self.base
    }

    /// The newest frame.
    pub(super) fn last(&self) -> Index {
        self.last
    }

    pub(super) fn heap(&self) -> usize {
        self.bytes.capacity()
    }

    /// All changes, by line, each oldest first.
    pub(super) fn changes(&self) -> Vec<Change> {
        let mut changes = vec![];
        // What was written is read back: it cannot end early.
        let _ = self.try_read(&mut |change| changes.push(change));
        changes.sort_unstable_by_key(|change| (change.line, change.index));
        for of_line in changes.chunk_by_mut(|left, right| left.line == right.line) {
            let mut before = 0;
            for change in of_line {
                change.by = change.by.wrapping_add(before);
                // As in a line.
                before = i32::try_from(change.by).map_or(0, i64::from);
            }
        }
        changes
    }

    fn try_read(&self, each: &mut dyn FnMut(Change)) -> Option<()> {
        let mut bytes = self.bytes.iter();
        let mut index = self.base;
        for _ in 0..self.frames {
            index = index.checked_add(Index::try_from(read_varint(&mut bytes)?).ok()?)?;
            let mut line = 0_u32;
            loop {
                let token = read_varint(&mut bytes)?;
                if token == 0 {
                    break;
                }
                line = line.checked_add(u32::try_from((token >> 1) - 1).ok()?)?;
                let run = if token & 1 == 1 { read_varint(&mut bytes)? } else { 1 };
                for _ in 0..run {
                    each(Change { line, index, by: unzigzag(read_varint(&mut bytes)?) });
                    line = line.checked_add(1)?;
                }
            }
        }
        Some(())
    }

    /// The same as a block.
    pub(super) fn close(&self) -> Block {
        let changes = self.changes();
        let mut indices: Vec<Index> = changes.iter().map(|change| change.index).collect();
        indices.sort_unstable();
        indices.dedup();
        let mut out = BitWriter::default();
        out.number(u64::from(self.base));
        out.number(indices.len() as u64);
        let mut before = self.base;
        for index in &indices {
            out.rice(u64::from(index - before).saturating_sub(1), 0);
            before = *index;
        }
        let lines = changes.chunk_by(|left, right| left.line == right.line);
        out.number(lines.clone().count() as u64);
        let mut next = 0;
        for changes in lines {
            let line = changes.first().map_or(0, |change| change.line);
            out.rice(u64::from(line - next), 0);
            next = line + 1;
            write_line(changes, &indices, &mut out);
        }
        Block { bits: out.finish().into(), last: self.last }
    }
}

/// The changes of one line, at least one.
fn write_line(changes: &[Change], indices: &[Index], out: &mut BitWriter) {
    let all = changes.len() == indices.len();
    out.bits(u64::from(all), 1);
    if !all {
        let mut rest = changes.iter().peekable();
        for index in indices {
            out.bits(u64::from(rest.next_if(|change| change.index == *index).is_some()), 1);
        }
    }
    let count = i128::try_from(changes.len()).unwrap_or(1).max(1);
    let mean = changes.iter().map(|change| i128::from(change.by)).sum::<i128>() / count;
    // What a number holds; a line with changes so great has escapes all the same.
    let mean = i64::try_from(mean).unwrap_or(0).clamp(i64::MIN >> 2, i64::MAX >> 2);
    let residuals = || changes.iter().map(|change| zigzag(change.by.wrapping_sub(mean)));
    let total: u128 = residuals().map(u128::from).sum();
    let guess = u128::BITS - (total / changes.len().max(1) as u128).leading_zeros();
    let near = guess.saturating_sub(2)..=guess.min(40);
    let few = residuals().max().and_then(|most| u32::try_from(most).ok()).map(|most| TRUNCATED.saturating_add(most));
    let few = few.filter(|parameter| *parameter < 1 << PARAMETER_BITS);
    let cost = |parameter: &u32| residuals().map(|residual| code_length(residual, *parameter)).sum::<u64>();
    let parameter = near.chain(few).min_by_key(cost).unwrap_or(0);
    out.number(zigzag(mean));
    out.bits(u64::from(parameter), PARAMETER_BITS);
    residuals().for_each(|residual| out.code(residual, parameter));
}

/// Closed frames.
#[derive(Clone, Debug)]
pub(super) struct Block {
    bits: Arc<[u8]>,
    last: Index,
}

impl Block {
    /// The newest frame.
    pub(super) fn last(&self) -> Index {
        self.last
    }

    pub(super) fn heap(&self) -> usize {
        // Two counters of the Arc.
        self.bits.len() + 2 * size_of::<usize>()
    }

    /// All changes, by line, each oldest first.
    pub(super) fn read(&self, each: &mut dyn FnMut(Change)) {
        let mut bits = BitReader::new(&self.bits);
        let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let mut index = number(bits.number());
        let count = bits.number();
        let mut indices = Vec::with_capacity(usize::try_from(count).unwrap_or(0).min(FRAMES as usize));
        for _ in 0..count {
            index = index.saturating_add(number(bits.rice(0))).saturating_add(1);
            indices.push(index);
        }
        let mut line = 0_u32;
        for _ in 0..bits.number() {
            line = line.saturating_add(number(bits.rice(0)));
            let all = bits.bits(1) == 1;
            let mut here = u64::MAX;
            if !all {
                here = bits.bits(number(count).min(64));
            }
            let mean = unzigzag(bits.number());
            let parameter = number(bits.bits(PARAMETER_BITS));
            for (at, index) in indices.iter().enumerate() {
                if here >> at & 1 == 1 {
                    let by = unzigzag(bits.code(parameter)).wrapping_add(mean);
                    each(Change { line, index: *index, by });
                }
            }
            line = line.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(block: &Block) -> Vec<Change> {
        let mut read = vec![];
        block.read(&mut |change| read.push(change));
        read
    }

    type Frames = Vec<(u32, Vec<(u32, i64)>)>;

    fn frames() -> impl Strategy<Value = Frames> {
        let by = prop_oneof![8 => -40..40_i64, 2 => any::<i64>(), 1 => Just(i64::MIN)];
        let changes = prop::collection::btree_map(0..300_u32, by, 1..40).prop_map(|all| all.into_iter().collect());
        prop::collection::vec((1..100_u32, changes), 1..=FRAMES as usize)
    }

    proptest! {
        #[test]
        fn frames_are_read_as_written_open_and_closed(frames in frames()) {
            let (mut open, mut written, mut index) = (Open::default(), vec![], 0);
            let mut before = std::collections::BTreeMap::new();
            for (gap, changes) in frames {
                index += gap;
                let mut frame = changes.clone();
                for (line, by) in &mut frame {
                    let less = before.insert(*line, i32::try_from(*by).unwrap_or(0)).unwrap_or(0);
                    *by = by.wrapping_sub(i64::from(less));
                }
                open.push(index, &frame);
                written.extend(changes.iter().map(|(line, by)| Change { line: *line, index, by: *by }));
            }
            written.sort();
            prop_assert_eq!(&open.changes(), &written);
            let block = open.close();
            prop_assert_eq!(read(&block), written);
            prop_assert_eq!(block.last(), index);
        }
    }

    #[test]
    fn a_steady_line_takes_a_few_bits_a_frame() {
        let mut open = Open::default();
        let mut before = 0;
        for index in 1..=FRAMES {
            let by = 1000 + i64::from(index % 3);
            open.push(index, &[(0, by - before)]);
            before = by;
        }
        assert!(open.is_full());
        let bytes = open.close().bits.len();
        assert!(bytes <= FRAMES as usize * 2 / 8 + 20, "{bytes}");
    }
}
