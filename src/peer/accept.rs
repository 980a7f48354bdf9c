//! A peer's link to us: judged, given its place, read.
//!
//! Each worker id has one place. Who calls while it is taken gets it at once if it is the same process (it has lost
//! its link and dials again) or if the holder's connection is gone. Otherwise two processes claim one worker id: a
//! process that restarted faster than we noticed, or a clone. The holder is asked on its own connection, within half
//! a second: if it does not answer, it is gone and its place is free; if it answers, the newcomer is refused as a
//! duplicate and fences itself, since the refusal brings the holder's signed word, which a refuser alone cannot make
//! up (see [`seal`]). Whichever boot counter is higher plays no part: the one that lives and was first stays.
//!
//! Before a newcomer is welcome, the reader of the former link has ended: the engine gets nothing of an earlier boot
//! after something of a later one (I3).

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use rustls::pki_types::CertificateDer;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, info};

use crate::identity::Peer;
use crate::quic::Close;
use crate::replica::{Event, Message, Sieve};

use super::caller::Caller;
use super::compressed;
use super::frame::{self, FrameError};
use super::hello::{self, HELLO_BYTES_MAX, Hello, HelloReply, Refusal};
use super::link::Link;
use super::messages::Incoming;
use super::pulse::Rival;
use super::seal::UNBOUND;
use super::{Shared, brief, certificate, limits, pulse, seal};

/// Messages of one link that the engine has not handled yet. One more waits in the peer's send queue (I6).
const UNHANDLED_MESSAGES_MAX: usize = 64;

/// Serves one incoming connection until it ends.
pub(super) async fn serve(shared: &Shared, connection: &Connection) {
    let Some(certificate) = certificate(connection) else {
        shared.reports.refused(None, "it showed no certificate");
        return Close::Refused.close(connection, "a peer must show its certificate");
    };
    let Ok(_place) = shared.places.clone().try_acquire_owned() else {
        shared.reports.refused(None, "too many links from peers are open");
        return Close::Busy.close(connection, "too many connections from peers");
    };
    tokio::select! {
        () = link(shared, connection, &certificate) => {}
        () = shared.stop.cancelled() => Close::Done.close(connection, "this node stops"),
    }
}

async fn link(shared: &Shared, connection: &Connection, certificate: &CertificateDer<'_>) {
    // A dialer opens one stream for its greeting, and later the one for its messages.
    connection.set_max_concurrent_bi_streams(quinn::VarInt::from_u32(1));
    let (hello, mut reply) = match timeout(shared.limits.idle_timeout, listen(connection)).await {
        Ok(Ok(heard)) => heard,
        Ok(Err(error)) => return unheard(shared, connection, &error.to_string()),
        Err(_elapsed) => return unheard(shared, connection, "it did not come"),
    };
    let welcomed = welcome(shared, connection, &hello, certificate).await;
    let answer = match &welcomed {
        Ok(_) => HelloReply::Welcome(shared.greeting.to(hello.worker)),
        Err(refusal) => HelloReply::Refused(refusal.clone()),
    };
    let answered = timeout(shared.limits.idle_timeout, say(&mut reply, &answer)).await;
    match welcomed {
        Err(refusal) => {
            shared.reports.refused(Some(hello.worker), &refusal.to_string());
            // Closing at once could overtake the answer; a dialer that does not hang up itself is cut off.
            let _ = timeout(shared.limits.probe_timeout, connection.closed()).await;
            Close::Refused.close(connection, &refusal.to_string());
        }
        Ok((link, _ended)) => match answered {
            Ok(true) => carry(shared, link, connection, Peer { worker: hello.worker, boot: hello.boot }).await,
            _ => Close::Done.close(connection, "our answer was not taken"),
        },
    }
}

/// The greeting, and where the answer goes.
async fn listen(connection: &Connection) -> Result<(Hello, SendStream), FrameError> {
    let (reply, mut greeting) = connection.accept_bi().await.map_err(io::Error::from)?;
    let hello = frame::read(&mut greeting, HELLO_BYTES_MAX, &mut Vec::new()).await?;
    Ok((hello.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?, reply))
}

fn unheard(shared: &Shared, connection: &Connection, reason: &str) {
    shared.reports.refused(None, &format!("no greeting that could be understood: {reason}"));
    Close::Malformed.close(connection, &brief(reason));
}

async fn say(stream: &mut SendStream, answer: &HelloReply) -> bool {
    let mut bytes = Vec::new();
    frame::append(answer, HELLO_BYTES_MAX, &mut bytes).is_ok()
        && stream.write_all(&bytes).await.is_ok()
        && stream.finish().is_ok()
}

