//! The log ends of a hundred thousand partitions of the mock cluster, polled every second: the cost, and the effect of
//! a dead broker on the partitions of the others.

use std::thread::sleep;
use std::time::{Duration, Instant};

use offsetd::rpc::proto::sql_response::Message;
use offsetd::rpc::proto::{SqlFormat, SqlRequest};
use serde_json::Value;

use super::calls::Clients;
use super::served::Served;
use crate::measure::{Goal, Report};
use crate::mock::MockKafka;

const BROKERS: i32 = 3;
const TOPICS: usize = 100;
const PARTITIONS: i32 = 1000;
const FOR: Duration = Duration::from_secs(15);
const LIMIT: Duration = Duration::from_secs(120);
/// Turns off the requests that the mock cannot answer.
const SETTINGS: [(&str, &str); 3] = [
    ("OFFSETD_LAG_POLL_INTERVAL", "1s"),
    ("OFFSETD_AUDIT_ENABLED", "false"),
    ("OFFSETD_TRANSACTIONS_ENABLED", "false"),
];

pub(crate) fn run(report: &mut Report) {
    let kafka = MockKafka::start(BROKERS).unwrap();
    kafka.create_offsets_topic(1).unwrap();
    for number in 0..TOPICS {
        kafka.create_topic(&format!("topic-{number}"), PARTITIONS).unwrap();
    }
    let mut served = Served::start(kafka.bootstrap_servers(), &SETTINGS);
    let clients = Clients::new(&served.address);
    let known = "SELECT count(*) AS n FROM partitions WHERE log_end_offset IS NOT NULL AND topic LIKE 'topic-%'";
    let end = Instant::now() + LIMIT;
    while number(&clients, known) < f64::from(PARTITIONS) * TOPICS as f64 {
        assert!(Instant::now() < end, "log ends are not known");
        sleep(Duration::from_millis(100));
    }
    let before = served.used().cpu_s;
    sleep(FOR);
    let cores = (served.used().cpu_s - before) / FOR.as_secs_f64();
    report.limit("100,000 partitions: ends every second, in cores", "", cores, Goal::AtMost(0.3));
    let alone = oldest(&clients);
    kafka.mock().unwrap().broker_down(BROKERS).unwrap();
    sleep(Duration::from_secs(3));
    let reference = oldest(&clients);
    let late = (reference - alone) * 1e3;
    report.limit("100,000 partitions: added delay with a dead broker", "ms", late, Goal::AtMost(100.0));
    served.stop();
}

/// Returns the maximum age in seconds of a log end of the live brokers, over many queries.
fn oldest(clients: &Clients) -> f64 {
    let age = "SELECT date_part('epoch', now() - min(observed_at)) AS n FROM partitions WHERE leader < 3 AND topic LIKE 'topic-%'";
    let until = Instant::now() + FOR;
    let mut oldest: f64 = 0.0;
    while Instant::now() < until {
        oldest = oldest.max(number(clients, age));
        sleep(Duration::from_millis(20));
    }
    oldest
}

/// Returns the only number of a statement.
pub(super) fn number(clients: &Clients, statement: &str) -> f64 {
    clients.runtime.block_on(async {
        let request =
            SqlRequest { statement: statement.to_owned(), format: SqlFormat::Json.into(), ..SqlRequest::default() };
        let mut answer = clients.stub().sql(request).await.unwrap().into_inner();
        let mut found = f64::NAN;
        while let Some(message) = answer.message().await.unwrap() {
            if let Some(Message::Batch(batch)) = message.message {
                let rows = batch.json_rows.iter().map(|row| serde_json::from_str::<Value>(row).unwrap());
                found = rows.fold(found, |_, row| row["n"].as_f64().unwrap());
            }
        }
        found
    })
}
