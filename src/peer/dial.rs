//! Our link to one peer: dialed, carried, lost, dialed again.
//!
//! Pauses grow from 50 ms to `peer.backoff_max`, with jitter, and begin anew once a link has lived for longer than
//! the longest pause, or once the peer calls us: whoever calls can be called. When it calls from another boot than
//! the one we are linked with, our link leads to a process that is gone, and is dropped at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use quinn::{Connection, SendStream};
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::error;

use crate::clock::Stopwatch;
use crate::identity::{Boot, Peer, WorkerId};
use crate::quic::Close;
use crate::replica::{Event, Message, Sighting};

use super::end::{End, no_connection, unreachable};
use super::hello::{self, Agreement, HELLO_BYTES_MAX, HelloReply, Refusal};
use super::link::{Link, LinkState, STOPPING};
use super::messages::Outgoing;
use super::{Shared, brief, certificate, limits, pulse, seal};
use super::{compressed, frame};

/// Messages gathered into one write.
const MESSAGES_PER_WRITE: usize = 64;
/// No more messages are gathered once the write holds this much.
const WRITE_BYTES: usize = 256 << 10;

/// Keeps the link to `worker` up until the node stops.
pub(super) async fn keep(shared: Arc<Shared>, worker: WorkerId) {
    let Some(link) = shared.peers.get(&worker) else { return };
    let mut called = link.called.subscribe();
    let mut pauses = pauses(&shared);
    loop {
        called.mark_unchanged();
        let lived = Stopwatch::start();
        let end = tokio::select! {
            end = attempt(&shared, link, &mut called) => end,
            () = shared.stop.cancelled() => End::Stopped,
        };
        let pause = match end {
            End::Stopped => {
                link.close(LinkState::Down(STOPPING.into()));
                return;
            }
            End::Restarted => {
                pauses = self::pauses(&shared);
                link.close(LinkState::Down("the peer restarted".into()));
                continue;
            }
            other => {
                report(&shared, link, other);
                if Duration::from_millis(lived.elapsed_ms()) > shared.limits.backoff_max {
                    pauses = self::pauses(&shared);
                }
                pauses.next().unwrap_or(shared.limits.backoff_max)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            Ok(()) = called.changed() => pauses = self::pauses(&shared),
            () = shared.stop.cancelled() => {}
        }
    }
}

fn pauses(shared: &Shared) -> impl Iterator<Item = Duration> + use<> {
    ExponentialBuilder::default()
        .with_min_delay(shared.limits.backoff_min)
        .with_max_delay(shared.limits.backoff_max)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Tells people, and the engine if another live process has our worker id: the newcomer is us, so we stop (G5).
fn report(shared: &Shared, link: &Link, end: End) {
    let duplicate = matches!(end, End::Duplicate(_));
    let state = match end {
        End::WeRefuse(refusal) => LinkState::Refused(format!("by this node: {refusal}")),
        End::PeerRefuses(refusal @ Refusal::Duplicate { .. }) => {
            LinkState::Refused(brief(&format!("by the peer, which shows no proof of this: {refusal}")))
        }
        End::PeerRefuses(refusal) | End::Duplicate(refusal) => {
            LinkState::Refused(brief(&format!("by the peer: {refusal}")))
        }
        End::Distrust(why) => LinkState::Refused(format!("a certificate is not believed: {why}")),
        End::Unreachable(why) => LinkState::Down(format!("cannot connect: {why}")),
        End::Lost(why) => LinkState::Down(format!("lost: {why}")),
        End::Stopped | End::Restarted => return,
    };
    if link.close(state.clone())
        && let (true, LinkState::Refused(reason)) = (duplicate, state)
    {
        shared.engine.notify(Event::Rival(reason));
    }
}

async fn attempt(shared: &Shared, link: &Link, called: &mut watch::Receiver<Option<Boot>>) -> End {
    let connection = match shared.dialer.reach(link).await {
        Ok(connection) => connection,
        Err(end) => return end,
    };
    let limit = shared.limits.idle_timeout;
    let end = match timeout(limit, greet(shared, link, &connection)).await {
        Ok(Ok((peer, agreement))) => carry(shared, link, &connection, peer, agreement, called).await,
        Ok(Err(end)) => end,
        Err(_elapsed) => End::Unreachable("no answer to our greeting".into()),
    };
    // The acceptor judges our certificate after the handshake has ended for us, so its verdict may come later.
    let end = match (end, connection.close_reason()) {
        (End::Unreachable(_), Some(reason)) => no_connection(&reason),
        (end, _) => end,
    };
    match &end {
        End::WeRefuse(refusal) => Close::Refused.close(&connection, &refusal.to_string()),
        _ => Close::Done.close(&connection, "the dialer ends the link"),
    }
    end
}

/// Says hello and judges the answer.
async fn greet(shared: &Shared, link: &Link, connection: &Connection) -> Result<(Peer, Agreement), End> {
    let ours = shared.greeting.to(link.worker);
    let theirs = match exchange(connection, &ours).await? {
        HelloReply::Welcome(theirs) => theirs,
        HelloReply::Refused(refusal) if is_proven(shared, connection, &refusal) => {
            return Err(End::Duplicate(refusal));
        }
        HelloReply::Refused(refusal) => return Err(End::PeerRefuses(refusal)),
    };
    let certificate =
        certificate(connection).ok_or_else(|| End::WeRefuse(Refusal::Certificate(link.certified.clone())))?;
    let agreement = hello::examine(&ours, &theirs, &shared.map, &certificate).map_err(End::WeRefuse)?;
    Ok((Peer { worker: theirs.worker, boot: theirs.boot }, agreement))
}

/// Whether another live process of our worker id has said, for this very connection, that it has heard of us.
fn is_proven(shared: &Shared, connection: &Connection, refusal: &Refusal) -> bool {
    let Refusal::Duplicate { live, seal, .. } = refusal else { return false };
    let own = shared.greeting.own();
    let sighting = Sighting { by: Peer { boot: *live, ..own }, of: own.boot, seal: seal.clone() };
    seal::binding(connection).is_some_and(|binding| shared.sealer.verify(&sighting, binding).is_ok())
}

async fn exchange(connection: &Connection, ours: &hello::Hello) -> Result<HelloReply, End> {
    let (mut to, mut from) = connection.open_bi().await.map_err(unreachable)?;
    let mut bytes = Vec::new();
    frame::append(ours, HELLO_BYTES_MAX, &mut bytes).map_err(unreachable)?;
    to.write_all(&bytes).await.map_err(unreachable)?;
    // An end that is gone already shows in the reading.
    let _ = to.finish();
    match frame::read(&mut from, HELLO_BYTES_MAX, &mut bytes).await {
        Ok(Some(reply)) => Ok(reply),
        Ok(None) => Err(End::Unreachable("no answer to our greeting".into())),
        Err(error) => Err(unreachable(error)),
    }
}

/// The engine is told of the link when it begins and when it ends, also if the node stops in between.
struct Announced<'a> {
    shared: &'a Shared,
    peer: Peer,
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        self.shared.engine.notify(Event::PeerDown(self.peer));
    }
}

