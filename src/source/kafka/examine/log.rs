//! Checks of `__consumer_offsets`: its existence, the right to read it, and the clocks of the brokers that write it.

use std::{collections::BTreeSet, time::Duration};

use rdkafka::{error::RDKafkaErrorCode, metadata::Metadata, types::RDKafkaRespErr};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        client::Client,
        ffi::{Content, Fetcher, describe},
        now, oauth,
        rights::{cannot_describe, grant},
    },
    TIMEOUT,
    report::{Check, Report},
    rights,
};
use crate::{
    config,
    model::{Millis, OFFSETS_TOPIC},
    source::kafka::RequestError,
};

/// librdkafka's logical offset of the last record before the end (OFFSET_TAIL of 1).
const LAST_RECORD: i64 = -2001;
const BATCH: usize = 100;
const WAIT: Duration = Duration::from_millis(100);
/// Difference of clocks, in milliseconds, from which commit times are visibly wrong.
const SKEW: Millis = 5_000;

/// What reading the last records of the log showed.
#[derive(Default)]
struct LogSample {
    newest: Option<Millis>,
    refusal: Option<RDKafkaRespErr>,
    unanswered: usize,
}

/// Checks the log, and the groups if the log exists. Returns whether the log can be read, or does not exist yet.
pub(super) fn examine(
    report: &mut Report,
    cluster: &config::Cluster,
    client: &Client,
    at: Millis,
    group: Option<String>,
) -> bool {
    let partitions = match client.metadata(Some(OFFSETS_TOPIC), TIMEOUT).map(|metadata| partitions(&metadata)) {
        Ok(Ok(partitions)) => partitions,
        Ok(Err(error)) => return report_invisible(report, cluster, error, group.is_some()),
        Err(error) => {
            report.add(Check::fails("log", OFFSETS_TOPIC, error.to_string(), ""));
            return false;
        }
    };
    report.add(Check::works("log", OFFSETS_TOPIC, format!("{} partitions", partitions.len())));
    let is_usable = match read(client, &partitions) {
        Ok(sample) => report_reading(report, cluster, &sample, at),
        Err(error) => {
            report.add(Check::fails("read_log", OFFSETS_TOPIC, error.to_string(), ""));
            false
        }
    };
    // The log exists here. Otherwise FindCoordinator would make a broker create it.
    match oauth::connector(cluster, CancellationToken::new()).connect_with_group() {
        Ok(with_group) => rights::group(report, cluster, &with_group, group.as_deref().unwrap_or("offsetd")),
        Err(error) => report.add(Check::fails("groups", "", error.to_string(), "")),
    }
    is_usable
}

fn partitions(metadata: &Metadata) -> Result<Vec<i32>, RDKafkaErrorCode> {
    let topic = metadata.topics().iter().find(|topic| topic.name() == OFFSETS_TOPIC);
    let topic = topic.ok_or(RDKafkaErrorCode::UnknownTopicOrPartition)?;
    match topic.error() {
        Some(error) => Err(error.into()),
        None => Ok(topic.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect()),
    }
}

/// Reports why the log is not visible. A log that does not exist because no group has committed is not a failure.
fn report_invisible(report: &mut Report, cluster: &config::Cluster, error: RDKafkaErrorCode, has_groups: bool) -> bool {
    let unknown = error == RDKafkaErrorCode::UnknownTopicOrPartition || error == RDKafkaErrorCode::UnknownTopic;
    let is_usable = unknown && !has_groups;
    if is_usable {
        report.add(Check::works("log", OFFSETS_TOPIC, "the topic does not exist yet, because no group has committed"));
    } else if unknown || error == RDKafkaErrorCode::TopicAuthorizationFailed {
        let command = grant(cluster, &format!("--operation Read --topic {OFFSETS_TOPIC}"));
        let found = cannot_describe(cluster);
        // The remedy holds the command, so that it is cut from the text.
        let found = found.split("; ").next().unwrap_or_default();
        report.add(Check::fails("log", OFFSETS_TOPIC, found, command));
    } else {
        report.add(Check::fails("log", OFFSETS_TOPIC, error.to_string(), ""));
    }
    for name in ["read_log", "groups", "clock"] {
        report.add(Check::skipped(name, "__consumer_offsets does not exist or is not visible"));
    }
    is_usable
}

/// Reads the last record of each partition.
fn read(client: &Client, partitions: &[i32]) -> Result<LogSample, RequestError> {
    let mut fetcher = Fetcher::new(client, OFFSETS_TOPIC, BATCH)?;
    for partition in partitions {
        fetcher.start_at(*partition, LAST_RECORD)?;
    }
    let mut open: BTreeSet<i32> = partitions.iter().copied().collect();
    let mut sample = LogSample::default();
    let until = now() + TIMEOUT;
    while !open.is_empty() && sample.refusal.is_none() && now() < until {
        fetcher.serve();
        for message in fetcher.fetch(WAIT).messages() {
            match message.content() {
                Content::Record { .. } => sample.newest = sample.newest.max(message.timestamp()),
                Content::End | Content::Reset => {
                    open.remove(&message.partition());
                }
                Content::Failure(error) => sample.refusal = Some(error),
            }
        }
    }
    sample.unanswered = open.len();
    Ok(sample)
}

/// Reports the results of reading. Returns whether the log can be read.
fn report_reading(report: &mut Report, cluster: &config::Cluster, sample: &LogSample, at: Millis) -> bool {
    let refused = match sample.refusal {
        Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) => {
            let found = format!("not authorized to read {OFFSETS_TOPIC} (TOPIC_AUTHORIZATION_FAILED)");
            let command = grant(cluster, &format!("--operation Read --topic {OFFSETS_TOPIC}"));
            Some(Check::fails("read_log", OFFSETS_TOPIC, found, command))
        }
        Some(error) => Some(Check::fails("read_log", OFFSETS_TOPIC, describe(error), "")),
        None if sample.unanswered > 0 => {
            let found = format!("{} partitions did not answer within {} s", sample.unanswered, TIMEOUT.as_secs());
            Some(Check::fails("read_log", OFFSETS_TOPIC, found, "check that each partition has a leader"))
        }
        None => None,
    };
    let is_usable = refused.is_none();
    report.add(refused.unwrap_or_else(|| Check::works("read_log", OFFSETS_TOPIC, "every partition is readable")));
    report.add(match sample.newest {
        None => Check::skipped("clock", "no record has a time to compare"),
        Some(newest) if newest - at > SKEW => {
            let found = format!("a broker's clock is {} s ahead of this machine's", (newest - at) / 1000);
            Check::fails(
                "clock",
                "",
                found,
                "synchronize the clocks with NTP; commit times and lag in seconds are wrong until then",
            )
            .into_warning()
        }
        Some(newest) => {
            let age = (at - newest).max(0) / 1000;
            Check::works("clock", "", format!("the newest record is {age} s old; no record is from the future"))
        }
    });
    is_usable
}
