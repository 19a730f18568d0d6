//! A request under way, and the body of its response as the connection reads it.

use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header::CONTENT_TYPE},
    response::Response,
};
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::connection::{Connection, Request};
use crate::{
    call::{Call, Outcome},
    error::Error,
    metrics::RequestCut,
    rpc,
};

/// The id of the call, on each response.
const CALL: HeaderName = HeaderName::from_static("offsetd-call");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// Bytes that a connection takes at a time: a client that reads slowly has read something soon.
const PIECE: usize = 64 * 1024;

/// A request under way.
pub(super) struct Underway {
    pub(super) call: Call,
    connection: Arc<Connection>,
    begun: Instant,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    body: Option<Body>,
    /// What was read of the body and not handed on.
    rest: Bytes,
    /// Since when the connection has a piece and asks for no other.
    handed_at: Option<Instant>,
    /// How it ended, or will if nothing happens.
    outcome: Option<Outcome>,
    has_ended: bool,
    /// What a client of gRPC is told when it has not read for too long.
    content_type: Option<HeaderValue>,
}

impl Request for Underway {
    fn end_if_unread(&self, limit: Duration, now: Instant) -> bool {
        // Locked, it is being read.
        let Some(mut progress) = self.progress.try_lock() else { return false };
        if progress.outcome == Some(Outcome::Unread) {
            return true;
        }
        if progress.handed_at.is_none_or(|at| now.duration_since(at) < limit) {
            return false;
        }
        progress.outcome = Some(Outcome::Unread);
        let freed = (progress.body.take(), mem::take(&mut progress.rest));
        drop(progress);
        self.connection.counters.cut(RequestCut::Unread);
        self.call.run(|| drop(freed));
        true
    }
}

/// Ends the request when it is dropped.
pub(super) struct Guard(Arc<Underway>);

impl Guard {
    pub(super) fn begin(call: Call, connection: &Arc<Connection>) -> Self {
        let (begun, connection) = (Instant::now(), Arc::clone(connection));
        let underway = Arc::new(Underway { call, connection, begun, progress: Mutex::default() });
        underway.connection.begin(Arc::<Underway>::clone(&underway), begun);
        Self(underway)
    }

    /// The response, as the connection is to send it.
    pub(super) fn respond(self, method: &Method, mut response: Response) -> Response<ResponseBody> {
        if let Ok(id) = HeaderValue::from_str(self.0.call.id()) {
            response.headers_mut().insert(CALL, id);
        }
        let (head, body) = response.into_parts();
        let outcome = grpc_outcome(&head.headers).or_else(|| http_outcome(head.status));
        let content_type = head.headers.get(CONTENT_TYPE).cloned();
        let has_ended = body.is_end_stream() || *method == Method::HEAD;
        *self.0.progress.lock() =
            Progress { body: Some(body), outcome, has_ended, content_type, ..Progress::default() };
        Response::from_parts(head, ResponseBody(self))
    }
}

fn http_outcome(status: StatusCode) -> Option<Outcome> {
    (status.as_u16() >= 400).then_some(Outcome::Http(status.as_u16()))
}

fn grpc_outcome(headers: &HeaderMap) -> Option<Outcome> {
    let code: u16 = headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()?;
    Some(if code == 0 { Outcome::Ok } else { Outcome::Grpc(code) })
}

impl Drop for Guard {
    fn drop(&mut self) {
        let now = Instant::now();
        let progress = mem::take(&mut *self.0.progress.lock());
        let (has_ended, outcome) = (progress.has_ended, progress.outcome);
        // What it is made from is let go of inside the call, as it was made.
        self.0.call.run(|| drop(progress));
        let outcome = match outcome {
            Some(outcome @ (Outcome::Unread | Outcome::Broken)) => outcome,
            Some(outcome) if has_ended => outcome,
            None if has_ended => Outcome::Ok,
            Some(_) | None => Outcome::Cancelled,
        };
        let call: Arc<dyn Request> = Arc::<Underway>::clone(&self.0);
        self.0.connection.end(&call, outcome == Outcome::Cancelled, now);
        self.0.call.end(now.duration_since(self.0.begun), outcome);
    }
}

/// The body of a response.
pub(super) struct ResponseBody(Guard);

#[derive(Debug, thiserror::Error)]
#[error("the client has not read the response for too long (setting `server.limits.write_timeout`)")]
struct Unread;

impl Progress {
    fn piece(&mut self) -> Option<Frame<Bytes>> {
        let length = self.rest.len().min(PIECE);
        if length == 0 {
            return None;
        }
        self.handed_at = Some(Instant::now());
        Some(Frame::data(self.rest.split_to(length)))
    }

    fn is_at_end(&self) -> bool {
        self.rest.is_empty() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    /// The end of a response that was not read: for gRPC, a status.
    fn unread(&mut self) -> Option<Result<Frame<Bytes>, axum::Error>> {
        if mem::replace(&mut self.has_ended, true) {
            return None;
        }
        let headers = HeaderMap::from_iter(self.content_type.take().map(|kind| (CONTENT_TYPE, kind)));
        let trailers = rpc::trailers(&headers, &Error::Exhausted(Unread.to_string()));
        Some(trailers.map(Frame::trailers).ok_or_else(|| axum::Error::new(Unread)))
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let underway = &*self.0.0;
        let mut progress = underway.progress.lock();
        progress.handed_at = None;
        if progress.outcome == Some(Outcome::Unread) {
            return Poll::Ready(progress.unread());
        }
        loop {
            if let Some(piece) = progress.piece() {
                progress.has_ended = progress.is_at_end();
                return Poll::Ready(Some(Ok(piece)));
            }
            let Some(body) = &mut progress.body else { return Poll::Ready(None) };
            let frame = ready!(underway.call.run(|| Pin::new(body).poll_frame(cx)));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                // An empty part may mean "begin the response": it is handed on.
                Some(Ok(Ok(data))) if data.is_empty() => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Ok(Ok(data))) => progress.rest = data,
                Some(Ok(Err(frame))) => {
                    progress.outcome = frame.trailers_ref().and_then(grpc_outcome).or(progress.outcome);
                    progress.has_ended = true;
                    return Poll::Ready(Some(Ok(frame)));
                }
                Some(Err(error)) => {
                    (progress.body, progress.outcome) = (None, Some(Outcome::Broken));
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    progress.has_ended = true;
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let progress = self.0.0.progress.lock();
        progress.outcome != Some(Outcome::Unread) && progress.is_at_end()
    }

    /// Asked before the first piece, when nothing is left of another.
    fn size_hint(&self) -> SizeHint {
        let progress = self.0.0.progress.lock();
        match &progress.body {
            Some(body) if progress.rest.is_empty() => body.size_hint(),
            Some(_) => SizeHint::default(),
            None => SizeHint::with_exact(progress.rest.len() as u64),
        }
    }
}
