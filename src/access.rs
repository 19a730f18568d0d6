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
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

mod file;
mod names;
mod origin;
mod revocable;
mod tls;
mod tokens;

pub use tls::TlsListener;

use crate::{config, error::Error, rpc, web};
use file::FromFiles;
use origin::Guard;
use tokens::Tokens;

/// What of a request is read although it is refused, and for how long.
const DRAINED_BYTES: usize = 64 * 1024;
const DRAINED_FOR: Duration = Duration::from_secs(2);
/// Time between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(2);

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
    pub fn new(server: &config::Server) -> Result<Self, String> {
        let tokens = server.auth.tokens_file.clone().map(tokens).transpose();
        let tokens = tokens.map_err(|error| format!("server.auth.tokens_file: {error}"));
        let tls = tls::settings(&server.tls).map_err(|error| format!("server.tls: {error}"));
        match (tokens, tls) {
            (Ok(tokens), Ok(tls)) => Ok(Self {
                guard: Arc::new(Guard::new(server, tokens.is_some(), tls.is_some())),
                tokens: tokens.map(Arc::new),
                tls: tls.map(Arc::new),
                client_certificates: server.tls.client_ca.is_some(),
            }),
            (tokens, tls) => Err([tokens.err(), tls.err()].into_iter().flatten().collect::<Vec<_>>().join("\n")),
        }
    }

    /// Whether whoever reaches the port may ask everything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.tokens.is_none() && !self.client_certificates
    }

    /// Whether tokens are wanted.
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

    /// The listener with TLS, or the plain one back.
    ///
    /// # Errors
    /// The listener, where there is to be no TLS.
    pub fn listener(&self, tcp: TcpListener) -> Result<TlsListener, TcpListener> {
        match &self.tls {
            Some(settings) => Ok(TlsListener::new(tcp, Arc::clone(settings))),
            None => Err(tcp),
        }
    }

    /// Looks whether files have changed, until it is stopped.
    ///
    /// # Errors
    /// A look that panicked.
    pub async fn follow(self, stop: CancellationToken) -> Result<(), String> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY), if self.wants_tokens() || self.encrypts() => {}
                () = stop.cancelled() => return Ok(()),
            }
            let access = self.clone();
            let look = tokio::task::spawn_blocking(move || {
                access.tokens.iter().for_each(|tokens| tokens.look());
                access.tls.iter().for_each(|tls| tls.look());
            });
            look.await.map_err(|error| error.to_string())?;
        }
    }
}

fn tokens(path: PathBuf) -> Result<FromFiles<Tokens>, String> {
    let name = path.display().to_string();
    FromFiles::new("tokens", vec![path], move |contents, former| {
        Tokens::parse(contents.first().map_or(&[], Vec::as_slice), former).map_err(|error| format!("{name}: {error}"))
    })
}

/// Whoever shows a token is let through, and the token goes with the request as `Bearer`.
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
