//! Content codings (RFC 9110 §8.4): negotiation, and gzip compression of streamed responses.

use std::{
    io::{self, Write as _},
    mem,
};

use flate2::{Compression, write::GzEncoder};

use super::{HeaderMap, accept::weight, header};

/// Returns whether a client accepts a coding. Without the header, it accepts none.
pub(super) fn accepts(headers: &HeaderMap, coding: &str) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|each| {
        let (name, parameters) = each.split_once(';').unwrap_or((each, ""));
        name.trim().eq_ignore_ascii_case(coding) && weight(parameters) > 0
    })
}

/// Compresses the chunks of a response if the client accepts gzip; otherwise passes them unchanged.
#[derive(Debug)]
pub(super) struct Compressor(Option<GzEncoder<Vec<u8>>>);

impl Compressor {
    pub(super) fn new(headers: &HeaderMap) -> Self {
        // Metrics and rows are repetitive text, so a higher compression level gains little.
        Self(accepts(headers, "gzip").then(|| GzEncoder::new(vec![], Compression::fast())))
    }

    /// Returns the headers that describe the coding.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::from_iter([(header::VARY, header::HeaderValue::from_static("accept-encoding"))]);
        if self.0.is_some() {
            headers.insert(header::CONTENT_ENCODING, header::HeaderValue::from_static("gzip"));
        }
        headers
    }

    /// Returns the bytes to send for a chunk. Flushes, so that the client can decode the whole chunk immediately.
    pub(super) fn compress(&mut self, chunk: Vec<u8>) -> io::Result<Vec<u8>> {
        let Some(gzip) = self.0.as_mut().filter(|_| !chunk.is_empty()) else { return Ok(chunk) };
        gzip.write_all(&chunk)?;
        gzip.flush()?;
        Ok(mem::take(gzip.get_mut()))
    }

    /// Returns the bytes to send after the last chunk.
    pub(super) fn finish(&mut self) -> io::Result<Vec<u8>> {
        self.0.take().map_or_else(|| Ok(vec![]), GzEncoder::finish)
    }
}

#[cfg(test)]
mod tests;
