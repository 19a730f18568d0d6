//! From the rows of units to batches.

use std::{collections::VecDeque, mem, sync::Arc};

use arrow::array::{Array as _, ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::common::Result;

use super::{BATCH_ROWS, Column, Flow, Question, Table, Typed, Unit};

/// Rows that are made and taken into columns at a time: few enough to stay in a near cache.
const BLOCK_ROWS: usize = 512;

/// Batches in the making. Rows are not kept: each block is taken into the columns and forgotten.
pub(super) struct Filling<'a, T: Table> {
    table: &'a Typed<T>,
    question: &'a Question,
    block: Vec<T::Row<'a>>,
    columns: Vec<Column<T>>,
    /// Rows that the columns have.
    rows: usize,
    /// Rows that may still be given.
    left: usize,
    done: VecDeque<RecordBatch>,
}

impl<'a, T: Table> Filling<'a, T> {
    pub(super) fn new(table: &'a Typed<T>, question: &'a Question) -> Self {
        let left = question.limit.unwrap_or(usize::MAX);
        Self { table, question, block: vec![], columns: vec![], rows: 0, left, done: VecDeque::new() }
    }

    /// The rows of units, until there are enough.
    pub(super) fn batches(
        mut self,
        units: impl Iterator<Item = Unit<'a>> + Send,
    ) -> impl Iterator<Item = Result<RecordBatch>> + Send {
        let mut units = units.fuse();
        std::iter::from_fn(move || {
            while self.done.is_empty() && self.left > 0 {
                let read = match units.next() {
                    Some(unit) => self.read(unit),
                    None => self.end(),
                };
                if let Err(error) = read {
                    self.left = 0;
                    return Some(Err(error));
                }
            }
            self.done.pop_front().map(Ok)
        })
    }

    fn read(&mut self, unit: Unit<'a>) -> Result<()> {
        let wanted = &self.question.wanted;
        let take = |row| {
            self.block.push(row);
            if self.block.len() < BLOCK_ROWS { Flow::Continue(()) } else { self.take_block() }
        };
        match T::rows(unit, wanted, take) {
            Flow::Break(Err(error)) => Err(error),
            Flow::Break(Ok(())) => self.finish(),
            Flow::Continue(()) => Ok(()),
        }
    }

    /// There are no more rows.
    fn end(&mut self) -> Result<()> {
        if let Flow::Break(Err(error)) = self.take_block() {
            return Err(error);
        }
        self.left = 0;
        self.finish()
    }

    /// Takes the block into the columns; breaks after an error, and when there are enough rows.
    fn take_block(&mut self) -> Flow {
        let mut block = mem::take(&mut self.block);
        let taken = self.take(&block);
        block.clear();
        self.block = block;
        match taken {
            Ok(()) if self.left > 0 => Flow::Continue(()),
            ended => Flow::Break(ended),
        }
    }

    fn take(&mut self, block: &[T::Row<'a>]) -> Result<()> {
        let is_last = block.len() < BLOCK_ROWS;
        let block = block.get(..self.left).unwrap_or(block);
        self.left -= block.len();
        if self.columns.is_empty() {
            let more = if is_last { 0 } else { self.left };
            let rows = BATCH_ROWS.min(more.saturating_add(block.len()));
            self.columns = self.table.start(&self.question.columns, rows);
        }
        self.columns.iter_mut().for_each(|column| column.append(block));
        self.rows += block.len();
        if self.rows >= BATCH_ROWS { self.finish() } else { Ok(()) }
    }

    /// Ends the batch, if it has rows.
    fn finish(&mut self) -> Result<()> {
        let (columns, rows) = (mem::take(&mut self.columns), mem::take(&mut self.rows));
        if rows > 0 {
            let mut arrays: Vec<ArrayRef> = columns.into_iter().map(|column| column.finish()).collect();
            // What a short batch takes counts for a limit.
            if rows < BATCH_ROWS {
                arrays.iter_mut().for_each(|array| array.shrink_to_fit());
            }
            let (schema, options) = (Arc::clone(&self.question.schema), RecordBatchOptions::new());
            let options = options.with_row_count(Some(rows));
            self.done.push_back(RecordBatch::try_new_with_options(schema, arrays, &options)?);
        }
        Ok(())
    }
}
