//! Text templates, and the search for all readings of an ambiguous text.

use regex::{Captures, Regex};

use super::{LayoutError, Mismatch, Parts, Placeholder, Topics};

/// Maximum number of readings of one text. A text with more is ambiguous.
const READINGS: usize = 64;
/// Maximum number of steps of the search for readings.
const STEPS: usize = 4096;
/// Maximum length in bytes of a text that is searched for readings. A longer text with several readings is ambiguous.
const SEARCHED: usize = 4096;

/// A text with placeholders, such as `offset:{topic}:{group}`.
#[derive(Clone, Debug)]
pub struct Template {
    pieces: Vec<Piece>,
    /// Matches as little as possible for each placeholder, from the left.
    shortest: Regex,
    /// Matches as much as possible. If both regular expressions agree, the text has only one reading.
    longest: Regex,
    is_path: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Placeholder(Placeholder),
}

impl Template {
    /// Parses a template. `{{` and `}}` stand for literal braces.
    ///
    /// # Errors
    /// Returns the syntax error.
    pub fn parse(template: &str) -> Result<Self, LayoutError> {
        Self::new(template, false)
    }

    /// Parses the template of a path: unlike with [`Template::parse`], `{group}` and `{*}` do not match a `/`.
    ///
    /// # Errors
    /// Returns the syntax error.
    pub fn parse_path(template: &str) -> Result<Self, LayoutError> {
        Self::new(template, true)
    }

    fn new(template: &str, is_path: bool) -> Result<Self, LayoutError> {
        let pieces = pieces(template)?;
        for pair in pieces.windows(2) {
            if let [Piece::Placeholder(left), Piece::Placeholder(right)] = pair {
                return Err(LayoutError::Adjacent(*left, *right));
            }
        }
        let compile = |lazy: &str| {
            let pattern: String = pieces.iter().map(|piece| piece.pattern(is_path, lazy)).collect();
            Regex::new(&format!("^{pattern}$")).map_err(|_| LayoutError::UnbalancedBrace(template.to_owned()))
        };
        Ok(Self { shortest: compile("?")?, longest: compile("")?, pieces, is_path })
    }

    /// Returns the placeholders, without `{*}`.
    pub fn placeholders(&self) -> impl Iterator<Item = Placeholder> + '_ {
        self.fields().filter(|placeholder| *placeholder != Placeholder::Ignored)
    }

    fn fields(&self) -> impl Iterator<Item = Placeholder> + '_ {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Placeholder(placeholder) => Some(*placeholder),
        })
    }

    /// Returns whether no two texts of this template can name the same rows. That is so if it consists of group, topic
    /// and partition only.
    #[must_use]
    pub fn tells_one_part(&self) -> bool {
        self.fields().all(|placeholder| match placeholder {
            Placeholder::Group | Placeholder::Topic | Placeholder::Partition => true,
            Placeholder::Offset
            | Placeholder::Batch
            | Placeholder::AtMillis
            | Placeholder::AtSeconds
            | Placeholder::At
            | Placeholder::Metadata
            | Placeholder::Ignored => false,
        })
    }

    /// Returns the text before the first placeholder. Every matching text starts with it.
    #[must_use]
    pub fn prefix(&self) -> &str {
        match self.pieces.first() {
            Some(Piece::Literal(text)) => text,
            Some(Piece::Placeholder(_)) | None => "",
        }
    }

    /// Returns a glob pattern that matches at least every text that the template matches, for stores that filter by
    /// one. Each placeholder becomes `*`, and characters with a meaning in glob patterns are escaped with `\\`.
    #[must_use]
    pub fn glob(&self) -> String {
        let mut glob = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Placeholder(_) => glob.push('*'),
                Piece::Literal(text) => text.chars().for_each(|sign| {
                    if matches!(sign, '*' | '?' | '[' | ']' | '^' | '\\') {
                        glob.push('\\');
                    }
                    glob.push(sign);
                }),
            }
        }
        glob
    }

    /// Parses a text into parts of an offset.
    ///
    /// # Errors
    /// Returns whether the text does not match, or matches in several ways.
    pub fn read(&self, text: &str, topics: Topics<'_>) -> Result<Parts, Mismatch> {
        let shortest = self.shortest.captures(text).ok_or(Mismatch::NoMatch)?;
        if self.fields().take(2).count() < 2 {
            return self.parts(&shortest).ok_or(Mismatch::NoMatch);
        }
        let longest = self.longest.captures(text).ok_or(Mismatch::NoMatch)?;
        if ends(&shortest).eq(ends(&longest)) {
            return self.parts(&shortest).ok_or(Mismatch::NoMatch);
        }
        choose(self.readings(text)?, topics)
    }

    fn parts(&self, captures: &Captures<'_>) -> Option<Parts> {
        let mut parts = Parts::default();
        for (placeholder, capture) in self.fields().zip(captures.iter().skip(1)) {
            parts.take(placeholder, capture?.as_str())?;
        }
        Some(parts)
    }

    /// Returns the parts of every way in which the text matches.
    fn readings(&self, text: &str) -> Result<Vec<Parts>, Mismatch> {
        if text.len() > SEARCHED {
            return Err(Mismatch::Ambiguous);
        }
        let mut search = Search { is_path: self.is_path, found: vec![], steps: 0 };
        search.from(&self.pieces, text, &Parts::default())?;
        Ok(search.found)
    }
}

