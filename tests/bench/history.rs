//! Samples over time: the cost of taking and keeping them, and of reading a week of one group from the history store.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use offsetd::clock::Clock;
use offsetd::config;
use offsetd::history::downsample::SampleSums;
use offsetd::history::joined::{Ages, JoinedReader, SampleQuery};
use offsetd::history::parquet_store::{ParquetStore, SampleWriter};
use offsetd::history::{Sampler, Settings};
use offsetd::store::{Store, pin};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::runtime::Builder;

use crate::measure::{Goal, Report, median};
use crate::synthetic::{self, Committed};

const START: i64 = 1_767_225_600_000;
const STEP: i64 = 10_000;
/// Number of partitions per group.
const PARTITIONS: usize = 100;
const HOUR: usize = 360;
const WEEK_GROUPS: usize = 50;

struct Lab {
    clock: Clock,
    store: Arc<Store>,
    sampler: Sampler,
    groups: usize,
    offsets: Vec<i64>,
    random: u64,
}

impl Lab {
    fn new(groups: usize, memory: Duration) -> Self {
        let clock = Clock::manual(START);
        let store = synthetic::store(&["bench"], 50, clock.clone());
        let cluster = Arc::clone(&store.clusters()[0]);
        synthetic::ends(&cluster, &[("events".to_owned(), PARTITIONS)], |_, _| 1 << 40, &clock);
        let config = synthetic::config();
        let settings = Settings {
            max_bytes: usize::MAX,
            memory_for: offsetd::clock::ticks(memory),
            ..Settings::new(&config.history, &config.lag)
        };
        let sampler = Sampler::new(Arc::clone(&store), (Arc::clone(&cluster), Arc::clone(&cluster.own)), settings);
        Self { clock, store, sampler, groups, offsets: vec![1_000_000; groups * PARTITIONS], random: 7 }
    }

    /// Advances every `nth` key by 1,000 records, plus or minus `spread`.
    fn commit(&mut self, nth: usize, spread: u64) {
        for group in 0..self.groups {
            let mut commits = vec![];
            for number in (0..PARTITIONS).step_by(nth) {
                // xorshift64
                self.random ^= self.random << 13;
                self.random ^= self.random >> 7;
                self.random ^= self.random << 17;
                let by = 1000 + i64::try_from(self.random % (2 * spread + 1)).unwrap();
                let offset = &mut self.offsets[group * PARTITIONS + number];
                *offset += by;
                commits.push(Committed {
                    group: format!("service-{group}-consumer"),
                    topic: "events".to_owned(),
                    partition: i32::try_from(number).unwrap(),
                    offset: *offset,
                    at: self.clock.now(),
                    metadata: "",
                });
            }
            synthetic::commit(&self.store, &self.store.clusters()[0], &commits, true);
        }
    }

    fn sample(&mut self) -> Duration {
        self.clock.advance(STEP);
        let start = Instant::now();
        self.sampler.sample();
        start.elapsed()
    }

    #[expect(clippy::cast_precision_loss, reason = "a figure to show")]
    fn bytes_per_key(&self) -> f64 {
        self.store.clusters()[0].own.samples.current().bytes as f64 / self.offsets.len() as f64
    }
}

pub(crate) fn sample(report: &mut Report) {
    let what = "a sample of 1,000,000 keys that all move, in cores";
    if report.wants(what) {
        let mut lab = Lab::new(10_000, Duration::from_secs(3600));
        let mut times = vec![];
        for round in 0..6 {
            lab.commit(1, 16);
            let time = lab.sample();
            if round > 1 {
                times.push(time);
            }
        }
        report.limit(what, "", median(&mut times).as_secs_f64() / 10.0, Goal::AtMost(0.05));
    }
}

