//! Messages of HBase's RPC protocol, with only the fields that a reader of tables uses (RPC.proto, Client.proto,
//! HBase.proto, Cell.proto and Registry.proto of hbase-protocol-shaded, version 2.6).
//!
//! Rows and cells stay encoded until they are read one by one. A decoded cell takes many times the memory of an encoded
//! empty cell, so a response of nothing but empty cells would otherwise exceed the memory bound of a response.

/// First message of a connection.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ConnectionHeader {
    #[prost(message, optional, tag = "1")]
    pub(super) user: Option<UserInformation>,
    #[prost(string, tag = "2")]
    pub(super) service: String,
}

/// The user of a connection without authentication.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct UserInformation {
    #[prost(string, required, tag = "1")]
    pub(super) effective_user: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RequestHeader {
    #[prost(uint32, tag = "1")]
    pub(super) call_id: u32,
    #[prost(string, tag = "3")]
    pub(super) method: String,
    /// Whether a parameter follows the header.
    #[prost(bool, tag = "4")]
    pub(super) has_parameter: bool,
    /// Time after which the client stops waiting, in milliseconds.
    #[prost(uint32, tag = "7")]
    pub(super) timeout: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ResponseHeader {
    #[prost(uint32, tag = "1")]
    pub(super) call_id: u32,
    #[prost(message, optional, tag = "2")]
    pub(super) exception: Option<ExceptionResponse>,
    /// Describes cells after the message, in a form that the client must have requested.
    #[prost(message, optional, tag = "3")]
    pub(super) cell_block: Option<Empty>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ExceptionResponse {
    #[prost(string, tag = "1")]
    pub(super) class: String,
    /// The message and the stack trace of the exception.
    #[prost(string, tag = "2")]
    pub(super) trace: String,
    #[prost(bool, tag = "5")]
    pub(super) do_not_retry: bool,
}

/// A message without fields, or one whose fields are not used.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MetaRegionLocations {
    #[prost(message, repeated, tag = "1")]
    pub(super) locations: Vec<RegionLocation>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RegionLocation {
    #[prost(message, optional, tag = "1")]
    pub(super) region: Option<RegionInfo>,
    #[prost(message, optional, tag = "2")]
    pub(super) server: Option<ServerName>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ServerName {
    #[prost(string, tag = "1")]
    pub(super) host: String,
    #[prost(uint32, tag = "2")]
    pub(super) port: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RegionInfo {
    /// First row of the region; empty for the first region of a table.
    #[prost(bytes = "vec", tag = "3")]
    pub(super) start: Vec<u8>,
    /// First row after the region; empty for the last region of a table.
    #[prost(bytes = "vec", tag = "4")]
    pub(super) end: Vec<u8>,
    #[prost(bool, tag = "5")]
    pub(super) offline: bool,
    /// Whether the region was split, so that others hold its rows.
    #[prost(bool, tag = "6")]
    pub(super) split: bool,
    /// Number of the copy; 0 is the one that is written.
    #[prost(int32, tag = "7")]
    pub(super) replica: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TableState {
    #[prost(int32, tag = "1")]
    pub(super) state: i32,
}

impl TableState {
    /// Values of `state`.
    pub(super) const DISABLED: i32 = 1;
    pub(super) const DISABLING: i32 = 2;
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RegionSpecifier {
    /// Form of the name; see [`RegionSpecifier::REGION_NAME`].
    #[prost(int32, tag = "1")]
    pub(super) form: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) name: Vec<u8>,
}

impl RegionSpecifier {
    /// Value of `form`: the name is the row of the region in `hbase:meta`.
    pub(super) const REGION_NAME: i32 = 1;
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Column {
    #[prost(bytes = "vec", required, tag = "1")]
    pub(super) family: Vec<u8>,
    /// Empty: all columns of the family.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(super) qualifiers: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TimeRange {
    /// First timestamp, in milliseconds since the Unix epoch.
    #[prost(uint64, optional, tag = "1")]
    pub(super) from: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Scan {
    #[prost(message, repeated, tag = "1")]
    pub(super) columns: Vec<Column>,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) start: Vec<u8>,
    /// First row that is not read. Empty: all rows are read.
    #[prost(bytes = "vec", tag = "4")]
    pub(super) stop: Vec<u8>,
    #[prost(message, optional, tag = "6")]
    pub(super) time_range: Option<TimeRange>,
    #[prost(bool, optional, tag = "8")]
    pub(super) cache_blocks: Option<bool>,
    /// Length of a response's cells in bytes after which the server ends the response.
    #[prost(uint64, tag = "10")]
    pub(super) max_result_size: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ScanRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) region: Option<RegionSpecifier>,
    /// Opens a scanner. Further requests have its `scanner_id` instead.
    #[prost(message, optional, tag = "2")]
    pub(super) scan: Option<Scan>,
    #[prost(uint64, optional, tag = "3")]
    pub(super) scanner_id: Option<u64>,
    #[prost(uint32, tag = "4")]
    pub(super) number_of_rows: u32,
    /// Number of the request among those after the one that opened the scanner, from 0.
    #[prost(uint64, optional, tag = "6")]
    pub(super) next_call_seq: Option<u64>,
    /// Allows responses that end within a row.
    #[prost(bool, tag = "7")]
    pub(super) handles_partials: bool,
    /// Allows empty responses while the server looks for rows.
    #[prost(bool, tag = "8")]
    pub(super) handles_heartbeats: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ScanResponse {
    #[prost(uint64, optional, tag = "2")]
    pub(super) scanner_id: Option<u64>,
    #[prost(bool, optional, tag = "3")]
    pub(super) more_results: Option<bool>,
    /// Encoded [`Row`]s.
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub(super) rows: Vec<Vec<u8>>,
    #[prost(bool, tag = "8")]
    pub(super) more_results_in_region: bool,
}

/// The cells of a row, or a part of them.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Row {
    /// Encoded [`Cell`]s.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(super) cells: Vec<Vec<u8>>,
    /// Whether further cells of the row follow.
    #[prost(bool, tag = "5")]
    pub(super) partial: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Cell {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) row: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) family: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) qualifier: Vec<u8>,
    /// Milliseconds since the Unix epoch, as the writer or the server set them.
    #[prost(uint64, tag = "4")]
    pub(super) timestamp: u64,
    #[prost(bytes = "vec", tag = "6")]
    pub(super) value: Vec<u8>,
}
