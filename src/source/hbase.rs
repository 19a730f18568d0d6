//! Offsets that applications keep in HBase, in the cells of a table.
//!
//! The table is read by HBase's native RPC protocol, without authentication (SIMPLE). All cells that match the layout are
//! scanned at first and every 60 intervals, which also shows deletions. In between, each interval, only the cells
//! that were written since the previous scan are scanned, by their timestamps.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher as _, RandomState},
    thread,
    time::Duration,
};

use super::{
    SourceSettings,
    layout::{FixedParts, Layout, LayoutError, Mismatch, OffsetParts, Preset, Template, Value, preset},
    polled::{EntryReader, FollowOutcome, Listing, ListingRound, PolledSource, StoreTimes, SubsetReader},
    rate_limit::RequestLimit,
};
use crate::{
    clock::{Clock, Ticks, ticks},
    config::{self, KindSettings, SettingError, section::section},
    model::Millis,
    store::latest::SourceError,
};

mod connection;
mod error;
mod messages;
mod table;

use messages::Cell;
use table::{Selection, Table};

/// Timeout of connecting to a server, of sending a request, and of its whole response. A server that looks for rows
/// answers after half of it at the latest.
const TIMEOUT: Duration = Duration::from_secs(10);

section! {
    /// Settings of a `[sources.NAME]` of kind hbase: offsets in a table of HBase 2.3 or later.
    #[derive(Clone, Debug)]
    pub struct Hbase {
        /// Masters of the cluster: HOST:PORT, several separated by commas. The default port is 16000. From HBase 2.5,
        /// any region server will do as well.
        pub servers: String = Servers(""), "no default; required";
        /// Table: TABLE in the namespace default, or NAMESPACE:TABLE.
        pub table: String = Text(""), "no default; required";
        /// Template of the row keys: an example row with {group}, {topic}, {partition}, {batch} or {*} in place of
        /// the varying parts.
        pub row: String = Text(""), "no default; either row and column or layout is required";
        /// Template of the columns: FAMILY:QUALIFIER. Only the qualifier may have placeholders.
        pub column: String = Text(""), "no default; either row and column or layout is required";
        /// Form of the values: text, int64, int32 (big-endian bytes, as `Bytes.toBytes` writes them), or a template of
        /// text or JSON. Empty: that of the layout, else text.
        pub value: String = Text(""), "most applications store offsets as digits";
        /// Named layout instead of row and column: cloudera or streampark.
        pub layout: String = Text(""), "no default; either row and column or layout is required";
        /// Time between two scans of the cells that were written since the previous scan; longer if a scan takes more
        /// than a twentieth of it. All cells are scanned 60 times less often.
        pub interval: Duration = Time("10s"), "a scan without new cells is one request for each region";
        /// User name that HBase receives. HBase does not verify it, since there is no authentication.
        pub user: String = Text("offsetd"), "HBase checks the rights of a user only if it is configured to";
    }
}

impl KindSettings for Hbase {
    const KIND: &'static str = "hbase";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("servers", "127.0.0.1:16000"),
        ("table", "stream_kafka_offsets"),
        ("row", "{topic}:{group}:{batch}"),
        ("column", "offsets:{partition}"),
    ];

    fn check(&self, common: &config::Source) -> Result<(), SettingError> {
        let checked = self.check_table().and_then(|()| self.read_layout(common));
        checked.map(drop).map_err(|error| SettingError { setting: error.setting(), cause: error.into() })
    }
}

impl SourceSettings for Hbase {
    type Source = PolledSource<HbaseListing>;

    fn open(&self, common: &config::Source) -> Self::Source {
        PolledSource::new(HbaseListing::new(self, common), self.interval)
    }

    fn layout(&self, common: &config::Source) -> Option<Layout> {
        self.read_layout(common).ok().map(|(layout, _)| layout)
    }

