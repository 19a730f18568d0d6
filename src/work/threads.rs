//! The threads of one job.

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

/// Stack size of a thread. A planner recurses deeply over a long statement.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Priority of the threads, on a scale of 0 to 99. On Linux, 22 is a niceness of 10: the threads use every idle core.
/// Four of them on a busy core, which the defaults allow, get about 30% of it, so that point queries, probes and the
/// threads that read Kafka run first.
const PRIORITY: u8 = 22;

/// A runtime with threads of a lower priority than all others of the process.
#[derive(Debug)]
pub(super) struct JobThreads {
    /// The runtime; `None` only while dropping.
    runtime: Option<Runtime>,
    /// Native ids of the threads that are running.
    threads: Arc<Mutex<Vec<ThreadId>>>,
}

impl JobThreads {
    /// Starts `threads` threads. `running` counts them until they end.
    pub(super) fn new(threads: usize, running: &Arc<AtomicUsize>) -> io::Result<Self> {
        let all = Arc::<Mutex<Vec<ThreadId>>>::default();
        let (started, stopped) = ((Arc::clone(&all), Arc::clone(running)), (Arc::clone(&all), Arc::clone(running)));
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("work")
            .thread_stack_size(STACK_BYTES)
            .on_thread_start(move || {
                lower_own_priority();
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

    /// Returns a handle for starting futures on the threads.
    pub(super) fn handle(&self) -> Option<&Handle> {
        self.runtime.as_ref().map(Runtime::handle)
    }

    /// Gives the threads the lowest priority, and lets them end on their own.
    pub(super) fn abandon(self) {
        let threads = Arc::clone(&self.threads);
        // Done on a separate thread, since lowering a priority also lowers that of the calling thread.
        let lowered = std::thread::Builder::new().name("work-lower".to_owned()).spawn(move || lower_priority(&threads));
        if let Err(error) = lowered {
            tracing::warn!(%error, "cannot lower the priority of abandoned threads");
        }
    }
}

impl Drop for JobThreads {
    fn drop(&mut self) {
        // Dropping a runtime would block until its threads end, which async code must not do.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Lowers the priority of the current thread.
fn lower_own_priority() {
    let priority = PRIORITY.try_into().map_or(ThreadPriority::Min, ThreadPriority::Crossplatform);
    if let Err(error) = priority.set_for_current() {
        tracing::debug!(?error, "cannot lower the priority of a job's thread");
    }
}

/// Gives the threads the lowest priority of the operating system.
#[cfg(target_os = "linux")]
fn lower_priority(threads: &Mutex<Vec<ThreadId>>) {
    use thread_priority::{NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy};
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    // No thread ends while the lock is held, so that the ids are valid.
    for thread in &*threads.lock() {
        if let Err(error) = set_thread_priority_and_policy(*thread, ThreadPriority::Min, idle) {
            tracing::debug!(?error, "cannot lower the priority of an abandoned thread");
        }
    }
}

/// Does nothing: only Linux lets a thread change the priority of another thread.
#[cfg(not(target_os = "linux"))]
fn lower_priority(_: &Mutex<Vec<ThreadId>>) {}
