//! A table: its regions, as `hbase:meta` locates them, and scans over them.
//!
//! A scan moves through the rows of the table and not through a list of regions. After a failure it locates the regions
//! again and continues at the row that it has reached, whatever regions have been moved, split or merged meanwhile.
//! Every cell contains its row, so a row that is returned in several parts needs no joining. A server closes a scanner
//! with the last row of a region; a scanner whose connection is lost expires on the server after a minute.

use std::{collections::HashMap, thread, time::Duration};

use prost::Message as _;

use super::{
    connection::Connection,
    error::{ReadError, RpcError},
    messages::{
        Cell, Column, Empty, MetaRegionLocations, RegionInfo, RegionSpecifier, Row, Scan, ScanRequest, ScanResponse,
        TableState, TimeRange,
    },
};
use crate::source::rate_limit::RequestLimit;

/// Maximum number of rows of one response.
const ROWS_PER_CALL: u32 = 1000;
/// Length of the cells of one response in bytes, after which the server ends the response.
const BYTES_PER_CALL: u64 = 1 << 20;
/// Number of retries without progress. With the pauses between them, they take 13 s; a region moves in about one.
const MAX_RETRIES: u32 = 8;
/// Pause before the second retry. Each further one is twice as long.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Maximum number of empty responses in a row. A server sends one after half the timeout at the latest.
const MAX_EMPTY_RESPONSES: u32 = 1000;
/// Maximum number of regions of a table.
const MAX_REGIONS: usize = 100_000;
/// The only region of `hbase:meta`.
const META_REGION: &[u8] = b"hbase:meta,,1";
/// Start of a cell of `hbase:meta` that contains a message.
const MESSAGE_PREFIX: &[u8] = b"PBUF";

/// The part of a table that a scan reads.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub(super) family: Vec<u8>,
    /// `None` means all columns of the family.
    pub(super) qualifier: Option<Vec<u8>>,
    /// Start of all rows that are read.
    pub(super) prefix: Vec<u8>,
}

/// A table that is read.
#[derive(Debug)]
pub(super) struct Table {
    name: String,
    /// Addresses of masters.
    servers: Vec<String>,
    user: String,
    limit: RequestLimit,
    /// The regions in the order of their rows. Empty if they are not known.
    regions: Vec<Region>,
    /// Connections to region servers by address.
    connections: HashMap<String, Connection>,
}

#[derive(Clone, Debug)]
struct Region {
    /// Row of the region in `hbase:meta`.
    name: Vec<u8>,
    start: Vec<u8>,
    /// First row after the region. Empty: the region is the last one.
    end: Vec<u8>,
    /// Address of its server, or `None` while it has none.
    server: Option<String>,
}

impl Table {
    pub(super) fn new(name: &str, servers: Vec<String>, user: &str, limit: RequestLimit) -> Self {
        let name = name.strip_prefix("default:").unwrap_or(name).to_owned();
        Self { name, servers, user: user.to_owned(), limit, regions: vec![], connections: HashMap::new() }
    }

    /// Passes the newest version of each selected cell to `each`, in the order of the rows. With `from`, only cells
    /// with this timestamp or a later one. A cell may be passed twice.
    pub(super) fn scan(
        &mut self,
        selection: &Selection,
        from: Option<u64>,
        each: &mut dyn FnMut(&Cell),
    ) -> Result<(), ReadError> {
        let stop = end_of_prefix(&selection.prefix);
        let qualifiers = selection.qualifier.iter().cloned().collect();
        let scan = Scan {
            columns: vec![Column { family: selection.family.clone(), qualifiers }],
            stop,
            time_range: from.map(|from| TimeRange { from: Some(from) }),
            // A full read must not replace the blocks that other clients need in the server's cache.
            cache_blocks: Some(from.is_some()),
            max_result_size: BYTES_PER_CALL,
            ..Scan::default()
        };
        let (mut position, mut retries) = (selection.prefix.clone(), 0);
        loop {
            let before = position.clone();
            match self.scan_next_region(&scan, &mut position, each) {
                Ok(true) => return Ok(()),
                Ok(false) => retries = 0,
                Err(error) => {
                    self.regions.clear();
                    retries = if position > before { 1 } else { retries + 1 };
                    if !error.is_transient() || retries > MAX_RETRIES {
                        return Err(error);
                    }
                    tracing::debug!(%error, "locating the regions of an HBase table again");
                    // The first retry follows at once: an idle connection may just have been closed.
                    thread::sleep(RETRY_PAUSE * (1_u32 << retries >> 2));
                }
            }
        }
    }

