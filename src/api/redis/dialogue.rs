//! One connection without its socket: bytes in, a batch out. It decides, and does no I/O.

use std::net::IpAddr;
use std::sync::Arc;

use snowtide_protocol::Action;
use snowtide_protocol::receive::ReceiveBuffer;

use super::answer::{Batch, Shape, error_of};
use super::caller::Caller;
use super::command::{Command, Fault};
use super::limits::Check;
use super::request::{Bounds, Scanner, Words};
use super::table::{self, COMMANDS};
use super::transaction::Transaction;
use super::{Door, info, key};
use crate::api::bearer::Grant;
use crate::api::budget::Account;
use crate::audit;
use crate::clock;
use crate::telemetry::{self, Verb};

/// How errors begin that are the caller's doing: he has shown no token, one that nobody knows, or one that does not allow this.
const TURNED_AWAY: [&str; 3] = ["NOAUTH ", "WRONGPASS ", "NOPERM "];

/// Who has not shown a token yet needs no more than this.
const STRANGER: Bounds = Bounds { bytes_max: 16 << 10, words_max: 10 };

/// What has been said, and what is to be answered.
pub(super) struct Dialogue {
    /// What has arrived and is not taken yet.
    pub(super) buffer: ReceiveBuffer,
    scanner: Scanner,
    pub(super) intake: Intake,
}

/// What comes after the batch is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// More has to arrive.
    Read,
    /// More has arrived than goes into one batch.
    Take,
    /// Nothing: the connection is closed.
    Close,
}

impl Dialogue {
    /// With a client at this address.
    pub(super) fn new(door: Arc<Door>, from: IpAddr, account: Arc<Account>) -> Self {
        let caller = Caller::new(door.next_id(), &door.bearers);
        let (transaction, batch, refusal) = (None, Batch::default(), None);
        let intake = Intake { door, from, account, caller, transaction, batch, refusal };
        Self { buffer: ReceiveBuffer::default(), scanner: Scanner::default(), intake }
    }

    /// Takes in the whole commands that have arrived, as many as go into one batch. Also tells whether there was any.
    pub(super) fn take(&mut self) -> (Next, bool) {
        let Self { buffer, scanner, intake } = self;
        intake.renew();
        let mut taken = 0;
        let next = loop {
            let bytes = buffer.unread().get(taken..).unwrap_or_default();
            let bounds = if intake.caller.grant().is_some() { intake.door.limits.bounds } else { STRANGER };
            match scanner.scan(bytes, bounds) {
                Ok(None) => break Next::Read,
                Ok(Some(end)) => {
                    let words = scanner.words(bytes);
                    if !intake.batch.has_room(intake.operations_of(words)) {
                        break Next::Take;
                    }
                    let goes_on = intake.take(words);
                    scanner.pass();
                    taken = taken.saturating_add(end);
                    if !goes_on {
                        break Next::Close;
                    }
                }
                Err(malformed) => {
                    intake.error(&format!("ERR Protocol error: {malformed}"));
                    break Next::Close;
                }
            }
        };
        buffer.take(taken);
        (next, taken > 0)
    }
}

/// Carries out the commands of one read, as far as that can be done before the engine has answered.
pub(super) struct Intake {
    door: Arc<Door>,
    from: IpAddr,
    account: Arc<Account>,
    caller: Caller,
    /// Since `MULTI`.
    transaction: Option<Transaction>,
    pub(super) batch: Batch,
    /// Counters are not served at this stage, and why.
    refusal: Option<String>,
}

impl Intake {
    /// Tokens may have been replaced, and the stage another.
    fn renew(&mut self) {
        self.caller.renew(&self.door.bearers);
        self.refusal = self.door.gate.admit_counting().err().map(|refused| error_of(&refused));
    }

