use super::*;

fn open(form: Form) -> WebSocket {
    let mut socket = WebSocket::new("h:1", form);
    socket.accept = None;
    socket.output.clear();
    socket
}

/// A frame as servers send it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(length as u8),
        length @ 126..=0xffff => {
            bytes.push(126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// What comes of these pieces.
fn received(socket: &mut WebSocket, pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>> {
    received_on(socket, &mut BytesMut::new(), pieces)
}

/// As [`received`], after what is left of an earlier input.
fn received_on(
    socket: &mut WebSocket,
    input: &mut BytesMut,
    pieces: &[&[u8]],
) -> Result<Vec<Vec<u8>>> {
    let mut messages = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        socket.feed(input, |stream, incoming| match incoming {
            Incoming::Message(message) if stream == 0 => messages.push(message.to_vec()),
            other => panic!("{stream}: {other:?}"),
        })?;
    }
    Ok(messages)
}

/// The opcode and the payload of the only masked frame in `bytes`.
fn unmasked(bytes: &[u8]) -> (u8, Vec<u8>) {
    assert_eq!(bytes[1] & MASKED, MASKED);
    let begin = match bytes[1] & !MASKED {
        127 => 10,
        126 => 4,
        _ => 2,
    };
    let (key, payload) = bytes[begin..].split_at(4);
    let plain = payload.iter().enumerate().map(|(i, b)| b ^ key[i % 4]);
    (bytes[0] & 0x0f, plain.collect())
}

#[test]
fn messages_are_whole_wherever_they_were_cut() {
    let parts = [
        frame(FIN | BINARY, b"one"),
        frame(BINARY, b"fr"),
        frame(FIN | PING, b"there?"),
        frame(CONTINUATION, b"agm"),
        frame(FIN | PONG, b""),
        frame(FIN | CONTINUATION, b"ents"),
        frame(FIN | BINARY, b""),
        frame(FIN | BINARY, &[7; 200]),
    ];
    let bytes = parts.concat();
    let expected = [&b"one"[..], b"fragments", b"", &[7; 200]].map(<[u8]>::to_vec);
    for cut in 0..=bytes.len() {
        let mut socket = open(Form::Proto);
        let (head, tail) = bytes.split_at(cut);
        let mut input = BytesMut::new();
        let messages = received_on(&mut socket, &mut input, &[head, tail]).unwrap();
        assert_eq!(messages, expected, "cut at {cut}");
        assert_eq!(unmasked(&socket.output), (PONG, b"there?".to_vec()));
        assert!(input.is_empty());
    }
    let mut socket = open(Form::Proto);
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(received(&mut socket, &single).unwrap(), expected);
}

#[test]
fn lengths_of_all_widths_are_understood() {
    for length in [0, 125, 126, 127, 0xffff, 0x1_0000, 300_000] {
        let payload = vec![b'x'; length];
        let mut socket = open(Form::Json);
        let bytes = frame(FIN | TEXT, &payload);
        let messages = received(&mut socket, &[&bytes[..1], &bytes[1..]]).unwrap();
        assert_eq!(messages, std::slice::from_ref(&payload), "{length} bytes");
        socket.send(&payload);
        assert_eq!(
            unmasked(&socket.output),
            (TEXT, payload),
            "{length} bytes sent"
        );
    }
}

#[test]
fn a_close_is_an_end_that_says_why() {
    let mut payload = 4031_u16.to_be_bytes().to_vec();
    payload.extend_from_slice(b"gone");
    for (payload, expected) in [
        (&payload[..], "code 4031: gone"),
        (&payload[..2], "code 4031"),
        (b"", "without a code"),
    ] {
        let bytes = [frame(FIN | TEXT, b"last"), frame(FIN | CLOSE, payload)].concat();
        let mut socket = open(Form::Json);
        let (mut input, mut messages) = (BytesMut::from(&bytes[..]), 0);
        let error = socket
            .feed(&mut input, |_, _| messages += 1)
            .unwrap_err()
            .to_string();
        assert!(error.ends_with(expected), "{error}");
        assert_eq!(messages, 1);
    }
}

#[test]
fn what_servers_may_not_send_is_an_error() {
    let long = MESSAGE_BYTES_MAX as u64 + 1;
    let too_long = [&[FIN | BINARY, 127][..], &long.to_be_bytes()].concat();
    let half = vec![0; MESSAGE_BYTES_MAX / 2 + 1];
    let grown = [frame(BINARY, &half), frame(CONTINUATION, &half)].concat();
    for (bytes, expected) in [
        (frame(FIN | TEXT, b"text"), "opcode 1"),
        (frame(FIN | CONTINUATION, b"of what"), "opcode 0"),
        (
            [frame(BINARY, b"a"), frame(FIN | BINARY, b"b")].concat(),
            "within a message",
        ),
        (frame(FIN | 0x40 | BINARY, b"x"), "reserved"),
        (vec![FIN | BINARY, MASKED | 1, 0, 0, 0, 0, 0], "masked"),
        (frame(PING, b"x"), "fragment"),
        (frame(FIN | PING, &[0; 126]), "126 bytes"),
        (frame(FIN | 3, b""), "opcode 3"),
        (too_long, "4194305 bytes"),
        (grown, "4194306 bytes"),
    ] {
        let error = received(&mut open(Form::Proto), &[&bytes]).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

/// The answer that a server gives to this handshake.
fn answer(socket: &WebSocket, subprotocol: &str) -> String {
    let accept = socket.accept.as_deref().unwrap();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-accept: {accept}\r\nsec-websocket-protocol: {subprotocol}\r\n\r\n"
    )
}

#[test]
fn a_handshake_is_checked_and_may_come_in_pieces_with_what_follows() {
    let request = WebSocket::new("h:1", Form::Json).output;
    let request = String::from_utf8(request.to_vec()).unwrap();
    assert!(request.starts_with("GET /gateway HTTP/1.1\r\nHost: h:1\r\n"));
    assert!(request.contains("Sec-WebSocket-Protocol: chirm.v1.json\r\n"));
    assert!(request.ends_with("\r\n\r\n"));

    for cut in [1, 40, 100] {
        let mut socket = WebSocket::new("h:1", Form::Proto);
        let mut bytes = answer(&socket, "chirm.v1.proto").into_bytes();
        bytes.extend(frame(FIN | BINARY, b"first"));
        let mut input = BytesMut::new();
        let mut more = |socket: &mut _, bytes| received_on(socket, &mut input, &[bytes]).unwrap();
        assert!(more(&mut socket, &bytes[..cut]).is_empty());
        assert!(!socket.is_open());
        assert_eq!(more(&mut socket, &bytes[cut..]), [b"first".to_vec()]);
        assert!(socket.is_open());
    }

    let mut socket = WebSocket::new("h:1", Form::Proto);
    let other = answer(&socket, "chirm.v1.json");
    assert!(received(&mut socket, &[other.as_bytes()]).is_err());
    let mut socket = WebSocket::new("h:1", Form::Proto);
    let foreign = answer(&WebSocket::new("h:1", Form::Proto), "chirm.v1.proto");
    assert!(received(&mut socket, &[foreign.as_bytes()]).is_err());
    let mut socket = WebSocket::new("h:1", Form::Proto);
    let refused = b"HTTP/1.1 403 Forbidden\r\n\r\nnot from there";
    let error = received(&mut socket, &[refused]).unwrap_err().to_string();
    assert!(error.contains("403") && error.contains("not from there"));
}
