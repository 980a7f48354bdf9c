//! Tokens, acknowledgements and views, between replicas whose disks and links a test holds in its hand.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;
use snowtide_protocol::{Ack, Action, Key};

use super::{
    Effect, Event, Job, JournalRead, Message, Operation, Outcome, Receipt, Record, Recovered, Refusal, Replica,
    Settings, Terms, Ticket, Token, View,
};
use crate::crdt::{LogHash, Mark, Row, VersionVector};
use crate::identity::{Boot, NamespaceId, Peer, ReplicaId, WorkerId};

const SPACE: NamespaceId = NamespaceId(7);
const WAITING_MAX: usize = 3;

struct Node {
    replica: Replica,
    peer: Peer,
    /// Synced records: what would be found after a crash.
    journal: Vec<Record>,
    /// A commit that the disk has not synced yet.
    unsynced: Option<(u64, Vec<Record>)>,
    /// Whether the disk syncs at once.
    syncs: bool,
    answers: BTreeMap<Ticket, Answer>,
}

type Answer = Result<(i128, Option<Box<Receipt>>), Refusal>;

/// One node a region, all linked with all, and messages that arrive at once unless their way is cut.
struct Net {
    nodes: Vec<Node>,
    now: u64,
    cut: BTreeSet<(usize, usize)>,
    tickets: Ticket,
}

fn settings(worker: WorkerId, others: impl Iterator<Item = WorkerId>) -> Settings {
    let ms = Duration::from_millis;
    let peers = others.map(|other| (other, BTreeSet::from([SPACE]))).collect();
    let mut settings = Settings { peers, waiting_max: WAITING_MAX, ..Settings::small(worker) };
    settings.tuning.gossip.digest_interval = ms(100);
    settings.tuning.gossip.fetch_timeout = ms(200);
    settings.tuning.checkpoint.interval = ms(500);
    settings.tuning.repair.scrub_interval = ms(60_000);
    settings
}

fn worker(region: usize) -> WorkerId {
    WorkerId::new(u8::try_from(region).unwrap(), 0).unwrap()
}

fn operation(key: &str, action: Action) -> Operation {
    Operation { namespace: SPACE, key: Key::new(key).unwrap(), action }
}

fn after(token: &Token, wait_ms: u64) -> Terms {
    Terms { after: token.clone(), wait_ms, ..Terms::default() }
}

fn ack(ack: Ack, ack_wait_ms: u64) -> Terms {
    Terms { ack, ack_wait_ms, ..Terms::default() }
}

fn with_token() -> Terms {
    Terms { wants_token: true, ..Terms::default() }
}

impl Net {
    fn new(nodes: usize) -> Self {
        let boot = Boot { counter: 1, nonce: 5 };
        let node = |at: usize| {
            let recovered = Recovered::of_new_directory(boot, [SPACE]);
            let others = (0..nodes).filter(move |other| *other != at).map(worker);
            let replica = Replica::new(settings(worker(at), others), recovered, 0);
            let peer = Peer { worker: worker(at), boot };
            Node { replica, peer, journal: Vec::new(), unsynced: None, syncs: true, answers: BTreeMap::new() }
        };
        let nodes = (0..nodes).map(node).collect();
        let mut net = Self { nodes, now: 0, cut: BTreeSet::new(), tickets: 0 };
        net.pump();
        for from in 0..net.nodes.len() {
            for to in (0..net.nodes.len()).filter(|to| *to != from) {
                let (dialer, acceptor) = (net.nodes[from].peer, net.nodes[to].peer);
                net.tell(to, Event::PeerBoot(dialer));
                net.tell(from, Event::PeerUp { peer: acceptor, namespaces: BTreeSet::from([SPACE]) });
            }
        }
        net.pass(1_000);
        net
    }

    fn tell(&mut self, node: usize, event: Event) {
        self.nodes[node].replica.handle(self.now, event);
        self.pump();
    }

    /// Carries out effects until there are none.
    fn pump(&mut self) {
        loop {
            let polled = self.nodes.iter_mut().enumerate().find_map(|(at, node)| Some((at, node.replica.poll()?)));
            let Some((at, effect)) = polled else { return };
            self.carry_out(at, effect);
        }
    }

