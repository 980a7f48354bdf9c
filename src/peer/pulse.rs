//! A peer's pulse: the answer to the question whether it lives, and what its clock says.
//!
//! The acceptor of a link asks, on a stream of its own, and the dialer answers at once. That decides who keeps a worker
//! id's place (see [`super::accept`]), and tells how far the two machines' clocks are apart.

use std::convert::Infallible;
use std::time::Duration;

use bincode::{Decode, Encode};
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::clock::offset::{Exchange, Offset, Window};
use crate::clock::{self, Stopwatch};
use crate::codec;
use crate::identity::{Boot, Peer, WorkerId};
use crate::replica::Seal;

use super::Shared;
use super::seal::{Binding, SEAL_BYTES_MAX, UNBOUND};

/// Longer than any answer.
const PULSE_BYTES_MAX: usize = 64 + SEAL_BYTES_MAX;
/// Longer than any question.
const QUESTION_BYTES_MAX: usize = 64;
/// Between two answers of one link that have to be signed.
const SIGNATURE_PAUSE: Duration = Duration::from_millis(20);

/// What links need to know of this node's clock, and where they tell of others.
pub trait Clockwork: Send + Sync {
    /// What it says now.
    fn read(&self) -> ClockReading;
    /// A peer's clock stands here; `believed` by that peer.
    fn heard(&self, peer: WorkerId, offset: Offset, believed: bool);
    /// The peer is gone.
    fn lost(&self, peer: WorkerId);
    /// The highest ID ceiling, in milliseconds of the ID epoch, that is believable by all clocks that are known.
    fn ceiling_max(&self) -> u64;
}

/// What a clock says, and whether its own node believes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ClockReading {
    /// Microseconds of Unix time.
    pub unix_us: u64,
    /// It is held to be right: IDs are minted by it. Otherwise it confirms no other clock.
    pub believed: bool,
}

/// Whoever asks may have been called by another boot of the one that is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
struct Question {
    rival: Option<Rival>,
}

/// Another boot, and what binds the answer to its connection with the asker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Rival {
    pub(super) boot: Boot,
    pub(super) binding: Binding,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct Pulse {
    boot: Boot,
    clock: ClockReading,
    /// Of the rival that was asked about; else empty.
    seal: Seal,
}

/// What the process at the other end has to say of a rival, if it answers as this boot.
pub(super) async fn beats(shared: &Shared, connection: &Connection, boot: Boot, rival: Rival) -> Option<Seal> {
    let pulse = take(shared, connection, Question { rival: Some(rival) }).await;
    pulse.filter(|pulse| pulse.boot == boot).map(|pulse| pulse.seal)
}

/// Asks a caller again and again what its clock says, as long as its link lives. `asked` is told once it was asked, whether
/// it has answered or not.
pub(super) async fn follow(
    shared: &Shared,
    connection: &Connection,
    peer: Peer,
    asked: watch::Sender<bool>,
) -> Infallible {
    let _told = Told { shared, peer: peer.worker };
    let (mut window, uptime) = (Window::default(), Stopwatch::start());
    let mut ticks = interval(shared.limits.clock_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (asked_us, asking) = (clock::wall_us(), Stopwatch::start());
        let pulse = take(shared, connection, Question::default()).await;
        if let Some(pulse) = pulse.filter(|pulse| pulse.boot == peer.boot) {
            let exchange = Exchange { asked_us, took_us: asking.elapsed_us(), theirs_us: pulse.clock.unix_us };
            let offset = window.add(uptime.elapsed_us(), exchange);
            shared.clock.heard(peer.worker, offset, pulse.clock.believed);
        }
        asked.send_replace(true);
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

async fn take(shared: &Shared, connection: &Connection, asked: Question) -> Option<Pulse> {
    let pulse = async {
        let (mut question, mut answer) = connection.open_bi().await.ok()?;
        question.write_all(&codec::encode(&asked)).await.ok()?;
        question.finish().ok()?;
        let bytes = answer.read_to_end(PULSE_BYTES_MAX).await.ok()?;
        codec::decode(&bytes).ok()
    };
    timeout(shared.limits.probe_timeout, pulse).await.ok().flatten()
}

/// Answers until the connection ends.
pub(super) async fn answer(shared: &Shared, connection: &Connection) -> ConnectionError {
    loop {
        match connection.accept_bi().await {
            Ok((answer, question)) => {
                // A question that is broken off wants no answer, and there is no other remedy.
                let _ = timeout(shared.limits.probe_timeout, say(shared, answer, question)).await;
            }
            Err(error) => return error,
        }
    }
}

async fn say(shared: &Shared, mut answer: SendStream, mut question: RecvStream) -> Option<()> {
    let asked = question.read_to_end(QUESTION_BYTES_MAX).await.ok()?;
    let asked: Question = codec::decode(&asked).ok()?;
    let bound = asked.rival.filter(|rival| rival.binding != UNBOUND);
    let seal = bound.map_or_else(Seal::default, |rival| shared.sealer.seal(rival.boot, rival.binding));
    let pulse = Pulse { boot: shared.greeting.own().boot, clock: shared.clock.read(), seal };
    answer.write_all(&codec::encode(&pulse)).await.ok()?;
    answer.finish().ok()?;
    if bound.is_some() {
        // A signature costs more than it takes to ask for one.
        tokio::time::sleep(SIGNATURE_PAUSE).await;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pulse_is_longer_than_what_is_read_of_one() {
        let boot = Boot { counter: u64::MAX, nonce: u64::MAX };
        let seal = Seal(vec![0xff; SEAL_BYTES_MAX]);
        let pulse = Pulse { boot, clock: ClockReading { unix_us: u64::MAX, believed: true }, seal };
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

    #[test]
    fn no_question_is_longer_than_what_is_read_of_one() {
        let rival = Rival { boot: Boot { counter: u64::MAX, nonce: u64::MAX }, binding: [0xff; 32] };
        assert!(codec::encode(&Question { rival: Some(rival) }).len() <= QUESTION_BYTES_MAX);
    }
}