    /// The most operations that the command may have for the engine now.
    fn operations_of(&self, words: Words<'_>) -> usize {
        match &self.transaction {
            None => words.len().saturating_sub(1),
            Some(transaction) if words.get(0).is_some_and(|name| name.eq_ignore_ascii_case(b"exec")) => {
                transaction.operations()
            }
            Some(_) => 0,
        }
    }

    /// False after the last command.
    fn take(&mut self, words: Words<'_>) -> bool {
        if words.len() == 0 {
            return true;
        }
        match table::parse(words) {
            Ok(command) if self.caller.grant().is_none() && !command.opens() => {
                self.error("NOAUTH Authentication required.");
            }
            Ok(command) if self.transaction.is_some() && !command.is_of_transactions() => {
                self.gather(words, Some(command));
            }
            Ok(command) => {
                self.carry_out(command);
                return !matches!(command, Command::Quit);
            }
            Err(_) if self.transaction.is_some() && table::is_gathered(words) => self.gather(words, None),
            Err(fault) => self.refuse(&fault),
        }
        true
    }

    /// Keeps a command for `EXEC`; what is known to fail by itself then is told already.
    fn gather(&mut self, words: Words<'_>, command: Option<Command<'_>>) {
        if let Some(fault) = command.and_then(|command| self.objection(command)) {
            return self.refuse(&fault);
        }
        let operations = command.map_or(0, |command| command.operations());
        let reply_bytes = command.map_or(0, |command| command.reply_bytes());
        let Some(transaction) = self.transaction.as_mut() else { return };
        match transaction.push(words, operations, reply_bytes) {
            Ok(()) => self.batch.tell(self.caller.version()).word("QUEUED"),
            Err(full) => self.error(&full.text()),
        }
    }

    /// Why the command cannot be carried out, as far as that is known without the engine.
    fn objection(&self, command: Command<'_>) -> Option<Fault> {
        let grant = self.caller.grant()?;
        let Command::Operate(keys, action, _) = command else { return None };
        let bad = keys.iter().find_map(|key| key::operation(&self.door.namespaces, grant, key, action).err());
        let bad = bad.map(|refused| Fault::from(error_of(&refused)));
        self.refusal.clone().map(Fault::from).or(bad)
    }

    /// Answers a command that is not carried out; within a transaction, nothing of that will be.
    fn refuse(&mut self, fault: &str) {
        if let Some(transaction) = self.transaction.as_mut() {
            transaction.spoil();
        }
        self.error(fault);
    }

    fn begin(&mut self) {
        if self.transaction.is_some() {
            return self.error("ERR MULTI calls can not be nested");
        }
        self.transaction = Some(Transaction::begin(&self.door.queued, &self.account));
        self.batch.tell(self.caller.version()).word("OK");
    }

    /// Carries out what was gathered. All its operations are in this batch: there was a look at its room.
    fn execute(&mut self) {
        let Some(transaction) = self.transaction.take() else { return self.error("ERR EXEC without MULTI") };
        let Some(queue) = transaction.end() else {
            return self.error("EXECABORT Transaction discarded because of previous errors.");
        };
        if let Some(refusal) = self.refusal.clone().filter(|_| queue.operations() > 0) {
            return self.error(&format!("EXECABORT Transaction discarded because of: {refusal}"));
        }
        self.batch.tell(self.caller.version()).array(queue.len());
        for words in queue.commands() {
            match table::parse(words) {
                Ok(command) => self.carry_out(command),
                Err(fault) => self.error(&fault),
            }
        }
    }

    fn discard(&mut self) {
        match self.transaction.take() {
            Some(_) => self.batch.tell(self.caller.version()).word("OK"),
            None => self.error("ERR DISCARD without MULTI"),
        }
    }

