//! What this node says to its peers: totals, tables, beats, and with which policies it counts.

use std::collections::BTreeMap;

use crate::identity::WorkerId;

use super::message::{Beat, Message, Naming, Opening, Told, Total};
use super::policies::brought;
use super::rule::{Place, Rule};
use super::sharing::Sharing;
use super::table::Table;
use super::timeline::Moment;

/// Beats in the time within which a node has to be heard.
const BEATS: u64 = 10;
/// Entries that one piece of a table looks at.
const PIECE: usize = 1_024;
/// Pieces for each peer at a time.
const PIECES: usize = 8;

impl Sharing {
    /// Tells what is due of all keys to everybody.
    pub(super) fn announce(&mut self, table: &Table, now: Moment) {
        let told = self.telling.take(table, &self.rules, self.pace.totals_max, now.mono_ms);
        let told = self.by_fingerprint(told);
        if !told.is_empty() {
            self.send_all(&Message::Totals(told));
        }
    }

    fn by_fingerprint(&self, totals: Vec<(Place, Vec<Total>)>) -> Vec<Told> {
        let told = totals.into_iter().filter_map(|(place, totals)| {
            let (rule, _) = self.rules.get(place)?;
            Some(Told { fingerprint: rule.fingerprint, totals })
        });
        told.collect()
    }

    /// Goes on with the tables that peers are owed.
    pub(super) fn tell_tables(&mut self, table: &Table, now: Moment) {
        let owed: Vec<WorkerId> = self.links.iter().filter(|(_, link)| link.table.is_some()).map(|(w, _)| *w).collect();
        for worker in owed {
            for _ in 0..PIECES {
                self.tell_piece(table, worker, now);
            }
        }
    }

    fn tell_piece(&mut self, table: &Table, to: WorkerId, now: Moment) {
        let Some(link) = self.links.get(&to) else { return };
        let (Some(cursor), Some(incoming)) = (link.table, &link.incoming) else { return };
        let (teller, began_ms) = (link.teller(to), incoming.began_ms);
        let needs = |rule: &Rule| {
            let windows = rule.windows;
            rule.is_told() && windows.remembers(windows.number(began_ms), windows.number(now.unix_ms).saturating_sub(1))
        };
        let (told, next) = if self.rules.iter().any(|(_, held)| needs(&held.rule)) {
            table.survey(cursor, PIECE, (to, teller, began_ms))
        } else {
            Default::default()
        };
        let messages = [(told.ours, Message::Table as fn(_) -> _), (told.yours, Message::Yours)];
        for (totals, message) in messages {
            let told = self.by_fingerprint(grouped(totals));
            if !told.is_empty() {
                self.outbox.push_back((to, message(told)));
            }
        }
        if next.is_none() {
            self.outbox.push_back((to, Message::TableEnd));
        }
        if let Some(link) = self.links.get_mut(&to) {
            link.table = next;
        }
    }

    pub(super) fn beat(&mut self, now: Moment) {
        self.beat_due_ms = now.mono_ms.saturating_add(self.pace.presence_ms / BEATS);
        let number = self.beats.back().map_or(self.me.boot.nonce, |(number, _)| number.wrapping_add(1));
        self.beats.push_back((number, now.mono_ms));
        let old = |sent_ms: u64| sent_ms.saturating_add(self.pace.presence_ms) <= now.mono_ms;
        while self.beats.len() > 1 && self.beats.front().is_some_and(|(_, sent_ms)| old(*sent_ms)) {
            self.beats.pop_front();
        }
        let open: Vec<WorkerId> = self.open_links().collect();
        for to in open {
            let echo = self.links.get(&to).and_then(|link| link.echo(now.mono_ms));
            self.outbox.push_back((to, Message::Beat(Beat { number, unix_ms: now.unix_ms, echo })));
        }
    }

    /// What a stream begins with.
    pub(super) fn introduce(&mut self, to: WorkerId) {
        let Some(began_ms) = self.began_ms else { return };
        let told = || self.rules.iter().filter(|(_, held)| held.rule.is_told());
        let fingerprints = told().map(|(_, held)| held.rule.fingerprint).collect();
        let opening = Opening { boot: self.me.boot, began_ms, fingerprints };
        let brought = brought(told().map(|(_, held)| &*held.rule));
        let brought = (!brought.is_empty()).then_some(Message::Brought(brought));
        let namings = told().map(|(place, held)| {
            let (fingerprint, named) = (held.rule.fingerprint, self.named(place));
            Message::Naming(Naming { fingerprint, members: named.members, since_ms: named.since_ms })
        });
        let messages = [Message::Opening(opening)].into_iter().chain(brought).chain(namings);
        let messages: Vec<Message> = messages.collect();
        self.outbox.extend(messages.into_iter().map(|message| (to, message)));
    }

    /// Tells all peers what streams to them begin with, since it has changed.
    pub(super) fn introduce_all(&mut self) {
        let open: Vec<WorkerId> = self.open_links().collect();
        open.into_iter().for_each(|to| self.introduce(to));
    }

    pub(super) fn send_all(&mut self, message: &Message) {
        let open: Vec<WorkerId> = self.open_links().collect();
        self.outbox.extend(open.into_iter().map(|to| (to, message.clone())));
    }

    fn open_links(&self) -> impl Iterator<Item = WorkerId> + '_ {
        self.links.iter().filter(|(_, link)| link.is_open).map(|(worker, _)| *worker)
    }
}

fn grouped(totals: Vec<(Place, Total)>) -> Vec<(Place, Vec<Total>)> {
    let mut groups: BTreeMap<Place, Vec<Total>> = BTreeMap::new();
    for (id, total) in totals {
        groups.entry(id).or_default().push(total);
    }
    groups.into_iter().collect()
}