    fn carry_out(&mut self, at: usize, effect: Effect) {
        let (now, node) = (self.now, &mut self.nodes[at]);
        match effect {
            Effect::Disk(Job::Commit(commit)) => {
                node.unsynced = Some((commit.number, commit.records));
                if node.syncs {
                    self.sync(at);
                }
            }
            Effect::Mint => node.replica.handle(now, Event::Minted(ReplicaId::new(node.peer.worker, 9))),
            Effect::Disk(Job::Load { namespace, keys }) => {
                let rows = keys.into_iter().map(|key| (key, Row::default())).collect();
                node.replica.handle(now, Event::Loaded { namespace, rows });
            }
            Effect::Disk(Job::ReadJournal { to, namespace, origin, after, .. }) => {
                let records = node.journal.iter().filter(|record| record.origin == origin && record.upto > after);
                let records = records.cloned().collect();
                let read = JournalRead { to, namespace, origin, after, records, whole_from: None };
                node.replica.handle(now, Event::Journal(read));
            }
            Effect::Disk(Job::Checkpoint(_)) => node.replica.handle(now, Event::Checkpointed),
            Effect::Reply { ticket, answer, receipt } => self.answered(at, ticket, answer, receipt),
            Effect::Send { to, message } => self.deliver(at, usize::from(to.region()), message),
            _ => {}
        }
    }

    fn deliver(&mut self, from: usize, to: usize, message: Message) {
        if !self.cut.contains(&(from, to)) {
            let from = self.nodes[from].peer;
            self.nodes[to].replica.handle(self.now, Event::Received { from, message });
        }
    }

    fn sync(&mut self, at: usize) {
        if let Some((number, records)) = self.nodes[at].unsynced.take() {
            self.nodes[at].journal.extend(records);
            self.nodes[at].replica.handle(self.now, Event::Committed(number));
        }
    }

    /// I1, of every answer: its token names nothing that the disk lacks, but for what repair had from another disk.
    fn answered(
        &mut self,
        at: usize,
        ticket: Ticket,
        answer: Result<Vec<Outcome>, Refusal>,
        receipt: Option<Box<Receipt>>,
    ) {
        let node = &mut self.nodes[at];
        for (namespace, origin, seq) in
            receipt.iter().filter_map(|receipt| receipt.token.as_ref()).flat_map(Token::iter)
        {
            let synced = node.journal.iter().filter(|record| (record.namespace, record.origin) == (namespace, origin));
            let repaired = node.replica.namespaces.get(namespace).is_some_and(|held| held.reach().of(origin) >= seq);
            let durable = synced.map(|record| record.upto).max() >= Some(seq);
            assert!(durable || repaired, "a token names {seq}, which is not durable");
        }
        let answer = answer.map(|outcomes| match outcomes[..] {
            [Outcome::Value(value)] => (value, receipt),
            _ => panic!("{outcomes:?}"),
        });
        assert!(node.answers.insert(ticket, answer).is_none(), "{ticket} is answered twice");
    }

    /// Lets timers run for so long.
    fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.now += 10;
            for at in 0..self.nodes.len() {
                if self.nodes[at].replica.deadline() <= self.now {
                    self.nodes[at].replica.handle(self.now, Event::Tick);
                }
            }
            self.pump();
        }
    }

    fn submit(&mut self, at: usize, key: &str, action: Action, terms: Terms) -> Ticket {
        self.tickets += 1;
        let (ticket, operations) = (self.tickets, vec![operation(key, action)]);
        self.tell(at, Event::Submit { ticket, operations, terms: Some(Box::new(terms)) });
        ticket
    }

    fn answer(&mut self, at: usize, ticket: Ticket) -> Option<Answer> {
        self.nodes[at].answers.remove(&ticket)
    }

    /// What must be answered at once.
    fn ask(&mut self, at: usize, key: &str, action: Action, terms: Terms) -> (i128, Box<Receipt>) {
        let ticket = self.submit(at, key, action, terms);
        let (value, receipt) = self.answer(at, ticket).expect("an answer").expect("no refusal");
        (value, receipt.unwrap())
    }

    fn token(&mut self, at: usize, key: &str, action: Action) -> Token {
        self.ask(at, key, action, with_token()).1.token.unwrap()
    }

    fn view(&mut self, at: usize, key: &str) -> (i128, View) {
        let terms = Terms { wants_views: true, ..Terms::default() };
        let (value, mut receipt) = self.ask(at, key, Action::Get, terms);
        let view = receipt.views.pop().unwrap();
        assert_eq!(view.regions.iter().map(|share| share.value).sum::<i128>(), value, "{view:?}");
        (value, view)
    }

    /// The links of a node, both ways.
    fn cut_off(&mut self, at: usize) {
        for other in (0..self.nodes.len()).filter(|other| *other != at) {
            self.cut.extend([(at, other), (other, at)]);
        }
    }

    fn heal(&mut self) {
        self.cut.clear();
        self.pass(1_000);
    }

    /// Of a random history.
    fn undergo(&mut self, change: Change) {
        match change {
            Change::Cut(from, to) => drop(self.cut.insert((from, to))),
            Change::Heal => self.cut.clear(),
            Change::Pass(ms) => self.pass(ms),
            Change::Disk(at, syncs) => {
                self.nodes[at].syncs = syncs;
                if syncs {
                    self.sync(at);
                    self.pump();
                }
            }
        }
    }

    fn replica(&self, at: usize) -> ReplicaId {
        self.nodes[at].replica.id().unwrap()
    }

    /// What would be read of a counter after a crash: from the synced records alone.
    fn durable(&self, at: usize, key: &str) -> i128 {
        let mut row = Row::default();
        for record in &self.nodes[at].journal {
            for change in record.changes().unwrap().into_iter().filter(|change| change.key == key) {
                row.join_slot(record.origin, change.slot);
            }
        }
        row.value()
    }
}