    fn examine(&self, common: &config::Source) -> Result<String, SourceError> {
        let (layout, selection) = self.read_layout(common).map_err(|error| settings_error(&error))?;
        let mut table = self.table(RequestLimit::new(common.max_requests_per_second));
        let (mut cells, mut matching) = (0, 0);
        table.scan(&selection, None, &mut |cell| {
            cells += 1;
            matching += u64::from(matches(&layout, cell));
        })?;
        let place = format!("family {:?} of table {:?}", String::from_utf8_lossy(&selection.family), self.table);
        let rows = String::from_utf8_lossy(&selection.prefix);
        Ok(match (cells, matching) {
            (0, _) => {
                format!("{place} has no cell in rows that start with {rows:?}; check `table`, `row` and `column`")
            }
            (_, 0) => format!("none of the {cells} cells in {place} matches the layout; check `row` and `column`"),
            _ => format!("{matching} of {cells} cells in {place} match the layout; {} regions", table.regions()),
        })
    }
}

/// An error in the settings.
#[derive(Debug, thiserror::Error)]
pub enum HbaseError {
    /// The table has no name that HBase allows.
    #[error("expected TABLE or NAMESPACE:TABLE, of letters, digits, \"_\", \"-\" and \".\"")]
    Table,
    /// A template is invalid, or the templates together are.
    #[error("{cause}")]
    Layout {
        /// The setting at fault.
        setting: &'static str,
        /// The error in the layout.
        #[source]
        cause: LayoutError,
    },
    /// The setting `layout` has an unknown name.
    #[error("unknown layout {0:?}; allowed: cloudera, streampark")]
    UnknownLayout(String),
    /// Neither `layout` nor both `row` and `column` are set.
    #[error("missing; set it to a template such as \"{0}\", or set `layout`")]
    Missing(&'static str, &'static str),
    /// Both `layout` and `row` or `column` are set.
    #[error("replaces `row` and `column`, which are set too; remove either")]
    LayoutAndRow,
    /// The column has no family, or a placeholder in it.
    #[error("expected FAMILY:QUALIFIER, with placeholders only in the qualifier")]
    Family,
}

impl Hbase {
    fn check_table(&self) -> Result<(), HbaseError> {
        let is_name = |name: &str| {
            let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
            !name.is_empty() && name.bytes().all(is_legal)
        };
        let (namespace, name) = self.table.split_once(':').unwrap_or(("default", &self.table));
        if is_name(namespace) && is_name(name) { Ok(()) } else { Err(HbaseError::Table) }
    }

    /// Builds the layout from the templates of the settings, and the part of the table that it can match.
    fn read_layout(&self, common: &config::Source) -> Result<(Layout, Selection), HbaseError> {
        let (row, column, value) = self.templates()?;
        let (family, qualifier) = column.split_once(':').ok_or(HbaseError::Family)?;
        if family.is_empty() || family.contains(['{', '}']) {
            return Err(HbaseError::Family);
        }
        let wrong = |setting| move |cause| HbaseError::Layout { setting, cause };
        let row = Template::parse(row).map_err(wrong("row"))?;
        let selection = Selection {
            family: family.into(),
            qualifier: (!qualifier.contains(['{', '}'])).then(|| qualifier.into()),
            prefix: row.prefix().into(),
        };
        let column = Template::parse(column).map_err(wrong("column"))?;
        let value = Value::parse(value, None).map_err(wrong("value"))?;
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let fixed = FixedParts { group: text(&common.group), topic: text(&common.topic), offset_is: common.offset_is };
        let layout = Layout::new(vec![row, column], value, fixed).map_err(wrong("row"))?;
        Ok((layout, selection))
    }

    /// Returns the templates of rows and columns, and the form of the values.
    fn templates(&self) -> Result<(&str, &str, &str), HbaseError> {
        let value_or = |default| if self.value.is_empty() { default } else { &*self.value };
        if self.layout.is_empty() {
            return match (&*self.row, &*self.column) {
                ("", _) => Err(HbaseError::Missing("{topic}:{group}", "row")),
                (_, "") => Err(HbaseError::Missing("offsets:{partition}", "column")),
                (row, column) => Ok((row, column, value_or("text"))),
            };
        }
        if !self.row.is_empty() || !self.column.is_empty() {
            return Err(HbaseError::LayoutAndRow);
        }
        let unknown = || HbaseError::UnknownLayout(self.layout.clone());
        let Preset { settings, .. } = preset(Self::KIND, &self.layout).ok_or_else(unknown)?;
        let setting = |name| settings.iter().find(|(setting, _)| *setting == name).map(|(_, template)| *template);
        let value = value_or(setting("value").unwrap_or("text"));
        Ok((setting("row").unwrap_or_default(), setting("column").unwrap_or_default(), value))
    }

