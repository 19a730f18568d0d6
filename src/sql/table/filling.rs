//! From the rows of units to batches.

use std::{collections::VecDeque, mem, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
};
use datafusion::common::{Result, cast::as_boolean_array};

use super::{BATCH_ROWS, Column, Filter, Flow, Question, Table, Typed, Unit};

/// Rows that are made, filtered and taken into columns at a time: few enough to stay in a near cache.
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
        let taken = self.take(&mut block);
        block.clear();
        self.block = block;
        match taken {
            Ok(()) if self.left > 0 => Flow::Continue(()),
            ended => Flow::Break(ended),
        }
    }

    fn take(&mut self, block: &mut Vec<T::Row<'a>>) -> Result<()> {
        let is_last = block.len() < BLOCK_ROWS;
        if let Some(filter) = &self.question.filter {
            self.keep(block, filter)?;
        }
        block.truncate(self.left);
        self.left -= block.len();
        if self.columns.is_empty() {
            let more = if is_last { 0 } else { self.left };
            let rows = BATCH_ROWS.min(more.saturating_add(block.len()));
            self.columns = self.table.start(&self.question.given, rows);
        }
        self.columns.iter_mut().for_each(|column| column.append(block));
        self.rows += block.len();
        if self.rows >= BATCH_ROWS { self.finish() } else { Ok(()) }
    }

    /// Drops the rows that do not satisfy a filter: only its columns are built for all.
    fn keep(&self, rows: &mut Vec<T::Row<'a>>, filter: &Filter) -> Result<()> {
        let mut columns = self.table.start(&filter.over, rows.len());
        columns.iter_mut().for_each(|column| column.append(rows));
        let batch = batch(&filter.over.schema, finished(columns), rows.len())?;
        let kept = filter.condition.evaluate(&batch)?.into_array(rows.len())?;
        let kept = as_boolean_array(&kept)?;
        if kept.true_count() < rows.len() {
            // NULL is not true.
            let mut kept = kept.iter().map(|kept| kept == Some(true));
            rows.retain(|_| kept.next() == Some(true));
        }
        Ok(())
    }

    /// Ends the batch, if it has rows.
    fn finish(&mut self) -> Result<()> {
        let (columns, rows) = (mem::take(&mut self.columns), mem::take(&mut self.rows));
        if rows > 0 {
            let mut arrays = finished(columns);
            // What a short batch takes counts for a limit.
            if rows < BATCH_ROWS {
                arrays.iter_mut().for_each(Array::shrink_to_fit);
            }
            self.done.push_back(batch(&self.question.given.schema, arrays, rows)?);
        }
        Ok(())
    }
}

fn finished<T: Table>(columns: Vec<Column<T>>) -> Vec<ArrayRef> {
    columns.into_iter().map(|column| column.finish()).collect()
}

fn batch(schema: &SchemaRef, arrays: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)?)
}