fn value(answer: Option<Answer>) -> i128 {
    answer.expect("an answer").expect("no refusal").0
}

#[test]
fn a_token_names_the_logs_of_the_slots_that_were_seen_and_no_others() {
    let mut net = Net::new(3);
    let [own, first, second] = [0, 1, 2].map(|at| net.replica(at));
    net.token(1, "likes", Action::Increment(10));
    net.token(2, "others", Action::Increment(100));
    net.pass(200);
    let token = net.token(0, "likes", Action::Increment(1));
    assert_eq!(token.iter().collect::<Vec<_>>(), [(SPACE, own, 1), (SPACE, first, 1)]);
    let token = net.token(0, "others", Action::Get);
    assert_eq!(token.iter().collect::<Vec<_>>(), [(SPACE, second, 1)]);
    assert!(net.token(0, "unheard of", Action::Get).is_empty());
}

#[test]
fn an_answer_with_a_token_waits_until_all_that_it_names_is_synced() {
    let mut net = Net::new(2);
    net.nodes[0].syncs = false;
    let write = net.submit(0, "likes", Action::Increment(1), with_token());
    // Behind the first commit gathers a second one, which raises what is applied to the log, not what is durable.
    let later = net.submit(0, "others", Action::Increment(1), with_token());
    let read = net.submit(0, "likes", Action::Get, with_token());
    assert!(net.nodes[0].answers.is_empty(), "nothing is synced yet");
    net.sync(0);
    net.pump();
    for ticket in [write, read] {
        let (value, receipt) = net.answer(0, ticket).unwrap().unwrap();
        let token = receipt.unwrap().token.unwrap();
        assert_eq!((value, token.iter().map(|(.., seq)| seq).collect::<Vec<_>>()), (1, vec![1]));
    }
    assert!(net.answer(0, later).is_none());
    net.sync(0);
    net.pump();
    assert_eq!(value(net.answer(0, later)), 1);
}

#[test]
fn what_is_hurried_waits_no_longer_and_gives_its_place_back() {
    let mut net = Net::new(2);
    net.cut_off(1);
    let token = net.token(0, "likes", Action::Increment(10));
    let minute = 60_000;
    for _ in 0..2 {
        let waiting: Vec<_> =
            (0..WAITING_MAX).map(|_| net.submit(1, "likes", Action::Increment(1), after(&token, minute))).collect();
        let refused = net.submit(1, "likes", Action::Get, after(&token, minute));
        assert!(matches!(net.answer(1, refused), Some(Err(Refusal::TooManyWaiting))));
        for ticket in waiting {
            assert!(net.answer(1, ticket).is_none());
            net.tell(1, Event::Hurry(ticket));
            assert!(matches!(net.answer(1, ticket), Some(Err(Refusal::TokenNotHeld(_)))));
        }
    }
    assert_eq!(net.ask(1, "likes", Action::Get, Terms::default()).0, 0, "nothing of them was applied");
    for _ in 0..2 {
        let waiting: Vec<_> =
            (0..WAITING_MAX).map(|_| net.submit(1, "own", Action::Increment(1), ack(Ack::All, minute))).collect();
        for ticket in waiting {
            assert!(net.answer(1, ticket).is_none());
            net.tell(1, Event::Hurry(ticket));
            let (_, receipt) = net.answer(1, ticket).unwrap().unwrap();
            assert!(receipt.unwrap().pending);
        }
    }
    // What is still on its way to a place does not take one.
    net.nodes[1].syncs = false;
    let unsynced = net.submit(1, "own", Action::Increment(1), ack(Ack::All, minute));
    net.tell(1, Event::Hurry(unsynced));
    assert!(net.answer(1, unsynced).is_none(), "it is not durable yet (I1)");
    net.nodes[1].syncs = true;
    net.sync(1);
    net.pump();
    assert_eq!(value(net.answer(1, unsynced)), 2 * i128::try_from(WAITING_MAX).unwrap() + 1);
}

