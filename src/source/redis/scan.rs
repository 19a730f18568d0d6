//! A scan of all keys of a layout.

use redis::{Cmd, ErrorKind, RedisError, Value};

use super::connection::Server;
use crate::source::{
    layout::{Layout, OffsetParts, Template},
    polled::{EntryReader, ListingRound, Rejected, StoreTimes},
};

/// COUNT of a SCAN: the number of keys that the server examines per call.
const SCAN_COUNT: usize = 1000;
/// Maximum number of hash fields read in one pipeline.
const MAX_FIELDS: u64 = 10_000;
/// Maximum length of a string value in bytes. A longer one is malformed.
const MAX_STRING_BYTES: usize = 64 * 1024;
/// Number of strings read in one pipeline.
const STRINGS_PER_CALL: usize = 256;
/// Indices of a layout's name templates.
const KEY: usize = 0;
const FIELD: usize = 1;

/// The data type in which Redis holds the offsets of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RedisType {
    /// A hash with a field per offset.
    Hash,
    /// A string that holds one offset or several.
    String,
}

/// A scan of the keys of all servers.
pub(super) struct Scan<'a, 'b> {
    layout: &'a Layout,
    redis_type: RedisType,
    entries: EntryReader<'a, 'b>,
    /// Number of keys that a server refused to show.
    pub(super) forbidden: u64,
    /// Whether a key moved to another server during the scan.
    pub(super) has_moved: bool,
}

/// A key, and the parts of an offset that its name gives.
pub(super) struct ParsedKey {
    pub(super) name: Vec<u8>,
    pub(super) parts: OffsetParts,
}

impl<'a, 'b> Scan<'a, 'b> {
    pub(super) fn new(layout: &'a Layout, redis_type: RedisType, round: &'a mut ListingRound<'b>) -> Self {
        let entries = EntryReader::new(layout, round);
        Self { layout, redis_type, entries, forbidden: 0, has_moved: false }
    }

    /// Returns whether a key was ambiguous that may become unambiguous once the topics of the cluster are known.
    pub(super) fn awaits_topics(&self) -> bool {
        self.entries.awaits_topics()
    }

    /// Passes all offsets read so far to the listing.
    pub(super) fn finish(self) {
        self.entries.finish();
    }

    /// Scans the keys of a server.
    pub(super) fn read(&mut self, server: &mut Server) -> Result<(), RedisError> {
        let pattern = self.layout.names().get(KEY).map(Template::glob).unwrap_or_default();
        for_each_page(server, &pattern, |server, keys| {
            let keys: Vec<ParsedKey> = keys.into_iter().filter_map(|key| self.parse_key(key)).collect();
            match self.redis_type {
                RedisType::Hash => self.read_hashes(server, &keys),
                RedisType::String => self.read_strings(server, &keys),
            }
        })
    }

    /// Reads one key.
    pub(super) fn read_key(&mut self, server: &mut Server, key: &ParsedKey) -> Result<(), RedisError> {
        match self.redis_type {
            RedisType::Hash => self.read_hashes(server, std::slice::from_ref(key)),
            RedisType::String => self.read_strings(server, std::slice::from_ref(key)),
        }
    }

    /// Parses the name of a key. Rejects it if it does not match.
    fn parse_key(&mut self, key: Value) -> Option<ParsedKey> {
        let Value::BulkString(name) = key else { return None };
        let parts = self.entries.name(KEY, &name, &shown(&name, b""))?;
        Some(ParsedKey { name, parts })
    }

    fn read_hashes(&mut self, server: &mut Server, keys: &[ParsedKey]) -> Result<(), RedisError> {
        let lengths = server.query(&keys.iter().map(|key| command("HLEN", key)).collect::<Vec<_>>())?;
        let (mut hashes, mut fields) = (vec![], 0);
        for (key, length) in keys.iter().zip(lengths) {
            let length = match self.usable_reply(key, length)? {
                Some(Value::Int(length)) => u64::try_from(length).unwrap_or(0),
                Some(_) => return Err(unexpected_reply("HLEN")),
                None => continue,
            };
            if length > MAX_FIELDS {
                self.read_long_hash(server, key)?;
                continue;
            }
            if fields + length > MAX_FIELDS {
                self.read_whole_hashes(server, &std::mem::take(&mut hashes))?;
                fields = 0;
            }
            fields += length;
            hashes.push(key);
        }
        self.read_whole_hashes(server, &hashes)
    }

    fn read_whole_hashes(&mut self, server: &mut Server, keys: &[&ParsedKey]) -> Result<(), RedisError> {
        let answers = server.query(&keys.iter().map(|key| command("HGETALL", key)).collect::<Vec<_>>())?;
        for (key, answer) in keys.iter().zip(answers) {
            match self.usable_reply(key, answer)? {
                Some(Value::Array(fields)) => self.parse_fields(key, fields),
                Some(_) => return Err(unexpected_reply("HGETALL")),
                None => {}
            }
        }
        Ok(())
    }