    fn table(&self, limit: RequestLimit) -> Table {
        let has_port = |server: &str| server.rsplit(']').next().is_some_and(|after| after.contains(':'));
        let address = |server: &str| match has_port(server) {
            true => server.to_owned(),
            false => format!("{server}:{PORT}"),
        };
        Table::new(&self.table, self.servers.split(',').map(address).collect(), &self.user, limit)
    }
}

impl HbaseError {
    /// Returns the setting at fault.
    fn setting(&self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Layout { setting, .. } | Self::Missing(_, setting) => setting,
            Self::UnknownLayout(_) | Self::LayoutAndRow => "layout",
            Self::Family => "column",
        }
    }
}

/// Converts an error of the settings, which were checked when the configuration was read.
fn settings_error(error: &HbaseError) -> SourceError {
    SourceError::Unreachable { reason: format!("{}: {error}", error.setting()) }
}

/// Default port of a master.
const PORT: u16 = 16_000;
/// Factor by which the time between two scans of all cells exceeds `interval`.
const INTERVAL_FACTOR: u32 = 60;
/// Maximum time before the newest known timestamp from which new cells are scanned, in milliseconds: cells become
/// visible in another order than that of their timestamps, which clients or several servers set.
const OVERLAP: Millis = 60_000;
const MILLIS_PER_TICK: Millis = 100;
/// Minimum pause after a scan of the new cells, as a multiple of the time that it took.
const PAUSE_FACTOR: Ticks = 20;
/// Indices of a layout's name templates.
const ROW: usize = 0;
const COLUMN: usize = 1;

/// A listing of the cells of a table. Between two listings, it reads the new cells.
pub struct HbaseListing {
    settings: Hbase,
    common: config::Source,
    table: Table,
    clock: Clock,
    /// When the new cells are read next. `None` if there was no complete listing.
    next_read: Option<Ticks>,
    seen: SeenCells,
}

/// Facts about the cells seen so far that the next scan of new cells needs.
#[derive(Debug, Default)]
struct SeenCells {
    /// The newest timestamp that is not in the future.
    newest: Millis,
    /// The end of the read that first saw it.
    newest_seen_at: Ticks,
    /// The greatest batch of each offset, by a hash of its key: an application may write an earlier batch again.
    batches: HashMap<u64, i64>,
    hasher: RandomState,
}

impl HbaseListing {
    fn new(settings: &Hbase, common: &config::Source) -> Self {
        let table = settings.table(RequestLimit::new(common.max_requests_per_second));
        let (settings, common) = (settings.clone(), common.clone());
        Self { settings, common, table, clock: Clock::system(), next_read: None, seen: SeenCells::default() }
    }

    /// Reads the cells with the timestamp `from` and later ones. Returns whether an entry was ambiguous that may become
    /// unambiguous once the topics of the cluster are known.
    fn read(&mut self, round: &mut ListingRound<'_>, from: Option<u64>) -> Result<bool, SourceError> {
        let (layout, selection) = self.settings.read_layout(&self.common).map_err(|error| settings_error(&error))?;
        let mut entries = EntryReader::new(&layout, round);
        let newest_before = self.seen.newest;
        let (now, seen) = (self.clock.now(), &mut self.seen);
        let mut row: Option<(Vec<u8>, Option<OffsetParts>)> = None;
        self.table.scan(&selection, from, &mut |cell| {
            let stored_at = Millis::try_from(cell.timestamp).ok();
            seen.newest = stored_at.filter(|at| *at <= now).map_or(seen.newest, |at| at.max(seen.newest));
            let known = row.take().filter(|(name, _)| *name == cell.row);
            let parsed = known.unwrap_or_else(|| {
                let parts = entries.name(ROW, &cell.row, &String::from_utf8_lossy(&cell.row));
                (cell.row.clone(), parts)
            });
            if let Some(parts) = &parsed.1 {
                let (column, shown) = (column(cell), shown(cell));
                let column = entries.name(COLUMN, &column, &shown);
                if let Some(column) = column.filter(|column| seen.is_newest_batch(parts, column)) {
                    let times = StoreTimes { written_at: stored_at, created_at: None };
                    entries.value(&[parts, &column], &cell.value, times, &shown);
                }
            }
            row = Some(parsed);
        })?;
        if self.seen.newest > newest_before {
            self.seen.newest_seen_at = self.clock.ticks();
        }
        let awaits_topics = entries.awaits_topics();
        entries.finish();
        Ok(awaits_topics)
    }

