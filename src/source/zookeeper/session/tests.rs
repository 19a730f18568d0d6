use std::{
    io::Read as _,
    net::{TcpListener, TcpStream},
    thread,
};

use super::{
    super::{address::Address, frame},
    *,
};

/// Starts a server that answers each request after the first, on any number of connections, by `answer`. Without an
/// answer, it closes the connection.
fn serve(answer: fn(&[u8]) -> Option<Vec<u8>>) -> Connector {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let connected = [0, 6000_i32, 0, 1].iter().flat_map(|value| value.to_be_bytes()).collect();
            let mut reply = Some(connected);
            while let Some(request) = read_request(&mut stream) {
                let Some(message) = reply.take().or_else(|| answer(&request)) else { break };
                let length = u32::try_from(message.len()).unwrap().to_be_bytes();
                if stream.write_all(&[&length[..], &message].concat()).is_err() {
                    break;
                }
            }
        }
    });
    let address = Address::parse(&format!("127.0.0.1:{port}/chroot")).unwrap();
    Connector { address, login: None, tls: None, limit: RequestLimit::new(100_000) }
}

fn read_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut request = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut request).ok()?;
    Some(request)
}

/// Returns a reply to a request for data in which each znode contains `5`.
fn fives(request: &[u8]) -> Vec<u8> {
    let paths = request.windows(7).filter(|part| part == b"/chroot").count();
    let result = b"\0\0\0\x04\0\0\0\0\0\0\0\0\x015";
    let stat = [0_u8; 68];
    let results = [&result[..], &stat].concat().repeat(paths);
    [&request[..4], &[0_u8; 12], &results, b"\xff\xff\xff\xff\x01\0\0\0\0"].concat()
}

fn data(connector: &Connector, paths: &[&str]) -> Result<Vec<Result<Vec<u8>, ReadFault>>, SessionError> {
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    let mut session = connector.open(&connector.address.nodes[0])?;
    session.has_multi_read = true;
    let mut found = vec![];
    session.read_data(&paths, |number, data| {
        assert_eq!(number, found.len());
        found.push(data.map(|(data, _)| data.to_vec()));
        Ok(())
    })?;
    Ok(found)
}

#[test]
fn a_reply_that_is_too_long_loses_only_its_znode() {
    let connector = serve(|request| {
        let is_long = request.windows(4).any(|part| part == b"/big");
        let long = || [&request[..4], &vec![0_u8; frame::MAX_BYTES]].concat();
        Some(if is_long { long() } else { fives(request) })
    });
    let five = || Ok(b"5".to_vec());
    let found = data(&connector, &["/a", "/big", "/b", "/c"]).unwrap();
    assert_eq!(found, [five(), Err(ReadFault::TooLong), five(), five()]);
}

#[test]
fn many_znodes_are_read_in_batches_that_grow() {
    let connector = serve(|request| Some(fives(request)));
    let paths = vec!["/a"; 3000];
    assert_eq!(data(&connector, &paths).unwrap(), vec![Ok(b"5".to_vec()); 3000]);
}

/// The reply of a server to a request; `None` closes the connection.
type Answer = fn(&[u8]) -> Option<Vec<u8>>;

#[test]
fn replies_that_break_the_protocol_end_the_session() {
    let answers: [Answer; 6] = [
        |_: &[u8]| None,
        |_: &[u8]| Some(vec![]),
        |_: &[u8]| Some(vec![0; 16]),
        |_: &[u8]| Some(vec![0x7f; 200]),
        // No result for a znode.
        |request: &[u8]| Some([&request[..4], &[0_u8; 12], b"\xff\xff\xff\xff\x01\0\0\0\0"].concat()),
        // The results end early.
        |request: &[u8]| Some(fives(request)[..60].to_vec()),
    ];
    for answer in answers {
        assert!(data(&serve(answer), &["/a"]).is_err());
    }
}

#[test]
fn an_event_between_replies_is_kept_without_the_chroot() {
    let connector = serve(|request| {
        let event = b"\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x03\0\0\0\x03\0\0\0\x0a/chroot/ab";
        let is_ping = request[4..8] == operation::PING.to_be_bytes();
        Some(if is_ping { event.to_vec() } else { fives(request) })
    });
    let mut session = connector.open(&connector.address.nodes[0]).unwrap();
    session.write(&wire::empty(xid::PING, operation::PING)).unwrap();
    session.probe_multi_read("/a").unwrap();
    assert_eq!(session.changed().paths, HashSet::from(["/ab".to_owned()]));
}

#[test]
fn events_beyond_the_bound_are_replaced_by_a_full_read() {
    let mut changed = ChangedPaths::default();
    (0..=MAX_EVENTS).for_each(|number| changed.add(&format!("/{number}")));
    assert!(changed.others && changed.paths.is_empty());
}
