//! A parser of X.509 certificates (DER) for their common name and validity.
//!
//! The certificate is untrusted input: every length is checked, and unsupported content is skipped.

use chrono::{NaiveDateTime, TimeZone as _, Utc};

use crate::model::Millis;

/// The fields of a certificate that are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    /// The common name of the subject; empty if it has none.
    pub(super) subject: String,
    pub(super) not_before: Millis,
    pub(super) not_after: Millis,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The tag of the version, which X.509 v1 certificates omit.
const VERSION: u8 = 0xa0;
/// The OID 2.5.4.3.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

impl Certificate {
    /// Parses a certificate. Returns `None` if it is malformed.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let mut certificate = DerReader(DerReader(der).value_of(SEQUENCE)?);
        let mut fields = DerReader(certificate.value_of(SEQUENCE)?);
        if fields.0.first() == Some(&VERSION) {
            fields.next()?;
        }
        // These are the serial number, the algorithm and the issuer.
        for _ in 0..3 {
            fields.next()?;
        }
        let mut validity = DerReader(fields.value_of(SEQUENCE)?);
        let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
        let subject = common_name(fields.value_of(SEQUENCE)?).unwrap_or_default();
        Some(Self { subject, not_before, not_after })
    }
}

fn common_name(names: &[u8]) -> Option<String> {
    let mut names = DerReader(names);
    loop {
        let mut pair = DerReader(DerReader(names.value_of(SET)?).value_of(SEQUENCE)?);
        if pair.value_of(OBJECT_ID)? == COMMON_NAME {
            return Some(String::from_utf8_lossy(pair.next()?.1).into_owned());
        }
    }
}

fn time((tag, value): (u8, &[u8])) -> Option<Millis> {
    let text = std::str::from_utf8(value).ok()?.strip_suffix('Z')?;
    let text = match tag {
        GENERALIZED_TIME => text.to_owned(),
        // RFC 5280: two-digit years from 50 on belong to the 20th century.
        UTC_TIME => format!("{}{text}", if text.get(..2)?.parse::<u8>().ok()? < 50 { "20" } else { "19" }),
        _ => return None,
    };
    let at = NaiveDateTime::parse_from_str(&text, "%Y%m%d%H%M%S").ok()?;
    Some(Utc.from_utc_datetime(&at).timestamp_millis())
}

/// A reader of consecutive DER values.
struct DerReader<'a>(&'a [u8]);

impl<'a> DerReader<'a> {
    /// Returns the tag and the content of the next value.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, mut rest) = rest.split_first()?;
        let length = if *first < 0x80 {
            usize::from(*first)
        } else {
            // A certificate is never longer than 16 MiB.
            let count = usize::from(*first & 0x7f);
            let (bytes, after) = rest.split_at_checked(count).filter(|_| (1..=3).contains(&count))?;
            rest = after;
            bytes.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte))
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    fn value_of(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

#[cfg(test)]
mod tests;