#[test]
fn a_token_that_is_not_held_is_awaited_as_long_as_asked_and_then_refused_by_name() {
    let mut net = Net::new(2);
    net.token(0, "likes", Action::Increment(1));
    net.pass(200);
    net.cut_off(1);
    let token = net.token(0, "likes", Action::Increment(10));
    let at_once = net.submit(1, "likes", Action::Get, after(&token, 0));
    let waiting = net.submit(1, "likes", Action::Increment(100), after(&token, 500));
    let origin = net.replica(0);
    let refused = |answer: Option<Answer>| match answer {
        Some(Err(Refusal::TokenNotHeld(missing))) => (missing.replica, missing.known, missing.wanted),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(net.answer(1, at_once)), (origin, 1, 2));
    net.pass(490);
    assert!(net.answer(1, waiting).is_none());
    assert!(net.nodes[1].replica.deadline() <= net.now + 10, "the wait is among the deadlines");
    net.pass(10);
    assert_eq!(refused(net.answer(1, waiting)), (origin, 1, 2));
    assert_eq!(net.ask(1, "likes", Action::Get, Terms::default()).0, 1, "what was refused was not applied");
}

#[test]
fn a_token_that_arrives_in_time_is_answered_with_what_it_names() {
    let mut net = Net::new(3);
    net.cut_off(2);
    let mut token = net.token(0, "likes", Action::Increment(1));
    for mark in net.token(1, "likes", Action::Increment(10)).iter() {
        token.raise(mark.0, mark.1, mark.2);
    }
    let reading = net.submit(2, "likes", Action::Get, after(&token, 5_000));
    net.pass(100);
    assert!(net.answer(2, reading).is_none());
    net.heal();
    assert_eq!(value(net.answer(2, reading)), 11);
    assert_eq!(net.ask(2, "likes", Action::Get, after(&token, 0)).0, 11, "held from now on");
    assert_eq!(net.ask(0, "likes", Action::Get, after(&token, 0)).0, 11);
}

#[test]
fn what_a_token_says_of_other_namespaces_does_not_matter() {
    let mut net = Net::new(2);
    let elsewhere = [(NamespaceId(1), net.replica(1), 99)].into_iter().collect();
    assert_eq!(net.ask(0, "likes", Action::Get, after(&elsewhere, 0)).0, 0);
}

#[test]
fn so_many_wait_and_one_more_is_refused_at_once() {
    let mut net = Net::new(2);
    net.cut_off(1);
    let token = net.token(0, "likes", Action::Increment(1));
    let waiting: Vec<Ticket> =
        (0..WAITING_MAX).map(|_| net.submit(1, "likes", Action::Get, after(&token, 60_000))).collect();
    let refused = net.submit(1, "likes", Action::Get, after(&token, 60_000));
    assert_eq!(net.answer(1, refused).unwrap().unwrap_err(), Refusal::TooManyWaiting);
    let acks: Vec<Ticket> =
        (0..WAITING_MAX).map(|_| net.submit(1, "mine", Action::Increment(1), ack(Ack::All, 60_000))).collect();
    let refused = net.submit(1, "mine", Action::Increment(1), ack(Ack::All, 60_000));
    assert_eq!(net.answer(1, refused).unwrap().unwrap_err(), Refusal::TooManyWaiting);
    net.heal();
    for ticket in waiting {
        assert_eq!(value(net.answer(1, ticket)), 1);
    }
    for (ticket, count) in acks.into_iter().zip(1..) {
        assert_eq!(value(net.answer(1, ticket)), count);
    }
}

