//! Compiled filters of requests.

use regex::Regex;

use super::proto::{self, string_filter::Match};
use crate::error::Error;

/// A condition on a name.
#[derive(Clone, Debug, Default)]
pub(super) enum NameFilter {
    #[default]
    Any,
    Exact(String),
    Prefix(String),
    Regex(Regex),
}

/// Maximum size of a compiled regular expression (bytes).
pub(super) const REGEX_BYTES: usize = 1 << 20;

impl NameFilter {
    fn new(field: &str, filter: Option<proto::StringFilter>) -> Result<Self, Error> {
        Ok(match filter.and_then(|filter| filter.r#match) {
            None => Self::Any,
            Some(Match::Exact(text)) => Self::Exact(text),
            Some(Match::Prefix(text)) => Self::Prefix(text),
            Some(Match::Regex(text)) => {
                let regex = regex::RegexBuilder::new(&text).size_limit(REGEX_BYTES).build();
                Self::Regex(regex.map_err(|error| Error::Invalid(format!("filter.{field}.regex: {error}")))?)
            }
        })
    }

    pub(super) fn accepts(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(text) => name == text,
            Self::Prefix(text) => name.starts_with(text),
            Self::Regex(regex) => regex.is_match(name),
        }
    }
}

/// A filter of committed offsets.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) cluster: NameFilter,
    pub(super) group: NameFilter,
    pub(super) topic: NameFilter,
    pub(super) partitions: Vec<i32>,
    sources: Vec<String>,
    pub(super) with_lag_only: bool,
}

impl Filter {
    pub(super) fn new(filter: Option<proto::OffsetFilter>) -> Result<Self, Error> {
        let filter = filter.unwrap_or_default();
        Ok(Self {
            cluster: NameFilter::new("cluster", filter.cluster)?,
            group: NameFilter::new("group_id", filter.group_id)?,
            topic: NameFilter::new("topic", filter.topic)?,
            partitions: filter.partitions,
            sources: filter.sources,
            with_lag_only: filter.with_lag_only,
        })
    }

    /// Returns the cluster, if the filter names exactly one, which must exist and be loaded; otherwise an empty string.
    pub(super) fn named_cluster(&self) -> &str {
        match &self.cluster {
            NameFilter::Exact(name) => name,
            NameFilter::Any | NameFilter::Prefix(_) | NameFilter::Regex(_) => "",
        }
    }

    pub(super) fn accepts_source(&self, source: &str) -> bool {
        self.sources.is_empty() || self.sources.iter().any(|wanted| wanted == source)
    }

    /// Returns whether the filter selects sources.
    pub(super) fn selects_sources(&self) -> bool {
        !self.sources.is_empty()
    }

    pub(super) fn accepts_key(&self, topic: &str, partition: i32) -> bool {
        (self.partitions.is_empty() || self.partitions.contains(&partition)) && self.topic.accepts(topic)
    }
}
