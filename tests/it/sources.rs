//! A second source of offsets beside Kafka's own: the same id there is another group, everywhere.

use std::sync::Arc;
use std::time::Duration;

use offsetd::clock::Clock;
use offsetd::source::polled::{Listed, Listing, Polled, Rejected, Round};
use offsetd::source::{Source as _, add_table};
use offsetd::sql::{Engine, Statement};
use offsetd::store::Store;
use offsetd::store::latest::SourceError;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::made::{self, Committed};
use crate::pushdown::lines;
use crate::support::until;

const NOW: i64 = 1_767_225_600_000;

/// Holds the same group as Kafka, one of its own, and a key that nobody understands.
#[derive(Debug)]
struct Held;

impl Listing for Held {
    fn list(&mut self, round: &mut Round<'_>) -> Result<bool, SourceError> {
        for (group, partition, committed_offset) in [("both", 0, 40), ("both", 1, 41), ("elsewhere", 0, 42)] {
            let topic = "orders";
            round.found(&Listed { group, topic, partition, committed_offset, committed_at: None, metadata: "m" });
        }
        round.reject(Rejected::Malformed, "offset:orders:broken");
        Ok(true)
    }
}

struct Lab {
    runtime: Runtime,
    engine: Engine,
    stop: CancellationToken,
    reading: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.cancel();
        let ended = self.reading.take().map(std::thread::JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_none_or(|ended| ended.is_ok()));
    }
}

impl Lab {
    fn new() -> Self {
        let clock = Clock::manual(NOW);
        let store: Arc<Store> = made::store(&["east"], 4, clock.clone());
        let cluster = &store.clusters()[0];
        made::ends(cluster, &[("orders".to_owned(), 2)], |_, _| 100, &clock);
        let of_kafka = |group: &str, partition, offset| Committed {
            group: group.to_owned(),
            topic: "orders".to_owned(),
            partition,
            offset,
            at: NOW,
            metadata: "",
        };
        made::commit(&store, cluster, &[of_kafka("both", 0, 90), of_kafka("both", 1, 91), of_kafka("g", 0, 92)], true);
        let polled = Polled::new(Held, Duration::from_secs(10));
        let writer = add_table((&store, cluster), ("redis", "redis"), &polled, &clock);
        let source = Arc::clone(writer.source());
        let stop = CancellationToken::new();
        let token = stop.clone();
        let reading = std::thread::spawn(move || Box::new(polled).run(writer, &token).unwrap());
        until("the store to be read", || source.health().ready);
        let engine = Engine::new(Arc::clone(&store), made::config().sql).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, engine, stop, reading: Some(reading) }
    }

    /// The rows, in the order in which they came.
    fn rows(&self, sql: &str) -> Vec<String> {
        self.runtime.block_on(async {
            let statement = Statement { sql: sql.to_owned(), ..Statement::default() };
            let mut answer = self.engine.run(statement).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
            let mut batches = vec![];
            while let Some(batch) = answer.next().await {
                batches.push(batch.unwrap_or_else(|error| panic!("{sql}: {error}")));
            }
            if batches.is_empty() { vec![] } else { lines(&batches) }
        })
    }

    fn sorted(&self, sql: &str) -> Vec<String> {
        let mut rows = self.rows(sql);
        rows.sort();
        rows
    }
}

#[test]
fn a_group_of_two_sources_is_two_groups_in_every_table() {
    let lab = Lab::new();
    let groups = "SELECT source, group_id, partitions, lag FROM groups";
    assert_eq!(
        lab.sorted(groups),
        ["|kafka|both|2|19|", "|kafka|g|1|8|", "|redis|both|2|119|", "|redis|elsewhere|1|58|"]
    );
    assert_eq!(lab.sorted("SELECT source, lag FROM consumers WHERE group_id = 'both'"), ["|kafka|19|", "|redis|119|"]);
    assert_eq!(lab.rows("SELECT count(*) FROM offsets"), ["|6|"]);
    assert_eq!(lab.sorted("SELECT cluster FROM clusters"), ["|east|"]);
    assert_eq!(lab.sorted("SELECT count(*) FROM partitions"), ["|2|"]);
    assert_eq!(lab.rows("SELECT groups FROM topics"), ["|4|"], "topics count the groups of all sources");
}

#[test]
fn rows_of_two_sources_come_in_the_order_that_is_asked_for() {
    let lab = Lab::new();
    let sql = "SELECT partition, source, committed_offset FROM offsets WHERE group_id = 'both' \
               ORDER BY cluster, group_id, topic, partition, source";
    assert_eq!(lab.rows(sql), ["|0|kafka|90|", "|0|redis|40|", "|1|kafka|91|", "|1|redis|41|"]);
    let sql = "SELECT topic, partition FROM lag WHERE group_id = 'both' ORDER BY topic, partition";
    assert_eq!(lab.rows(sql), ["|orders|0|", "|orders|0|", "|orders|1|", "|orders|1|"]);
}

#[test]
fn where_a_log_alone_knows_a_value_others_have_none() {
    let lab = Lab::new();
    let log = "SELECT DISTINCT source, log_partition IS NULL, log_offset IS NULL, committed_at IS NULL, \
               observed_at IS NULL FROM offsets";
    assert_eq!(lab.sorted(log), ["|kafka|false|false|false|true|", "|redis|true|true|true|false|"]);
    let source = "SELECT kind, mode, log_partition, state, entries, malformed, last_rejected, interval_seconds \
                  FROM sources WHERE source = 'redis'";
    assert_eq!(lab.rows(source), ["|redis|||live|3|1|offset:orders:broken|10.0|"]);
    assert_eq!(lab.rows("SELECT DISTINCT kind, mode, entries FROM sources WHERE source = 'kafka'"), ["|kafka|log||"]);
}
