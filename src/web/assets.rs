//! The dashboard: the files that the build of `clients/web` made, embedded. Assets are embedded compressed only, and their
//! names hold a hash of their content. A response refers to the embedded bytes and copies none.

use std::borrow::Cow;

use axum::{
    body::{Body, Bytes},
    extract::Path,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use rust_embed::{Embed, EmbeddedFile};

use super::{accept::quality, coding::takes};

#[derive(Embed)]
#[folder = "clients/web/dist"]
struct Dist;

/// Paths of the pages, which all begin with the same document. The dashboard's router knows the same ones.
pub(super) const PAGES: [&str; 8] = ["/", "/consumers", "/active", "/group", "/topics", "/topic", "/sql", "/server"];

/// No code, no style and no data but from here; in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SECURITY: [(HeaderName, HeaderValue); 4] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// The document of a page, for who reads HTML.
pub(super) fn document(headers: &HeaderMap) -> Option<Response> {
    quality(headers, "text/html").filter(|html| html.is_exact())?;
    let file = Dist::get("index.html")?;
    let cached = [(header::CACHE_CONTROL, "no-cache"), (header::VARY, "accept")];
    let content = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    Some((SECURITY, cached, content, body(file)).into_response())
}

/// A part of the dashboard.
pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    // Who does not say so gets gzip, which everybody takes.
    let (encoding, suffix) = if takes(&headers, "br") { ("br", "br") } else { ("gzip", "gz") };
    let Some(file) = Dist::get(&format!("assets/{name}.{suffix}")) else {
        return super::not_found();
    };
    // The licences of what is bundled have no hash in their name.
    let lasting = if name.contains('-') { "public, max-age=31536000, immutable" } else { "no-cache" };
    let cached = [(header::CACHE_CONTROL, lasting), (header::VARY, "accept-encoding")];
    let content = [(header::CONTENT_TYPE, content_type(&name)), (header::CONTENT_ENCODING, encoding)];
    (StatusCode::OK, SECURITY, cached, content, body(file)).into_response()
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
