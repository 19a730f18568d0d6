//! The embedded files of the dashboard, built from `clients/web`. Assets are embedded only in compressed form, and
//! their names contain a hash of their content. Responses refer to the embedded bytes without a copy.

use std::borrow::Cow;

use axum::{
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use rust_embed::{Embed, EmbeddedFile};

use super::{Web, accept::quality, coding::accepts};

#[derive(Embed)]
#[folder = "clients/web/dist"]
struct Dist;

/// Paths of the pages, which all return the same document. The dashboard's router has the same list.
pub(super) const PAGES: [&str; 9] =
    ["/", "/consumers", "/active", "/group", "/topics", "/topic", "/compare", "/sql", "/server"];

/// Content security policy without `frame-ancestors`: scripts, styles and data only from this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'";

/// Returns the headers of pages and assets that restrict what browsers do with them. Pages of the given origins may show
/// the dashboard in a frame.
pub(super) fn security(frame_ancestors: &[String]) -> HeaderMap {
    let mut headers = HeaderMap::from_iter([
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ]);
    let ancestors = if frame_ancestors.is_empty() { "'none'".to_owned() } else { frame_ancestors.join(" ") };
    let policy = HeaderValue::try_from(format!("{POLICY}; frame-ancestors {ancestors}"));
    // Origins are ASCII, so the policy is always a valid header value.
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy.unwrap_or(nothing));
    if frame_ancestors.is_empty() {
        // For browsers without `frame-ancestors`. It cannot allow some origins, only none.
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    }
    headers
}

/// Returns the document of the dashboard; `None` if the client does not accept HTML.
pub(super) fn document(headers: &HeaderMap, security: HeaderMap) -> Option<Response> {
    quality(headers, "text/html").filter(|html| html.is_exact())?;
    let file = Dist::get("index.html")?;
    let cached = [(header::CACHE_CONTROL, "no-cache"), (header::VARY, "accept")];
    let content = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    Some((security, cached, content, body(file)).into_response())
}

/// Returns an asset of the dashboard.
pub(super) async fn asset(State(web): State<Web>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    // Clients that do not name a coding get gzip, which all browsers support.
    let (encoding, suffix) = if accepts(&headers, "br") { ("br", "br") } else { ("gzip", "gz") };
    let Some(file) = Dist::get(&format!("assets/{name}.{suffix}")) else {
        return super::not_found();
    };
    // The licences of bundled packages have no hash in their name.
    let lasting = if name.contains('-') { "public, max-age=31536000, immutable" } else { "no-cache" };
    let cached = [(header::CACHE_CONTROL, lasting), (header::VARY, "accept-encoding")];
    let content = [(header::CONTENT_TYPE, content_type(&name)), (header::CONTENT_ENCODING, encoding)];
    (StatusCode::OK, web.security, cached, content, body(file)).into_response()
}

fn body(file: EmbeddedFile) -> Body {
    match file.data {
        Cow::Borrowed(data) => Body::from(Bytes::from_static(data)),
        Cow::Owned(data) => Body::from(data),
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("md") => "text/markdown; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests;