    /// Returns the number of regions that the last scan located.
    pub(super) fn regions(&self) -> usize {
        self.regions.len()
    }

    /// Scans the region with the row at `position` and moves `position` to the end of the region. Returns whether it
    /// was the last region of the scan.
    fn scan_next_region(
        &mut self,
        scan: &Scan,
        position: &mut Vec<u8>,
        each: &mut dyn FnMut(&Cell),
    ) -> Result<bool, ReadError> {
        if self.regions.is_empty() {
            self.regions = self.locate()?;
        }
        let region = self.regions.iter().find(|region| region.contains(position)).cloned();
        let located = region.and_then(|region| Some((region.server.clone()?, region)));
        let (server, region) = located.ok_or_else(|| ReadError::NoRegion(self.name.clone()))?;
        self.scan_region(&server, &region.name, scan, position, each)?;
        let is_last = region.end.is_empty() || (!scan.stop.is_empty() && region.end >= scan.stop);
        *position = region.end;
        Ok(is_last)
    }

    /// Reads the regions of the table from `hbase:meta`.
    fn locate(&mut self) -> Result<Vec<Region>, ReadError> {
        let server = self.meta_server()?;
        // The row of the table with its state, then those of its regions: TABLE,START,ID. No table name has a character
        // before the comma.
        let scan = Scan {
            columns: ["info", "table"].map(|family| Column { family: family.into(), qualifiers: vec![] }).into(),
            stop: format!("{}-", self.name).into_bytes(),
            max_result_size: BYTES_PER_CALL,
            ..Scan::default()
        };
        let mut rows = MetaRows::default();
        let mut position = self.name.clone().into_bytes();
        self.scan_region(&server, META_REGION, &scan, &mut position, &mut |cell| rows.add(cell))?;
        if rows.is_disabled {
            return Err(ReadError::Disabled(self.name.clone()));
        }
        let regions: Vec<Region> = rows.regions.into_iter().filter_map(MetaRow::region).collect();
        match regions.len() {
            0 => Err(ReadError::NoTable(self.name.clone())),
            MAX_REGIONS.. => {
                Err(ReadError::Server { server, error: RpcError::Unexpected("the table has too many regions") })
            }
            _ => Ok(regions),
        }
    }

    /// Returns the address of the server of `hbase:meta`, which the masters know.
    fn meta_server(&self) -> Result<String, ReadError> {
        let mut failures = vec![];
        for server in &self.servers {
            let connection = Connection::open(server, "ClientMetaService", &self.user, &self.limit);
            let located = connection
                .and_then(|mut connection| connection.call::<MetaRegionLocations>("GetMetaRegionLocations", &Empty {}));
            let error = match located {
                Ok(MetaRegionLocations { locations }) => {
                    let mut written =
                        locations.into_iter().filter(|at| at.region.as_ref().is_none_or(|at| at.replica == 0));
                    if let Some(name) = written.find_map(|at| at.server) {
                        return Ok(format!("{}:{}", name.host, name.port));
                    }
                    None
                }
                Err(error) => Some(error),
            };
            failures.push((server.clone(), error));
        }
        Err(ReadError::no_meta(failures))
    }

    fn scan_region(
        &mut self,
        server: &str,
        region: &[u8],
        scan: &Scan,
        position: &mut Vec<u8>,
        each: &mut dyn FnMut(&Cell),
    ) -> Result<(), ReadError> {
        let mut connection = match self.connections.remove(server) {
            Some(connection) => Ok(connection),
            None => Connection::open(server, "ClientService", &self.user, &self.limit),
        };
        let result = match &mut connection {
            Ok(connection) => read_region(connection, region, scan, position, each),
            Err(_) => Ok(()),
        };
        let is_usable = result.as_ref().map_or_else(RpcError::keeps_connection, |()| true);
        let failed = |error| ReadError::Server { server: server.to_owned(), error };
        let connection = connection.map_err(failed)?;
        if is_usable {
            self.connections.insert(server.to_owned(), connection);
        }
        result.map_err(failed)
    }
}

impl Region {
    fn contains(&self, row: &[u8]) -> bool {
        *self.start <= *row && (self.end.is_empty() || *row < *self.end)
    }
}

