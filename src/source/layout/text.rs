//! Templates of text.

use regex::{Captures, Regex};

use super::{LayoutError, Mismatch, Parts, Placeholder, Topics};

/// Readings of one text that are looked at. A text with more is ambiguous.
const READINGS: usize = 64;
/// Steps of the search for them.
const STEPS: usize = 4096;
/// Longest text that they are searched in, in bytes. Longer ones with several readings are ambiguous.
const SEARCHED: usize = 4096;

/// A text with placeholders: `offset:{topic}:{group}`.
#[derive(Clone, Debug)]
pub struct Template {
    pieces: Vec<Piece>,
    /// Takes as little as it can for each placeholder, from the left.
    shortest: Regex,
    /// Takes as much as it can. Where both find the same, the text has one reading.
    longest: Regex,
    is_path: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Placeholder(Placeholder),
}

impl Template {
    /// Reads a template. `{{` and `}}` stand for braces.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(template: &str) -> Result<Self, LayoutError> {
        Self::new(template, false)
    }

    /// As [`Template::parse`], of a path: `{group}` and `{*}` do not reach over a `/`.
    ///
    /// # Errors
    /// As [`Template::parse`].
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

    /// What it takes, but for `{*}`.
    pub fn placeholders(&self) -> impl Iterator<Item = Placeholder> + '_ {
        self.fields().filter(|placeholder| *placeholder != Placeholder::Ignored)
    }

    fn fields(&self) -> impl Iterator<Item = Placeholder> + '_ {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Placeholder(placeholder) => Some(*placeholder),
        })
    }

    /// Whether what it takes says of which rows a text is, so that no two texts are of the same: it takes group, topic and
    /// partition, and nothing else differs.
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

    /// The text before the first placeholder. A store need not show what begins otherwise.
    #[must_use]
    pub fn prefix(&self) -> &str {
        match self.pieces.first() {
            Some(Piece::Literal(text)) => text,
            Some(Piece::Placeholder(_)) | None => "",
        }
    }

    /// Returns a pattern of wildcards that matches at least what the template matches, for stores that filter by one: `*`
    /// for each placeholder, and `\\` before signs that mean something in such patterns.
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

    /// Takes the parts of an offset from a text.
    ///
    /// # Errors
    /// It does not match, or in several ways.
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

    /// All ways in which the text matches.
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
    /// A group of a regular expression. `lazy` is `?` or nothing.
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

/// Where the placeholders end.
fn ends<'a>(captures: &'a Captures<'_>) -> impl Iterator<Item = Option<usize>> + 'a {
    captures.iter().map(|capture| capture.map(|capture| capture.end()))
}

/// A search for all readings of a text.
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

/// Where a placeholder can end: before the literal that follows it, or at the end of the text.
fn ends_before(rest: &[Piece], text: &str) -> Vec<usize> {
    match rest {
        [Piece::Literal(literal), ..] => (0..text.len())
            .filter(|at| text.get(*at..).is_some_and(|text| text.starts_with(literal.as_str())))
            .collect(),
        _ => vec![text.len()],
    }
}

/// Returns the reading whose topic the cluster has; if it has none of them, the one with the longest topic.
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

/// Takes a template apart.
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
