//! Layouts: templates that describe where the parts of an offset are in a store's keys and values.
//!
//! A template is an example with placeholders in braces: the key `offset:{topic}:{group}`, the path
//! `/consumers/{group}/offsets/{topic}/{partition}`, the value `{"topic":"{topic}","offset":"{offset}"}`. A layout has
//! one template for each text that names an offset (a key and a field, a path, or a row and a column), and one for the
//! value. A template must match its whole text.

use std::{collections::HashMap, fmt};

use crate::{config::OffsetIs, model::Millis};

mod json;
mod preset;
mod text;
mod value;

pub use preset::{Preset, preset};
pub use text::Template;
pub use value::Value;

/// Reports whether the cluster has a topic of a given name, which resolves ambiguous texts. `None` while the topics are
/// not known.
pub type Topics<'a> = Option<&'a dyn Fn(&str) -> bool>;

/// The placeholders of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// `{group}`: any text without a line end; in a path also without `/`.
    Group,
    /// `{topic}`: a topic name that Kafka allows (`Topic.validate`).
    Topic,
    /// `{partition}`: digits.
    Partition,
    /// `{offset}`: digits.
    Offset,
    /// `{batch}`: digits. Of several entries of one key, the one with the greatest batch counts.
    Batch,
    /// `{at_ms}`: milliseconds since 1970.
    AtMillis,
    /// `{at_s}`: seconds since 1970.
    AtSeconds,
    /// `{at}`: an RFC 3339 time.
    At,
    /// `{metadata}`: any text without a line end.
    Metadata,
    /// `{*}`: ignored.
    Ignored,
}

impl Placeholder {
    const ALL: [Self; 10] = [
        Self::Group,
        Self::Topic,
        Self::Partition,
        Self::Offset,
        Self::Batch,
        Self::AtMillis,
        Self::AtSeconds,
        Self::At,
        Self::Metadata,
        Self::Ignored,
    ];

    /// Returns the name between the braces.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Topic => "topic",
            Self::Partition => "partition",
            Self::Offset => "offset",
            Self::Batch => "batch",
            Self::AtMillis => "at_ms",
            Self::AtSeconds => "at_s",
            Self::At => "at",
            Self::Metadata => "metadata",
            Self::Ignored => "*",
        }
    }

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|placeholder| placeholder.name() == name)
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}", self.name())
    }
}

/// An error in a layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A name in braces that is not one of [`Placeholder`].
    #[error("unknown placeholder {{{0}}}; allowed: {known}", known = AllPlaceholders)]
    UnknownPlaceholder(String),
    /// A brace without its counterpart.
    #[error("unbalanced brace in {0:?}; write {{{{ or }}}} for a literal brace")]
    UnbalancedBrace(String),
    /// Two placeholders without text between them.
    #[error("{0} and {1} are adjacent, so the end of the first is unknown; put a separator between them")]
    Adjacent(Placeholder, Placeholder),
    /// A placeholder that occurs twice, or that also has a fixed value.
    #[error("{0} is given twice; remove one")]
    Duplicate(Placeholder),
    /// A part of an offset that neither a template nor a setting gives.
    #[error("{0} is missing; add it to a template{hint}", hint = if matches!(.0, Placeholder::Group | Placeholder::Topic) { ", or set it to a fixed value" } else { "" })]
    Missing(Placeholder),
    /// An array with several example elements, or a second list in the same object.
    #[error("only one list is supported; write one example element per array, and one list per object")]
    SeveralLists,
    /// A JSON template without a placeholder.
    #[error("the template has no placeholder; add one, such as {{offset}}")]
    NoPlaceholder,
    /// The setting `list` with a value that is not text.
    #[error("`list` splits text values, but this value is not a text template; remove `list`")]
    ListOfNonText,
    /// An empty list separator.
    #[error("`list` is empty; set it to the separator of the elements, such as \",\"")]
    NoSeparator,
}

struct AllPlaceholders;

