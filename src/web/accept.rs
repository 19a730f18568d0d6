//! Proactive negotiation by the header `Accept` (RFC 9110 §12.5.1).

use super::{HeaderMap, header};

/// How much a client wants a media type: more weight first, then the range that names it more exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Quality {
    /// Thousandths, above 0.
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
    /// Whether the client names the media type itself.
    pub(super) fn is_exact(self) -> bool {
        self.exactness == Exactness::Exact
    }

    /// Whether another media type has more weight.
    pub(super) fn is_below(self, other: Self) -> bool {
        self.weight < other.weight
    }
}

/// Returns the quality of a media type, or `None` where it is not acceptable. Without the header, all are. The most exact
/// range that matches decides; parameters other than `q` are not compared.
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

/// Returns the media type that a client wants most; of equal ones the first.
pub(super) fn best<'a, T>(headers: &HeaderMap, offers: &'a [T], media: impl Fn(&T) -> &str) -> Option<&'a T> {
    let of = |offer: &'a T| Some((quality(headers, media(offer))?, offer));
    // The last of equal ones is the greatest.
    offers.iter().rev().filter_map(of).max_by_key(|(quality, _)| *quality).map(|(_, offer)| offer)
}

/// The weight of a range in thousandths; 1 where none is given or it is no number.
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