#[test]
fn a_write_is_acknowledged_by_regions_once_their_disks_have_it() {
    let mut net = Net::new(3);
    net.nodes[1].syncs = false;
    net.cut_off(2);
    let two = net.submit(0, "likes", Action::Increment(1), ack(Ack::Regions(2), 60_000));
    let all = net.submit(0, "likes", Action::Increment(10), ack(Ack::All, 60_000));
    net.pass(500);
    assert!(net.answer(0, two).is_none(), "the other region has it, but not on its disk");
    net.nodes[1].syncs = true;
    net.sync(1);
    net.pass(500);
    let (value, receipt) = net.answer(0, two).unwrap().unwrap();
    let receipt = receipt.unwrap();
    assert_eq!((value, receipt.acknowledged_by, receipt.pending), (1, BTreeSet::from([0, 1]), false));
    assert!(net.answer(0, all).is_none());
    net.heal();
    let (value, receipt) = net.answer(0, all).unwrap().unwrap();
    assert_eq!((value, receipt.unwrap().acknowledged_by), (11, BTreeSet::from([0, 1, 2])));
}

#[test]
fn a_write_that_others_do_not_acknowledge_in_time_is_pending_and_counts() {
    let mut net = Net::new(2);
    net.cut_off(0);
    let write = net.submit(0, "likes", Action::Increment(5), ack(Ack::Regions(2), 300));
    net.pass(290);
    assert!(net.answer(0, write).is_none());
    net.pass(10);
    let (value, receipt) = net.answer(0, write).unwrap().unwrap();
    let receipt = receipt.unwrap();
    assert_eq!((value, receipt.acknowledged_by, receipt.pending), (5, BTreeSet::from([0]), true));
    net.heal();
    assert_eq!(net.durable(1, "likes"), 5);
}

#[test]
fn an_increment_by_nothing_is_acknowledged_like_what_it_shows() {
    let mut net = Net::new(2);
    net.cut_off(0);
    net.token(0, "likes", Action::Increment(5));
    let nothing = net.submit(0, "likes", Action::Increment(0), ack(Ack::All, 300));
    assert!(net.answer(0, nothing).is_none());
    net.heal();
    assert_eq!(value(net.answer(0, nothing)), 5);
}

#[test]
fn more_regions_than_hold_the_namespace_are_refused_and_nothing_is_written() {
    let mut net = Net::new(2);
    let write = net.submit(0, "likes", Action::Increment(1), ack(Ack::Regions(3), 300));
    let refused = Refusal::TooFewRegions { wanted: 3, held_by: 2 };
    assert_eq!(net.answer(0, write).unwrap().unwrap_err(), refused);
    assert_eq!(net.ask(0, "likes", Action::Get, Terms::default()).0, 0);
}

#[test]
fn a_node_that_stops_refuses_what_waits_for_tokens_and_answers_what_waits_for_regions() {
    for (stop, refusal) in
        [(Event::Drain, Refusal::Draining), (Event::Fence("a twin".into()), Refusal::Fenced("a twin".into()))]
    {
        let mut net = Net::new(2);
        net.cut_off(1);
        let token = net.token(0, "likes", Action::Increment(1));
        let reading = net.submit(1, "likes", Action::Get, after(&token, 60_000));
        let writing = net.submit(1, "likes", Action::Increment(10), ack(Ack::All, 60_000));
        net.tell(1, stop);
        assert_eq!(net.answer(1, reading).unwrap().unwrap_err(), refusal);
        net.pass(6_000);
        let (value, receipt) = net.answer(1, writing).unwrap().unwrap();
        assert_eq!((value, receipt.unwrap().pending), (10, true));
    }
}