impl fmt::Display for AllPlaceholders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, placeholder) in Placeholder::ALL.iter().enumerate() {
            write!(f, "{}{placeholder}", if at == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

/// Why a text does not match a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The template does not match.
    NoMatch,
    /// The template matches in several ways, and the topics of the cluster do not select one.
    Ambiguous,
}

/// The parts of an offset that one text or several texts gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetParts {
    /// Group id.
    pub group: Option<String>,
    /// Topic name.
    pub topic: Option<String>,
    /// Partition of the topic.
    pub partition: Option<i32>,
    /// The offset as it is stored.
    pub offset: Option<i64>,
    /// The batch number.
    pub batch: Option<i64>,
    /// The commit time.
    pub at: Option<Millis>,
    /// The metadata text of the commit.
    pub metadata: Option<String>,
}

impl OffsetParts {
    /// Adds the parts that another text gave. A layout takes each part from one text only.
    fn add(&mut self, other: &Self) {
        let Self { group, topic, partition, offset, batch, at, metadata } = other;
        let take = |mine: &mut Option<String>, theirs: &Option<String>| {
            if let Some(theirs) = theirs {
                mine.get_or_insert_with(|| theirs.clone());
            }
        };
        take(&mut self.group, group);
        take(&mut self.topic, topic);
        take(&mut self.metadata, metadata);
        self.partition = self.partition.or(*partition);
        self.offset = self.offset.or(*offset);
        self.batch = self.batch.or(*batch);
        self.at = self.at.or(*at);
    }

    /// Stores the text of a placeholder. Returns `None` if the text is not valid for it.
    fn set(&mut self, placeholder: Placeholder, text: &str) -> Option<()> {
        let digits = || text.bytes().all(|byte| byte.is_ascii_digit()).then_some(text);
        match placeholder {
            Placeholder::Group => self.group = Some((!text.is_empty() && is_line(text)).then(|| text.to_owned())?),
            Placeholder::Topic => self.topic = Some(is_topic(text).then(|| text.to_owned())?),
            Placeholder::Partition => self.partition = Some(digits()?.parse().ok()?),
            Placeholder::Offset => self.offset = Some(digits()?.parse().ok()?),
            Placeholder::Batch => self.batch = Some(digits()?.parse().ok()?),
            Placeholder::AtMillis => self.at = Some(digits()?.parse().ok()?),
            Placeholder::AtSeconds => self.at = Some(digits()?.parse::<Millis>().ok()?.checked_mul(1000)?),
            Placeholder::At => {
                self.at = Some(chrono::DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis());
            }
            Placeholder::Metadata => self.metadata = Some(is_line(text).then(|| text.to_owned())?),
            Placeholder::Ignored => {}
        }
        Some(())
    }
}

fn is_line(text: &str) -> bool {
    !text.contains(['\n', '\r'])
}

/// Kafka's rule for topic names (`org.apache.kafka.common.internals.Topic`).
fn is_topic(text: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=249).contains(&text.len()) && text != "." && text != ".." && text.bytes().all(is_legal)
}

/// An offset that a store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Group id.
    pub group: String,
    /// Topic name.
    pub topic: String,
    /// Partition of the topic.
    pub partition: i32,
    /// The offset of the record that the group reads next.
    pub committed_offset: i64,
    /// The commit time, if the entry has one.
    pub committed_at: Option<Millis>,
    /// When the key got its first offset, if the store knows it.
    pub first_seen_at: Option<Millis>,
    /// The metadata text of the commit.
    pub metadata: String,
    /// The batch number. Of several entries of a key, the one with the greatest batch counts.
    pub batch: Option<i64>,
}

/// The entries with a batch of one listing: for each key, the entry of the greatest batch.
#[derive(Debug, Default)]
pub struct NewestBatches(HashMap<(String, String, i32), Entry>);

impl NewestBatches {
    /// Keeps the entry if it has a batch. Returns an entry without a batch.
    pub fn add(&mut self, entry: Entry) -> Option<Entry> {
        if entry.batch.is_none() {
            return Some(entry);
        }
        let key = (entry.group.clone(), entry.topic.clone(), entry.partition);
        let greatest = self.0.entry(key).or_insert_with(|| entry.clone());
        if entry.batch >= greatest.batch {
            *greatest = entry;
        }
        None
    }

