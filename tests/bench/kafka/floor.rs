//! The floor: librdkafka reads all of `__consumer_offsets`, with the consumers and buffers of the server, and the
//! records are discarded. It runs in a process of its own, like the server.
#![allow(unsafe_code, reason = "librdkafka's batches; rust-rdkafka wraps only one message per call")]

use std::ffi::{CString, OsString};
use std::process::ExitCode;
use std::ptr;
use std::time::Duration;

use clap::Parser;
use offsetd::source::kafka::CLIENT_DEFAULTS;
use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use serde_json::json;

use super::fill::{OFFSETS, client};
use super::used::Used;

const BATCH: usize = 1024;
const LIMIT: Duration = Duration::from_secs(60);

/// Returns the settings of the server's consumers.
pub(super) fn settings() -> impl Iterator<Item = (&'static str, &'static str)> {
    let more = [("auto.offset.reset", "earliest"), ("isolation.level", "read_committed")];
    CLIENT_DEFAULTS.iter().copied().chain(more)
}

#[derive(Debug, Parser)]
struct Args {
    bootstrap_servers: String,
    #[arg(long, default_value_t = 2)]
    consumers: usize,
}

/// Reads up to the log ends at the start, and prints the number of records.
pub(crate) fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args = Args::parse_from(args);
    let settings = client(&args.bootstrap_servers, &settings().collect::<Vec<_>>());
    let probe: BaseConsumer = settings.create().unwrap();
    let metadata = probe.fetch_metadata(Some(OFFSETS), LIMIT).unwrap();
    let partitions = metadata.topics()[0].partitions().iter().map(|partition| partition.id());
    let ends: Vec<(i32, i64)> = partitions
        .map(|partition| (partition, probe.fetch_watermarks(OFFSETS, partition, LIMIT).unwrap().1))
        .filter(|(_, end)| *end > 0)
        .collect();
    drop(probe);
    let records: u64 = std::thread::scope(|scope| {
        let spawn = |first: usize| {
            let (ends, settings, step) = (&ends, &settings, args.consumers);
            scope.spawn(move || {
                let consumer: BaseConsumer = settings.create().unwrap();
                let mine: Vec<(i32, i64)> = ends.iter().skip(first).step_by(step).copied().collect();
                let records = read(&consumer, &mine);
                // Closing the consumer is not measured.
                std::mem::forget(consumer);
                records
            })
        };
        let threads: Vec<_> = (0..args.consumers).map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let used = Used::of(std::process::id());
    println!("{}", json!({"records": records, "cpu_s": used.cpu_s, "peak": used.peak}));
    ExitCode::SUCCESS
}

/// Reads without a group: events of a group, such as a coordinator that moves, have no place in a batch.
fn read(consumer: &BaseConsumer, mine: &[(i32, i64)]) -> u64 {
    let topic = CString::new(OFFSETS).unwrap();
    let mut ends = [i64::MAX; 1000];
    let mut buffer = vec![ptr::null_mut(); BATCH];
    let (mut left, mut records) = (mine.len(), 0);
    // SAFETY: the consumer is live; each message is destroyed once; topic and queue end with the process.
    unsafe {
        let handle = consumer.client().native_ptr();
        let topic = sys::rd_kafka_topic_new(handle, topic.as_ptr(), ptr::null_mut());
        let queue = sys::rd_kafka_queue_new(handle);
        for (partition, end) in mine {
            ends[usize::try_from(*partition).unwrap()] = *end;
            let from = i64::from(sys::RD_KAFKA_OFFSET_BEGINNING);
            assert_eq!(sys::rd_kafka_consume_start_queue(topic, *partition, from, queue), 0);
        }
        while left > 0 {
            let count = sys::rd_kafka_consume_batch_queue(queue, 10, buffer.as_mut_ptr(), buffer.len());
            for &message in &buffer[..usize::try_from(count).unwrap()] {
                let (partition, offset) = ((*message).partition, (*message).offset);
                assert_eq!((*message).err, sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
                records += 1;
                let end = &mut ends[usize::try_from(partition).unwrap()];
                if offset + 1 >= *end {
                    *end = i64::MAX;
                    left -= 1;
                }
                sys::rd_kafka_message_destroy(message);
            }
        }
    }
    records
}
