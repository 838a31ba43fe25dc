//! The page to try a server with (`web/`), as it is, in the binary.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderName, header};

/// Its files: path, kind, content.
const FILES: &[(&str, &str, &[u8])] = &[
    ("/", HTML, include_bytes!("../../../web/index.html")),
    ("/style.css", CSS, include_bytes!("../../../web/style.css")),
    ("/icon.svg", SVG, include_bytes!("../../../web/icon.svg")),
    ("/dom.js", JS, include_bytes!("../../../web/dom.js")),
    ("/frames.js", JS, include_bytes!("../../../web/frames.js")),
    ("/gateway.js", JS, include_bytes!("../../../web/gateway.js")),
    ("/main.js", JS, include_bytes!("../../../web/main.js")),
    ("/members.js", JS, include_bytes!("../../../web/members.js")),
    (
        "/messages.js",
        JS,
        include_bytes!("../../../web/messages.js"),
    ),
    ("/outbox.js", JS, include_bytes!("../../../web/outbox.js")),
    ("/places.js", JS, include_bytes!("../../../web/places.js")),
    ("/rest.js", JS, include_bytes!("../../../web/rest.js")),
    ("/store.js", JS, include_bytes!("../../../web/store.js")),
    ("/talk.js", JS, include_bytes!("../../../web/talk.js")),
    ("/welcome.js", JS, include_bytes!("../../../web/welcome.js")),
];
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Nothing from elsewhere, nothing inline; it may connect to whatever server the user names.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self' http: https: ws: wss:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// Serves it at `/`.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.iter().fold(Router::new(), |router, file| {
        router.route(
            file.0,
            get(move || std::future::ready(answer(file.1, file.2))),
        )
    })
}

fn answer(kind: &'static str, content: &'static [u8]) -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_its_files_are_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../web");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !name.contains('.') || name.ends_with(".md") {
                continue;
            }
            let path = match name.as_str() {
                "index.html" => "/".to_owned(),
                other => format!("/{other}"),
            };
            assert!(
                FILES.iter().any(|file| file.0 == path),
                "{name} isn't served"
            );
        }
    }
}