/// Sums samples as GetHistory does.
pub(crate) fn sum(report: &mut Report) {
    let what = "12 samples of 1,000,000 keys as one series";
    if report.wants(what) {
        let mut lab = Lab::new(10_000, Duration::from_secs(3600));
        for _ in 0..12 {
            lab.commit(1, 16);
            lab.sample();
        }
        report.each(what, lab.offsets.len(), || {
            let cut = pin(&lab.store.clusters()[0], &lab.store.clusters()[0].own);
            let mut joined = JoinedReader::new(
                &cut,
                SampleQuery { ages: true, ..SampleQuery::all(0..=i64::MAX) },
                |_| true,
                |sample_refs| sample_refs,
            )
            .unwrap();
            let sample_refs = std::mem::take(&mut joined.sample_refs);
            let mut sums = SampleSums::new(sample_refs.iter().map(|sample_ref| (sample_ref.at(), 10.0)));
            let mut keys = 0;
            while let Some((_, key)) = joined.next_key(|_, _| true).unwrap() {
                let mut ages = Ages::default();
                sums.add(|at| {
                    let sample_ref = *sample_refs.get(at)?;
                    key.at(sample_ref).map(|point| (point, ages.at(&key, sample_ref, point)))
                });
                keys += 1;
            }
            assert_eq!((keys, sums.finish().len()), (1_000_000, 12));
        });
    }
}

pub(crate) fn memory(report: &mut Report) {
    for (what, nth, spread, goal) in [
        ("bytes of a key-hour, of keys of which one in 100 moves", 100, 2, Goal::AtMost(16.0)),
        ("bytes of an active key-hour, 1,000 records a step +- 2", 1, 2, Goal::AtMost(720.0)),
        ("bytes of an active key-hour, +- 16", 1, 16, Goal::AtMost(720.0)),
        ("bytes of an active key-hour, +- 200", 1, 200, Goal::None),
    ] {
        if report.wants(what) {
            let mut lab = Lab::new(100, Duration::from_secs(3600));
            for _ in 0..HOUR + 100 {
                lab.commit(nth, spread);
                lab.sample();
            }
            report.limit(what, "B", lab.bytes_per_key(), goal);
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// A week of 5,000 keys with a sample per minute.
pub(crate) fn week(report: &mut Report) {
    let what = "a week of one group of 50 vs reading all files";
    if !report.wants(what) {
        return;
    }
    let dir = tempfile::TempDir::new().unwrap();
    let settings = config::History {
        store: dir.path().display().to_string(),
        keep_for: Duration::from_secs(30 * 86_400),
        ..synthetic::config().history
    };
    let history_store = ParquetStore::new(settings).unwrap().unwrap();
    let mut lab = Lab::new(WEEK_GROUPS, Duration::from_secs(120));
    let cluster = Arc::clone(&lab.store.clusters()[0]);
    cluster.set_history_store(Box::new(Arc::clone(&history_store)));
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut writer = SampleWriter::new(history_store, Arc::clone(&lab.store));
    // All keys have a commit; then one in ten moves.
    lab.commit(1, 16);
    for _ in 0..7 * 1440 {
        lab.commit(10, 16);
        lab.clock.advance(50_000);
        lab.sample();
        runtime.block_on(writer.run_due());
    }
    let read = || {
        let cut = pin(&cluster, &cluster.own);
        let groups = Some(vec!["service-7-consumer".to_owned()]);
        let wanted = SampleQuery { groups, ..SampleQuery::all(0..=i64::MAX) };
        let mut joined =
            JoinedReader::new(&cut, wanted, |id| id == "service-7-consumer", |sample_refs| sample_refs).unwrap();
        let sample_refs = std::mem::take(&mut joined.sample_refs);
        let keys: Vec<_> = std::iter::from_fn(|| joined.next_key(|_, _| true).unwrap()).map(|(_, key)| key).collect();
        assert_eq!(keys.len(), PARTITIONS);
        assert!(sample_refs.len() > 10_000);
        let known = keys.iter().flat_map(|key| sample_refs.iter().filter_map(|sample_ref| key.at(*sample_ref))).count();
        assert!(known > PARTITIONS * 9000, "{known}");
    };
    let raw = || {
        let rows: usize = files(dir.path())
            .into_iter()
            .map(|path| {
                let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
                builder.build().unwrap().map(|batch| batch.unwrap().num_rows()).sum::<usize>()
            })
            .sum();
        assert!(rows > 1_000_000);
    };
    report.compare(what, Goal::AtMost(1.0), read, raw);
}
