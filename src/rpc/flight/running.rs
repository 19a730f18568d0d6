//! Running executions, which can be cancelled by their tickets.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

type Executions = Mutex<HashMap<u64, (CancellationToken, usize)>>;

/// The running executions by number. The engine limits their number.
#[derive(Clone, Debug, Default)]
pub(super) struct Running(Arc<Executions>);

impl Running {
    /// Registers an execution as running until the guard is dropped.
    pub(super) fn start(&self, execution: u64) -> RunningGuard {
        let mut executions = self.0.lock();
        let (token, uses) = executions.entry(execution).or_default();
        // A ticket may be redeemed several times concurrently.
        *uses += 1;
        RunningGuard { token: token.clone(), execution, executions: Arc::clone(&self.0) }
    }

    /// Cancels an execution. Returns whether it was running.
    pub(super) fn cancel(&self, execution: u64) -> bool {
        let executions = self.0.lock();
        let found = executions.get(&execution).filter(|_| execution != 0);
        found.inspect(|(token, _)| token.cancel()).is_some()
    }
}

pub(super) struct RunningGuard {
    pub(super) token: CancellationToken,
    execution: u64,
    executions: Arc<Executions>,
}

impl Drop for RunningGuard {
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
