//! Response bodies that end when the token of the request is revoked. This matters for watches, which have no end of
//! their own.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::HeaderMap,
    response::Response,
};
use http_body::{Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::rpc;

/// Wraps a response so that its body ends when `token` is cancelled.
pub(super) fn end_when_revoked(response: Response, token: CancellationToken) -> Response {
    let trailers = rpc::trailers(response.headers(), &super::refusal("the token is not accepted any more"));
    let revoked = Box::pin(token.clone().cancelled_owned());
    response.map(|body| Body::new(Revocable { body: Some(body), token, revoked, trailers }))
}

struct Revocable {
    /// `None` after an early end.
    body: Option<Body>,
    token: CancellationToken,
    revoked: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Trailers that end a gRPC stream. Other streams are aborted with an error.
    trailers: Option<HeaderMap>,
}

#[derive(Debug, thiserror::Error)]
#[error("the token is not accepted any more")]
struct Revoked;

impl HttpBody for Revocable {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        if !this.token.is_cancelled() {
            let frame = Pin::new(body).poll_frame(cx);
            if frame.is_ready() || this.revoked.as_mut().poll(cx).is_pending() {
                return frame;
            }
        }
        // Releases the resources of the body immediately.
        this.body = None;
        Poll::Ready(Some(this.trailers.take().map(Frame::trailers).ok_or_else(|| axum::Error::new(Revoked))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
