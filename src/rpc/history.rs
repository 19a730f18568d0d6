//! The GetHistory call: samples of committed offsets and log ends over time.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use prost_types::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Scan, Shared, entry, enum_value,
    filter::{Filter, NameFilter},
    paging::{self, PageSize, Tokens},
    proto::{self, HistoryBy},
};
use crate::{
    error::Error,
    history::{
        downsample::{Sample, SampleSums, last_per_step},
        joined::{Ages, JoinedReader, SampleQuery, SampleRef},
    },
    model::{Millis, Name, SourceId},
    store::{
        Store,
        cut::{Cut, SourceCut},
        history_store::{Bounds, FixedBudget, ReadError},
        source::Source,
    },
    work::{CancelHandle, WorkKind},
};

/// Memory limit of the samples that a call reads from one source (bytes).
const MAX_READ_BYTES: usize = 256 << 20;
const DEFAULT_SERIES: i32 = 100;
const MAX_SERIES: i32 = 1000;
/// Default time from `from` to `to`.
const DEFAULT_SPAN: Millis = 3_600_000;
/// Maximum number of samples per series with the default step: an hour of samples at the default interval, both ends
/// included.
const DEFAULT_SAMPLES: u64 = 361;
/// Maximum number of samples per series with any step.
const MAX_SAMPLES: Millis = 10_000;

/// Time range and step, the same for all pages of a listing.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct TimeSpan {
    from: Millis,
    to: Millis,
    step: Millis,
}

impl TimeSpan {
    /// Returns the span of a request. `oldest` is the time of the oldest sample, if known.
    fn new(
        request: &proto::GetHistoryRequest,
        now: Millis,
        history_step: Duration,
        oldest: Option<Millis>,
    ) -> Result<Self, Error> {
        let invalid = |what: &str| Error::Invalid(what.to_owned());
        let time = |time: Option<Timestamp>, name: &str| match time.map(millis) {
            Some(None) => Err(Error::Invalid(format!("{name}: invalid time"))),
            Some(Some(at)) => Ok(Some(at)),
            None => Ok(None),
        };
        let to = time(request.to, "to")?.unwrap_or(now);
        let from = time(request.from, "from")?.unwrap_or(to.saturating_sub(DEFAULT_SPAN));
        if from > to {
            return Err(invalid("from is after to"));
        }
        let span = to.saturating_sub(from);
        let step = match request.step {
            Some(step) => Duration::try_from(step).ok().and_then(|step| Millis::try_from(step.as_millis()).ok()),
            None => {
                let kept = u64::try_from(history_step.as_millis()).unwrap_or(u64::MAX).max(1);
                // Do not downsample for a time range before the oldest sample.
                let shown = to.saturating_sub(oldest.map_or(from, |oldest| from.max(oldest))).max(0);
                let least = shown.unsigned_abs().div_ceil(DEFAULT_SAMPLES);
                Millis::try_from(least.div_ceil(kept).max(1).saturating_mul(kept)).ok()
            }
        };
        let step = step.filter(|step| *step > 0).ok_or_else(|| invalid("step must be at least 1 ms"))?;
        // The default step fits the retained samples, however long the time range is.
        if request.step.is_some() && span / step > MAX_SAMPLES {
            let text = format!("a step of {step} ms gives more than {MAX_SAMPLES} samples; use a longer step");
            return Err(Error::Invalid(text));
        }
        Ok(Self { from, to, step })
    }

    fn includes(&self) -> RangeInclusive<Millis> {
        self.from..=self.to
    }
}

/// Returns the time of the oldest sample in memory; `None` if a history store has older ones.
fn oldest_sample(store: &Store) -> Option<Millis> {
    let first = |source: Arc<Source>| Some(source.samples.current().times().next()?.1.at);
    let stored = store.clusters().iter().any(|cluster| cluster.history_store().is_some());
    if stored { None } else { store.clusters().iter().flat_map(|cluster| cluster.sources()).filter_map(first).min() }
}

fn millis(time: Timestamp) -> Option<Millis> {
    time.seconds.checked_mul(1000)?.checked_add(Millis::from(time.nanos) / 1_000_000)
}

/// The key of the first series of the next page: cluster, source, group, topic and partition. Parts that the series are
/// summed over are empty.
type SeriesKey = (String, String, String, String, i32);

