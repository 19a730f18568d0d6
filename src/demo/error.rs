//! The error of the demo.

use std::io;

use rdkafka::error::KafkaError;

use crate::{decode::Fault, model::OFFSETS_TOPIC};

/// A failure of the embedded Kafka or its workload.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// librdkafka refuses, or a record was not delivered.
    #[error("the embedded Kafka cannot {action}")]
    Kafka {
        /// The action that failed.
        action: &'static str,
        /// The cause.
        #[source]
        source: KafkaError,
    },
    /// Written before [`create_offsets_topic`](super::cluster::MockKafka::create_offsets_topic).
    #[error("the embedded Kafka has no topic {OFFSETS_TOPIC} yet")]
    NoOffsetsTopic,
    /// A value version that does not exist.
    #[error("no such record layout")]
    Layout(#[from] Fault),
    /// The workload's thread or runtime cannot be started.
    #[error("cannot start the demo's workload")]
    Start(#[source] io::Error),
    /// The workload's thread panicked.
    #[error("the demo's workload panicked")]
    Panicked,
}

impl DemoError {
    pub(super) fn kafka(action: &'static str) -> impl FnOnce(KafkaError) -> Self {
        move |source| Self::Kafka { action, source }
    }
}