async fn carry(
    shared: &Shared,
    link: &Link,
    connection: &Connection,
    peer: Peer,
    agreement: Agreement,
    called: &mut watch::Receiver<Option<Boot>>,
) -> End {
    let stream = match connection.open_uni().await {
        Ok(stream) => stream,
        Err(error) => return unreachable(error),
    };
    shared.reports.agreed(peer.worker, &agreement);
    let messages = link.open(shared.limits.queue_messages_max);
    shared.engine.notify(Event::PeerUp { peer, namespaces: agreement.namespaces });
    let _announced = Announced { shared, peer };
    tokio::select! {
        error = write(link, stream, messages, shared.frame_bytes_max) => {
            End::Lost(connection.close_reason().map_or(error, |reason| brief(&reason.to_string())))
        }
        error = limits::tell(shared, connection, peer) => End::Lost(brief(&error)),
        error = pulse::answer(shared, connection) => End::Lost(brief(&error.to_string())),
        why = shared.dialer.endpoint.distrust(connection, Some(&link.certified)) => End::Distrust(brief(&why)),
        () = other_boot(called, peer.boot) => End::Restarted,
    }
}

/// Writes what is queued, several messages at once, until the stream fails.
async fn write(
    link: &Link,
    stream: SendStream,
    mut messages: mpsc::Receiver<Message>,
    frame_bytes_max: usize,
) -> String {
    let mut stream = compressed::writer(stream);
    let (mut outgoing, mut bytes) = (Outgoing::new(frame_bytes_max), Vec::new());
    while let Some(first) = messages.recv().await {
        bytes.clear();
        let mut gathered: u64 = 0;
        let mut next = Some(first);
        while let Some(message) = next {
            match outgoing.append(&message, &mut bytes) {
                Ok(()) => gathered += 1,
                Err(too_long) => {
                    link.counts.dropped.fetch_add(1, Ordering::Relaxed);
                    error!(peer = %link.worker, %too_long, "dropped a message: see frame.bytes_max");
                }
            }
            let more = gathered < MESSAGES_PER_WRITE as u64 && bytes.len() < WRITE_BYTES;
            next = if more { messages.try_recv().ok() } else { None };
        }
        let written = async {
            stream.write_all(&bytes).await?;
            stream.flush().await
        };
        if let Err(error) = written.await {
            return error.to_string();
        }
        link.counts.sent.fetch_add(gathered, Ordering::Relaxed);
    }
    "the queue is closed".into()
}

/// Returns once the peer has called from another boot than `linked`.
async fn other_boot(called: &mut watch::Receiver<Option<Boot>>, linked: Boot) {
    loop {
        if called.changed().await.is_err() {
            return std::future::pending().await; // no more calls
        }
        if called.borrow_and_update().is_some_and(|boot| boot != linked) {
            return;
        }
    }
}
