//! Content codings (RFC 9110 §8.4): who takes which, and answers in gzip as they are written.

use std::{
    io::{self, Write as _},
    mem,
};

use flate2::{Compression, write::GzEncoder};

use super::{HeaderMap, accept::weight, header};

/// Whether a client takes a coding. Who does not say is not known to take any.
pub(super) fn takes(headers: &HeaderMap, coding: &str) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|each| {
        let (name, parameters) = each.split_once(';').unwrap_or((each, ""));
        name.trim().eq_ignore_ascii_case(coding) && weight(parameters) > 0
    })
}

/// Packs the pieces of an answer, for who takes that; else hands them on.
#[derive(Debug)]
pub(super) struct Packer(Option<GzEncoder<Vec<u8>>>);

impl Packer {
    pub(super) fn new(headers: &HeaderMap) -> Self {
        // Text of metrics and rows is so even that more effort gains little.
        Self(takes(headers, "gzip").then(|| GzEncoder::new(vec![], Compression::fast())))
    }

    /// What to say of the answer.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::from_iter([(header::VARY, header::HeaderValue::from_static("accept-encoding"))]);
        if self.0.is_some() {
            headers.insert(header::CONTENT_ENCODING, header::HeaderValue::from_static("gzip"));
        }
        headers
    }

    /// What to send for a piece: all of it, so that nobody waits for what is there.
    pub(super) fn pack(&mut self, piece: Vec<u8>) -> io::Result<Vec<u8>> {
        let Some(gzip) = self.0.as_mut().filter(|_| !piece.is_empty()) else { return Ok(piece) };
        gzip.write_all(&piece)?;
        gzip.flush()?;
        Ok(mem::take(gzip.get_mut()))
    }

    /// What to send after the last piece.
    pub(super) fn finish(&mut self) -> io::Result<Vec<u8>> {
        self.0.take().map_or_else(|| Ok(vec![]), GzEncoder::finish)
    }
}

#[cfg(test)]
mod tests;