    /// Reads the cells that were written since the last read.
    fn read_new(&mut self, subsets: &SubsetReader<'_>) -> Result<(), SourceError> {
        let begun = self.clock.ticks();
        let from = self.seen.next_from(begun);
        subsets.read_changes(|round| self.read(round, Some(from)).map(drop))?;
        self.next_read = Some(self.after_read(begun));
        Ok(())
    }

    /// Returns the time of the next read of the new cells, after a read that began at `begun`.
    fn after_read(&self, begun: Ticks) -> Ticks {
        let now = self.clock.ticks();
        let pause = now.saturating_sub(begun).saturating_mul(PAUSE_FACTOR);
        now.saturating_add(pause.max(ticks(self.settings.interval)))
    }
}

impl Listing for HbaseListing {
    fn list(&mut self, round: &mut ListingRound<'_>) -> Result<bool, SourceError> {
        let begun = self.clock.ticks();
        self.next_read = None;
        self.seen = SeenCells::default();
        let awaits_topics = self.read(round, None)?;
        // Otherwise the next scan of all cells comes soon. It resolves the cells that are ambiguous until the topics
        // are known.
        self.next_read = (!awaits_topics).then(|| self.after_read(begun));
        Ok(true)
    }

    fn interval_factor(&self) -> u32 {
        if self.next_read.is_some() { INTERVAL_FACTOR } else { 1 }
    }

    fn follow(&mut self, timeout: Duration, subsets: &SubsetReader<'_>) -> Option<FollowOutcome> {
        if self.clock.ticks() < self.next_read? {
            thread::sleep(timeout);
            return Some(FollowOutcome::Read);
        }
        if let Err(error) = self.read_new(subsets) {
            tracing::debug!(%error, "reading the new cells failed; reading all");
            self.next_read = None;
            return Some(FollowOutcome::ListAll);
        }
        Some(FollowOutcome::Read)
    }
}

impl SeenCells {
    /// Returns the timestamp from which new cells are scanned. The overlap with earlier scans shrinks while no newer
    /// cell appears, so that a table at rest is not read again and again.
    fn next_from(&self, now: Ticks) -> u64 {
        let quiet = Millis::from(now.saturating_sub(self.newest_seen_at)) * MILLIS_PER_TICK;
        let overlap = OVERLAP.saturating_sub(quiet).max(0);
        u64::try_from(self.newest.saturating_sub(overlap)).unwrap_or(0)
    }

    /// Records the batch of an offset. Returns whether no greater batch of it was seen. An offset without a batch is
    /// always the newest.
    fn is_newest_batch(&mut self, row: &OffsetParts, column: &OffsetParts) -> bool {
        let Some(batch) = row.batch.or(column.batch) else { return true };
        let key = [row, column].map(|parts| (&parts.group, &parts.topic, parts.partition));
        let greatest = self.batches.entry(self.hasher.hash_one(key)).or_insert(batch);
        *greatest = batch.max(*greatest);
        *greatest == batch
    }
}

/// Returns the family and the qualifier of a cell, as the column's template shows them.
fn column(cell: &Cell) -> Vec<u8> {
    [&*cell.family, b":", &*cell.qualifier].concat()
}

/// Returns the row and the column of a cell, as shown to operators.
fn shown(cell: &Cell) -> String {
    format!("{} {}", String::from_utf8_lossy(&cell.row), String::from_utf8_lossy(&column(cell)))
}

/// Returns whether the layout matches the row and the column of a cell.
fn matches(layout: &Layout, cell: &Cell) -> bool {
    let names = [cell.row.clone(), column(cell)];
    layout.names().iter().zip(names).all(|(template, name)| {
        let parts = std::str::from_utf8(&name).map(|name| template.read(name, None));
        matches!(parts, Ok(Ok(_) | Err(Mismatch::Ambiguous)))
    })
}

impl fmt::Debug for HbaseListing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HbaseListing").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
