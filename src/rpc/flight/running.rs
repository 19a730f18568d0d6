//! What runs, to be cancelled by its ticket.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

type Executions = Mutex<HashMap<u64, (CancellationToken, usize)>>;

/// The executions under way, by number; as many as the engine lets run or wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Running(Arc<Executions>);

impl Running {
    /// Counts as running until the guard is dropped.
    pub(super) fn start(&self, execution: u64) -> Guard {
        let mut executions = self.0.lock();
        let (token, uses) = executions.entry(execution).or_default();
        // A ticket may be redeemed twice.
        *uses += 1;
        Guard { token: token.clone(), execution, executions: Arc::clone(&self.0) }
    }

    /// Whether there was something to cancel.
    pub(super) fn cancel(&self, execution: u64) -> bool {
        let executions = self.0.lock();
        let found = executions.get(&execution).filter(|_| execution != 0);
        found.inspect(|(token, _)| token.cancel()).is_some()
    }
}

pub(super) struct Guard {
    pub(super) token: CancellationToken,
    execution: u64,
    executions: Arc<Executions>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut executions = self.executions.lock();
        if let Some((_, uses)) = executions.get_mut(&self.execution) {
            *uses -= 1;
            if *uses == 0 {
                executions.remove(&self.execution);
            }
        }
    }
}

#[cfg(test)]
mod tests;
