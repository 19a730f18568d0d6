//! The body of a request, which must arrive within a time limit.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

use crate::metrics::{Connections, RequestCut};

/// A request body with a time limit.
pub(super) struct RequestBody {
    pub(super) inner: Incoming,
    pub(super) limit: Duration,
    /// Whether the limit applies to each frame instead of the whole body: a gRPC call may be long and send rarely.
    pub(super) is_per_frame: bool,
    /// Starts when a read of the body first has to wait.
    pub(super) deadline: Option<Pin<Box<Sleep>>>,
    pub(super) counters: Arc<Connections>,
}

/// The reason why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// The body took too long.
    #[error(
        "the body of the request did not arrive within {} s (setting `server.limits.body_timeout`)",
        limit.as_secs_f64()
    )]
    Timeout {
        /// The configured limit.
        limit: Duration,
    },
    /// The connection failed.
    #[error(transparent)]
    Connection(#[from] hyper::Error),
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            if self.is_per_frame {
                self.deadline = None;
            }
            return Poll::Ready(frame.map(|frame| Ok(frame?)));
        }
        let limit = self.limit;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(deadline.as_mut().poll(cx));
        self.counters.cut(RequestCut::Body);
        Poll::Ready(Some(Err(BodyError::Timeout { limit })))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
