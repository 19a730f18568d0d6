//! The present ends of log partitions, for readers that want the latest.
//!
//! Readers share round trips, one lane a leader: who comes while a question is out joins the next,
//! since the one that is out may have been answered before the reader came.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::future::try_join_all;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::cluster::Cluster;
use crate::model::OFFSETS_TOPIC;

/// How long one question may take: a broker that does not answer within this is as good as away. The same for all, since a
/// question is shared; callers give up earlier if they have to.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// An answer: by log partition, its end or why nobody knows.
pub type Ends = BTreeMap<i32, Result<i64, String>>;

/// Questions that are out, and those that wait, by leader.
#[derive(Debug, Default)]
pub struct Lanes(Mutex<HashMap<Option<i32>, Lane>>);

/// A leader that is being asked, and what it is asked next.
#[derive(Debug, Default)]
struct Lane {
    next: Option<Round>,
}

#[derive(Debug)]
struct Round {
    partitions: BTreeSet<i32>,
    answer: watch::Sender<Option<Arc<Ends>>>,
}

impl Cluster {
    /// Asks for the high watermarks of log partitions, each leader once.
    ///
    /// # Errors
    /// Why a partition's is not known.
    ///
    /// # Cancel safety
    /// Holds nothing; a question that is out is answered for nobody.
    pub async fn present_ends(self: &Arc<Self>, partitions: Vec<i32>) -> Result<BTreeMap<i32, i64>, String> {
        let mut by_leader: BTreeMap<Option<i32>, Vec<i32>> = BTreeMap::new();
        let ends = self.ends.current();
        let topic = ends.topic(OFFSETS_TOPIC);
        for number in partitions {
            let place = usize::try_from(number).ok();
            let known = topic.zip(place).and_then(|(topic, place)| topic.partitions.get(place));
            by_leader.entry(known.and_then(|known| known.leader)).or_default().push(number);
        }
        let answers = by_leader.into_iter().map(|(leader, partitions)| {
            let answer = self.join(leader, &partitions);
            async move {
                let answer = answered(answer).await?;
                let end = |number: &i32| match answer.get(number) {
                    Some(Ok(end)) => Ok((*number, *end)),
                    Some(Err(error)) => Err(format!("log partition {number}: {error}")),
                    None => Err(format!("log partition {number}: no answer")),
                };
                partitions.iter().map(end).collect::<Result<Vec<_>, String>>()
            }
        });
        Ok(try_join_all(answers).await?.into_iter().flatten().collect())
    }

    /// Joins the next question to a leader, and sees to it that it is asked.
    fn join(self: &Arc<Self>, leader: Option<i32>, partitions: &[i32]) -> watch::Receiver<Option<Arc<Ends>>> {
        let mut lanes = self.lanes.0.lock();
        let free = !lanes.contains_key(&leader);
        let lane = lanes.entry(leader).or_default();
        let new = || Round { partitions: BTreeSet::new(), answer: watch::Sender::new(None) };
        let round = lane.next.get_or_insert_with(new);
        round.partitions.extend(partitions);
        let answer = round.answer.subscribe();
        if free {
            let cluster = Arc::clone(self);
            tokio::task::spawn_blocking(move || cluster.ask_rounds(leader));
        }
        answer
    }

    /// Asks a leader until nobody wants to know.
    fn ask_rounds(&self, leader: Option<i32>) {
        loop {
            let round = {
                let mut lanes = self.lanes.0.lock();
                let Some(round) = lanes.get_mut(&leader).and_then(|lane| lane.next.take()) else {
                    lanes.remove(&leader);
                    return;
                };
                round
            };
            let partitions: Vec<i32> = round.partitions.into_iter().collect();
            let all = |error: String| partitions.iter().map(|number| (*number, Err(error.clone()))).collect();
            let answer = match self.log_ends() {
                Some(log_ends) => log_ends.log_ends(&partitions, ASK_TIMEOUT).unwrap_or_else(all),
                None => all(format!("cluster {} is not connected", self.name)),
            };
            round.answer.send_replace(Some(Arc::new(answer)));
        }
    }
}

async fn answered(mut answer: watch::Receiver<Option<Arc<Ends>>>) -> Result<Arc<Ends>, String> {
    let answer = answer.wait_for(Option::is_some).await.map_err(|_| "no answer".to_owned())?;
    answer.clone().ok_or_else(|| "no answer".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::{clock::Clock, config, store::LogEnds};

    /// Tells which partitions it is asked for, and answers when told.
    #[derive(Debug)]
    struct Fake {
        asked: Mutex<mpsc::Sender<Vec<i32>>>,
        answers: Mutex<mpsc::Receiver<i64>>,
    }

    impl LogEnds for Fake {
        fn log_ends(&self, log_partitions: &[i32], _: Duration) -> Result<Ends, String> {
            self.asked.lock().send(log_partitions.to_vec()).unwrap();
            let end = self.answers.lock().recv().unwrap();
            Ok(log_partitions.iter().map(|number| (*number, Ok(end))).collect())
        }
    }

    fn config() -> config::Cluster {
        let flags = config::Flags { bootstrap_servers: Some("h:1".to_owned()), ..config::Flags::default() };
        let sources = config::Sources { flags: &flags, env: &BTreeMap::new(), check_property: None };
        config::Config::load(sources).unwrap().config.clusters.remove(0)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_comes_while_a_question_is_out_joins_the_next() {
        let (asked, questions) = mpsc::channel();
        let (answers, answered) = mpsc::channel();
        let cluster = Arc::new(Cluster::new(config(), &Clock::manual(0)));
        cluster.set_log_ends(Box::new(Fake { asked: Mutex::new(asked), answers: Mutex::new(answered) }));
        macro_rules! asking {
            ($numbers:expr) => {{
                let cluster = Arc::clone(&cluster);
                let mut asking = Box::pin(async move { cluster.present_ends($numbers).await });
                assert!(futures::poll!(&mut asking).is_pending(), "joined, and waits");
                asking
            }};
        }
        let first = asking!(vec![1]);
        assert_eq!(questions.recv().unwrap(), [1]);
        let second = asking!(vec![2, 1]);
        let third = asking!(vec![3]);
        answers.send(10).unwrap();
        assert_eq!(first.await.unwrap(), [(1, 10)].into());
        assert_eq!(questions.recv().unwrap(), [1, 2, 3], "one question for both");
        answers.send(20).unwrap();
        assert_eq!(second.await.unwrap(), [(1, 20), (2, 20)].into());
        assert_eq!(third.await.unwrap(), [(3, 20)].into());
    }
}
