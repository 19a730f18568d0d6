//! Access control of the server: tokens, TLS, and the origins of web pages.
//!
//! One layer surrounds all routes, so that a new route cannot be left open by mistake: the paths that need no token are
//! listed ([`web::reveals_no_data`]), and every other path, known or not, is refused without a token. Tokens and keys
//! never appear in a log, an error or a `Debug` output. Their files are reloaded when they change. Removing a token
//! ends the responses that it authorized; a connection that a client certificate authorized stays open.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    http::{Version, header::AUTHORIZATION},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use tokio::{task::JoinError, time::timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

mod error;
mod file;
mod names;
mod origin;
mod revocable;
mod tls;
mod tokens;

pub use error::{AccessError, FileError};

use crate::{config, error::Error, rpc, web};
use file::FileBacked;
use origin::OriginPolicy;
use tokens::Tokens;

/// Minimum and maximum length of a token in characters.
const MIN_TOKEN_CHARS: usize = 16;
const MAX_TOKEN_CHARS: usize = 512;

/// Limits for reading the body of a refused request: bytes and time.
const DRAINED_BYTES: usize = 64 * 1024;
const DRAINED_FOR: Duration = Duration::from_secs(2);
/// Interval between two checks of the files.
const RELOAD_EVERY: Duration = Duration::from_secs(2);

/// The tokens and certificates in force.
#[derive(Clone)]
pub struct Access {
    tokens: Option<Arc<FileBacked<Tokens>>>,
    tls: Option<Arc<tls::Settings>>,
    client_certificates: bool,
    policy: Arc<OriginPolicy>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("tokens", &self.tokens.is_some()).field("tls", &self.tls.is_some()).finish()
    }
}

impl Access {
    /// Reads the files of `[server.auth]` and `[server.tls]`.
    ///
    /// # Errors
    /// All problems of these files.
    pub fn new(server: &config::Server) -> Result<Self, AccessError> {
        let tokens = server.auth.tokens_file.clone().map(tokens).transpose();
        let (tokens, tls) = match (tokens, tls::settings(&server.tls)) {
            (Ok(tokens), Ok(tls)) => (tokens, tls),
            (tokens, tls) => return Err(AccessError { tokens: tokens.err(), tls: tls.err() }),
        };
        Ok(Self {
            policy: Arc::new(OriginPolicy::new(server, tokens.is_some(), tls.is_some())),
            tokens: tokens.map(Arc::new),
            tls: tls.map(Arc::new),
            client_certificates: server.tls.client_ca.is_some(),
        })
    }

    /// Returns whether every client that reaches the port may read everything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.tokens.is_none() && !self.client_certificates
    }

    /// Returns whether requests need a token.
    #[must_use]
    pub fn requires_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// Returns whether the server speaks TLS.
    #[must_use]
    pub fn encrypts(&self) -> bool {
        self.tls.is_some()
    }

    /// Adds the checks of every request: its origin, and its token if tokens are configured.
    pub fn protect(&self, router: Router) -> Router {
        let router = match &self.tokens {
            Some(tokens) => router.layer(from_fn_with_state(Arc::clone(tokens), check)),
            None => router,
        };
        // The origin check is the outermost layer, because a preflight request carries no token (Fetch standard).
        router.layer(from_fn_with_state(Arc::clone(&self.policy), check_origin))
    }

    /// Returns an acceptor with the certificate in force; `None` without TLS.
    #[must_use]
    pub fn tls(&self) -> Option<TlsAcceptor> {
        self.tls.as_ref().map(|settings| TlsAcceptor::from(settings.get()))
    }

    /// Reloads changed files until `stop` is cancelled.
    ///
    /// # Errors
    /// A reload panicked.
    pub async fn follow(self, stop: CancellationToken) -> Result<(), JoinError> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(RELOAD_EVERY), if self.requires_tokens() || self.encrypts() => {}
                () = stop.cancelled() => return Ok(()),
            }
            let access = self.clone();
            let reload = tokio::task::spawn_blocking(move || {
                access.tokens.iter().for_each(|tokens| tokens.reload());
                access.tls.iter().for_each(|tls| tls.reload());
            });
            reload.await?;
        }
    }
}

fn tokens(path: PathBuf) -> Result<FileBacked<Tokens>, FileError> {
    FileBacked::new("tokens", vec![path.clone()], move |contents, previous| {
        Tokens::parse(&path, contents.first().map_or(&[], Vec::as_slice), previous)
    })
}

/// Checks the token of a request and passes it on in the form `Bearer TOKEN`.
async fn check(State(tokens): State<Arc<FileBacked<Tokens>>>, mut request: Request, next: Next) -> Response {
    let presented = tokens::presented(request.headers());
    if let Some((token, revoked)) = presented.as_ref().and_then(|token| Some((token, tokens.get().accept(token)?))) {
        if let Some(bearer) = tokens::bearer(token) {
            request.headers_mut().insert(AUTHORIZATION, bearer);
        }
        return revocable::end_when_revoked(next.run(request).await, revoked);
    }
    if web::reveals_no_data(request.uri().path()) {
        return next.run(request).await;
    }
    tracing::debug!(path = request.uri().path(), presented = presented.is_some(), "request refused: no accepted token");
    refuse(request, &refusal(if presented.is_some() { "the token is not accepted" } else { "a token is required" }))
        .await
}

/// Refuses requests of web pages of other origins, and allows pages of allowed origins to read the responses.
async fn check_origin(State(policy): State<Arc<OriginPolicy>>, request: Request, next: Next) -> Response {
    let origin = policy.allowed_origin(request.headers());
    let mut response = if let Some(error) = policy.refusal(&request) {
        tracing::debug!(path = request.uri().path(), %error, "request refused");
        refuse(request, &error).await
    } else if let Some(response) = policy.preflight(&request) {
        response
    } else {
        next.run(request).await
    };
    policy.add_cors_headers(&mut response, origin);
    response
}

/// Responds to a request with an error, in the protocol of the request.
async fn refuse(request: Request, error: &Error) -> Response {
    let refused = rpc::problem(request.headers(), error);
    // Over HTTP/2, a call may send an endless body, and a refusal leaves the connection open.
    if refused.is_none() || request.version() != Version::HTTP_2 {
        // Over HTTP/1, a connection with an unread body is closed, which can destroy the response (RFC 9112 §9.6) or
        // the next request of a client that reuses the connection.
        let _ = timeout(DRAINED_FOR, to_bytes(request.into_body(), DRAINED_BYTES)).await;
    }
    refused.unwrap_or_else(|| web::problem(error))
}

fn refusal(what: &str) -> Error {
    let how = "send the header `authorization: Bearer TOKEN`, or Basic with any user and the token as password";
    Error::Unauthenticated(format!("{what}: {how}"))
}