/// Judges a greeting and gives the caller its place.
async fn welcome<'a>(
    shared: &'a Shared,
    connection: &Connection,
    theirs: &Hello,
    certificate: &CertificateDer<'_>,
) -> Result<(&'a Link, DropGuard), Refusal> {
    let agreement = hello::examine(&shared.greeting.to(theirs.worker), theirs, &shared.map, certificate)?;
    let link = shared.peers.get(&theirs.worker).ok_or(Refusal::UnknownWorker(theirs.worker))?;
    let mut caller = link.caller.try_lock().map_err(|_taken| Refusal::Busy(theirs.worker))?;
    if let Some(holder) = caller.take()
        && let Err(refusal) = vacate(shared, &holder, connection, theirs).await
    {
        *caller = Some(holder);
        return Err(refusal);
    }
    let ended = CancellationToken::new();
    *caller = Some(Caller { boot: theirs.boot, connection: connection.clone(), ended: ended.clone() });
    debug!(peer = shared.map.name(theirs.worker), boot = theirs.boot.counter, "welcomed a peer's link");
    shared.reports.agreed(theirs.worker, &agreement);
    // The reader of any earlier boot has ended, so nothing of it can follow this (I3).
    shared.engine.notify(Event::PeerBoot(Peer { worker: theirs.worker, boot: theirs.boot }));
    link.called.send_replace(Some(theirs.boot));
    Ok((link, ended.drop_guard()))
}

/// Makes sure that the holder's place is free and its reader has ended, unless it is another process that lives.
async fn vacate(shared: &Shared, holder: &Caller, caller: &Connection, newcomer: &Hello) -> Result<(), Refusal> {
    let another = holder.boot != newcomer.boot && holder.connection.close_reason().is_none();
    if another
        && let Some(binding) = seal::binding(caller)
        && let Some(seal) =
            pulse::beats(shared, &holder.connection, holder.boot, Rival { boot: newcomer.boot, binding }).await
    {
        let (worker, live, refused) = (newcomer.worker, holder.boot, newcomer.boot);
        return Err(Refusal::Duplicate { worker, live, refused, seal });
    }
    Close::Replaced.close(&holder.connection, "a newer link of the same node takes this one's place");
    holder.ended.cancelled().await;
    Ok(())
}

/// Reads the link until it ends or breaks the protocol.
async fn carry(shared: &Shared, link: &Link, connection: &Connection, peer: Peer) {
    let (ask, mut asked) = watch::channel(false);
    let end = tokio::select! {
        end = async {
            // What it claims of ID ceilings is judged by its clock, too.
            let _ = asked.wait_for(|asked| *asked).await;
            read(shared, link, connection, peer).await
        } => end,
        error = connection.closed() => Err(error.to_string()),
        never = pulse::follow(shared, connection, peer, ask) => match never {},
    };
    match end {
        Ok(broken) => {
            shared.reports.refused(Some(peer.worker), &broken);
            Close::Malformed.close(connection, &brief(&broken));
        }
        Err(lost) => {
            if let Some(ConnectionError::ApplicationClosed(close)) = connection.close_reason()
                && close.error_code == Close::Refused.code()
            {
                shared.reports.refused(Some(peer.worker), &format!("it refuses this node: {lost}"));
            }
            debug!(peer = shared.map.name(peer.worker), reason = lost, "a peer's link ended");
            Close::Done.close(connection, "the link ended");
        }
    }
}

/// Takes out of a message of `peer` what is not to be believed: the link brings the clocks and the keys to the sieve.
fn sift(sieve: &mut Sieve, shared: &Shared, peer: Peer, message: &mut Message) {
    let verify = |sighting: &_| shared.sealer.verify(sighting, UNBOUND);
    let own = shared.greeting.own().worker;
    let refused = sieve.sift(message, own, || shared.clock.ceiling_max(), verify);
    refused.iter().for_each(|claim| shared.reports.claim_refused(peer.worker, claim));
}

/// Whether the stream broke off. If it did not, what came cannot be decompressed.
fn is_lost(connection: &Connection, error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof || connection.close_reason().is_some()
}

/// `Ok` with what was malformed, or `Err` with how the link was lost.
async fn read(shared: &Shared, link: &Link, connection: &Connection, peer: Peer) -> Result<String, String> {
    let lost = |error: &dyn std::fmt::Display| error.to_string();
    // The dialer opens this stream first.
    let stream = connection.accept_uni().await.map_err(|error| lost(&error))?;
    tokio::select! {
        end = read_messages(shared, link, connection, peer, stream) => end,
        end = limits::hear(shared, connection, peer) => end,
    }
}

async fn read_messages(
    shared: &Shared,
    link: &Link,
    connection: &Connection,
    peer: Peer,
    stream: RecvStream,
) -> Result<String, String> {
    let lost = |error: &dyn std::fmt::Display| error.to_string();
    let mut stream = compressed::reader(stream);
    let room = Arc::new(Semaphore::new(UNHANDLED_MESSAGES_MAX));
    let mut incoming = Incoming::new(shared.frame_bytes_max);
    let mut first = true;
    let mut sieve = Sieve::default();
    loop {
        let place = room.clone().acquire_owned().await.map_err(|error| lost(&error))?;
        match incoming.next(&mut stream).await {
            Ok(Some(mut message)) => {
                sift(&mut sieve, shared, peer, &mut message);
                if std::mem::take(&mut first) {
                    shared.reports.linked(peer.worker);
                    info!(peer = shared.map.name(peer.worker), boot = peer.boot.counter, "its link to this node is up");
                }
                link.counts.received.fetch_add(1, Ordering::Relaxed);
                shared.engine.deliver(peer, message, place);
            }
            Ok(None) => return Err("the peer ended it".into()),
            Err(FrameError::Lost(error)) if is_lost(connection, &error) => return Err(error.to_string()),
            Err(error) => return Ok(error.to_string()),
        }
    }
}
