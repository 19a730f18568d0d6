//! Tests of the admission, with a manual clock.

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use super::*;
use crate::{call::Call, clock::Clock};

struct Lab {
    admission: Admission,
    board: StatusBoard,
    clock: Clock,
}

impl Lab {
    fn new(running: usize, waiting: usize) -> Self {
        let clock = Clock::manual(0);
        let board = StatusBoard::default();
        let admission = Admission::for_test(clock.clone(), &board);
        admission.limit(WorkKind::Page, KindLimits { running, waiting });
        admission.limit(WorkKind::Scrape, KindLimits { running: 1, waiting: 0 });
        Self { admission, board, clock }
    }

    async fn admit(&self, client: u8) -> Result<Job, WorkError> {
        let cancel = endless();
        call(client).scope(self.admission.admit(WorkKind::Page, "GetOffset", &cancel)).await
    }

    /// Requests a slot without waiting for it.
    fn request(&self, client: u8) -> tokio::task::JoinHandle<Result<Job, WorkError>> {
        let admission = self.admission.clone();
        tokio::spawn(call(client).scope(async move { admission.admit(WorkKind::Page, "GetOffset", &endless()).await }))
    }

    fn status(&self) -> WorkStatus {
        self.board.status()
    }

    fn load(&self) -> (usize, usize, usize) {
        let load = self.status().load[WorkKind::Page as usize];
        (load.running, load.waiting, load.unread)
    }
}

fn call(client: u8) -> Call {
    Call::new(([10, 0, 0, client], 1).into(), "Test")
}

