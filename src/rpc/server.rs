//! The gRPC services as HTTP routes: OffsetService, health and reflection, each also as gRPC-Web, and Flight SQL.

use std::{sync::Arc, time::Duration};

use arrow_flight::flight_service_server::FlightServiceServer;
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use http_body_util::BodyExt as _;
use tokio_util::sync::CancellationToken;
use tonic::{Status, service::Routes};
use tonic_health::{ServingStatus, server::HealthReporter};
use tonic_web::GrpcWebLayer;
use tower::Layer as _;

use super::{Service, flight::FlightFrontend, proto};
use crate::{error::Error, status, store::Store, work::UnreadAnswer};
use proto::offset_service_server::OffsetServiceServer;

/// Maximum size of a request message (bytes).
const MAX_REQUEST_BYTES: usize = 1 << 20;
/// Interval at which readiness is checked for the health service.
const HEALTH_TICK: Duration = Duration::from_millis(100);

/// Reports readiness to the gRPC health service.
#[derive(Debug)]
pub struct Health {
    reporter: HealthReporter,
}

/// The embedded service descriptors are invalid, which is a bug.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the descriptors of the gRPC services: {0}")]
pub struct RoutesError(#[from] tonic_reflection::server::Error);

/// Returns all gRPC routes, without a fallback route.
///
/// # Errors
/// The embedded service descriptors are invalid, which is a bug.
pub fn routes(service: Service) -> Result<(axum::Router, Health), RoutesError> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let reflection_v1 = reflection().build_v1()?;
    let reflection_v1alpha = reflection().build_v1alpha()?;
    let flight = FlightServiceServer::new(FlightFrontend::new(&service))
        .max_decoding_message_size(MAX_REQUEST_BYTES)
        .send_compressed(tonic::codec::CompressionEncoding::Gzip)
        .accept_compressed(tonic::codec::CompressionEncoding::Gzip);
    let offsets = OffsetServiceServer::new(service)
        .max_decoding_message_size(MAX_REQUEST_BYTES)
        .send_compressed(tonic::codec::CompressionEncoding::Gzip)
        .accept_compressed(tonic::codec::CompressionEncoding::Gzip);
    // gRPC-Web is added per service. Around the whole server, it would reply 400 to plain HTTP/1.1 requests.
    let web = GrpcWebLayer::new();
    let routes = Routes::new(web.layer(offsets))
        .add_service(web.layer(health))
        .add_service(web.layer(reflection_v1))
        .add_service(web.layer(reflection_v1alpha))
        .add_service(flight);
    let routes = routes.into_axum_router().reset_fallback();
    Ok((routes.layer(axum::middleware::map_response(count_unread)), Health { reporter }))
}

/// Counts a page as unread until its body is dropped.
async fn count_unread(mut response: axum::response::Response) -> axum::response::Response {
    let Some(counted) = response.extensions_mut().remove::<UnreadAnswer>() else { return response };
    let counted_frame = move |frame| {
        let _held = &counted;
        frame
    };
    response.map(|body| axum::body::Body::new(body.map_frame(counted_frame)))
}

/// Returns the content type of a request that is a gRPC or gRPC-Web call; `None` for other requests.
fn grpc_content_type(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(CONTENT_TYPE).filter(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Returns the response to a call of an unknown service or method; `None` if the request is not a gRPC call.
#[must_use]
pub fn unimplemented(headers: &HeaderMap) -> Option<axum::response::Response> {
    grpc_response(headers, || Status::unimplemented("no such service or method"))
}

/// Returns the response that reports an error; `None` if the request is not a gRPC call.
#[must_use]
pub fn problem(headers: &HeaderMap, error: &Error) -> Option<axum::response::Response> {
    grpc_response(headers, || error.clone().into())
}

/// Returns the trailers that end a started response with an error; `None` for gRPC-Web, which has no HTTP trailers, and
/// if the request is not a gRPC call.
#[must_use]
pub fn trailers(headers: &HeaderMap, error: &Error) -> Option<HeaderMap> {
    grpc_content_type(headers).filter(|kind| !kind.as_bytes().starts_with(b"application/grpc-web"))?;
    let mut trailers = HeaderMap::new();
    Status::from(error.clone()).add_header(&mut trailers).ok().map(|()| trailers)
}

fn grpc_response(headers: &HeaderMap, status: impl FnOnce() -> Status) -> Option<axum::response::Response> {
    let content_type = grpc_content_type(headers)?;
    let mut response: http::Response<tonic::body::Body> = status().into_http();
    // Echo the content type, because gRPC-Web has several. Their encodings differ only in the body, which is empty.
    response.headers_mut().insert(CONTENT_TYPE, content_type.clone());
    Some(response.map(axum::body::Body::new))
}

impl Health {
    /// Reports the readiness of the server and its services until `stop` is cancelled.
    pub async fn run(self, store: Arc<Store>, ready_after: Duration, stop: CancellationToken) {
        let mut ready = None;
        loop {
            let now = status::awaited(&store, ready_after).is_empty();
            if ready != Some(now) {
                ready = Some(now);
                self.report(if now { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
            }
            tokio::select! {
                () = tokio::time::sleep(HEALTH_TICK) => {}
                () = stop.cancelled() => break,
            }
        }
        self.report(ServingStatus::NotServing).await;
    }

    async fn report(&self, status: ServingStatus) {
        for service in ["", "offsetd.v1.OffsetService", "arrow.flight.protocol.FlightService"] {
            self.reporter.set_service_status(service, status).await;
        }
    }
}
