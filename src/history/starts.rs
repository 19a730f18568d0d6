//! How fast log starts advance: what retention deletes.

use std::collections::BTreeMap;

use crate::store::{cut::ClusterCut, ends::to_f64};

/// Rates of the log starts of one topic, over the samples in memory.
#[derive(Debug)]
pub struct StartRates {
    /// Of partitions whose log start moved.
    moved: BTreeMap<i32, f64>,
    /// There are samples far enough apart to say that the others did not.
    known: bool,
}

impl StartRates {
    /// The rates of a topic.
    #[must_use]
    pub fn new(cluster: &ClusterCut, topic: &str) -> Self {
        let samples = &cluster.samples;
        let (first, newest) = (samples.moments().next().map(|(_, moment)| moment), samples.newest());
        let known = samples.moments().len() > 1;
        let mut moved = BTreeMap::new();
        let tracks = samples.starts.get(topic).into_iter().flat_map(|series| series.read(samples.first()));
        for track in tracks.filter(|track| track.line.is_open()) {
            let since = samples.moment(track.line.since).or(first);
            let seconds = newest.zip(since).map(|(newest, since)| newest.ticks.saturating_sub(since.ticks));
            let seconds = f64::from(seconds.unwrap_or(0)) / 10.0;
            if let Some((_, start)) = track.values.first().filter(|_| seconds > 0.0) {
                moved.insert(track.line.partition, to_f64(track.line.last.saturating_sub(*start)) / seconds);
            }
        }
        Self { moved, known }
    }

    /// Records per second, if that is known.
    #[must_use]
    pub fn of(&self, partition: i32) -> Option<f64> {
        self.moved.get(&partition).copied().or(self.known.then_some(0.0))
    }
}
