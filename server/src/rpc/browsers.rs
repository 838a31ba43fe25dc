//! What pages need that came from elsewhere: their browsers ask whether they may (CORS).

use chirm_bridge_ws::Origins;
use http::{HeaderName, HeaderValue, Method, header, request::Parts};
use std::time::Duration;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// How long a browser may remember the answer.
const REMEMBERED: Duration = Duration::from_secs(2 * 60 * 60);
/// Headers of answers that pages may read, beside those that they always may.
const EXPOSED: [HeaderName; 4] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
    header::RETRY_AFTER,
];

/// Lets pages of these origins call, with a token and whatever headers they need.
pub(super) fn layer(origins: Origins) -> CorsLayer {
    let may = move |_: &HeaderValue, request: &Parts| origins.check(&request.headers).is_ok();
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(may))
        .allow_headers(AllowHeaders::mirror_request())
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ])
        .expose_headers(EXPOSED)
        .max_age(REMEMBERED)
}
