//! Check of the Kafka version of a broker. Brokers answer ApiVersions before the login, but do not report their
//! release.

use std::{fmt, io};

use super::{
    network::Server,
    report::{Check, Report},
    tls::Stream,
};

/// An ApiVersions request of version 0 with correlation id 1 and client id `offsetd`, preceded by its length.
const REQUEST: &[u8] = b"\0\0\0\x11\0\x12\0\0\0\0\0\x01\0\x07offsetd";
/// Maximum length of a reply in bytes. Real replies have less than 1 KiB.
const MAX_REPLY_BYTES: usize = 64 * 1024;
/// API key of Fetch.
const FETCH: i16 = 1;
/// Fetch version of the oldest Kafka release that offsetd supports.
const OLDEST_FETCH: i16 = 4;

/// The newest Fetch version of each release, newest first.
const RELEASES: [(i16, &str); 11] = [
    (18, "4.1 or later"),
    (17, "3.9 or 4.0"),
    (16, "3.7 or 3.8"),
    (15, "3.5 or 3.6"),
    (13, "3.1 to 3.4"),
    (12, "2.7 to 3.0"),
    (11, "2.3 to 2.6"),
    (10, "2.1 or 2.2"),
    (8, "2.0"),
    (7, "1.1"),
    (OLDEST_FETCH, "0.11 or 1.0"),
];

/// Why no version was found.
#[derive(Debug)]
enum VersionError {
    Io(io::Error),
    Malformed,
}

impl fmt::Display for VersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "no answer to ApiVersions: {error}"),
            Self::Malformed => f.write_str("malformed reply to ApiVersions"),
        }
    }
}

/// Requests the API versions of a broker and reports its release.
pub(super) fn examine(report: &mut Report, server: &Server, mut stream: Box<dyn Stream>) {
    let name = server.name.clone();
    let check = match request_versions(&mut *stream) {
        // librdkafka's login reports more details.
        Err(error) => {
            let remedy = "check that the port is a Kafka listener, and that security.protocol is that of the listener";
            Check::fails("version", name, error.to_string(), remedy).into_warning()
        }
        Ok(newest) => match release(newest) {
            Some(release) => Check::works("version", name, format!("Kafka {release} (Fetch up to version {newest})")),
            None => {
                let found = format!("older than Kafka 0.11 (Fetch up to version {newest})");
                Check::fails("version", name, found, "offsetd needs Kafka 0.11 or later")
            }
        },
    };
    report.add(check);
}

fn release(newest_fetch: i16) -> Option<&'static str> {
    RELEASES.iter().find(|(fetch, _)| newest_fetch >= *fetch).map(|(_, release)| *release)
}

/// Returns the newest version of Fetch that the broker supports.
fn request_versions(stream: &mut dyn Stream) -> Result<i16, VersionError> {
    stream.write_all(REQUEST).and_then(|()| stream.flush()).map_err(VersionError::Io)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(VersionError::Io)?;
    let length = usize::try_from(i32::from_be_bytes(length)).ok().filter(|length| *length <= MAX_REPLY_BYTES);
    let mut answer = vec![0; length.ok_or(VersionError::Malformed)?];
    stream.read_exact(&mut answer).map_err(VersionError::Io)?;
    newest_fetch(&answer).ok_or(VersionError::Malformed)
}

/// Parses a reply: correlation id, error code, and for each API its key, oldest and newest version.
fn newest_fetch(answer: &[u8]) -> Option<i16> {
    let (head, apis) = answer.split_at_checked(10)?;
    if !head.starts_with(&[0, 0, 0, 1, 0, 0]) {
        return None;
    }
    let (apis, _) = apis.as_chunks::<6>();
    apis.iter().find_map(|[k0, k1, _, _, n0, n1]| {
        (i16::from_be_bytes([*k0, *k1]) == FETCH).then(|| i16::from_be_bytes([*n0, *n1]))
    })
}

#[cfg(test)]
mod tests;
