//! A peer's pulse: the answer to the question whether it lives, and what its clock says.
//!
//! The acceptor of a link asks, on a stream of its own, and the dialer answers at once. That decides who keeps a worker
//! id's place (see [`super::accept`]), and tells how far the two machines' clocks are apart.

use std::convert::Infallible;

use bincode::{Decode, Encode};
use quinn::{Connection, ConnectionError, SendStream};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::clock::offset::{Exchange, Offset, Window};
use crate::clock::{self, Stopwatch};
use crate::codec;
use crate::identity::{Boot, Peer, WorkerId};

use super::Shared;

/// Longer than any answer.
const PULSE_BYTES_MAX: usize = 64;

/// What links need to know of this node's clock, and where they tell of others.
pub trait Clockwork: Send + Sync {
    /// What it says now.
    fn read(&self) -> ClockReading;
    /// A peer's clock stands here; `believed` by that peer.
    fn heard(&self, peer: WorkerId, offset: Offset, believed: bool);
    /// The peer is gone.
    fn lost(&self, peer: WorkerId);
}

/// What a clock says, and whether its own node believes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ClockReading {
    /// Microseconds of Unix time.
    pub unix_us: u64,
    /// It is held to be right: IDs are minted by it. Otherwise it confirms no other clock.
    pub believed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
struct Pulse {
    boot: Boot,
    clock: ClockReading,
}

/// Whether the process at the other end answers as this boot.
pub(super) async fn beats(shared: &Shared, connection: &Connection, boot: Boot) -> bool {
    take(shared, connection).await.is_some_and(|pulse| pulse.boot == boot)
}

/// Asks a caller again and again what its clock says, as long as its link lives.
pub(super) async fn follow(shared: &Shared, connection: &Connection, peer: Peer) -> Infallible {
    let _told = Told { shared, peer: peer.worker };
    let (mut window, uptime) = (Window::default(), Stopwatch::start());
    let mut ticks = interval(shared.limits.clock_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (asked_us, asking) = (clock::wall_us(), Stopwatch::start());
        let Some(pulse) = take(shared, connection).await.filter(|pulse| pulse.boot == peer.boot) else { continue };
        let exchange = Exchange { asked_us, took_us: asking.elapsed_us(), theirs_us: pulse.clock.unix_us };
        let offset = window.add(uptime.elapsed_us(), exchange);
        shared.clock.heard(peer.worker, offset, pulse.clock.believed);
    }
}

/// What was told of a peer's clock is taken back when its link ends, however it ends.
struct Told<'a> {
    shared: &'a Shared,
    peer: WorkerId,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.shared.clock.lost(self.peer);
    }
}

async fn take(shared: &Shared, connection: &Connection) -> Option<Pulse> {
    let pulse = async {
        let (mut question, mut answer) = connection.open_bi().await.ok()?;
        question.write_all(b"?").await.ok()?;
        let bytes = answer.read_to_end(PULSE_BYTES_MAX).await.ok()?;
        codec::decode(&bytes).ok()
    };
    timeout(shared.limits.probe_timeout, pulse).await.ok().flatten()
}

/// Answers until the connection ends.
pub(super) async fn answer(shared: &Shared, connection: &Connection) -> ConnectionError {
    loop {
        match connection.accept_bi().await {
            Ok((answer, mut question)) => {
                // A question that is broken off wants no answer, and there is no other remedy.
                let _ = question.stop(quinn::VarInt::from_u32(0));
                say(shared, answer).await;
            }
            Err(error) => return error,
        }
    }
}

async fn say(shared: &Shared, mut answer: SendStream) {
    let pulse = Pulse { boot: shared.boot, clock: shared.clock.read() };
    let _ = answer.write_all(&codec::encode(&pulse)).await;
    let _ = answer.finish();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pulse_is_longer_than_what_is_read_of_one() {
        let boot = Boot { counter: u64::MAX, nonce: u64::MAX };
        let pulse = Pulse { boot, clock: ClockReading { unix_us: u64::MAX, believed: true } };
        let bytes = codec::encode(&pulse);
        assert!(bytes.len() <= PULSE_BYTES_MAX, "{} bytes", bytes.len());
        assert_eq!(codec::decode::<Pulse>(&bytes).unwrap(), pulse);
    }

    #[test]
    fn anything_else_is_no_pulse() {
        let boot = Boot { counter: 3, nonce: 4 };
        for bytes in [codec::encode(&boot), vec![0xff; PULSE_BYTES_MAX], Vec::new()] {
            assert!(codec::decode::<Pulse>(&bytes).is_err());
        }
    }
}
