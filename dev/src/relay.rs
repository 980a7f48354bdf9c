//! A UDP relay that can cut, delay and lose: a development tool, for tests and for the demo's partitions.
//!
//! It listens on loopback and passes datagrams to one upstream address and back, with a socket of its own for each
//! caller, as a NAT does. Faults are set while it runs, for both directions or for one. Everything in it is bounded, as
//! on a real path: what does not fit is lost, and counted.
//!
//! Losses are drawn from a seed. Which datagram is lost still depends on how they arrive, so a run is not repeated
//! exactly; simulations do that, without sockets.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use snowtide::clock;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// Callers at one time; datagrams of one more are lost.
const CALLERS_MAX: usize = 64;
/// Datagrams on their way in one direction of one caller; one more is lost.
const QUEUE_DATAGRAMS_MAX: usize = 4096;
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Which way a fault works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From callers to the upstream address.
    There,
    /// From the upstream address to callers.
    Back,
    /// Both.
    Both,
}

/// What became of the datagrams of a relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Passed on.
    pub forwarded: u64,
    /// What these held.
    pub bytes: u64,
    /// Lost to a cut.
    pub cut: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Did not fit.
    pub overflowed: u64,
}

impl Passed {
    /// Of two relays together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            forwarded: self.forwarded + other.forwarded,
            bytes: self.bytes + other.bytes,
            cut: self.cut + other.cut,
            lost: self.lost + other.lost,
            overflowed: self.overflowed + other.overflowed,
        }
    }
}

/// A running relay; it ends when this is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    path: Arc<Path>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Path {
    there: Mutex<Faults>,
    back: Mutex<Faults>,
    passed: Mutex<Passed>,
}

/// What is done to the datagrams of one direction.
#[derive(Debug)]
struct Faults {
    cut: bool,
    delay: Duration,
    /// The probability that a datagram is lost.
    loss: f64,
    random: SmallRng,
}

impl Relay {
    /// Listens on a free port of 127.0.0.1 and passes everything to `upstream`. Must be called within a Tokio runtime.
    pub fn start(upstream: SocketAddr, seed: u64) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        let address = socket.local_addr()?;
        let path =
            Arc::new(Path { there: Faults::seeded(seed), back: Faults::seeded(!seed), passed: Mutex::default() });
        let task = tokio::spawn(listen(socket, upstream, path.clone())).abort_handle();
        Ok(Self { address, path, task })
    }

    /// Where to send instead of the upstream address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loses everything, or nothing any more. What is on its way when a cut begins still arrives.
    pub fn cut(&self, way: Way, cut: bool) {
        self.each(way, |faults| faults.cut = cut);
    }

    /// Holds every datagram back for `delay`. Datagrams never overtake each other.
    pub fn delay(&self, way: Way, delay: Duration) {
        self.each(way, |faults| faults.delay = delay);
    }

    /// Loses each datagram with this probability, 0 to 1.
    pub fn loss(&self, way: Way, probability: f64) {
        self.each(way, |faults| faults.loss = probability.clamp(0.0, 1.0));
    }

    /// What became of the datagrams so far.
    pub fn passed(&self) -> Passed {
        *lock(&self.path.passed)
    }

    fn each(&self, way: Way, set: impl Fn(&mut Faults)) {
        if way != Way::Back {
            set(&mut lock(&self.path.there));
        }
        if way != Way::There {
            set(&mut lock(&self.path.back));
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Nothing panics while it holds one of these.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Faults {
    fn seeded(seed: u64) -> Mutex<Self> {
        Mutex::new(Self { cut: false, delay: Duration::ZERO, loss: 0.0, random: SmallRng::seed_from_u64(seed) })
    }

    fn loses(&mut self) -> bool {
        self.loss > 0.0 && self.random.random_bool(self.loss)
    }

    fn due(&self) -> Instant {
        let now = Instant::from_std(clock::monotonic());
        now.checked_add(self.delay).unwrap_or(now)
    }
}

/// A datagram on its way.
type Held = (Instant, Vec<u8>);

impl Path {
    /// Sends a datagram on its way, or loses it.
    fn pass(&self, faults: &Mutex<Faults>, datagram: &[u8], queue: &mpsc::Sender<Held>) {
        let (cut, lost, due) = {
            let mut faults = lock(faults);
            (faults.cut, faults.loses(), faults.due())
        };
        let queued = !cut && !lost && queue.try_send((due, datagram.to_vec())).is_ok();
        let mut passed = lock(&self.passed);
        if queued {
            passed.bytes += datagram.len() as u64;
        }
        let count = match (cut, lost, queued) {
            (true, ..) => &mut passed.cut,
            (_, true, _) => &mut passed.lost,
            (.., true) => &mut passed.forwarded,
            (.., false) => &mut passed.overflowed,
        };
        *count += 1;
    }
}

/// Takes datagrams of callers, for as long as the relay lives. The tasks of each caller end with this one.
async fn listen(socket: Arc<UdpSocket>, upstream: SocketAddr, path: Arc<Path>) {
    let mut callers: HashMap<SocketAddr, mpsc::Sender<Held>> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // An error belongs to an earlier datagram that a caller did not take; UDP owes nobody an answer.
        let Ok((length, caller)) = socket.recv_from(&mut datagram).await else { continue };
        if !callers.contains_key(&caller)
            && callers.len() < CALLERS_MAX
            && let Ok(queue) = admit(caller, upstream, &socket, &path, &mut tasks).await
        {
            callers.insert(caller, queue);
        }
        match (callers.get(&caller), datagram.get(..length)) {
            (Some(queue), Some(datagram)) => path.pass(&path.there, datagram, queue),
            _ => lock(&path.passed).overflowed += 1,
        }
    }
}

/// A socket and three tasks for a new caller: out, back in, and back to the caller.
async fn admit(
    caller: SocketAddr,
    upstream: SocketAddr,
    downstream: &Arc<UdpSocket>,
    path: &Arc<Path>,
    tasks: &mut JoinSet<()>,
) -> io::Result<mpsc::Sender<Held>> {
    let any: SocketAddr = if upstream.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = Arc::new(UdpSocket::bind(any).await?);
    socket.connect(upstream).await?;
    let (there, there_held) = mpsc::channel(QUEUE_DATAGRAMS_MAX);
    let (back, back_held) = mpsc::channel(QUEUE_DATAGRAMS_MAX);
    tasks.spawn(deliver(there_held, socket.clone(), upstream));
    tasks.spawn(deliver(back_held, downstream.clone(), caller));
    let path = path.clone();
    tasks.spawn(async move {
        let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let Ok(length) = socket.recv(&mut datagram).await else { continue };
            if let Some(datagram) = datagram.get(..length) {
                path.pass(&path.back, datagram, &back);
            }
        }
    });
    Ok(there)
}

