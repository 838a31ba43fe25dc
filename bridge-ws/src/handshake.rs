//! Which requests become WebSockets (RFC 6455, section 4.2).

use crate::form::Form;
use crate::origin::Origins;
use crate::refusal::Refusal;
use base64::Engine as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Where WebSockets are served.
pub const PATH: &str = "/gateway";

/// A request that becomes a WebSocket.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) form: Form,
    pub(crate) response: Response<()>,
}

pub(crate) fn accept<B>(request: &Request<B>, origins: &Origins) -> Result<Accepted, Refusal> {
    let headers = request.headers();
    if !lists(headers, header::CONNECTION, "upgrade")
        || !lists(headers, header::UPGRADE, "websocket")
    {
        return Err(Refusal::no_upgrade());
    }
    if request.method() != Method::GET {
        return Err(Refusal::handshake("A WebSocket begins with GET."));
    }
    if request.uri().query().is_some_and(|query| !query.is_empty()) {
        return Err(Refusal::handshake(
            "The URL of a WebSocket takes no query here. A token goes into the first frame, \
             identify, for URLs are logged and kept.",
        ));
    }
    if header_of(headers, header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(Refusal::handshake("Sec-WebSocket-Version must be 13."));
    }
    let key = header_of(headers, header::SEC_WEBSOCKET_KEY).filter(|key| is_key(key));
    let Some(key) = key else {
        let problem = "Sec-WebSocket-Key must be 16 random bytes in base64.";
        return Err(Refusal::handshake(problem));
    };
    origins
        .check(headers)
        .map_err(|origin| Refusal::origin(&origin))?;
    let Some(form) = subprotocol(headers) else {
        return Err(Refusal::handshake(
            "Ask for a subprotocol that is served: chirm.v1.proto (binary frames) or \
             chirm.v1.json (text frames).",
        ));
    };
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    let accept = accept.map_err(|_| Refusal::handshake("Sec-WebSocket-Key can't be used."))?;
    for (name, value) in [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
        (
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(form.subprotocol()),
        ),
    ] {
        response.headers_mut().insert(name, value);
    }
    Ok(Accepted { form, response })
}

/// The first that the client would take and that is served.
fn subprotocol(headers: &HeaderMap) -> Option<Form> {
    let asked = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let asked = asked.iter().filter_map(|value| value.to_str().ok());
    let mut asked = asked.flat_map(|value| value.split(','));
    asked.find_map(|name| Form::of(name.trim()))
}

fn header_of(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?.trim();
    values.next().is_none().then_some(value)
}

/// Whether a header that is a list has this entry.
fn lists(headers: &HeaderMap, name: HeaderName, entry: &str) -> bool {
    let values = headers.get_all(name);
    let mut values = values.iter().filter_map(|value| value.to_str().ok());
    values.any(|value| {
        let mut entries = value.split(',');
        entries.any(|there| there.trim().eq_ignore_ascii_case(entry))
    })
}

fn is_key(key: &str) -> bool {
    let decoded = base64::engine::general_purpose::STANDARD.decode(key);
    decoded.is_ok_and(|bytes| bytes.len() == 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(change: impl FnOnce(&mut Request<()>)) -> Request<()> {
        let mut request = Request::get("/gateway")
            .header("host", "chat.example.com")
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "WebSocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header(
                "sec-websocket-protocol",
                "other, chirm.v1.json, chirm.v1.proto",
            )
            .body(())
            .unwrap();
        change(&mut request);
        request
    }

    fn refused(change: impl FnOnce(&mut Request<()>)) -> Refusal {
        accept(&request(change), &Origins::default()).unwrap_err()
    }

    #[test]
    fn a_handshake_is_answered_as_the_rfc_says() {
        let accepted = accept(&request(|_| {}), &Origins::default()).unwrap();
        assert_eq!(accepted.form, Form::Json);
        assert_eq!(accepted.response.status(), 101);
        let headers = accepted.response.headers();
        // The example of RFC 6455, section 1.3.
        assert_eq!(
            headers["sec-websocket-accept"],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert_eq!(headers["sec-websocket-protocol"], "chirm.v1.json");
    }

    #[test]
    fn what_is_no_handshake_is_refused() {
        let plain = refused(|r| drop(r.headers_mut().remove("upgrade")));
        assert_eq!(
            (plain.http.as_u16(), plain.reason),
            (426, "UPGRADE_REQUIRED")
        );
        let answer = plain.into_response();
        assert_eq!(answer.headers()["upgrade"], "websocket");
        for (name, value) in [
            ("sec-websocket-version", "8"),
            ("sec-websocket-key", "short"),
            ("sec-websocket-protocol", "chirm.v2.proto"),
        ] {
            let there = refused(|r| drop(r.headers_mut().insert(name, value.parse().unwrap())));
            assert_eq!(there.http, 400, "{name}: {value}");
            let missing = refused(|r| drop(r.headers_mut().remove(name)));
            assert_eq!(missing.http, 400, "no {name}");
        }
        let post = refused(|r| *r.method_mut() = Method::POST);
        assert_eq!(post.http, 400);
        let token = refused(|r| *r.uri_mut() = "/gateway?token=x".parse().unwrap());
        assert!(token.message.contains("identify"), "{}", token.message);
        let stranger = refused(|r| {
            let origin = "https://evil.test".parse().unwrap();
            r.headers_mut().insert("origin", origin);
        });
        assert_eq!(
            (stranger.http.as_u16(), stranger.reason),
            (403, "ORIGIN_REFUSED")
        );
    }
}
