//! From a statement to its plan.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use datafusion::{
    config::Dialect,
    execution::{SessionState, context::SQLOptions},
    logical_expr::LogicalPlan,
};
use tokio::task::unconstrained;

use super::{
    super::{
        limits::{memory::QueryPool, spelling, statement as check},
        scan::reads_data,
    },
    Plan, Shared, SqlError, Statement, Turn, describe, sort,
};

/// A statement that was understood.
pub(super) struct Logical {
    pub(super) plan: LogicalPlan,
    pub(super) session: SessionState,
}

impl Shared {
    /// Plans a statement to be run.
    pub(super) fn plan_to_run(&self, statement: Statement, turn: &Turn) -> Result<Plan, SqlError> {
        let Logical { plan, session } = self.plan(&statement.sql, turn)?;
        let (bound, schema) = describe::bind(&session, plan, statement.parameters)?;
        let physical = at_once(session.create_physical_plan(&bound))?.map_err(sort)?;
        let pool = QueryPool::new(&self.settings, Arc::clone(&self.memory), turn.stop.clone());
        Ok(Plan { physical, schema, task: self.sessions.task(&session, Arc::new(pool)) })
    }

    /// Plans a statement. Not async, nor what it calls: the tables are at hand, so that nothing in it waits; and that
    /// a future may be sent to another thread takes the compiler minutes to prove, when it holds a plan.
    pub(super) fn plan(&self, sql: &str, turn: &Turn) -> Result<Logical, SqlError> {
        let session = self.sessions.session(turn.reading());
        let sql = spelling::plain(sql)?;
        let parsed = session.sql_to_statement(&sql, &Dialect::Generic).map_err(sort)?;
        check::parsed(&parsed, &self.settings)?;
        let plan = at_once(session.statement_to_plan(parsed))?.map_err(sort)?;
        let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        options.verify_plan(&plan).map_err(sort)?;
        check::plan(&plan, &self.settings).map_err(sort)?;
        // What reads data does not run without a cluster that is loaded.
        if let Some(unready) = &turn.cut.unready
            && reads_data(&plan).map_err(sort)?
        {
            return Err(unready.clone().into());
        }
        Ok(Logical { plan, session })
    }
}

/// Runs a future that waits for nothing but itself, on this thread and to its end.
///
/// The thread belongs to the runtime, and must not be parked here: what is woken by the runtime later, as by tokio's
/// cooperative budget, would never be woken. Without that budget, and as the tables are at hand, planning never waits.
///
/// # Errors
/// It waits for something else, which is a bug.
fn at_once<F: Future>(future: F) -> Result<F::Output, SqlError> {
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut future = pin!(unconstrained(future));
    while woken.0.swap(false, Ordering::AcqRel) {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Ok(output);
        }
    }
    Err(SqlError::Internal("planning waits for something outside of it".to_owned()))
}

/// Whether a future is to be polled again.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn what_is_run_at_once_never_parks_the_thread() {
        let free = Mutex::new(0);
        // Many times tokio's budget of 128.
        let counted = at_once(async {
            for _ in 0..1000 {
                *free.lock().await += 1;
            }
            *free.lock().await
        });
        assert_eq!(counted.unwrap(), 1000);
        assert_eq!(at_once(async { futures::future::join_all((0..100).map(async |n| n)).await.len() }).unwrap(), 100);
        let (_held, taken) = tokio::sync::oneshot::channel::<()>();
        assert!(matches!(at_once(taken), Err(SqlError::Internal(_))), "the future is never woken");
    }

    #[tokio::test]
    async fn what_gives_way_to_others_is_polled_again() {
        let mut times = 0;
        let given = at_once(std::future::poll_fn(|context| {
            times += 1;
            context.waker().wake_by_ref();
            if times < 5 { Poll::Pending } else { Poll::Ready(()) }
        }));
        assert!(given.is_ok() && times == 5);
    }
}
