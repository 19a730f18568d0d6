use std::sync::mpsc;

use super::*;
use crate::{clock::Clock, config};

/// A fake client that reports the requested partitions to the test and returns the ends that the test provides.
#[derive(Debug)]
struct Fake {
    asked: Mutex<mpsc::Sender<Vec<i32>>>,
    answers: Mutex<mpsc::Receiver<i64>>,
}

impl LiveSource for Fake {
    fn log_ends(&self, log_partitions: &[i32], _: Duration) -> Result<PartitionEnds, RequestError> {
        self.asked.lock().send(log_partitions.to_vec()).unwrap();
        let end = self.answers.lock().recv().unwrap();
        Ok(log_partitions.iter().map(|number| (*number, Ok(end))).collect())
    }
}

fn config() -> config::Cluster {
    let flags = config::Flags { bootstrap_servers: Some("h:1".to_owned()), ..config::Flags::default() };
    let layers = config::Layers { flags: &flags, env: &BTreeMap::new(), check_property: None };
    config::Config::load(layers).unwrap().config.clusters.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_arrive_during_a_request_share_the_next_one() {
    let (asked, questions) = mpsc::channel();
    let (answers, answered) = mpsc::channel();
    let (cluster, log) = Log::open(config(), &Clock::manual(0));
    log.set_live(Arc::new(Fake { asked: Mutex::new(asked), answers: Mutex::new(answered) }));
    macro_rules! waiting {
        ($numbers:expr) => {{
            let (cluster, log) = (Arc::clone(&cluster), Arc::clone(&log));
            let mut waiting = Box::pin(async move { log.current_ends(&cluster, $numbers).await });
            assert!(futures::poll!(&mut waiting).is_pending(), "it joined a round and waits");
            waiting
        }};
    }
    let first = waiting!(vec![1]);
    assert_eq!(questions.recv().unwrap(), [1]);
    let second = waiting!(vec![2, 1]);
    let third = waiting!(vec![3]);
    answers.send(10).unwrap();
    assert_eq!(first.await.unwrap(), [(1, 10)].into());
    assert_eq!(questions.recv().unwrap(), [1, 2, 3], "both share one request");
    answers.send(20).unwrap();
    assert_eq!(second.await.unwrap(), [(1, 20), (2, 20)].into());
    assert_eq!(third.await.unwrap(), [(3, 20)].into());
}