fn endless() -> CancelHandle {
    CancelHandle::within(Duration::MAX)
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    #[expect(clippy::disallowed_methods, reason = "bounds a wait")]
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed().as_secs() < 60, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn jobs_beyond_the_limits_are_refused() {
    let lab = Lab::new(2, 1);
    let (first, second) = (lab.admit(1).await.unwrap(), lab.admit(1).await.unwrap());
    let third = lab.request(1);
    until("the third to wait", || lab.load() == (2, 1, 0)).await;
    let refused = lab.admit(1).await.unwrap_err();
    let expected =
        "3 requests of kind \"page\" are already running or waiting; retry later, or raise `server.call_queue`";
    assert_eq!(refused.to_string(), expected);
    assert_eq!(lab.status().load[WorkKind::Page as usize].refused, 1);
    // Another kind has its own limits.
    lab.admission.admit(WorkKind::Scrape, "/metrics", &endless()).await.unwrap();
    drop(first);
    let third = third.await.unwrap().unwrap();
    assert_eq!(lab.load(), (2, 0, 0));
    drop((second, third));
    assert_eq!(lab.load(), (0, 0, 0));
}

#[tokio::test]
async fn a_client_with_many_requests_delays_only_itself() {
    let lab = Lab::new(1, 600);
    let running = lab.admit(1).await.unwrap();
    let many: Vec<_> = (0..600).map(|_| lab.request(1)).collect();
    until("all to wait", || lab.load() == (1, 600, 0)).await;
    // The queue is full, so the client with the most waiters makes room.
    let other = lab.request(2);
    until("one to be refused", || many.iter().any(tokio::task::JoinHandle::is_finished)).await;
    assert_eq!(lab.load(), (1, 600, 0));
    drop(running);
    // One waiter of the first client is served, then that of the second client.
    let mut served = 0;
    let mut many = many.into_iter();
    while !other.is_finished() {
        if let Ok(job) = many.next().unwrap().await.unwrap() {
            served += 1;
            drop(job);
            tokio::task::yield_now().await;
        }
    }
    other.await.unwrap().unwrap();
    assert!(served <= 2, "{served}");
}

#[tokio::test]
async fn a_job_leaves_the_queue_when_its_client_disconnects() {
    let lab = Lab::new(1, 1);
    let running = lab.admit(1).await.unwrap();
    let gone = lab.request(1);
    until("it to wait", || lab.load() == (1, 1, 0)).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    let next = lab.request(1);
    tokio::task::yield_now().await;
    drop(running);
    next.await.unwrap().unwrap();
    let late = CancelHandle::within(Duration::ZERO);
    let _running = lab.admit(1).await.unwrap();
    let refused = lab.admission.admit(WorkKind::Page, "late", &late).await.unwrap_err();
    assert!(matches!(refused, WorkError::Ended(EndReason::Deadline(_))), "{refused}");
}

#[tokio::test]
async fn a_job_ends_when_its_client_disconnects() {
    let lab = Lab::new(1, 0);
    let job = lab.admit(1).await.unwrap();
    let (begun, begins) = mpsc::channel();
    let call = tokio::spawn(job.run(move |job| {
        begun.send(()).unwrap();
        while job.cancel().check().is_ok() {
            std::thread::yield_now();
        }
    }));
    tokio::task::spawn_blocking(move || begins.recv().unwrap()).await.unwrap();
    assert_eq!(lab.load(), (1, 0, 0));
    call.abort();
    until("it to end", || lab.load() == (0, 0, 0)).await;
}

#[tokio::test]
async fn a_panic_is_reported_and_frees_its_slot() {
    let lab = Lab::new(1, 0);
    let walked = lab.admit(1).await.unwrap().run(|_| panic!("a test")).await;
    assert!(matches!(walked, Err::<(), _>(WorkError::Panicked)));
    until("the slot to be free", || lab.load() == (0, 0, 0)).await;
    assert_eq!(lab.admit(1).await.unwrap().run(|_| 5).await.unwrap(), 5);
}

#[tokio::test]
async fn a_job_that_waits_for_its_reader_gives_up_its_slot() {
    let lab = Lab::new(1, 0);
    let (outbox, inbox) = outbox(1, &Arc::default());
    let job = lab.admit(1).await.unwrap();
    let call = tokio::spawn(job.run(move |job| {
        let stall_timeout = StallTimeout { after: Duration::from_secs(3600), setting: "x" };
        (0..3).try_for_each(|item| job.send_blocking(&outbox, item, 1, stall_timeout)).unwrap();
        outbox.complete();
    }));
    until("it to wait for its reader", || lab.load() == (0, 0, 1)).await;
    let other = lab.admit(2).await.expect("the slot of the paused job is free");
    assert_eq!(inbox.next().await, Some(0));
    until("it to wait for a slot", || lab.load() == (1, 1, 1)).await;
    drop(other);
    assert_eq!((inbox.next().await, inbox.next().await, inbox.next().await), (Some(1), Some(2), None));
    call.await.unwrap().unwrap();
    until("all to have ended", || lab.load() == (0, 0, 0)).await;
}

#[tokio::test]
async fn a_job_that_does_not_end_is_abandoned_and_named() {
    let lab = Lab::new(1, 10);
    let mut stuck = vec![];
    for number in 1..=MAX_ABANDONED {
        let job = lab.admit(1).await.unwrap();
        let cancel = job.cancel().clone();
        let (release, released) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        stuck.push(release);
        let call = tokio::spawn(job.run(move |_| {
            begun.send(()).unwrap();
            let _ = released.recv();
        }));
        tokio::task::spawn_blocking(move || begins.recv().unwrap()).await.unwrap();
        cancel.end(EndReason::Cancelled);
        assert!(matches!(call.await.unwrap(), Err(WorkError::Ended(EndReason::Cancelled))), "the client does not wait");
        lab.admission.run_watchdog();
        lab.clock.advance(1_900);
        lab.admission.run_watchdog();
        assert_eq!((lab.load().0, lab.status().abandoned.len()), (1, number - 1), "not abandoned before 2 s");
        lab.clock.advance(200);
        lab.admission.run_watchdog();
        assert_eq!((lab.load().0, lab.status().abandoned.len()), (0, number), "an abandoned job is not running");
    }
    assert!(lab.status().is_full());
    let refused = lab.admit(1).await.unwrap_err().to_string();
    lab.admission.admit(WorkKind::Scrape, "/metrics", &endless()).await.expect("scrapes are admitted");
    let expected = "no new work is admitted: 4 cancelled jobs are still running: page: GetOffset (for ";
    assert!(refused.starts_with(expected), "{refused}");
    stuck.clear();
    until("them to come back", || lab.status().abandoned.is_empty()).await;
    assert_eq!(lab.admit(1).await.unwrap().run(|_| 5).await.unwrap(), 5);
    assert_eq!(lab.status().abandoned_total, 4);
}

#[tokio::test]
async fn a_board_shows_the_status_until_the_admission_is_dropped() {
    let board = StatusBoard::default();
    assert_eq!(board.status(), WorkStatus::default());
    let admission = Admission::new(Clock::system(), 2, &board).unwrap();
    admission.admit(WorkKind::Statement, "SELECT 1", &endless()).await.unwrap().run(|_| ()).await.unwrap();
    until("its threads", || board.status().threads == 2).await;
    drop(admission);
    until("it to be gone", || board.status() == WorkStatus::default()).await;
}
