//! Who may ask: tokens, TLS, and which web pages.
//!
//! One layer around all that is served, so that nothing can be forgotten: what needs no token is listed
//! ([`web::holds_no_data`]), and all else, known or not, is refused without one. Tokens and keys are in no log, no error
//! and no `Debug`. Their files are read again when they change. A token that is gone ends the answers that it was given
//! for; what a certificate let in goes on.

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
use file::FromFiles;
use origin::Guard;
use tokens::Tokens;

/// Characters of a token.
const SHORTEST: usize = 16;
const LONGEST: usize = 512;

/// What of a request is read although it is refused, and for how long.
const DRAINED_BYTES: usize = 64 * 1024;
const DRAINED_FOR: Duration = Duration::from_secs(2);
/// Time between two checks of the files.
const RELOAD_EVERY: Duration = Duration::from_secs(2);

/// The tokens and the certificate in force.
#[derive(Clone)]
pub struct Access {
    tokens: Option<Arc<FromFiles<Tokens>>>,
    tls: Option<Arc<tls::Settings>>,
    client_certificates: bool,
    guard: Arc<Guard>,
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
    /// All that is wrong with them.
    pub fn new(server: &config::Server) -> Result<Self, AccessError> {
        let tokens = server.auth.tokens_file.clone().map(tokens).transpose();
        let (tokens, tls) = match (tokens, tls::settings(&server.tls)) {
            (Ok(tokens), Ok(tls)) => (tokens, tls),
            (tokens, tls) => return Err(AccessError { tokens: tokens.err(), tls: tls.err() }),
        };
        Ok(Self {
            guard: Arc::new(Guard::new(server, tokens.is_some(), tls.is_some())),
            tokens: tokens.map(Arc::new),
            tls: tls.map(Arc::new),
            client_certificates: server.tls.client_ca.is_some(),
        })
    }

    /// Whether every client that reaches the port may ask everything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.tokens.is_none() && !self.client_certificates
    }

    /// Whether requests need a token.
    #[must_use]
    pub fn wants_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// Whether there is TLS.
    #[must_use]
    pub fn encrypts(&self) -> bool {
        self.tls.is_some()
    }

    /// Adds the checks of every request: where it comes from, and its token where tokens are wanted.
    pub fn protect(&self, router: Router) -> Router {
        let router = match &self.tokens {
            Some(tokens) => router.layer(from_fn_with_state(Arc::clone(tokens), check)),
            None => router,
        };
        // Outermost: the question whether a page may send a request carries no token.
        router.layer(from_fn_with_state(Arc::clone(&self.guard), check_origin))
    }

    /// Accepts TLS with the certificate in force; `None` where there is no TLS.
    #[must_use]
    pub fn tls(&self) -> Option<TlsAcceptor> {
        self.tls.as_ref().map(|settings| TlsAcceptor::from(settings.get()))
    }

    /// Reloads files that have changed, until it is stopped.
    ///
    /// # Errors
    /// A reload that panicked.
    pub async fn follow(self, stop: CancellationToken) -> Result<(), JoinError> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(RELOAD_EVERY), if self.wants_tokens() || self.encrypts() => {}
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

fn tokens(path: PathBuf) -> Result<FromFiles<Tokens>, FileError> {
    FromFiles::new("tokens", vec![path.clone()], move |contents, former| {
        Tokens::parse(&path, contents.first().map_or(&[], Vec::as_slice), former)
    })
}

/// Checks the token of a request, and hands it on as `Bearer`.
async fn check(State(tokens): State<Arc<FromFiles<Tokens>>>, mut request: Request, next: Next) -> Response {
    let shown = tokens::shown(request.headers());
    if let Some((token, revoked)) = shown.as_ref().and_then(|token| Some((token, tokens.get().accept(token)?))) {
        if let Some(bearer) = tokens::bearer(token) {
            request.headers_mut().insert(AUTHORIZATION, bearer);
        }
        return revocable::revocable(next.run(request).await, revoked);
    }
    if web::holds_no_data(request.uri().path()) {
        return next.run(request).await;
    }
    tracing::debug!(path = request.uri().path(), shown = shown.is_some(), "refused without a token");
    refuse(request, &refusal(if shown.is_some() { "the token is not accepted" } else { "a token is needed" })).await
}

/// Refuses what a web page of another origin sends, and lets those of allowed origins read the responses.
async fn check_origin(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let origin = guard.shared_with(request.headers());
    let mut response = if let Some(error) = guard.refusal(&request) {
        tracing::debug!(path = request.uri().path(), %error, "request refused");
        refuse(request, &error).await
    } else if let Some(response) = guard.preflight(&request) {
        response
    } else {
        next.run(request).await
    };
    guard.share(&mut response, origin);
    response
}

/// Answers a request with an error, in the protocol of the request.
async fn refuse(request: Request, error: &Error) -> Response {
    let refused = rpc::problem(request.headers(), error);
    // A call over HTTP/2 may send without end, and its refusal leaves the connection open.
    if refused.is_none() || request.version() != Version::HTTP_2 {
        // Over HTTP/1 a connection with an unread body is closed, which may take the answer with it (RFC 9112 §9.6), or
        // meet the next request of a client that keeps its connections.
        let _ = timeout(DRAINED_FOR, to_bytes(request.into_body(), DRAINED_BYTES)).await;
    }
    refused.unwrap_or_else(|| web::problem(error))
}

fn refusal(what: &str) -> Error {
    let how = "send the header `authorization: Bearer TOKEN`, or Basic with any user and the token as password";
    Error::Unauthenticated(format!("{what}: {how}"))
}