impl Piece {
    /// Returns the piece as part of a regular expression. `lazy` is `?` or empty.
    fn pattern(&self, is_path: bool, lazy: &str) -> String {
        let placeholder = match self {
            Self::Literal(text) => return regex::escape(text),
            Self::Placeholder(placeholder) => placeholder,
        };
        let any = if is_path { r"[^\r\n/]" } else { r"[^\r\n]" };
        match placeholder {
            Placeholder::Group => format!("({any}+{lazy})"),
            Placeholder::Metadata | Placeholder::Ignored => format!("({any}*{lazy})"),
            Placeholder::Topic => format!("([A-Za-z0-9._-]+{lazy})"),
            Placeholder::At => format!("([0-9TZtz:.+-]+{lazy})"),
            Placeholder::Partition
            | Placeholder::Offset
            | Placeholder::Batch
            | Placeholder::AtMillis
            | Placeholder::AtSeconds => format!("([0-9]+{lazy})"),
        }
    }
}

/// Returns the end positions of the captured placeholders.
fn ends<'a>(captures: &'a Captures<'_>) -> impl Iterator<Item = Option<usize>> + 'a {
    captures.iter().map(|capture| capture.map(|capture| capture.end()))
}

/// A search for all readings of a text, by backtracking.
struct Search {
    is_path: bool,
    found: Vec<Parts>,
    steps: usize,
}

impl Search {
    fn from(&mut self, pieces: &[Piece], text: &str, before: &Parts) -> Result<(), Mismatch> {
        self.steps += 1;
        if self.steps > STEPS || self.found.len() > READINGS {
            return Err(Mismatch::Ambiguous);
        }
        match pieces {
            [] if text.is_empty() => self.add(before),
            [] => {}
            [Piece::Literal(literal), rest @ ..] => {
                if let Some(text) = text.strip_prefix(literal.as_str()) {
                    self.from(rest, text, before)?;
                }
            }
            [Piece::Placeholder(placeholder), rest @ ..] => {
                for end in ends_before(rest, text) {
                    let Some((mine, after)) = text.split_at_checked(end) else { continue };
                    let mut parts = before.clone();
                    let has_gap = mine.contains(['\n', '\r']) || (self.is_path && mine.contains('/'));
                    if !has_gap && parts.take(*placeholder, mine).is_some() {
                        self.from(rest, after, &parts)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, parts: &Parts) {
        if !self.found.contains(parts) {
            self.found.push(parts.clone());
        }
    }
}

/// Returns the positions where a placeholder can end: before the literal that follows it, or at the end of the text.
fn ends_before(rest: &[Piece], text: &str) -> Vec<usize> {
    match rest {
        [Piece::Literal(literal), ..] => (0..text.len())
            .filter(|at| text.get(*at..).is_some_and(|text| text.starts_with(literal.as_str())))
            .collect(),
        _ => vec![text.len()],
    }
}

/// Returns the reading that names a topic of the cluster. If none does, returns the one with the longest topic.
fn choose(readings: Vec<Parts>, topics: Topics<'_>) -> Result<Parts, Mismatch> {
    let Some(exists) = topics else {
        return <[Parts; 1]>::try_from(readings).map(|[one]| one).map_err(|_| Mismatch::Ambiguous);
    };
    let length = |parts: &Parts| parts.topic.as_ref().map_or(0, String::len);
    let longest = readings.iter().map(length).max().unwrap_or(0);
    let (mut chosen, others): (Vec<Parts>, Vec<Parts>) =
        readings.into_iter().partition(|parts| parts.topic.as_deref().is_some_and(exists));
    if chosen.is_empty() {
        chosen = others.into_iter().filter(|parts| length(parts) == longest).collect();
    }
    match chosen.len() {
        0 => Err(Mismatch::NoMatch),
        1 => chosen.pop().ok_or(Mismatch::NoMatch),
        _ => Err(Mismatch::Ambiguous),
    }
}

/// Splits a template into literals and placeholders.
fn pieces(template: &str) -> Result<Vec<Piece>, LayoutError> {
    let unbalanced = || LayoutError::UnbalancedBrace(template.to_owned());
    let (mut pieces, mut literal, mut rest) = (vec![], String::new(), template);
    while let Some(first) = rest.chars().next() {
        if let Some((brace, after)) = ["{{", "}}"].iter().find_map(|brace| Some((first, rest.strip_prefix(brace)?))) {
            literal.push(brace);
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let (name, after) = after.split_once('}').ok_or_else(unbalanced)?;
            let unknown = || LayoutError::UnknownPlaceholder(name.to_owned());
            let placeholder = Placeholder::of(name).ok_or_else(unknown)?;
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Placeholder(placeholder));
            rest = after;
        } else if first == '}' {
            return Err(unbalanced());
        } else {
            literal.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}
