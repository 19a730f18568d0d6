//! Tests of token renewal, and an HTTP server with canned responses for the tests of the submodules.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread::JoinHandle,
};

use tokio_rustls::rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::{
    error::{TokenError, redact},
    token::Token,
    *,
};

/// A server-side connection.
trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// Serves one response per connection, in order. Returns the server's URL, and a handle that returns the requests after
/// the last response.
pub(super) fn answering(answers: Vec<String>) -> (String, JoinHandle<Vec<String>>) {
    let (address, server) = serving(answers, |stream| Box::new(stream));
    (format!("http://{address}"), server)
}

/// Does the same as [`answering`], with TLS and the test certificate.
pub(super) fn answering_securely(answers: Vec<String>) -> (String, JoinHandle<Vec<String>>) {
    let chain = CertificateDer::pem_file_iter(tls_fixture("server.pem")).unwrap().collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(tls_fixture("server.key")).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    let secure = move |stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        Box::new(StreamOwned::new(connection, stream)) as Box<dyn Stream>
    };
    let (address, server) = serving(answers, secure);
    (format!("https://{address}"), server)
}

pub(super) fn tls_fixture(name: &str) -> String {
    format!("{}/tests/fixtures/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn serving(
    answers: Vec<String>,
    secure: impl Fn(TcpStream) -> Box<dyn Stream> + Send + 'static,
) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move |answer: String| {
        let mut stream = secure(listener.accept().unwrap().0);
        let (mut request, mut buffer) = (String::new(), [0; 4096]);
        // A client that does not trust the server closes the connection.
        while let Ok(count) = stream.read(&mut buffer)
            && count > 0
        {
            request.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
            let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length:").map(|length| length.trim().parse().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                break;
            }
        }
        // The client may close the connection before the end of a response that is too long.
        let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
        request
    };
    (address, thread::spawn(move || answers.into_iter().map(serve).collect()))
}

/// Returns a response with this status, for example `200 OK`.
pub(super) fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn foreign_text_is_redacted_and_shortened() {
    assert_eq!(redact("bad\u{1b}[31m hunter2\nend", &["hunter2", ""]), "bad [31m *** end");
    assert_eq!(redact(" \n", &[]), "an empty answer");
    let long = redact(&"ä".repeat(1000), &[]);
    assert_eq!(long.chars().count(), 301);
    // A secret at the limit is hidden before the text is shortened.
    assert!(!redact(&format!("{}hunter2", "x".repeat(296)), &["hunter2"]).contains("hun"));
}

#[test]
fn an_unchanged_token_still_updates_the_expiry() {
    let shared = SharedTokens::default();
    let token = |now| Token::new("x", Some(1000), 0, now).unwrap();
    shared.publish(Ok(token(0)), "c");
    shared.publish(Ok(token(5000)), "c");
    assert_eq!(shared.0.lock().token.as_ref().unwrap().expires_at, 6000);
}

#[test]
fn a_failure_keeps_the_token_until_a_new_one_arrives() {
    let shared = SharedTokens::default();
    let token = |value: &str| Token::new(value, Some(1000), 0, 0).unwrap();
    shared.publish(Ok(token("first")), "c");
    shared.publish(Err(TokenError::NoRegion), "c");
    {
        let state = shared.0.lock();
        assert_eq!(state.token.as_ref().unwrap().value, "first");
        assert!(state.failure.as_ref().unwrap().contains("oauth.region"), "{:?}", state.failure);
    }
    shared.publish(Ok(token("second")), "c");
    let state = shared.0.lock();
    assert!(state.failure.is_none() && state.token.as_ref().unwrap().value == "second");
}