    /// Returns the newest entry of each key.
    pub fn into_entries(self) -> impl Iterator<Item = Entry> {
        self.0.into_values()
    }
}

/// The parts of all offsets of a source that its settings fix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FixedParts {
    /// The group of all offsets.
    pub group: Option<String>,
    /// The topic of all offsets.
    pub topic: Option<String>,
    /// Whether the stored offset is the next or the last one.
    pub offset_is: OffsetIs,
}

/// How a store keeps offsets: its templates and fixed parts.
#[derive(Clone, Debug)]
pub struct Layout {
    names: Vec<Template>,
    value: Value,
    fixed: FixedParts,
}

impl Layout {
    /// Creates a layout. Each part of an offset must be given exactly once.
    ///
    /// # Errors
    /// Returns the part that is given twice or is missing.
    pub fn new(names: Vec<Template>, value: Value, fixed: FixedParts) -> Result<Self, LayoutError> {
        let mut given: Vec<Placeholder> = names.iter().flat_map(Template::placeholders).collect();
        given.extend(value.placeholders());
        given.extend(fixed.group.as_ref().map(|_| Placeholder::Group));
        given.extend(fixed.topic.as_ref().map(|_| Placeholder::Topic));
        let count = |wanted: Placeholder| given.iter().filter(|placeholder| **placeholder == wanted).count();
        for placeholder in Placeholder::ALL.into_iter().filter(|placeholder| *placeholder != Placeholder::Ignored) {
            if count(placeholder) > 1 {
                return Err(LayoutError::Duplicate(placeholder));
            }
        }
        for needed in [Placeholder::Group, Placeholder::Topic, Placeholder::Partition, Placeholder::Offset] {
            if count(needed) == 0 {
                return Err(LayoutError::Missing(needed));
            }
        }
        Ok(Self { names, value, fixed })
    }

    /// Returns the templates of the texts that name an offset, in the order given to [`Layout::new`].
    #[must_use]
    pub fn names(&self) -> &[Template] {
        &self.names
    }

    /// Returns the template of the value.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Combines the parts that the names and the value of an entry gave. Returns `None` if a part is missing.
    #[must_use]
    pub fn entry(&self, given: &[&OffsetParts]) -> Option<Entry> {
        let mut parts =
            OffsetParts { group: self.fixed.group.clone(), topic: self.fixed.topic.clone(), ..OffsetParts::default() };
        given.iter().for_each(|given| parts.add(given));
        let committed_offset = match self.fixed.offset_is {
            OffsetIs::Next => parts.offset?,
            OffsetIs::Last => parts.offset?.checked_add(1)?,
        };
        Some(Entry {
            group: parts.group?,
            topic: parts.topic?,
            partition: parts.partition?,
            committed_offset,
            committed_at: parts.at,
            first_seen_at: None,
            metadata: parts.metadata.unwrap_or_default(),
            batch: parts.batch,
        })
    }

    /// Parses a whole entry of a store. A source with many entries per name parses the name once and calls
    /// [`Layout::entry`].
    ///
    /// # Errors
    /// Returns the mismatch of the first name that does not match.
    pub fn read(
        &self,
        names: &[&str],
        value: &[u8],
        topics: Topics<'_>,
    ) -> Result<Vec<Result<Entry, Mismatch>>, Mismatch> {
        let given: Vec<OffsetParts> = self
            .names
            .iter()
            .zip(names)
            .map(|(template, name)| template.read(name, topics))
            .collect::<Result<_, _>>()?;
        let entry = |value: Result<OffsetParts, Mismatch>| {
            let value = value?;
            let given: Vec<&OffsetParts> = given.iter().chain([&value]).collect();
            self.entry(&given).ok_or(Mismatch::NoMatch)
        };
        Ok(self.value.read(value, topics).into_iter().map(entry).collect())
    }
}

#[cfg(test)]
mod tests;