#[derive(Serialize, Deserialize)]
struct PageStart {
    span: TimeSpan,
    first: SeriesKey,
}

pub(super) async fn get_history(
    shared: &Arc<Shared>,
    request: proto::GetHistoryRequest,
    deadline: Option<Duration>,
) -> Result<proto::GetHistoryResponse, Error> {
    let filter = Filter::new(request.filter.clone())?;
    let cluster = filter.named_cluster().to_owned();
    let from = (&*cluster, request.allow_partial);
    shared.scan((WorkKind::History, "GetHistory"), deadline, from, move |scan| page(scan, request, filter)).await
}

fn page(scan: &Scan, request: proto::GetHistoryRequest, filter: Filter) -> Result<proto::GetHistoryResponse, Error> {
    let (store, history_step) = (scan.shared.store(), scan.shared.history_step);
    let size = paging::size_within(request.page_size, DEFAULT_SERIES, MAX_SERIES)?;
    let tokens = Tokens::new(&proto::GetHistoryRequest { page_size: 0, page_token: String::new(), ..request.clone() });
    let next: Option<PageStart> = tokens.read(&request.page_token)?;
    let span = TimeSpan::new(&request, store.clock.now(), history_step, oldest_sample(store))?;
    let (span, first) = next.map_or((span, None), |next| (next.span, Some(next.first)));
    let by = enum_value("by", request.by)?;
    if filter.with_lag_only {
        return Err(Error::Invalid("filter.with_lag_only: the lag changes within a series; unset it".to_owned()));
    }
    let cancel = scan.cancel().clone();
    let room = PageSize::new(size);
    let mut page = HistoryPage { filter, span, by, first, cancel, room, series: vec![], next: None };
    page.fill(scan)?;
    let token = page.next.map(|first| tokens.write(PageStart { span, first }));
    let snapshot = scan.snapshot();
    Ok(proto::GetHistoryResponse {
        series: page.series,
        next_page_token: token.unwrap_or_default(),
        step: Duration::from_millis(span.step.unsigned_abs()).try_into().ok(),
        incomplete_clusters: entry::incomplete(&snapshot),
        snapshot: Some(entry::snapshot(&snapshot)),
    })
}

struct HistoryPage {
    filter: Filter,
    span: TimeSpan,
    by: HistoryBy,
    first: Option<SeriesKey>,
    cancel: CancelHandle,
    room: PageSize,
    series: Vec<proto::HistorySeries>,
    next: Option<SeriesKey>,
}

impl HistoryPage {
    fn fill(&mut self, cut: &Cut) -> Result<(), Error> {
        let accepts = |cut: &&SourceCut| {
            self.filter.cluster.accepts(&cut.cluster.name) && self.filter.accepts_source(&cut.source.id.name)
        };
        let mut sources: Vec<&SourceCut> = cut.sources.iter().filter(accepts).collect();
        sources.sort_by(|left, right| left.source.id.cmp(&right.source.id));
        for source in sources {
            let SourceId { cluster, name } = &source.source.id;
            let is_due = |first: &SeriesKey| (&**cluster, &**name) >= (&*first.0, &*first.1);
            if self.next.is_none() && self.first.as_ref().is_none_or(is_due) {
                self.source(source)?;
            }
        }
        Ok(())
    }