    fn carry_out(&mut self, command: Command<'_>) {
        match command {
            Command::Operate(keys, action, shape) => self.operate(keys, action, shape),
            Command::Decide(check) => self.decide(check),
            Command::Hello(version, options) => match self.caller.hello(&self.door.bearers, version, options) {
                Ok(()) => self.caller.greet(&mut self.batch.tell(self.caller.version())),
                Err(fault) => self.done(Err(fault)),
            },
            Command::Auth(password) => {
                let done = self.caller.authenticate(&self.door.bearers, password);
                self.done(done);
            }
            Command::SetName(name) => {
                let done = self.caller.set_name(name);
                self.done(done);
            }
            Command::Multi => self.begin(),
            Command::Exec => self.execute(),
            Command::Discard => self.discard(),
            Command::Reset => {
                self.transaction = None;
                self.caller.reset(&self.door.bearers);
                self.batch.tell(self.caller.version()).word("RESET");
            }
            other => self.tell(other),
        }
    }

    /// Commands that change nothing.
    fn tell(&mut self, command: Command<'_>) {
        let mut reply = self.batch.tell(self.caller.version());
        match (command, self.refusal.as_deref()) {
            (Command::Ping(_), Some(refusal)) => reply.error(refusal),
            (Command::Ping(None), None) => reply.word("PONG"),
            (Command::Ping(Some(text)) | Command::Echo(text), _) => reply.text(text),
            (Command::GetName, _) if self.caller.name().is_empty() => reply.nothing(),
            (Command::GetName, _) => reply.text(self.caller.name()),
            (Command::Id, _) => reply.integer(self.caller.id()),
            (Command::Commands, _) => info::commands(&mut reply),
            (Command::Rows(names), _) => info::rows(&mut reply, names),
            (Command::Docs(names), _) => info::docs(&mut reply, names),
            (Command::Names, _) => info::names(&mut reply),
            (Command::Count, _) => reply.integer(i64::try_from(COMMANDS.len()).unwrap_or(i64::MAX)),
            (Command::ConfigGet(names), _) => info::settings(&mut reply, names),
            (Command::Info(sections), _) => reply.prose(&self.door.facts().info(sections)),
            // `SELECT 0`, `CLIENT SETINFO`, `QUIT`; the rest was carried out.
            _ => reply.word("OK"),
        }
    }

    fn operate(&mut self, keys: Words<'_>, action: Action, shape: Shape) {
        if let Some(refusal) = self.refusal.clone() {
            return self.error(&refusal);
        }
        let first = self.batch.operations.len();
        // Who has none has been turned away.
        let Some(grant) = self.caller.grant() else { return };
        for name in keys.iter() {
            match key::operation(&self.door.namespaces, grant, name, action) {
                Ok(operation) => self.batch.operations.push(operation),
                Err(refused) => {
                    self.batch.operations.truncate(first);
                    return self.error(&error_of(&refused));
                }
            }
        }
        self.batch.owe(first, shape, self.caller.version());
    }

    /// A limit needs no engine: it is decided at once.
    fn decide(&mut self, check: Check<'_>) {
        let (began, decider, version) = (clock::monotonic(), &self.door.decider, self.caller.version());
        // Who has none has been turned away.
        let Some(grant) = self.caller.grant() else { return };
        let decided = decider.admit(grant).and_then(|()| check.answer(decider, &mut self.batch.tell(version)));
        let seconds = clock::monotonic().duration_since(began).as_secs_f64();
        let code = decided.as_ref().err().map(|refused| refused.code);
        telemetry::request_answered(telemetry::Door::Redis, Verb::Limit, code, seconds);
        if let Err(refused) = decided {
            self.error(&error_of(&refused));
        }
    }

    fn done(&mut self, done: Result<(), Fault>) {
        match done {
            Ok(()) => self.batch.tell(self.caller.version()).word("OK"),
            Err(fault) => self.error(&fault),
        }
    }

    fn error(&mut self, text: &str) {
        if TURNED_AWAY.iter().any(|word| text.starts_with(word)) {
            let caller = self.caller.grant().map_or("", Grant::name);
            audit::turned_away(telemetry::Door::Redis.as_str(), &self.from, caller, &text);
        }
        self.batch.tell(self.caller.version()).error(text);
    }
}
