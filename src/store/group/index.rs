//! The writer's index from keys to rows of a group. Small groups are scanned, larger ones have hash tables.

use std::hash::BuildHasher as _;

use hashbrown::DefaultHashBuilder;

use super::{GroupView, Row, index_table::IndexTable, position_of};

/// Up to this number of rows, a group is scanned.
const FEW_ROWS: usize = 32;
/// Up to this number of topics, a group is scanned.
const FEW_TOPICS: usize = 8;

/// The writer's index of one group.
#[derive(Debug, Default)]
pub(in super::super) struct RowIndex {
    /// Hash tables of groups that have, or had, more rows or topics than the limits.
    tables: Option<Box<Tables>>,
    /// The topic of the last commit. Commits of a topic usually arrive together.
    last_topic: u32,
    /// The row after that of the last commit. A client usually commits its partitions in the same order, and then
    /// neither hashing nor random memory access is needed.
    next_row: u32,
}

/// Hash tables. Each contains either all entries of the group or none.
#[derive(Debug, Default)]
struct Tables {
    /// (topic, partition) → row.
    rows: IndexTable,
    /// Topic name → topic.
    topics: IndexTable,
}

fn hash_of(hasher: &DefaultHashBuilder, row: &Row) -> u64 {
    hasher.hash_one((row.topic, row.partition))
}

impl RowIndex {
    /// Returns the row of a key.
    pub(in super::super) fn find(
        &self,
        view: &GroupView,
        hasher: &DefaultHashBuilder,
        topic: &str,
        partition: i32,
    ) -> Option<u32> {
        let topic = self.topic(view, hasher, topic)?;
        self.row(view, hasher, topic, partition)
    }

    /// Returns the index of a topic that has rows.
    pub(super) fn topic(&self, view: &GroupView, hasher: &DefaultHashBuilder, name: &str) -> Option<u32> {
        let is = |at: &u32| view.topics.get(*at as usize).is_some_and(|topic| topic.rows > 0 && &*topic.name == name);
        if is(&self.last_topic) {
            return Some(self.last_topic);
        }
        match self.tables.as_ref().map(|tables| &tables.topics).filter(|topics| !topics.is_empty()) {
            Some(topics) => topics.find(hasher.hash_one(name), is),
            None => (0..u32::try_from(view.topics.len()).ok()?).find(is),
        }
    }

    pub(super) fn row(&self, view: &GroupView, hasher: &DefaultHashBuilder, topic: u32, partition: i32) -> Option<u32> {
        let is = |row: &Row| row.partition == partition && row.topic == topic;
        if view.row(self.next_row).is_some_and(is) {
            return Some(self.next_row);
        }
        match self.tables.as_ref().map(|tables| &tables.rows).filter(|rows| !rows.is_empty()) {
            Some(rows) => {
                let hash = hasher.hash_one((topic, partition));
                rows.find(hash, |at| view.row(*at).is_some_and(is))
            }
            None => u32::try_from(view.chunks.first()?.rows.iter().position(is)?).ok(),
        }
    }

    /// Records the position of the last commit.
    pub(super) fn set_last(&mut self, topic: u32, row: u32) {
        (self.last_topic, self.next_row) = (topic, row.saturating_add(1));
    }

    /// Records that `rows` more commits went to the rows that follow.
    pub(super) fn advance(&mut self, topic: u32, rows: u32) {
        (self.last_topic, self.next_row) = (topic, self.next_row.saturating_add(rows));
    }

    /// Returns the chunk of the next row, and the row's position in the chunk.
    pub(super) fn next_position(&self) -> (usize, usize) {
        position_of(self.next_row)
    }

    /// Adds a new row.
    pub(super) fn insert(&mut self, view: &GroupView, hasher: &DefaultHashBuilder, at: u32) {
        let hash = |at: &u32| view.row(*at).map_or(0, |row| hash_of(hasher, row));
        let in_use = self.tables.as_ref().is_some_and(|tables| !tables.rows.is_empty());
        if in_use || view.len() > FEW_ROWS {
            let rows = &mut self.tables.get_or_insert_default().rows;
            let from = if in_use { at } else { 0 };
            for at in from..=at {
                rows.insert(hash(&at), at, hash);
            }
        }
    }

    /// Removes the entry of a row at an index.
    pub(super) fn remove(&mut self, hasher: &DefaultHashBuilder, row: &Row, at: u32) {
        let Some(tables) = &mut self.tables else { return };
        tables.rows.remove(hash_of(hasher, row), at);
    }

    /// Adds a new topic, which has no rows yet.
    pub(super) fn insert_topic(&mut self, view: &GroupView, hasher: &DefaultHashBuilder, at: u32) {
        let topic = |at: &u32| view.topics.get(*at as usize);
        let hash = |at: &u32| topic(at).map_or(0, |topic| hasher.hash_one(&*topic.name));
        let in_use = self.tables.as_ref().is_some_and(|tables| !tables.topics.is_empty());
        if in_use || view.topics.len() > FEW_TOPICS {
            let topics = &mut self.tables.get_or_insert_default().topics;
            let all = if in_use { at..at + 1 } else { 0..u32::try_from(view.topics.len()).unwrap_or(u32::MAX) };
            for each in all.filter(|each| *each == at || topic(each).is_some_and(|topic| topic.rows > 0)) {
                topics.insert(hash(&each), each, hash);
            }
        }
    }

    /// Removes a topic.
    pub(super) fn remove_topic(&mut self, hasher: &DefaultHashBuilder, name: &str, at: u32) {
        let Some(tables) = &mut self.tables else { return };
        tables.topics.remove(hasher.hash_one(name), at);
    }
}
