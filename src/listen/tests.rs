//! Tests of the connection table without sockets: which connection makes room, and which ones exceed a limit.

use super::*;
use crate::{config, listen::connection::Phase};

fn limits() -> Limits {
    let flags = config::Flags { bootstrap_servers: Some("h:1".to_owned()), ..config::Flags::default() };
    let layers = config::Layers { flags: &flags, env: &std::collections::BTreeMap::new(), check_property: None };
    let limits = config::Config::load(layers).unwrap().config.server.limits;
    Limits { max_connections: 4, max_connections_per_address: 3, ..limits }
}

struct Lab {
    table: Arc<ConnectionTable>,
    now: Instant,
}

impl Lab {
    fn new() -> Self {
        Self { table: Arc::new(ConnectionTable::new(limits(), Arc::default())), now: Instant::now() }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.table.sweep(self.now);
    }

    fn admit(&mut self, address: &str) -> Option<Arc<Connection>> {
        // Requests begin and end at the machine's time, so the manual time must not be behind it.
        self.now = self.now.max(Instant::now());
        self.table.admit(format!("{address}:1").parse().unwrap(), false, self.now)
    }

    fn busy(&mut self, connection: &Arc<Connection>) -> RequestGuard {
        connection.record_first_byte();
        RequestGuard::begin(Call::new(connection.peer, "GET /"), connection)
    }
}

fn is_closed(connection: &Connection) -> bool {
    connection.closing.is_cancelled()
}

#[tokio::test]
async fn a_silent_connection_makes_room_then_the_oldest_idle_one_and_never_a_busy_one() {
    let mut lab = Lab::new();
    let [busy, idle, silent, other] = ["10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.2"].map(|of| lab.admit(of).unwrap());
    let _request = lab.busy(&busy);
    drop(lab.busy(&idle));
    other.record_first_byte();
    let next = lab.admit("10.0.0.3").unwrap();
    assert!(is_closed(&silent) && !is_closed(&idle));
    next.record_first_byte();
    // This address already has its maximum number of connections.
    let second = lab.admit("10.0.0.3").unwrap();
    assert!(is_closed(&other) && !is_closed(&idle), "the connection that has waited longest is closed");
    let requests = [lab.busy(&second), lab.busy(&next), lab.busy(&idle)];
    assert!(lab.admit("10.0.0.4").is_none(), "all are busy");
    drop(requests);
    assert!(lab.admit("10.0.0.4").is_some());
}

#[tokio::test]
async fn a_connection_that_was_just_accepted_does_not_make_room_for_those_that_sent_a_byte() {
    let mut lab = Lab::new();
    let old = ["10.0.0.1", "10.0.0.1", "10.0.0.2"].map(|of| lab.admit(of).unwrap());
    old.iter().for_each(|one| one.record_first_byte());
    lab.pass(Duration::from_secs(2));
    let new = lab.table.admit("10.0.0.3:1".parse().unwrap(), false, lab.now).unwrap();
    assert!(lab.table.make_room());
    assert!(is_closed(&old[0]) && !is_closed(&new));
    let newer = lab.table.admit("10.0.0.3:1".parse().unwrap(), false, lab.now).unwrap();
    assert!(lab.table.make_room());
    assert!(!is_closed(&old[1]) && is_closed(&new) && !is_closed(&newer), "the newest is exempt");
}

#[tokio::test]
async fn an_address_makes_room_for_itself() {
    let mut lab = Lab::new();
    let other = lab.admit("10.0.0.2").unwrap();
    let own = ["fd00::1", "fd00::2", "fd00::3"].map(|of| lab.admit(&format!("[{of}]")).unwrap());
    // Addresses of one network count as one client, which reaches its limit before the table is full.
    let table = Arc::clone(&lab.table);
    table.remove(other.id);
    let next = lab.admit("[fd00::4]").unwrap();
    assert!(is_closed(&own[0]) && !is_closed(&own[1]) && !is_closed(&other));
    let requests = [&own[1], &own[2], &next].map(|of| lab.busy(of));
    assert!(lab.admit("[fd00::5]").is_none() && lab.admit("[fd00:0:0:1::1]").is_some());
    drop(requests);
}

#[tokio::test]
async fn a_new_connection_takes_the_place_of_another_while_descriptors_are_short() {
    let mut lab = Lab::new();
    let now = lab.now;
    assert!(lab.table.admit("10.0.0.1:1".parse().unwrap(), true, now).is_none(), "there is no other connection");
    let first = lab.admit("10.0.0.1").unwrap();
    assert!(lab.table.admit("10.0.0.1:1".parse().unwrap(), true, now).is_some());
    assert!(is_closed(&first));
    assert!(lab.table.make_room() && !lab.table.make_room());
}

#[tokio::test]
async fn a_header_must_come_in_time_and_a_quiet_connection_ends_later() {
    let mut lab = Lab::new();
    let (header, idle) = (lab.table.limits.header_timeout, lab.table.limits.idle_timeout);
    let [silent, slow, quiet] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|of| lab.admit(of).unwrap());
    drop(lab.busy(&quiet));
    assert_eq!(quiet.phase().0, Phase::Idle);
    lab.pass(header / 2);
    // A client that sends single bytes gains no time.
    slow.record_first_byte();
    assert_eq!((silent.phase().0, slow.phase().0), (Phase::Silent, Phase::Header));
    lab.pass(header / 2);
    assert!(is_closed(&silent) && is_closed(&slow) && !is_closed(&quiet));
    lab.pass(idle);
    assert!(is_closed(&quiet));
}

#[tokio::test]
async fn a_connection_ends_when_nothing_of_it_is_read_and_one_response_when_others_are() {
    let mut lab = Lab::new();
    let limit = lab.table.limits.write_timeout;
    let connection = lab.admit("10.0.0.1").unwrap();
    let respond =
        |guard: RequestGuard, body: &'static str| guard.respond(&http::Method::GET, Response::new(Body::from(body)));
    let next = async |response: &mut Response<ResponseBody>| {
        let body = response.body_mut();
        std::future::poll_fn(|cx| http_body::Body::poll_frame(std::pin::Pin::new(&mut *body), cx)).await
    };
    let long: &'static str = Box::leak("x".repeat(100_000).into_boxed_str());
    let (mut unread, waiting) = (respond(lab.busy(&connection), long), lab.busy(&connection));
    let piece = next(&mut unread).await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(piece.len(), 65_536, "one frame at a time");
    lab.now = Instant::now();
    lab.pass(limit);
    assert!(!is_closed(&connection), "a handler still works on another request");
    assert!(next(&mut unread).await.unwrap().is_err() && next(&mut unread).await.is_none());
    drop((unread, waiting));
    let mut unread = respond(lab.busy(&connection), long);
    next(&mut unread).await.unwrap().unwrap();
    lab.now = Instant::now();
    lab.pass(limit);
    assert!(is_closed(&connection));
}
