//! OAUTHBEARER on a real broker, which verifies tokens with a public key, and with the test's own token endpoint.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_rustls::rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};

use super::driver::Driver;
use super::faults::{OFTEN, is, serve};
use super::login::Listeners;
use crate::process::wait_for;
use crate::server::Server;

const LIMIT: Duration = Duration::from_secs(90);
const SECRET: &str = "hunter2";
/// Lifetime of a token in seconds.
const LIFE: u64 = 6;

/// Behaviour of the token endpoint.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Grants,
    /// Grants tokens for another audience.
    WrongAudience,
    /// Responds with an HTTP error.
    Down,
}

/// A token endpoint on its own port. It ends with the process of the test.
struct Endpoint {
    url: String,
    state: Arc<Mutex<(Mode, usize)>>,
}

impl Endpoint {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new((Mode::Grants, 0)));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mode = shared.lock().unwrap().0;
                if answer(stream, mode) {
                    shared.lock().unwrap().1 += 1;
                }
            }
        });
        Self { url, state }
    }

    fn set(&self, mode: Mode) {
        self.state.lock().unwrap().0 = mode;
    }

    fn granted(&self) -> usize {
        self.state.lock().unwrap().1
    }
}

/// Responds to a request; returns whether a token was granted.
fn answer(mut stream: TcpStream, mode: Mode) -> bool {
    let (mut request, mut buffer) = (String::new(), [0; 4096]);
    while !request.contains("grant_type=client_credentials") {
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => request.push_str(&String::from_utf8_lossy(&buffer[..count])),
            _ => return false,
        }
    }
    let known = format!("authorization: Basic {}", STANDARD.encode(format!("offsetd:{SECRET}")));
    let (status, body) = match mode {
        Mode::Down => ("503 Service Unavailable", "try later".to_owned()),
        _ if !request.contains(&known) => {
            ("401 Unauthorized", json!({"error": "invalid_client", "error_description": "unknown secret"}).to_string())
        }
        _ => {
            let audience = if mode == Mode::WrongAudience { "others" } else { "kafka" };
            ("200 OK", json!({"access_token": token(audience, LIFE), "expires_in": LIFE}).to_string())
        }
    };
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).is_ok() && status == "200 OK"
}

#[expect(clippy::disallowed_methods, reason = "a broker compares with the real time")]
fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Returns a token that the broker accepts.
fn token(audience: &str, life: u64) -> String {
    let path = format!("{}/tests/fixtures/oauth/rsa.pem", env!("CARGO_MANIFEST_DIR"));
    let key = PrivatePkcs8KeyDer::from_pem_file(path).unwrap();
    let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap();
    let header = json!({"alg": "RS256", "kid": "tests", "typ": "JWT"});
    let claims =
        json!({"sub": "offsetd", "aud": audience, "iat": seconds(), "exp": seconds() + life, "scope": "kafka"});
    let message = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn serve_with(listeners: &Listeners, oauth: &str) -> (TempDir, Server) {
    serve(&format!(
        "{OFTEN}[clusters.c]\nbootstrap_servers = {:?}\nkafka.security.protocol = \"SASL_PLAINTEXT\"\n\
         [clusters.c.oauth]\n{oauth}",
        listeners.address("OAUTH")
    ))
}

fn credentials(endpoint: &str, secret: &str) -> String {
    format!(
        "method = \"client_credentials\"\ntoken_endpoint = {endpoint:?}\nclient_id = \"offsetd\"\n\
         client_secret = {secret:?}\nextensions = \"logicalCluster=lkc-1\"\n"
    )
}

/// Waits until the cluster shows this error, without the secret.
fn wait_failing(server: &Server, reason: &str) {
    wait_for(reason, LIMIT, || {
        let told = server.sql_value("SELECT last_error FROM clusters");
        if told.as_str().is_some_and(|told| told.contains(reason)) { Ok(()) } else { Err(told.to_string()) }
    });
    assert!(!server.log().contains(SECRET), "{}", server.log());
}

fn wait_committed(server: &Server, offset: i64) {
    let healthy = json!([{"reachable": true, "last_error": null}]);
    wait_for("the cluster to answer", LIMIT, || {
        is(server, "SELECT reachable, last_error FROM clusters", healthy.clone())
    });
    wait_for("the commit", LIMIT, || {
        is(server, "SELECT committed_offset, lag FROM lag", json!([{"committed_offset": offset, "lag": 10 - offset}]))
    });
}

#[test]
fn tokens_are_renewed_and_connections_log_in_again_through_every_failure_of_the_endpoint() {
    let listeners = Listeners::start(
        "listener.name.oauth.oauthbearer.connections.max.reauth.ms=4000\nsasl.oauthbearer.clock.skew.seconds=0\n",
    );
    let mut driver = Driver::of(&listeners.broker);
    driver.topic("orders", 1, 10);
    driver.alter("g", "orders", 0, 1, "");
    let endpoint = Endpoint::start();

    let (_config, mut server) = serve_with(&listeners, &credentials(&endpoint.url, SECRET));
    server.wait_ready();
    wait_committed(&server, 1);
    // Several token lifetimes, and several logins of each connection, without an error.
    wait_for("tokens to be renewed", LIMIT, || match endpoint.granted() {
        0..=3 => Err(format!("{} so far", endpoint.granted())),
        _ => Ok(()),
    });
    driver.alter("g", "orders", 0, 2, "");
    wait_committed(&server, 2);
    assert!(!server.log().contains("cannot obtain"), "{}", server.log());

    endpoint.set(Mode::Down);
    wait_failing(&server, "/token: refused with HTTP status 503: try later");
    driver.alter("g", "orders", 0, 3, "");
    endpoint.set(Mode::Grants);
    wait_committed(&server, 3);

    endpoint.set(Mode::WrongAudience);
    wait_failing(&server, "the broker refused the token: check its audience");
    endpoint.set(Mode::Grants);
    wait_committed(&server, 3);
    server.stop_cleanly();

    // A wrong secret from the start.
    let (_config, server) = serve_with(&listeners, &credentials(&endpoint.url, "another"));
    wait_failing(&server, "/token: refused with HTTP status 401: invalid_client: unknown secret");
    server.stop_cleanly();
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_config, server) = serve_with(&listeners, &credentials(&format!("http://{nowhere}/token"), SECRET));
    wait_failing(&server, "/token: no answer: ");
    server.stop_cleanly();

    a_token_file_is_read_again(&listeners, &mut driver);
}

fn a_token_file_is_read_again(listeners: &Listeners, driver: &mut Driver) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("token");
    let (_config, mut server) =
        serve_with(listeners, &format!("method = \"file\"\nfile = {:?}\n", path.display().to_string()));
    wait_failing(&server, "cannot read ");
    std::fs::write(&path, token("kafka", 20)).unwrap();
    server.wait_ready();
    wait_committed(&server, 3);
    // The first token has expired meanwhile.
    std::fs::write(&path, token("kafka", 3600)).unwrap();
    let reads = json!([{"n": 0}]);
    wait_for("the sources to be live", LIMIT, || {
        is(&server, "SELECT count(*) AS n FROM sources WHERE state <> 'live'", reads.clone())
    });
    driver.alter("g", "orders", 0, 4, "");
    wait_committed(&server, 4);
    let errors: Value = server.sql_value("SELECT last_error FROM clusters");
    assert!(errors.is_null(), "{errors}");
    server.stop_cleanly();
}