    fn source(&mut self, cluster: &SourceCut) -> Result<(), Error> {
        let id = &cluster.source.id;
        let is_here = |first: &&SeriesKey| *first.0 == *id.cluster && *first.1 == *id.name;
        let first = self.first.as_ref().filter(is_here).map(|first| first.2.clone());
        let bounds = Bounds { cancel: self.cancel.clone(), budget: Some(Arc::new(FixedBudget::new(MAX_READ_BYTES))) };
        let first = first.unwrap_or_default();
        let query = SampleQuery { first, ages: true, bounds, ..SampleQuery::all(self.span.includes()) };
        let query = match &self.filter.group {
            NameFilter::Exact(group) => SampleQuery { groups: Some(vec![group.clone()]), ..query },
            NameFilter::Prefix(prefix) => SampleQuery { prefix: prefix.clone(), ..query },
            NameFilter::Any | NameFilter::Regex(_) => query,
        };
        let (step, group) = (self.span.step, self.filter.group.clone());
        let downsample = |sample_refs: Vec<SampleRef>| {
            last_per_step(sample_refs.into_iter().map(|sample_ref| (sample_ref, sample_ref.at())), step)
        };
        let mut joined =
            JoinedReader::new(cluster, query, move |id| group.accepts(id), downsample).map_err(read_error)?;
        let sample_refs = std::mem::take(&mut joined.sample_refs);
        // The series that is being summed.
        let mut series: Option<(SeriesKey, SampleSums)> = None;
        loop {
            let next = joined.next_key(|topic, partition| self.filter.accepts_key(topic, partition));
            let Some((group, key)) = next.map_err(read_error)? else { break };
            let series_key = self.series_key(id, &group, &key.topic, key.partition);
            if series.as_ref().is_some_and(|(building, _)| *building != series_key) {
                series.take().into_iter().for_each(|(series_key, sums)| self.push(series_key, sums.finish()));
                if self.next.is_some() {
                    return Ok(());
                }
            }
            if self.is_due(&series_key) {
                let (_, sums) = series.get_or_insert_with(|| (series_key, sums(&sample_refs)));
                let mut ages = Ages::default();
                sums.add(|at| {
                    let sample_ref = *sample_refs.get(at)?;
                    key.at(sample_ref).map(|point| (point, ages.at(&key, sample_ref, point)))
                });
            }
        }
        series.into_iter().for_each(|(series_key, sums)| self.push(series_key, sums.finish()));
        Ok(())
    }

    /// Returns the key of the series to which a key belongs.
    fn series_key(&self, source: &SourceId, group: &Name, topic: &Name, partition: i32) -> SeriesKey {
        let (cluster, name) = (source.cluster.to_string(), source.name.to_string());
        let (group, topic) = (|| group.to_string(), || topic.to_string());
        match self.by {
            HistoryBy::Cluster => (cluster, name, String::new(), String::new(), 0),
            HistoryBy::Group => (cluster, name, group(), String::new(), 0),
            HistoryBy::Topic => (cluster, name, group(), topic(), 0),
            HistoryBy::Unspecified | HistoryBy::Partition => (cluster, name, group(), topic(), partition),
        }
    }

    fn is_due(&self, series_key: &SeriesKey) -> bool {
        self.next.is_none() && self.first.as_ref().is_none_or(|first| series_key >= first)
    }

    fn push(&mut self, series_key: SeriesKey, samples: Vec<Sample>) {
        if samples.is_empty() || !self.is_due(&series_key) {
            return;
        }
        if self.room.is_full() {
            self.next = Some(series_key);
            return;
        }
        let is_partition = matches!(self.by, HistoryBy::Unspecified | HistoryBy::Partition);
        let (cluster, source, group_id, topic, partition) = series_key;
        let series = proto::HistorySeries {
            cluster,
            source,
            group_id,
            topic,
            partition: is_partition.then_some(partition),
            samples: samples.iter().map(sample).collect(),
        };
        self.room.add(&series);
        self.series.push(series);
    }
}

fn read_error(error: ReadError) -> Error {
    match error {
        ReadError::Stopped => {
            Error::Deadline("reading the history exceeded the deadline; narrow the filter or the time range".to_owned())
        }
        ReadError::OverBudget => Error::Exhausted(format!(
            "reading the history needs more than {} MiB; narrow the filter or the time range",
            MAX_READ_BYTES >> 20
        )),
    }
}

fn sample(sample: &Sample) -> proto::HistorySample {
    proto::HistorySample {
        sampled_at: entry::timestamp(sample.at),
        committed_offset: sample.committed_offset,
        log_end_offset: sample.log_end_offset,
        lag: sample.lag,
        max_lag_seconds: sample.max_lag_seconds,
        consume_rate: sample.consume_rate,
        produce_rate: sample.produce_rate,
    }
}

fn sums(sample_refs: &[SampleRef]) -> SampleSums {
    let mut before: Option<&SampleRef> = None;
    SampleSums::new(sample_refs.iter().map(|sample_ref| {
        let gap = before.map_or(0.0, |before| sample_ref.since(before));
        before = Some(sample_ref);
        (sample_ref.at(), gap)
    }))
}

#[cfg(test)]
mod tests;
