//! A client's stream, cut as the network pleases.

use std::sync::{Arc, LazyLock};

use snowtide_protocol::frame::{self, FrameBuffer};
use snowtide_protocol::wire::{
    Ask, Greeting, Hello, IDS_MAX, RequestHead, Response, VERSION, WireError, WireOperation, WireTerms,
};
use snowtide_protocol::{Ack, Action, Code, Token, codec};
use tokio::sync::Semaphore;

use super::intake::{Closed, Intake};
use crate::api::bearer::Grant;
use crate::api::known::KNOWN;

/// Far below what is configured, so that its edge is met.
const FRAME_BYTES_MAX: usize = 4 << 10;
const ROOM: usize = 1_000;

static PLACES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(64)));

/// The first byte tells how long the reads are, 0 that these are a server's frames; then come the frames.
pub(crate) fn frames(bytes: &[u8]) {
    let Some((step, bytes)) = bytes.split_first() else { return };
    let (mut buffer, anyone) = (FrameBuffer::new(FRAME_BYTES_MAX), Grant::anyone());
    for read in bytes.chunks(usize::from(*step).max(1)) {
        // A read is never longer than the room that there is for it.
        buffer.room().iter_mut().zip(read).for_each(|(to, from)| *to = *from);
        buffer.filled(read.len());
        let mut intake = Intake::new(
            &KNOWN.namespaces,
            &KNOWN.terms_codec,
            &anyone,
            &KNOWN.decider,
            Closed::default(),
            &PLACES,
            ROOM,
        );
        loop {
            match buffer.next_frame() {
                Ok(Some(frame)) if *step == 0 => answer(frame),
                Ok(Some(frame)) if intake.take(frame).is_err() => return greet(frame),
                Ok(Some(frame)) => assert!(frame.len() <= FRAME_BYTES_MAX),
                Ok(None) => break,
                Err(_too_long) => return,
            }
        }
        let taken = intake.finish();
        let operations: usize = taken.submissions.iter().map(|submission| submission.operations.len()).sum();
        assert!(operations <= ROOM);
    }
}

/// What is no request may be a greeting.
fn greet(frame: &[u8]) {
    if let Ok(hello) = codec::decode::<Hello>(frame) {
        assert!(codec::decode(&codec::encode(&hello)).is_ok_and(|again: Hello| again == hello));
    }
}

/// What a client makes of a server's frame.
fn answer(frame: &[u8]) {
    if let Ok(greeting) = codec::decode::<Greeting>(frame) {
        assert!(codec::decode(&codec::encode(&greeting)).is_ok_and(|again: Greeting| again == greeting));
    }
    let _ = codec::decode::<Response>(frame);
}

pub(crate) fn frames_seeds() -> Vec<Vec<u8>> {
    let (mut stream, mut hello) = (Vec::new(), Vec::new());
    frame::append(&Hello { versions: (VERSION, VERSION), token: Some("0123456789abcdef".into()) }, &mut hello);
    frame::append(&RequestHead { id: 1, ask: Ask::Ids(IDS_MAX) }, &mut stream);
    let operations = [Action::Increment(-3), Action::Get];
    let operations = operations.map(|action| WireOperation { namespace: 0, key: "visits", action });
    frame::append_with(&mut stream, |bytes| {
        codec::encode_into(&RequestHead { id: 2, ask: Ask::Batch { namespaces: 1, operations: 2 } }, bytes);
        codec::encode_into("default", bytes);
        operations.iter().for_each(|operation| codec::encode_into(operation, bytes));
    });
    let after = Token::new().to_bytes();
    let terms = WireTerms {
        after: &after,
        wait_ms: Some(5),
        ack: Ack::Regions(2),
        wants_token: true,
        wants_views: true,
        turn: None,
        incarnation: Some(7),
        again_ms: None,
    };
    frame::append_with(&mut stream, |bytes| {
        codec::encode_into(&RequestHead { id: 3, ask: Ask::OnTerms { namespaces: 1, operations: 1 } }, bytes);
        codec::encode_into(&terms, bytes);
        codec::encode_into("default", bytes);
        operations.iter().take(1).for_each(|operation| codec::encode_into(operation, bytes));
    });
    let refused = WireError { code: Code::Throttled, detail: "later".into(), retry_after_ms: Some(5) };
    let mut answers = Vec::new();
    frame::append(&Greeting::Refused(refused.clone()), &mut answers);
    frame::append(&Response { id: 1, answer: Err(refused) }, &mut answers);
    [(7, &stream), (255, &stream), (255, &hello), (0, &answers)]
        .map(|(step, frames)| [[step].as_slice(), frames].concat())
        .to_vec()
}
