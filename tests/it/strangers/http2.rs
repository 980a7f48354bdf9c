//! HTTP/2 frames (RFC 9113), byte for byte, for clients that a library would not let misbehave.

/// What every connection begins with, and that the other end may send nothing on its streams.
pub(super) fn preface_without_windows() -> Vec<u8> {
    // SETTINGS_INITIAL_WINDOW_SIZE = 0
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[0, 4, 0, 0, 0, 0])].concat()
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// A header that stands in no table (RFC 7541, 6.2.2).
fn literal(name: &str, value: &str) -> Vec<u8> {
    [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

/// A whole request without a body.
pub(super) fn get(stream: u32, path: &str) -> Vec<u8> {
    // :method GET and :scheme http are in the static table.
    let head = [&[0x82, 0x86][..], &literal(":path", path), &literal(":authority", "node")].concat();
    // END_STREAM and END_HEADERS
    frame(1, 5, stream, &head)
}

/// The head of a request whose body is to come.
pub(super) fn post(stream: u32, path: &str) -> Vec<u8> {
    // :method POST and :scheme http are in the static table.
    let head = [&[0x83, 0x86][..], &literal(":path", path), &literal(":authority", "node")].concat();
    // END_HEADERS
    frame(1, 4, stream, &head)
}

/// A request whose head does not end.
pub(super) fn endless(stream: u32, value: &str) -> Vec<u8> {
    let head = [&[0x82, 0x86][..], &literal(":path", "/livez"), &literal(":authority", "node")].concat();
    let mut frames = frame(1, 1, stream, &head);
    for at in 0..100 {
        frames.extend(frame(9, 0, stream, &literal(&format!("x-{at}"), value)));
    }
    frames
}

/// RST_STREAM with CANCEL.
pub(super) fn reset(stream: u32) -> Vec<u8> {
    frame(3, 0, stream, &8_u32.to_be_bytes())
}
