//! Threads that run one piece of work.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use thread_priority::{ThreadId, ThreadPriority, thread_native_id};
use tokio::runtime::{Builder, Handle, Runtime};

/// Room for a planner's recursion over a long statement.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Of 99: on Linux, a niceness of 10. Threads with it take every core that is idle. Four of them on a busy core, which
/// the defaults allow, take three tenths of it: point queries, probes and threads that read Kafka go first.
const PRIORITY: u8 = 22;

/// A runtime whose threads give way to all others.
#[derive(Debug)]
pub(super) struct Place {
    /// `None` only while dropping.
    runtime: Option<Runtime>,
    threads: Arc<Mutex<Vec<ThreadId>>>,
}

impl Place {
    /// Starts so many threads, counted in `running` until each ends.
    pub(super) fn new(threads: usize, running: &Arc<AtomicUsize>) -> io::Result<Self> {
        let all = Arc::<Mutex<Vec<ThreadId>>>::default();
        let (started, stopped) = ((Arc::clone(&all), Arc::clone(running)), (Arc::clone(&all), Arc::clone(running)));
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("work")
            .thread_stack_size(STACK_BYTES)
            .on_thread_start(move || {
                give_way();
                started.0.lock().push(thread_native_id());
                started.1.fetch_add(1, Ordering::Relaxed);
            })
            .on_thread_stop(move || {
                let own = thread_native_id();
                stopped.0.lock().retain(|thread| *thread != own);
                stopped.1.fetch_sub(1, Ordering::Relaxed);
            })
            .enable_time()
            .build()?;
        Ok(Self { runtime: Some(runtime), threads: all })
    }

    pub(super) fn handle(&self) -> Option<&Handle> {
        self.runtime.as_ref().map(Runtime::handle)
    }

    /// Lets its threads run only when nothing else would, until they come back and end.
    pub(super) fn abandon(self) {
        let threads = Arc::clone(&self.threads);
        // On a thread of its own, since it lowers the priority of the thread that it is called on as well.
        let lowered = std::thread::Builder::new().name("work-lower".to_owned()).spawn(move || lower(&threads));
        if let Err(error) = lowered {
            tracing::warn!(%error, "abandoned threads keep their priority");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Dropping a runtime waits for its threads, which async code must not.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn give_way() {
    let priority = PRIORITY.try_into().map_or(ThreadPriority::Min, ThreadPriority::Crossplatform);
    if let Err(error) = priority.set_for_current() {
        tracing::debug!(?error, "statements and calls run with the priority of everything else");
    }
}

/// Gives threads the lowest priority there is.
#[cfg(target_os = "linux")]
fn lower(threads: &Mutex<Vec<ThreadId>>) {
    use thread_priority::{NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy};
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    // While the lock is held, none of them ends.
    for thread in &*threads.lock() {
        if let Err(error) = set_thread_priority_and_policy(*thread, ThreadPriority::Min, idle) {
            tracing::debug!(?error, "an abandoned thread keeps its priority");
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn lower(_: &Mutex<Vec<ThreadId>>) {}
