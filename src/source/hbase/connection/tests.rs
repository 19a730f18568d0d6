use std::{net::TcpListener, thread};

use proptest::prelude::*;

use super::*;
use crate::source::hbase::messages::{Empty, ExceptionResponse, ScanResponse};

/// Serves one connection: reads the preamble and a request, and sends `response`.
fn call_peer(response: Vec<u8>) -> Result<ScanResponse, RpcError> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut start = [0; 6];
        stream.read_exact(&mut start).unwrap();
        assert_eq!(start, PREAMBLE);
        for _ in ["connection header", "request"] {
            let mut length = [0; 4];
            stream.read_exact(&mut length).unwrap();
            let mut frame = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut frame).unwrap();
        }
        stream.write_all(&response).unwrap();
    });
    let limit = RequestLimit::new(1000);
    let result = Connection::open(&address, "ClientService", "offsetd", &limit)
        .and_then(|mut connection| connection.call("Scan", &Empty {}));
    peer.join().unwrap();
    result
}

fn response(header: &ResponseHeader, message: &impl Message) -> Vec<u8> {
    [header.encode_length_delimited_to_vec(), message.encode_length_delimited_to_vec()].concat()
}

fn exception(class: &str) -> Vec<u8> {
    let (class, trace) = (class.to_owned(), format!("{class}: the reason\n\tat a.B.c(B.java:1)"));
    let exception = Some(ExceptionResponse { class, trace, do_not_retry: false });
    ResponseHeader { call_id: 1, exception, cell_block: None }.encode_length_delimited_to_vec()
}

#[test]
fn a_call_returns_the_message_or_the_exception_of_the_server() {
    let good = ScanResponse { scanner_id: Some(7), rows: vec![vec![], vec![1]], ..ScanResponse::default() };
    let header = ResponseHeader { call_id: 1, ..ResponseHeader::default() };
    assert_eq!(call_peer(framed(&response(&header, &good))).unwrap(), good);
    let error = call_peer(framed(&exception("org.apache.hadoop.hbase.NotServingRegionException"))).unwrap_err();
    assert_eq!(error.to_string(), "NotServingRegionException: the reason");
}

#[test]
fn a_cluster_with_kerberos_is_refused_with_a_pointer_to_import() {
    // The response of HBase 2.6.3 with hbase.security.authentication = kerberos. It has no id of a call.
    let refusal =
        b"\x00\x00\x00_^\x08\xff\xff\xff\xff\x0f\x12V\n6org.apache.hadoop.hbase.security.AccessDeniedException\
                    \x12\x1aAuthentication is required(\x01";
    let error = call_peer(refusal.to_vec()).unwrap_err().to_string();
    assert!(error.starts_with("AccessDeniedException: Authentication is required; clusters with Kerberos"), "{error}");
    assert!(error.ends_with("source of kind import"), "{error}");
}

#[test]
fn responses_that_break_the_protocol_are_errors() {
    let other_call = response(&ResponseHeader { call_id: 5, ..ResponseHeader::default() }, &Empty {});
    let cell_block = ResponseHeader { call_id: 1, exception: None, cell_block: Some(Empty {}) };
    for (sent, part) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "unexpected response (too long)"),
        (framed(&other_call), "to another call"),
        (framed(&response(&cell_block, &Empty {})), "with a cell block"),
        (framed(&[0xff; 20]), "unreadable response"),
        (framed(&[]), "unreadable response"),
        ([&100_u32.to_be_bytes()[..], b"short"].concat(), "connection lost"),
        (vec![], "connection lost"),
    ] {
        let error = call_peer(sent.clone()).unwrap_err().to_string();
        assert!(error.contains(part), "{sent:?}: {error}");
    }
}

proptest! {
    #[test]
    fn arbitrary_responses_are_messages_or_errors(bytes in proptest::collection::vec(any::<u8>(), 0..200), call_id in 0..3_u32) {
        let _ = decode::<ScanResponse>(&bytes, call_id);
        let header = ResponseHeader { call_id, ..ResponseHeader::default() }.encode_length_delimited_to_vec();
        let _ = decode::<ScanResponse>(&[header, bytes].concat(), call_id);
    }
}