    /// Reads a hash with more than [`MAX_FIELDS`] fields in pages.
    fn read_long_hash(&mut self, server: &mut Server, key: &ParsedKey) -> Result<(), RedisError> {
        let mut cursor = b"0".to_vec();
        loop {
            let mut command = command("HSCAN", key);
            command.arg(&cursor).arg("COUNT").arg(SCAN_COUNT);
            let answer = server.query(&[command])?.pop().unwrap_or_default();
            let Some(answer) = self.usable_reply(key, answer)? else { return Ok(()) };
            let (next, fields) = page(answer).ok_or_else(|| unexpected_reply("HSCAN"))?;
            self.parse_fields(key, fields);
            if next == b"0" {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// Parses fields and their values, which alternate.
    fn parse_fields(&mut self, key: &ParsedKey, fields: Vec<Value>) {
        let mut fields = fields.into_iter();
        while let (Some(Value::BulkString(field)), Some(Value::BulkString(value))) = (fields.next(), fields.next()) {
            let shown = shown(&key.name, &field);
            if let Some(parts) = self.entries.name(FIELD, &field, &shown) {
                self.entries.value(&[&key.parts, &parts], &value, StoreTimes::default(), &shown);
            }
        }
    }

    fn read_strings(&mut self, server: &mut Server, keys: &[ParsedKey]) -> Result<(), RedisError> {
        for keys in keys.chunks(STRINGS_PER_CALL) {
            let get = |key: &ParsedKey| {
                let mut command = command("GETRANGE", key);
                command.arg(0).arg(MAX_STRING_BYTES);
                command
            };
            let answers = server.query(&keys.iter().map(get).collect::<Vec<_>>())?;
            for (key, answer) in keys.iter().zip(answers) {
                match self.usable_reply(key, answer)? {
                    Some(Value::BulkString(value)) if value.len() > MAX_STRING_BYTES => {
                        self.reject(Rejected::Malformed, key);
                    }
                    Some(Value::BulkString(value)) => {
                        self.entries.value(&[&key.parts], &value, StoreTimes::default(), &shown(&key.name, b""));
                    }
                    Some(_) => return Err(unexpected_reply("GETRANGE")),
                    None => {}
                }
            }
        }
        Ok(())
    }

    /// Returns a reply with a value. Counts an error that concerns only this key, and returns other errors.
    fn usable_reply(&mut self, key: &ParsedKey, answer: Value) -> Result<Option<Value>, RedisError> {
        let Value::ServerError(error) = answer else { return Ok(Some(answer)) };
        match error.code() {
            "NOPERM" => {
                self.forbidden += 1;
                self.reject(Rejected::Forbidden, key);
            }
            "WRONGTYPE" => self.reject(Rejected::Unmatched, key),
            "MOVED" | "ASK" | "TRYAGAIN" => self.has_moved = true,
            _ => return Err(error.into()),
        }
        Ok(None)
    }

    fn reject(&mut self, why: Rejected, key: &ParsedKey) {
        self.entries.reject(why, &shown(&key.name, b""));
    }
}

/// Returns a key, and its field if there is one, as shown to operators.
fn shown(key: &[u8], field: &[u8]) -> String {
    let mut shown = String::from_utf8_lossy(key).into_owned();
    if !field.is_empty() {
        shown.push(' ');
        shown.push_str(&String::from_utf8_lossy(field));
    }
    shown
}

/// Counts the keys of a server that match a glob pattern.
pub(super) fn count(server: &mut Server, pattern: &str) -> Result<usize, RedisError> {
    let mut count = 0;
    for_each_page(server, pattern, |_, keys| {
        count += keys.len();
        Ok(())
    })?;
    Ok(count)
}

/// Passes the keys of a server that match a glob pattern to `each`, page by page.
fn for_each_page(
    server: &mut Server,
    pattern: &str,
    mut each: impl FnMut(&mut Server, Vec<Value>) -> Result<(), RedisError>,
) -> Result<(), RedisError> {
    let mut cursor = b"0".to_vec();
    loop {
        let mut command = redis::cmd("SCAN");
        command.arg(&cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
        let (next, keys) = page(server.query_one(command)?).ok_or_else(|| unexpected_reply("SCAN"))?;
        each(server, keys)?;
        if next == b"0" {
            return Ok(());
        }
        cursor = next;
    }
}

/// Splits a reply to SCAN or HSCAN into the next cursor and the page.
fn page(answer: Value) -> Option<(Vec<u8>, Vec<Value>)> {
    let Value::Array(answer) = answer else { return None };
    match <[Value; 2]>::try_from(answer).ok()? {
        [Value::BulkString(next), Value::Array(page)] => Some((next, page)),
        _ => None,
    }
}

fn command(name: &str, key: &ParsedKey) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(&key.name);
    command
}

/// Returns the error for a reply that Redis does not send: the server is another product or a later version.
fn unexpected_reply(command: &'static str) -> RedisError {
    RedisError::from((ErrorKind::Parse, "unexpected reply of the server", command.to_owned()))
}