/// Reads a region from the row at `position` on. Moves `position` to the first row that is not completely read.
fn read_region(
    connection: &mut Connection,
    region: &[u8],
    scan: &Scan,
    position: &mut Vec<u8>,
    each: &mut dyn FnMut(&Cell),
) -> Result<(), RpcError> {
    let next = ScanRequest {
        number_of_rows: ROWS_PER_CALL,
        handles_partials: true,
        handles_heartbeats: true,
        ..ScanRequest::default()
    };
    let region = RegionSpecifier { form: RegionSpecifier::REGION_NAME, name: region.to_vec() };
    let scan = Scan { start: position.clone(), ..scan.clone() };
    let mut request = ScanRequest { region: Some(region), scan: Some(scan), ..next.clone() };
    let (mut empty_responses, mut scanner_id) = (0, None);
    loop {
        let response: ScanResponse = connection.call("Scan", &request)?;
        empty_responses = if response.rows.is_empty() { empty_responses + 1 } else { 0 };
        if empty_responses > MAX_EMPTY_RESPONSES {
            return Err(RpcError::Unexpected("a scan without end"));
        }
        read_rows(&response.rows, position, each)?;
        if !response.more_results_in_region || response.more_results == Some(false) {
            return Ok(());
        }
        scanner_id = response.scanner_id.or(scanner_id);
        // The request that opens a scanner has no number; the next one has the number 0.
        let next_call_seq = Some(request.next_call_seq.map_or(0, |number| number + 1));
        request = ScanRequest { scanner_id, next_call_seq, ..next.clone() };
    }
}

/// Passes the cells of encoded rows to `each`. Moves `position` to the first row that is not completely read.
fn read_rows(rows: &[Vec<u8>], position: &mut Vec<u8>, each: &mut dyn FnMut(&Cell)) -> Result<(), RpcError> {
    for row in rows {
        let row = Row::decode(&**row)?;
        let mut name = None;
        for cell in &row.cells {
            let cell = Cell::decode(&**cell)?;
            if cell.row < *position {
                return Err(RpcError::Unexpected("rows out of order"));
            }
            each(&cell);
            name = Some(cell.row);
        }
        if let Some(name) = name {
            *position = name;
            if !row.partial {
                position.push(0);
            }
        }
    }
    Ok(())
}

/// Returns the first row after all rows with this prefix. Empty: there is none.
fn end_of_prefix(prefix: &[u8]) -> Vec<u8> {
    let kept = prefix.iter().rposition(|byte| *byte < u8::MAX).map_or(0, |last| last + 1);
    let mut end = prefix.get(..kept).unwrap_or_default().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

/// The rows of a table in `hbase:meta`.
#[derive(Debug, Default)]
struct MetaRows {
    regions: Vec<MetaRow>,
    is_disabled: bool,
}

#[derive(Debug, Default)]
struct MetaRow {
    name: Vec<u8>,
    info: Option<RegionInfo>,
    server: Option<String>,
}

impl MetaRows {
    fn add(&mut self, cell: &Cell) {
        if (&*cell.family, &*cell.qualifier) == (b"table", b"state") {
            let disabled = [TableState::DISABLED, TableState::DISABLING];
            let state = TableState::decode(cell.message()).unwrap_or_default();
            self.is_disabled = disabled.contains(&state.state);
            return;
        }
        if self.regions.last().is_none_or(|row| row.name != cell.row) && self.regions.len() < MAX_REGIONS {
            self.regions.push(MetaRow { name: cell.row.clone(), ..MetaRow::default() });
        }
        let Some(row) = self.regions.last_mut() else { return };
        match &*cell.qualifier {
            b"regioninfo" => row.info = RegionInfo::decode(cell.message()).ok(),
            b"server" => row.server = String::from_utf8(cell.value.clone()).ok().filter(|server| !server.is_empty()),
            _ => {}
        }
    }
}

impl MetaRow {
    /// Returns the region, unless it was split or the row has no valid description of it.
    fn region(self) -> Option<Region> {
        let RegionInfo { start, end, offline, split, .. } = self.info?;
        (!offline && !split).then_some(Region { name: self.name, start, end, server: self.server })
    }
}

impl Cell {
    /// Returns the encoded message in a cell of `hbase:meta`.
    fn message(&self) -> &[u8] {
        self.value.strip_prefix(MESSAGE_PREFIX).unwrap_or(&self.value)
    }
}

#[cfg(test)]
mod tests;
