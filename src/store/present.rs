//! The present ends of log partitions, for readers that want the latest.
//!
//! Readers share round trips, one lane a leader, and one for how many log partitions there are: who comes while a question
//! is out joins the next, since the one that is out may have been answered before the reader came.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::future::try_join_all;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{LogEnds, cluster::Cluster};
use crate::model::OFFSETS_TOPIC;

/// How long one question may take: a broker that does not answer within this is as good as away. The same for all, since a
/// question is shared; callers give up earlier if they have to.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// An answer: by log partition, its end or why nobody knows.
pub type Ends = BTreeMap<i32, Result<i64, String>>;

/// Questions that are out, and those that wait.
#[derive(Debug, Default)]
pub struct Lanes(Mutex<HashMap<Question, Lane>>);

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Question {
    /// The ends of log partitions of a leader.
    Ends(Option<i32>),
    /// How many log partitions there are. The answer is told under number 0.
    Count,
}

/// A question that is out, and what is asked next.
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
            let answer = self.join(Question::Ends(leader), &partitions);
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

    /// Asks how many log partitions there are. `None` where the source does not tell.
    ///
    /// # Errors
    /// Why the cluster does not answer.
    ///
    /// # Cancel safety
    /// As [`Cluster::present_ends`].
    pub async fn present_log_partitions(self: &Arc<Self>) -> Result<Option<i32>, String> {
        let answer = answered(self.join(Question::Count, &[])).await?;
        match answer.get(&0) {
            Some(Ok(count)) => Ok(i32::try_from(*count).ok()),
            Some(Err(error)) => Err(format!("log partitions: {error}")),
            None => Ok(None),
        }
    }

    /// Joins the next question of its kind, and sees to it that it is asked.
    fn join(self: &Arc<Self>, question: Question, partitions: &[i32]) -> watch::Receiver<Option<Arc<Ends>>> {
        let mut lanes = self.lanes.0.lock();
        let free = !lanes.contains_key(&question);
        let lane = lanes.entry(question).or_default();
        let new = || Round { partitions: BTreeSet::new(), answer: watch::Sender::new(None) };
        let round = lane.next.get_or_insert_with(new);
        round.partitions.extend(partitions);
        let answer = round.answer.subscribe();
        if free {
            let cluster = Arc::clone(self);
            tokio::task::spawn_blocking(move || cluster.ask_rounds(question));
        }
        answer
    }

    /// Asks until no caller wants to know.
    fn ask_rounds(&self, question: Question) {
        loop {
            let round = {
                let mut lanes = self.lanes.0.lock();
                let Some(round) = lanes.get_mut(&question).and_then(|lane| lane.next.take()) else {
                    lanes.remove(&question);
                    return;
                };
                round
            };
            let partitions: Vec<i32> = match question {
                Question::Ends(_) => round.partitions.into_iter().collect(),
                Question::Count => vec![0],
            };
            let all = |error: String| partitions.iter().map(|number| (*number, Err(error.clone()))).collect();
            let answer = match self.log_ends() {
                Some(log_ends) => ask(&*log_ends, question, &partitions).unwrap_or_else(all),
                None if question == Question::Count => Ends::new(),
                None => all(format!("cluster {} is not connected", self.name)),
            };
            round.answer.send_replace(Some(Arc::new(answer)));
        }
    }
}

fn ask(log_ends: &dyn LogEnds, question: Question, partitions: &[i32]) -> Result<Ends, String> {
    match question {
        Question::Ends(_) => log_ends.log_ends(partitions, ASK_TIMEOUT),
        Question::Count => {
            let count = log_ends.log_partitions(ASK_TIMEOUT)?;
            Ok(count.map(|count| (0, Ok(i64::from(count)))).into_iter().collect())
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
    use crate::{clock::Clock, config};

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
