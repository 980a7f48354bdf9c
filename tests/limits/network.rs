//! Streams between nodes: one-way, in order, and whole until they end. Either end may learn late that one has ended.

use super::world::{Happening, World};
use rand::RngExt;
use snowtide::limits::Message;

/// Until an end of a stream learns that it is broken, at most.
const LEARNT_MS: u64 = 3_000;

#[derive(Clone, Copy, Debug, Default)]
pub struct Stream {
    /// Each stream has another; zero is none.
    pub id: u64,
    /// Nothing of what is on its way arrives any more.
    pub is_broken: bool,
    /// The receiver knows that it has ended, or it has not begun.
    pub is_ended: bool,
    /// Nothing arrives before what was sent earlier.
    last_ms: u64,
    /// Nobody gets through from one to the other.
    pub is_cut: bool,
    /// Nothing arrives before, but all arrives.
    pub held_until_ms: u64,
    /// Until then, the way takes so much longer: by more than the presence time, so that what is heard is of the past.
    pub lags: (u64, u64),
}

impl World {
    /// Whatever a node wants to say goes out, or gets lost.
    pub fn drain(&mut self, from: usize) {
        let Some(limits) = self.nodes[from].limits.clone() else { return };
        while let Some((to, message)) = limits.poll() {
            self.tally.messages += 1;
            self.send(from, usize::from(to.region()), message);
        }
    }

    /// Whatever somebody says in a node's name.
    pub fn say(&mut self, from: usize, to: usize, message: Message) {
        self.send(from, to, message);
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        let way_ms = self.rng.random_range(self.plan.way_ms.div_ceil(2)..=self.plan.way_ms);
        let stream = &mut self.streams[from][to];
        if stream.id == 0 || stream.is_broken {
            return;
        }
        let (until_ms, lag_ms) = stream.lags;
        let way_ms = way_ms + if self.now < until_ms { lag_ms } else { 0 };
        stream.last_ms = stream.last_ms.max(self.now + way_ms).max(stream.held_until_ms);
        let (at, id) = (stream.last_ms, stream.id);
        self.at(at, Happening::Arrive { from, to, id, message });
    }

    pub fn arrive(&mut self, from: usize, to: usize, id: u64, message: Message) {
        let stream = self.streams[from][to];
        let Some(limits) = self.nodes[to].limits.clone().filter(|_| stream.id == id && !stream.is_broken) else {
            return;
        };
        let mono_ms = self.mono_ms(to);
        if let Err(violation) = limits.receive(super::plan::worker(from as u8), message, mono_ms) {
            self.finding(format!("node {to} refuses what node {from} says: {violation}"));
        }
        self.drain(to);
    }

    /// Breaks a stream: what is on its way is lost, and both ends learn of it some time.
    pub fn break_stream(&mut self, from: usize, to: usize, at_once: bool) {
        let stream = &mut self.streams[from][to];
        if stream.id == 0 || stream.is_broken {
            return;
        }
        stream.is_broken = true;
        let id = stream.id;
        let closed_ms = if at_once { 0 } else { self.rng.random_range(0..LEARNT_MS) };
        let ended_ms = self.rng.random_range(0..LEARNT_MS);
        self.at(self.now + closed_ms, Happening::Close { from, to, id });
        self.at(self.now + ended_ms, Happening::End { from, to, id });
    }

    pub fn cut(&mut self, from: usize, to: usize) {
        self.streams[from][to].is_cut = true;
        self.break_stream(from, to, false);
    }

    pub fn mend(&mut self, from: usize, to: usize) {
        self.streams[from][to].is_cut = false;
        self.connect_soon(from, to);
    }

    pub fn connect_soon(&mut self, from: usize, to: usize) {
        let soon = self.rng.random_range(5..300);
        self.at(self.now + soon, Happening::Connect { from, to });
    }

    pub fn connect(&mut self, from: usize, to: usize) {
        let stream = self.streams[from][to];
        let (Some(sender), Some(_)) = (self.nodes[from].limits.clone(), &self.nodes[to].limits) else { return };
        if stream.is_cut || (stream.id != 0 && !stream.is_broken) {
            return;
        }
        self.end(from, to, stream.id);
        self.ids += 1;
        let Stream { held_until_ms, lags, .. } = stream;
        self.streams[from][to] = Stream { id: self.ids, held_until_ms, lags, ..Stream::default() };
        sender.opened(self.nodes[to].peer(), self.mono_ms(from));
        self.drain(from);
    }

    pub fn close(&mut self, from: usize, to: usize, id: u64) {
        if self.streams[from][to].id == id
            && let Some(limits) = self.nodes[from].limits.clone()
        {
            limits.closed(super::plan::worker(to as u8), self.mono_ms(from));
            self.drain(from);
        }
        // Whoever sees a stream end tries to open another.
        self.connect_soon(from, to);
    }

    pub fn end(&mut self, from: usize, to: usize, id: u64) {
        let stream = &mut self.streams[from][to];
        if stream.id != id || stream.id == 0 || stream.is_ended {
            return;
        }
        stream.is_ended = true;
        if let Some(limits) = self.nodes[to].limits.clone() {
            limits.ended(super::plan::worker(from as u8), self.mono_ms(to));
            self.drain(to);
        }
    }
}
