//! The filter of a read: selects the row groups, pages and rows of a file that can match the request.

use arrow::{
    array::{Array as _, AsArray as _, BooleanArray, RecordBatch},
    datatypes::TimestampMillisecondType,
};
use parquet::{
    arrow::arrow_reader::{RowSelection, RowSelector},
    errors::ParquetError,
    file::{
        metadata::{ParquetMetaData, RowGroupMetaData},
        page_index::column_index::ColumnIndexMetaData,
    },
};

use super::{ROW_HOLDS_FOR, file::ColumnIndexes, object::Builder};
use crate::{model::Millis, store::history_store::SampleRequest};

/// The filter of a read.
#[derive(Debug)]
pub(super) struct ReadFilter(pub(super) SampleRequest);

impl ReadFilter {
    fn has_group(&self, id: &str) -> bool {
        id.starts_with(&self.0.prefix)
            && *id >= *self.0.first
            && self.0.groups.as_ref().is_none_or(|groups| groups.binary_search_by(|group| (**group).cmp(id)).is_ok())
    }

    /// Returns whether a requested group can lie between a least and a greatest id.
    fn may_be_between(&self, least: &[u8], greatest: &[u8]) -> bool {
        let prefix = self.0.prefix.as_bytes();
        let begins = greatest >= prefix && (least <= prefix || least.starts_with(prefix));
        let is_between = |group: &String| (least..=greatest).contains(&group.as_bytes());
        begins
            && greatest >= self.0.first.as_bytes()
            && self.0.groups.as_ref().is_none_or(|groups| groups.iter().any(is_between))
    }

    /// Returns the earliest time of a row that matters: rows before the requested times may hold at the first of them.
    pub(super) fn earliest(&self) -> Millis {
        self.0.times.start().saturating_sub(ROW_HOLDS_FOR)
    }

    /// Returns the row groups that can contain requested rows, by statistics and, for up to 16 groups, by bloom
    /// filters.
    pub(super) async fn row_groups(&self, builder: &mut Builder) -> Result<Vec<usize>, ParquetError> {
        let column = ColumnIndexes::of(builder.schema()).group;
        let all = builder.metadata().row_groups().iter().enumerate();
        let by_statistics: Vec<usize> =
            all.filter(|(_, group)| self.may_contain(group, column)).map(|(at, _)| at).collect();
        let Some(groups) = self.0.groups.as_ref().filter(|groups| groups.len() <= 16) else { return Ok(by_statistics) };
        let mut kept = vec![];
        for at in by_statistics {
            let bloom = builder.get_row_group_column_bloom_filter(at, column).await?;
            if bloom.is_none_or(|bloom| groups.iter().any(|group| bloom.check(group.as_str()))) {
                kept.push(at);
            }
        }
        Ok(kept)
    }

    fn may_contain(&self, group: &RowGroupMetaData, column: usize) -> bool {
        let statistics = group.columns().get(column).and_then(|column| column.statistics());
        let bounds = statistics.and_then(|known| Some((known.min_bytes_opt()?, known.max_bytes_opt()?)));
        bounds.is_none_or(|(least, greatest)| self.may_be_between(least, greatest))
    }

    /// Returns the rows of row groups that can be requested, by the statistics of their pages; `None` if the file has
    /// no such statistics. `place` is the index of the column `group_id`.
    pub(super) fn pages(&self, of: &ParquetMetaData, column: usize, groups: &[usize]) -> Option<RowSelection> {
        let mut all = vec![];
        for at in groups {
            let rows = of.row_groups().get(*at)?.num_rows();
            let ColumnIndexMetaData::BYTE_ARRAY(index) = of.column_index()?.get(*at)?.get(column)? else {
                return None;
            };
            let pages = of.offset_index()?.get(*at)?.get(column)?.page_locations();
            if u64::try_from(pages.len()) != Ok(index.num_pages()) {
                return None;
            }
            let ends = pages.iter().skip(1).map(|page| page.first_row_index).chain([rows]);
            let bounds = index.min_values_iter().zip(index.max_values_iter());
            for ((page, end), (least, greatest)) in pages.iter().zip(ends).zip(bounds) {
                let rows = usize::try_from(end.checked_sub(page.first_row_index)?).ok()?;
                let can = least.zip(greatest).is_none_or(|(least, greatest)| self.may_be_between(least, greatest));
                all.push(if can { RowSelector::select(rows) } else { RowSelector::skip(rows) });
            }
        }
        Some(all.into())
    }

    /// Returns which rows of a batch of `group_id` and `sampled_at` are requested.
    pub(super) fn rows(&self, batch: &RecordBatch) -> BooleanArray {
        let groups = batch.columns().first().and_then(|column| column.as_string_opt::<i32>());
        let times = batch.columns().get(1).and_then(|column| column.as_primitive_opt::<TimestampMillisecondType>());
        let (Some(groups), Some(times)) = (groups, times) else {
            return BooleanArray::from(vec![false; batch.num_rows()]);
        };
        let times_wanted = self.earliest()..=*self.0.times.end();
        let (mut known, mut is_wanted) = (None, false);
        let each = (0..groups.len()).map(|at| {
            // Rows are sorted by group, so most have the same group as the row before.
            let group = groups.value(at);
            if known != Some(group) {
                (known, is_wanted) = (Some(group), self.has_group(group));
            }
            is_wanted && times_wanted.contains(&times.value(at))
        });
        BooleanArray::from(each.collect::<Vec<bool>>())
    }
}
