//! The `/metrics` page: the server's own metrics, and each committed offset with its log end and lag, in the dialect
//! that the scrape selects.
//!
//! An unknown value has no sample; it is never 0. A dialect is a table of metric families with the names and labels of
//! another exporter, so that dashboards and alerts made for that exporter keep working.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

mod connections;
mod dialects;
mod family;
mod page;
mod process;
mod server;

pub use connections::{CloseReason, Connections, RequestCut};

use crate::{
    error::Error,
    model::SOURCE_KAFKA,
    store::{Store, cut::Cut, pins::Pin},
    work::CancelHandle,
};
use dialects::{DIALECTS, Dialect};
use page::Page;

/// Content type of the Prometheus text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Content type of OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Maximum bytes of a compiled regular expression.
const REGEX_BYTES: usize = 1 << 20;

/// The query parameters of a scrape.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// Name of the dialect. Default: `offsetd`.
    pub dialect: Option<String>,
    /// Only this cluster. Default: all.
    pub cluster: Option<String>,
    /// Only groups of this source. Default: all; `kafka` in a dialect without a source label.
    pub source: Option<String>,
    /// Only groups with a match of this regular expression in their id. Default: all.
    pub group: Option<String>,
    /// Only topics with a match of this regular expression in their name. Default: all.
    pub topic: Option<String>,
}

/// A validated scrape.
#[derive(Clone, Debug)]
pub struct Scrape {
    dialect: &'static Dialect,
    cluster: String,
    filter: ScrapeFilter,
    is_open_metrics: bool,
    connections: Option<Arc<Connections>>,
}

/// The groups and topics that a scrape selects.
#[derive(Clone, Debug, Default)]
struct ScrapeFilter {
    source: Option<String>,
    group: Option<Regex>,
    topic: Option<Regex>,
}

impl ScrapeFilter {
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
    /// Validates the parameters of a scrape.
    ///
    /// # Errors
    ///
    /// The dialect or cluster is unknown, a regular expression is invalid, or there are several clusters and the
    /// dialect has no cluster label.
    pub fn new(store: &Store, parameters: Parameters, is_open_metrics: bool) -> Result<Self, Error> {
        let name = parameters.dialect.as_deref().unwrap_or("offsetd");
        let dialect = DIALECTS.iter().find(|dialect| dialect.name == name).ok_or_else(|| {
            let known: Vec<&str> = DIALECTS.iter().map(|dialect| dialect.name).collect();
            Error::Invalid(format!("unknown dialect {name:?}; use one of {}", known.join(", ")))
        })?;
        let cluster = parameters.cluster.unwrap_or_default();
        if !cluster.is_empty() || !dialect.names_clusters {
            store.cluster(&cluster)?;
        }
        // Only offsetd's own dialect includes the server's metrics, and only it has a source label.
        let source = parameters.source.or_else(|| (!dialect.has_server_metrics).then(|| SOURCE_KAFKA.to_owned()));
        let filter =
            ScrapeFilter { source, group: regex("group", parameters.group)?, topic: regex("topic", parameters.topic)? };
        Ok(Self { dialect, cluster, filter, is_open_metrics, connections: None })
    }

    /// Adds the metrics of connections, if the dialect includes the server's own metrics.
    #[must_use]
    pub fn with_connections(self, connections: Arc<Connections>) -> Self {
        Self { connections: Some(connections), ..self }
    }

    /// Returns the content type of the page.
    #[must_use]
    pub fn content_type(&self) -> &'static str {
        if self.is_open_metrics { OPEN_METRICS } else { PROMETHEUS }
    }

    /// Pins the cut that is written. `cancel` ends the scrape.
    #[must_use]
    pub fn pin(&self, store: &Store, cancel: &CancelHandle) -> Pin<Cut> {
        // [`Self::new`] checked the cluster; it may have been removed since.
        let none = |_| store.pins().pin(Cut::empty(store), cancel);
        store.pin_cut(&self.cluster, false, cancel).unwrap_or_else(none)
    }

    /// Writes the metrics of a cut in chunks of about 64 KiB. `send` takes a chunk, and returns whether the client
    /// still reads.
    pub fn write(&self, store: &Store, cut: &Cut, send: &mut dyn FnMut(String) -> bool) {
        let mut page = Page::new(send, self.is_open_metrics);
        if self.dialect.has_server_metrics {
            server::write(&mut page, store);
            process::write(&mut page);
            self.connections.iter().for_each(|connections| connections.write(&mut page));
        }
        for family in self.dialect.families {
            family.write(&mut page, cut, &self.filter);
        }
        page.finish();
    }
}

/// Compiles the regular expression of a parameter.
fn regex(parameter: &str, text: Option<String>) -> Result<Option<Regex>, Error> {
    let compiled = text.map(|text| RegexBuilder::new(&text).size_limit(REGEX_BYTES).build()).transpose();
    compiled.map_err(|error| Error::Invalid(format!("{parameter}: {error}")))
}

#[cfg(test)]
mod tests;
