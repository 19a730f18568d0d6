//! The way of an answer's batches to its reader: a few at a time, and none once the statement has failed.

use std::{future::poll_fn, sync::Arc, time::Duration};

use arrow::array::RecordBatch;
use parking_lot::Mutex;
use tokio::{sync::mpsc, time::timeout};

use super::SqlError;

/// Batches made before the reader takes them.
const AHEAD: usize = 2;

type Queue = Arc<Mutex<mpsc::Receiver<RecordBatch>>>;

/// The statement's end. Dropped before [`Feed::complete`], it takes back what was not taken, so that a reader that
/// stands still holds nothing.
pub(super) struct Feed {
    sender: mpsc::Sender<RecordBatch>,
    queue: Queue,
    patience: Duration,
    complete: bool,
}

/// The reader's end.
#[derive(Debug)]
pub(super) struct Fed(Queue);

pub(super) fn pair(patience: Duration) -> (Feed, Fed) {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let queue = Arc::new(Mutex::new(receiver));
    (Feed { sender, queue: Arc::clone(&queue), patience, complete: false }, Fed(queue))
}

impl Feed {
    /// Sends a batch once there is room for it.
    ///
    /// # Errors
    /// The reader has gone, or takes nothing.
    pub(super) async fn send(&self, batch: RecordBatch) -> Result<(), SqlError> {
        match timeout(self.patience, self.sender.send(batch)).await {
            Ok(sent) => sent.map_err(|_| SqlError::Invalid("the reader has gone".to_owned())),
            Err(_) => Err(SqlError::Stalled(self.patience)),
        }
    }

    /// There is no more.
    pub(super) fn complete(mut self) {
        self.complete = true;
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if !self.complete {
            let mut queue = self.queue.lock();
            queue.close();
            while queue.try_recv().is_ok() {}
        }
    }
}

impl Fed {
    /// The next batch; `None` after the last, and after a failure.
    ///
    /// # Cancel safety
    /// No batch is lost.
    pub(super) async fn next(&self) -> Option<RecordBatch> {
        poll_fn(|context| self.0.lock().poll_recv(context)).await
    }
}

impl Drop for Fed {
    fn drop(&mut self) {
        self.0.lock().close();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use arrow::{
        array::{ArrayRef, Int32Array},
        datatypes::Schema,
    };

    use super::*;

    fn batch() -> RecordBatch {
        let column: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        RecordBatch::try_from_iter([("a", column)]).unwrap()
    }

    /// Lives as long as the batch does.
    fn life(batch: &RecordBatch) -> Weak<Schema> {
        Arc::downgrade(batch.schema_ref())
    }

    #[tokio::test]
    async fn a_reader_gets_every_batch_of_a_complete_answer() {
        let (feed, fed) = pair(Duration::MAX);
        for _ in 0..AHEAD {
            feed.send(batch()).await.unwrap();
        }
        feed.complete();
        for _ in 0..AHEAD {
            assert!(fed.next().await.is_some());
        }
        assert!(fed.next().await.is_none());
    }

    #[tokio::test]
    async fn a_reader_that_stalls_is_told_so_and_holds_nothing() {
        let (feed, fed) = pair(Duration::from_millis(1));
        let first = batch();
        let life = life(&first);
        feed.send(first).await.unwrap();
        for _ in 1..AHEAD {
            feed.send(batch()).await.unwrap();
        }
        assert!(matches!(feed.send(batch()).await, Err(SqlError::Stalled(_))));
        assert!(life.upgrade().is_some());
        drop(feed);
        assert!(life.upgrade().is_none());
        assert!(fed.next().await.is_none());
    }

    #[tokio::test]
    async fn a_reader_that_has_gone_ends_the_statement() {
        let (feed, fed) = pair(Duration::MAX);
        drop(fed);
        assert!(feed.send(batch()).await.is_err());
    }
}
