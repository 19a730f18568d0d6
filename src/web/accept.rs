//! Proactive negotiation by the header `Accept` (RFC 9110 §12.5.1).

use super::{HeaderMap, header};

/// How much a client prefers a media type: by weight, then by how exactly a range names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Quality {
    /// Weight in thousandths, above 0.
    weight: u16,
    exactness: Exactness,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Exactness {
    Any,
    Type,
    Exact,
}

impl Quality {
    /// Returns whether the client names the media type exactly.
    pub(super) fn is_exact(self) -> bool {
        self.exactness == Exactness::Exact
    }

    /// Returns whether another media type has more weight.
    pub(super) fn is_below(self, other: Self) -> bool {
        self.weight < other.weight
    }
}

/// Returns the quality of a media type; `None` if it is not acceptable. Without the header, all types are acceptable.
/// The most exact matching range decides. Parameters other than `q` are ignored.
pub(super) fn quality(headers: &HeaderMap, media: &str) -> Option<Quality> {
    let kind = media.split('/').next().unwrap_or_default();
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges =
        values.flat_map(|value| value.split(',')).map(str::trim).filter(|range| !range.is_empty()).peekable();
    let is_empty = headers.get_all(header::ACCEPT).iter().all(|value| value.as_bytes().trim_ascii().is_empty());
    if ranges.peek().is_none() && is_empty {
        return Some(Quality { weight: 1000, exactness: Exactness::Any });
    }
    let matching = ranges.filter_map(|range| {
        let (name, parameters) = range.split_once(';').unwrap_or((range, ""));
        let (of, sub) = name.trim().split_once('/')?;
        let exactness = if of == "*" && sub == "*" {
            Exactness::Any
        } else if of.eq_ignore_ascii_case(kind) && sub == "*" {
            Exactness::Type
        } else if name.trim().eq_ignore_ascii_case(media) {
            Exactness::Exact
        } else {
            return None;
        };
        Some((exactness, weight(parameters)))
    });
    let (exactness, weight) = matching.max()?;
    (weight > 0).then_some(Quality { weight, exactness })
}

/// Returns the offer with the media type that a client prefers; the first one if several are equal.
pub(super) fn best<'a, T>(headers: &HeaderMap, offers: &'a [T], media: impl Fn(&T) -> &str) -> Option<&'a T> {
    let of = |offer: &'a T| Some((quality(headers, media(offer))?, offer));
    // `max_by_key` returns the last of equal elements, so the offers are reversed.
    offers.iter().rev().filter_map(of).max_by_key(|(quality, _)| *quality).map(|(_, offer)| offer)
}

/// Returns the weight of a range in thousandths; 1000 if it is missing or invalid.
pub(super) fn weight(parameters: &str) -> u16 {
    let of = |parameter: &str| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().ok()).flatten()
    };
    let weight = parameters.split(';').find_map(of).filter(|weight| !weight.is_nan()).unwrap_or(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
    let thousandths = (weight.clamp(0.0, 1.0) * 1000.0).round() as u16;
    thousandths
}

#[cfg(test)]
mod tests;
