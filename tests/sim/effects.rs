//! What replicas want done, carried out as the engine and the store's threads do it.

use rand::RngExt;
use snowtide::identity::ReplicaId;
use snowtide::replica::{Effect, Event, Job, Notice};
use snowtide::store::{Store, StoreError};

use super::checkers::doors::Closed;
use super::checkers::{bounds, durable, state};
use super::faults::Fault;
use super::node::{Lane, Node};
use super::rogue::RENEWAL_MS;
use super::world::{Happening, World};

impl World {
    /// Carries out everything that the replica asks for now, and makes sure that it is woken in time.
    pub fn carry_out(&mut self, node: usize) {
        while let Some(effect) = self.nodes[node].process.as_mut().and_then(|process| process.replica.poll()) {
            self.trace.effect(self.now, node, &effect);
            self.effect(node, effect);
        }
        self.arm(node);
    }

    fn effect(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Reply { ticket, answer, receipt } => self.reply(node, ticket, answer, receipt),
            Effect::Send { to, message } => self.send(node, to, message),
            Effect::Mint => self.mint_replica(node),
            Effect::Serving(replica) => self.serving(node, replica),
            Effect::ClaimIds { ceiling, .. } => self.claim_ids(node, ceiling),
            Effect::Witness { worker, ceiling } => {
                let reading = self.reading(node);
                if let Some(process) = &mut self.nodes[node].process {
                    process.minting.generator.witness(reading, worker, ceiling);
                }
            }
            Effect::Notice(notice) => self.notice(node, &notice),
            Effect::Fence(reason) => self.fenced(node, reason),
            Effect::Drained(holder) => {
                self.tally.note(if holder.is_some() { "drained, held elsewhere" } else { "drained, held here only" });
                holder.into_iter().for_each(|region| self.handed_over(node, region));
                let start = self.nodes[node].starts;
                self.schedule(1, Happening::Exit { node, start });
            }
            Effect::Status { status, .. } => {
                let finding = bounds::check(node, &status, &self.settings, self.keys.max(64));
                self.findings.extend(finding);
                self.told_status(node, &status);
            }
            Effect::Listed { ticket, answer } => self.listed(node, ticket, answer),
            Effect::Disk(job) => self.disk(node, job),
        }
    }

    /// The replica gives its disk a job.
    fn disk(&mut self, node: usize, job: Job) {
        let start = self.nodes[node].starts;
        if let (Job::Commit(commit), Some(process)) = (&job, &mut self.nodes[node].process) {
            self.checkers.tokens.committing(node, process.serving, start, commit);
            self.checkers.forks.written(process.serving, commit);
            process.committing.push_back((commit.number, durable::moved(commit)));
        }
        if matches!(job, Job::Truncate { .. }) {
            self.tally.note("truncations");
        }
        self.job(node, job.lane().into(), |store| job.run(store));
    }

    fn mint_replica(&mut self, node: usize) {
        let replica = ReplicaId::new(self.nodes[node].worker, self.rng.random());
        self.tally.note("incarnations");
        let mono = self.nodes[node].mono(self.now);
        if let Some(process) = &mut self.nodes[node].process {
            process.incarnations += 1;
            // One for its start, and one for the first word of a peer.
            if process.incarnations > 2 + mono / RENEWAL_MS {
                self.findings.push(format!("I6: node {node} begins incarnation {} in {mono} ms", process.incarnations));
            }
        }
        self.disk(node, Job::Mint(replica));
    }

    /// Gives the disk something to do.
    pub fn job(
        &mut self,
        node: usize,
        lane: Lane,
        job: impl FnOnce(&Store) -> Result<Event, StoreError> + Send + 'static,
    ) {
        let delay = self.rng.random_range(1..15);
        let start = self.nodes[node].starts;
        let Some(process) = &mut self.nodes[node].process else { return };
        process.lanes[lane as usize].push_back(Box::new(job));
        let at = process.busy_until[lane as usize].max(self.now) + delay;
        process.busy_until[lane as usize] = at;
        self.schedule_at(at, Happening::Done { node, start, lane });
    }

    /// The disk has carried out the first job of a lane.
    pub fn done(&mut self, node: usize, lane: Lane) {
        let Some(process) = &mut self.nodes[node].process else { return };
        let Some(job) = process.lanes[lane as usize].pop_front() else { return };
        match job(&process.store) {
            Ok(event) => {
                self.tally.jobs += 1;
                if let Event::Committed(number) = event {
                    let moved = process.committing.pop_front().filter(|(first, _)| *first == number);
                    self.checkers.durable.committed(node, moved.map(|(_, moved)| moved).unwrap_or_default());
                    self.checkers.tokens.synced(node, self.nodes[node].starts, number);
                }
                if let Event::Ceiling(ceiling) = event {
                    self.checkers.ids.durable(node, ceiling);
                    self.ceiling_raised(node, ceiling);
                }
                if lane == Lane::Reads { self.read(node, event) } else { self.tell(node, event) }
            }
            Err(error) => self.failed(node, &error.to_string()),
        }
    }

    /// What was read is on its way for a moment, while commits and checkpoints go on.
    fn read(&mut self, node: usize, event: Event) {
        let (delay, start) = (self.rng.random_range(0..10), self.nodes[node].starts);
        let Some(process) = &mut self.nodes[node].process else { return };
        let at = process.read_at.max(self.now + delay);
        process.read_at = at;
        self.schedule_at(at, Happening::Read { node, start, event: Box::new(event) });
    }

    /// I9: the node is told, and its process ends.
    fn failed(&mut self, node: usize, reason: &str) {
        let delay = self.rng.random_range(1..100);
        let start = self.nodes[node].starts;
        self.tell(node, Event::Fence(reason.to_owned()));
        self.schedule(delay, Happening::Exit { node, start });
    }

    fn serving(&mut self, node: usize, replica: ReplicaId) {
        let rival = |other: &Node| {
            let process = other.process.as_ref();
            process.is_some_and(|process| process.serving == Some(replica) && process.fenced.is_none())
        };
        if self.nodes.iter().any(rival) {
            self.tally.note("two live processes under one replica id");
            self.checkers.ledger.forked(replica);
        }
        let kept = state::incarnation(&self.nodes[node]);
        if kept != Ok(Some(replica)) {
            self.findings.push(format!("I3: node {node} serves as {replica}, and its disk holds {kept:?}"));
        }
        if let Some(process) = &mut self.nodes[node].process {
            process.serving = Some(replica);
        }
    }

    fn notice(&mut self, node: usize, notice: &Notice) {
        if let Notice::Scrub { namespace, leaf } = notice {
            // No disk here changes what stands on it.
            self.findings
                .push(format!("G4: node {node} kept another sum of {leaf:?} of {namespace:?} than its rows have"));
        }
        if matches!(notice, Notice::Fork { .. }) && !self.has_two_histories() {
            self.findings.push(format!("I3: node {node} reports {notice:?}, and no disk was copied"));
        }
        if let Notice::Unproven { replica, .. } = notice {
            self.checkers.vouching.given_up(node, *replica);
        }
        self.tally.note(match notice {
            Notice::Fork { .. } => "forks noticed",
            Notice::Duplicate { .. } => "duplicates noticed",
            Notice::Scrub { .. } => "scrubs that found damage",
            Notice::Repaired { whole: true, .. } => "repairs",
            Notice::Repaired { .. } => "repairs given up",
            Notice::Unproven { .. } => "starts unproven",
            Notice::BadMessage { .. } => "bad messages",
            Notice::NamesFillUp(_) => "full tables of names",
            Notice::Warm { .. } => "caches filled after a start",
        });
    }

    fn fenced(&mut self, node: usize, reason: String) {
        self.judge_fence(node, &reason);
        let start = self.nodes[node].starts;
        let Some(process) = &mut self.nodes[node].process else { return };
        process.minting.generator.fence();
        process.fenced = Some(reason);
        self.checkers.doors.close(node, Closed::Fenced, self.tickets);
        let delay = self.rng.random_range(1_000..30_000);
        self.schedule(delay, Happening::Operator { node, start });
    }

    /// The replica's own view, to be checked against its bounds.
    pub fn inspect(&mut self, node: usize) {
        self.tell(node, Event::Inspect(0));
    }

    pub fn count(&mut self, fault: Fault) {
        self.trace.note(self.now, [5, fault as u64, 0], || format!("fault: {fault:?}"));
        self.tally.fault(fault);
    }
}