#[test]
fn a_view_tells_shares_their_age_and_what_is_settled() {
    let mut net = Net::new(3);
    for (at, by) in [(0, 1), (1, 10), (2, -100)] {
        net.token(at, "likes", Action::Increment(by));
    }
    net.pass(500);
    let (_, view) = net.view(0, "likes");
    assert_eq!(
        view.regions.iter().map(|share| (share.region, share.value)).collect::<Vec<_>>(),
        [(0, 1), (1, 10), (2, -100)]
    );
    assert!(view.regions.iter().all(|share| share.as_of_ms.is_some_and(|age| age <= 200)), "{view:?}");
    assert_eq!((view.settled, view.behind), (Some(-89), BTreeSet::new()));

    net.cut_off(2);
    net.token(0, "likes", Action::Increment(1_000));
    net.pass(1_000);
    let (value, view) = net.view(0, "likes");
    assert_eq!((value, view.settled, view.behind), (911, Some(-89), BTreeSet::from([2])));
    let ages: Vec<u64> = view.regions.iter().map(|share| share.as_of_ms.unwrap()).collect();
    assert!(ages[0] == 0 && ages[1] <= 200 && ages[2] >= 900, "{ages:?}");
    net.heal();
    let (_, view) = net.view(0, "likes");
    assert_eq!((view.settled, view.behind), (Some(911), BTreeSet::new()));
}

#[test]
fn a_region_that_was_never_heard_has_no_age_and_nothing_is_settled() {
    let mut net = Net::new(1);
    net.nodes[0].replica.settings = settings(worker(0), [worker(1)].into_iter());
    net.token(0, "likes", Action::Increment(1));
    let (value, view) = net.view(0, "likes");
    assert_eq!((value, view.settled, view.behind), (1, None, BTreeSet::from([1])));
    assert_eq!(view.regions.iter().map(|share| share.as_of_ms).collect::<Vec<_>>(), [Some(0), None]);
}

#[test]
fn what_is_settled_moves_on_although_the_counter_never_rests() {
    let mut net = Net::new(2);
    let mut settled = VecDeque::new();
    for _ in 0..200 {
        net.token(0, "likes", Action::Increment(1));
        net.token(0, "others", Action::Increment(1));
        net.pass(10);
        let (value, view) = net.view(0, "likes");
        settled.push_back((value, view.settled));
    }
    let (value, last) = settled.pop_back().unwrap();
    assert_eq!(value, 200);
    assert!(last.is_some_and(|last| last > 150), "{last:?}");
}

#[test]
fn a_region_is_fresh_again_although_an_earlier_boot_of_it_announced_what_is_lost() {
    let mut net = Net::new(2);
    net.token(0, "likes", Action::Increment(1));
    // It announces a commit that nobody ever gets.
    let (from, origin) = (net.nodes[1].peer, net.replica(1));
    let ahead = [(origin, Mark { seq: 9, hash: LogHash(1) })].into_iter().collect();
    net.tell(0, Event::Received { from, message: Message::Ack(vec![(SPACE, ahead)]) });
    net.cut_off(1);
    net.pass(1_000);
    assert!(net.view(0, "likes").1.regions[1].as_of_ms >= Some(1_000));
    let reborn = Peer { boot: Boot { counter: 2, nonce: 6 }, ..from };
    net.tell(0, Event::PeerBoot(reborn));
    net.tell(0, Event::Received { from: reborn, message: Message::Ack(vec![(SPACE, VersionVector::default())]) });
    assert_eq!(net.view(0, "likes").1.regions[1].as_of_ms, Some(0));
}

#[test]
fn what_repair_has_brought_is_settled_only_once_a_log_tells_where_it_stands() {
    let mut net = Net::new(2);
    net.token(1, "likes", Action::Increment(10));
    net.pass(500);
    let origin = net.replica(1);
    net.nodes[0].replica.namespaces.iter_mut().for_each(|held| held.raise_reach(vec![(origin, 2)], 0));
    let (_, view) = net.view(0, "likes");
    assert_eq!(view.settled, None, "the row may hold more than the vector tells");
    // Our own slots are never ahead of our own log.
    net.token(0, "likes", Action::Increment(1));
    net.view(0, "likes");
    net.token(1, "likes", Action::Increment(100));
    net.pass(500);
    assert_eq!(net.view(0, "likes").1.settled, Some(111));
}

/// One thing that happens in a random history.
#[derive(Clone, Debug)]
enum Step {
    Add(usize, u8, i64),
    View(usize, u8),
    Around(Change),
}

