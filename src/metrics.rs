//! Prometheus text: the server's own counters, and each committed offset with log end and lag, in the dialect of the asker.
//!
//! What is not known has no sample; it is never 0. A dialect is a table of families: their names and labels are those of
//! the exporter that it stands in for, so that boards and alerts made for that one find what they ask for.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

mod connections;
mod dialects;
mod family;
mod own;
mod page;
mod process;

pub use connections::{Closed, Connections, Cut as RequestCut};

use crate::{
    error::Error,
    model::SOURCE_KAFKA,
    store::{Store, cut::Cut, held::Pin},
    work::Cancel,
};
use dialects::{DIALECTS, Dialect};
use page::Page;

/// Of the text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Of OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bounds the memory of a compiled regular expression.
const REGEX_BYTES: usize = 1 << 20;

/// What is asked for, as text.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// Name of a dialect; default `offsetd`.
    pub dialect: Option<String>,
    /// Only this cluster.
    pub cluster: Option<String>,
    /// Only groups whose offsets are kept there. Default: all; `kafka` in a dialect that does not name sources.
    pub source: Option<String>,
    /// Only groups whose id matches this regular expression, anywhere.
    pub group: Option<String>,
    /// Only topics whose name matches this one.
    pub topic: Option<String>,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Scrape {
    dialect: &'static Dialect,
    cluster: String,
    wanted: Wanted,
    is_open_metrics: bool,
    connections: Option<Arc<Connections>>,
}

/// Which rows are of interest.
#[derive(Clone, Debug, Default)]
struct Wanted {
    source: Option<String>,
    group: Option<Regex>,
    topic: Option<Regex>,
}

impl Wanted {
    fn has_source(&self, name: &str) -> bool {
        self.source.as_ref().is_none_or(|source| *source == *name)
    }

    fn has_group(&self, id: &str) -> bool {
        self.group.as_ref().is_none_or(|regex| regex.is_match(id))
    }

    fn has_topic(&self, name: &str) -> bool {
        self.topic.as_ref().is_none_or(|regex| regex.is_match(name))
    }
}

impl Scrape {
    /// Checks what is asked for, and whether it is written as OpenMetrics.
    ///
    /// # Errors
    /// An unknown dialect or cluster, a bad regular expression, or several clusters in a dialect that cannot tell them
    /// apart.
    pub fn new(store: &Store, parameters: Parameters, is_open_metrics: bool) -> Result<Self, Error> {
        let name = parameters.dialect.as_deref().unwrap_or("offsetd");
        let dialect = DIALECTS.iter().find(|dialect| dialect.name == name).ok_or_else(|| {
            let known: Vec<&str> = DIALECTS.iter().map(|dialect| dialect.name).collect();
            Error::Invalid(format!("no dialect {name:?}; there are {}", known.join(", ")))
        })?;
        let cluster = parameters.cluster.unwrap_or_default();
        if !cluster.is_empty() || !dialect.names_clusters {
            store.cluster(&cluster)?;
        }
        // A dialect that has the server's own metrics is this project's, and names the source of each group.
        let source = parameters.source.or_else(|| (!dialect.has_own).then(|| SOURCE_KAFKA.to_owned()));
        let wanted =
            Wanted { source, group: regex("group", parameters.group)?, topic: regex("topic", parameters.topic)? };
        Ok(Self { dialect, cluster, wanted, is_open_metrics, connections: None })
    }

    /// Also writes the counters of connections, where the dialect has the server's own.
    #[must_use]
    pub fn with_connections(self, connections: Arc<Connections>) -> Self {
        Self { connections: Some(connections), ..self }
    }

    /// Of the answer.
    #[must_use]
    pub fn content_type(&self) -> &'static str {
        if self.is_open_metrics { OPEN_METRICS } else { PROMETHEUS }
    }

    /// Pins what is to be written, for a scrape that ends with `cancel`.
    #[must_use]
    pub fn pin(&self, store: &Store, cancel: &Cancel) -> Pin<Cut> {
        // That the cluster exists was checked.
        let none = |_| store.held().pin(Cut::empty(store), cancel);
        store.pin_cut(&self.cluster, false, cancel).unwrap_or_else(none)
    }

    /// Writes the metrics of a cut, in pieces of some 64 KiB. `send` takes a piece, and says whether anybody still
    /// reads.
    pub fn write(&self, store: &Store, cut: &Cut, send: &mut dyn FnMut(String) -> bool) {
        let mut page = Page::new(send, self.is_open_metrics);
        if self.dialect.has_own {
            own::write(&mut page, store);
            process::write(&mut page);
            self.connections.iter().for_each(|connections| connections.write(&mut page));
        }
        for family in self.dialect.families {
            family.write(&mut page, cut, &self.wanted);
        }
        page.finish();
    }
}

fn regex(parameter: &str, text: Option<String>) -> Result<Option<Regex>, Error> {
    let compiled = text.map(|text| RegexBuilder::new(&text).size_limit(REGEX_BYTES).build()).transpose();
    compiled.map_err(|error| Error::Invalid(format!("{parameter}: {error}")))
}

#[cfg(test)]
mod tests;