/// Lets each datagram go when it is due, in the order in which they came.
async fn deliver(mut held: mpsc::Receiver<Held>, socket: Arc<UdpSocket>, to: SocketAddr) {
    while let Some((due, datagram)) = held.recv().await {
        tokio::time::sleep_until(due).await;
        // As on a real path, what cannot be sent is lost.
        let _ = socket.send_to(&datagram, to).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    /// An upstream that sends everything back, a relay before it, and a caller.
    async fn echo_behind_a_relay() -> (Relay, UdpSocket) {
        let upstream = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let relay = Relay::start(upstream.local_addr().unwrap(), 7).unwrap();
        tokio::spawn(async move {
            let mut bytes = [0; 64];
            loop {
                let (length, from) = upstream.recv_from(&mut bytes).await.unwrap();
                upstream.send_to(&bytes[..length], from).await.unwrap();
            }
        });
        let caller = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        caller.connect(relay.address()).await.unwrap();
        (relay, caller)
    }

    async fn echoed(caller: &UdpSocket, word: &[u8]) -> Vec<u8> {
        caller.send(word).await.unwrap();
        let mut bytes = [0; 64];
        let length = timeout(DEADLINE, caller.recv(&mut bytes)).await.unwrap().unwrap();
        bytes[..length].to_vec()
    }

    async fn until(condition: impl Fn() -> bool) {
        let waiting = async {
            while !condition() {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, waiting).await.unwrap();
    }

    #[tokio::test]
    async fn it_passes_both_ways_and_back_to_each_caller() {
        let (relay, caller) = echo_behind_a_relay().await;
        let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        other.connect(relay.address()).await.unwrap();
        assert_eq!(echoed(&caller, b"one").await, b"one");
        assert_eq!(echoed(&other, b"two").await, b"two");
        assert_eq!(relay.passed().forwarded, 4);
    }

    #[tokio::test]
    async fn a_cut_loses_everything_until_it_heals() {
        let (relay, caller) = echo_behind_a_relay().await;
        for way in [Way::There, Way::Back] {
            let before = relay.passed().cut;
            relay.cut(way, true);
            caller.send(b"lost").await.unwrap();
            until(|| relay.passed().cut == before + 1).await;
            relay.cut(way, false);
            assert_eq!(echoed(&caller, b"healed").await, b"healed");
        }
    }

    #[tokio::test]
    async fn certain_loss_loses_and_is_counted() {
        let (relay, caller) = echo_behind_a_relay().await;
        relay.loss(Way::There, 1.0);
        caller.send(b"lost").await.unwrap();
        until(|| relay.passed().lost == 1).await;
        relay.loss(Way::Both, 0.0);
        assert_eq!(echoed(&caller, b"kept").await, b"kept");
    }

    #[tokio::test]
    async fn a_delay_keeps_the_order() {
        let (relay, caller) = echo_behind_a_relay().await;
        relay.delay(Way::Both, Duration::from_millis(20));
        for word in 0..10u8 {
            caller.send(&[word]).await.unwrap();
        }
        relay.delay(Way::Both, Duration::ZERO);
        for word in 0..10u8 {
            let mut bytes = [0; 64];
            let length = timeout(DEADLINE, caller.recv(&mut bytes)).await.unwrap().unwrap();
            assert_eq!(&bytes[..length], [word]);
        }
    }

    #[tokio::test]
    async fn callers_beyond_the_bound_are_not_served() {
        let (relay, caller) = echo_behind_a_relay().await;
        assert_eq!(echoed(&caller, b"first").await, b"first");
        let mut others = Vec::new();
        for _ in 0..CALLERS_MAX {
            let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            other.send_to(b"x", relay.address()).await.unwrap();
            others.push(other);
        }
        until(|| relay.passed().overflowed == 1).await;
        assert_eq!(echoed(&caller, b"still").await, b"still");
    }
}