/// One thing that happens around the nodes.
#[derive(Clone, Copy, Debug)]
enum Change {
    Cut(usize, usize),
    Heal,
    Pass(u64),
    /// The disk of a node stops syncing, or goes on.
    Disk(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize, 0..2_u8, 1..1_000_i64).prop_map(|(at, key, by)| Step::Add(at, key, by)),
        3 => (0..3_usize, 0..2_u8).prop_map(|(at, key)| Step::View(at, key)),
        1 => (0..3_usize, 0..3_usize).prop_map(|(from, to)| Step::Around(Change::Cut(from, to))),
        1 => Just(Step::Around(Change::Heal)),
        3 => (1..200_u64).prop_map(|ms| Step::Around(Change::Pass(ms))),
        1 => (0..3_usize, any::<bool>()).prop_map(|(at, syncs)| Step::Around(Change::Disk(at, syncs))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// With increments only, a settled value is one that every disk holds at least.
    #[test]
    fn nothing_is_settled_that_some_disk_lacks(steps in prop::collection::vec(step(), 1..80)) {
        let mut net = Net::new(3);
        let mut views = Vec::new();
        for step in steps {
            match step {
                Step::Add(at, key, by) => {
                    let terms = Terms { wants_token: true, ..ack(Ack::Regions(2), 300) };
                    net.submit(at, &format!("k{key}"), Action::Increment(by), terms);
                }
                Step::View(at, key) => {
                    let terms = Terms { wants_views: true, ..with_token() };
                    views.push((at, net.submit(at, &format!("k{key}"), Action::Get, terms), key));
                }
                Step::Around(change) => net.undergo(change),
            }
            for (at, ticket, key) in std::mem::take(&mut views) {
                let Some(answer) = net.answer(at, ticket) else {
                    views.push((at, ticket, key));
                    continue;
                };
                let (value, receipt) = answer.unwrap();
                let view = receipt.unwrap().views.pop().unwrap();
                prop_assert_eq!(view.regions.iter().map(|share| share.value).sum::<i128>(), value);
                let least = (0..3).map(|at| net.durable(at, &format!("k{key}"))).min().unwrap();
                prop_assert!(view.settled.is_none_or(|settled| settled <= least), "{:?} > {}", view, least);
            }
        }
        for at in 0..3 {
            net.nodes[at].syncs = true;
            net.sync(at);
        }
        net.heal();
        net.pass(2_000);
        for key in ["k0", "k1"] {
            net.view(0, key);
            let (value, view) = net.view(0, key);
            prop_assert_eq!((view.settled, view.behind), (Some(value), BTreeSet::new()));
        }
    }

    /// Whoever leaves changes nothing for others: each request is answered once, and nothing of it stays behind.
    #[test]
    fn what_is_hurried_is_answered_once_wherever_it_is(
        steps in prop::collection::vec((step(), prop::option::of(any::<prop::sample::Index>())), 1..80),
    ) {
        let (mut net, mut open, mut tokens) = (Net::new(3), Vec::new(), vec![Token::default()]);
        for (step, hurried) in steps {
            match step {
                Step::Add(at, key, by) => {
                    let terms = Terms { wants_token: true, ..ack(Ack::Regions(2), 100_000) };
                    open.push((at, net.submit(at, &format!("k{key}"), Action::Increment(by), terms)));
                }
                Step::View(at, key) => {
                    let terms = Terms { wants_token: true, ..after(tokens.last().unwrap(), 100_000) };
                    open.push((at, net.submit(at, &format!("k{key}"), Action::Get, terms)));
                }
                Step::Around(change) => net.undergo(change),
            }
            let answered = |net: &mut Net, (at, ticket): (usize, Ticket)| net.answer(at, ticket);
            for request in std::mem::take(&mut open) {
                match answered(&mut net, request) {
                    Some(Ok((_, receipt))) => tokens.extend(receipt.and_then(|receipt| receipt.token)),
                    Some(Err(_)) => {}
                    None => open.push(request),
                }
            }
            if let Some((at, ticket)) = hurried.filter(|_| !open.is_empty()).map(|index| *index.get(&open)) {
                net.tell(at, Event::Hurry(ticket));
            }
        }
        // No link need come back for it.
        for (at, ticket) in &open {
            if !net.nodes[*at].answers.contains_key(ticket) {
                net.tell(*at, Event::Hurry(*ticket));
            }
        }
        for at in 0..3 {
            net.nodes[at].syncs = true;
            net.sync(at);
        }
        net.pump();
        for (at, ticket) in open {
            prop_assert!(net.answer(at, ticket).is_some(), "{} is not answered at {}", ticket, at);
        }
        for node in &net.nodes {
            prop_assert!(node.replica.waits.keeps_nothing());
        }
    }
}
