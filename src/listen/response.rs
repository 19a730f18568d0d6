//! A running request, and the body of its response as the connection reads it.

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

use super::connection::{ActiveRequest, Connection};
use crate::{
    call::{Call, Outcome},
    error::Error,
    metrics::RequestCut,
    rpc,
};

/// Response header with the id of the call.
const CALL: HeaderName = HeaderName::from_static("offsetd-call");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// Maximum size of a frame in bytes. Small frames show progress even if the client reads slowly.
const MAX_FRAME_BYTES: usize = 64 * 1024;

/// A running request.
pub(super) struct RunningRequest {
    pub(super) call: Call,
    connection: Arc<Connection>,
    begun: Instant,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    body: Option<Body>,
    /// Bytes of the body that were read and not passed on yet.
    rest: Bytes,
    /// Time since which the connection has a frame and has not polled for the next one.
    frame_taken_at: Option<Instant>,
    /// Outcome of the request, or its outcome unless something else happens.
    outcome: Option<Outcome>,
    has_ended: bool,
    /// Content type of the response, which decides whether an unread response ends with gRPC trailers.
    content_type: Option<HeaderValue>,
}

impl ActiveRequest for RunningRequest {
    fn end_if_unread(&self, limit: Duration, now: Instant) -> bool {
        // A locked body is being read at this moment.
        let Some(mut progress) = self.progress.try_lock() else { return false };
        if progress.outcome == Some(Outcome::Unread) {
            return true;
        }
        if progress.frame_taken_at.is_none_or(|at| now.duration_since(at) < limit) {
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

/// Ends the request when dropped.
pub(super) struct RequestGuard(Arc<RunningRequest>);

impl RequestGuard {
    pub(super) fn begin(call: Call, connection: &Arc<Connection>) -> Self {
        let (begun, connection) = (Instant::now(), Arc::clone(connection));
        let running = Arc::new(RunningRequest { call, connection, begun, progress: Mutex::default() });
        running.connection.begin(Arc::<RunningRequest>::clone(&running), begun);
        Self(running)
    }

    /// Wraps the response for the connection.
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

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let now = Instant::now();
        let progress = mem::take(&mut *self.0.progress.lock());
        let (has_ended, outcome) = (progress.has_ended, progress.outcome);
        // The body is dropped inside the call, like all other work of the request.
        self.0.call.run(|| drop(progress));
        let outcome = match outcome {
            Some(outcome @ (Outcome::Unread | Outcome::Broken)) => outcome,
            Some(outcome) if has_ended => outcome,
            None if has_ended => Outcome::Ok,
            Some(_) | None => Outcome::Cancelled,
        };
        let call: Arc<dyn ActiveRequest> = Arc::<RunningRequest>::clone(&self.0);
        self.0.connection.end(&call, outcome == Outcome::Cancelled, now);
        self.0.call.end(now.duration_since(self.0.begun), outcome);
    }
}

/// The body of a response.
pub(super) struct ResponseBody(RequestGuard);

#[derive(Debug, thiserror::Error)]
#[error("the client has not read the response for too long (setting `server.limits.write_timeout`)")]
struct Unread;

impl Progress {
    fn next_frame(&mut self) -> Option<Frame<Bytes>> {
        let length = self.rest.len().min(MAX_FRAME_BYTES);
        if length == 0 {
            return None;
        }
        self.frame_taken_at = Some(Instant::now());
        Some(Frame::data(self.rest.split_to(length)))
    }

    fn is_at_end(&self) -> bool {
        self.rest.is_empty() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    /// Returns the end of a response that was not read: for gRPC, a status.
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
        let running = &*self.0.0;
        let mut progress = running.progress.lock();
        progress.frame_taken_at = None;
        if progress.outcome == Some(Outcome::Unread) {
            return Poll::Ready(progress.unread());
        }
        loop {
            if let Some(next_frame) = progress.next_frame() {
                progress.has_ended = progress.is_at_end();
                return Poll::Ready(Some(Ok(next_frame)));
            }
            let Some(body) = &mut progress.body else { return Poll::Ready(None) };
            let frame = ready!(running.call.run(|| Pin::new(body).poll_frame(cx)));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                // An empty frame may mean "begin the response", so it is passed on.
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

    /// Called before the first frame, when no bytes of a previous frame are left.
    fn size_hint(&self) -> SizeHint {
        let progress = self.0.0.progress.lock();
        match &progress.body {
            Some(body) if progress.rest.is_empty() => body.size_hint(),
            Some(_) => SizeHint::default(),
            None => SizeHint::with_exact(progress.rest.len() as u64),
        }
    }
}
