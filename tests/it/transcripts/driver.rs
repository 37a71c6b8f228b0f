//! A cluster in which nothing happens by itself: hosts, disks and messages in flight, moved by one act at a
//! time. It knows no protocol, and decides nothing that the host should decide.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::str::FromStr;

use coalmine_core::codec::journal;
use coalmine_core::disk::LossyDisk;
use coalmine_core::host::Host;
use coalmine_core::node::{Delay, Effect, Event, Node, NodeId, Word, variant_name};

/// What an act came to; `Err` says why it makes no sense.
pub(super) type Act<T = ()> = Result<T, String>;

/// One member of the cluster.
pub(super) struct Member<N: Node> {
    pub(super) config: N::Config,
    /// `None` while it is down.
    pub(super) host: Option<Host<N>>,
    pub(super) disk: LossyDisk<N::Record>,
    /// Half a line that the last crash left at the journal's end.
    torn: Vec<u8>,
    /// How often it has booted.
    life: u64,
    /// What the disk has done and the node has not heard of yet: (life, records on disk).
    completions: VecDeque<(u64, usize)>,
    /// What readers outside see of this life.
    pub(super) shown: Option<N::View>,
}

/// A message in flight.
struct Letter<N: Node> {
    from: NodeId,
    to: NodeId,
    message: N::Message,
}

/// The cluster.
pub(super) struct Driver<N: Node> {
    pub(super) members: BTreeMap<NodeId, Member<N>>,
    network: VecDeque<Letter<N>>,
    /// Whether every write is durable at once.
    pub(super) autosync: bool,
    /// Tell only facts and answers.
    pub(super) quiet: bool,
    describe_view: fn(&N::View) -> String,
    story: String,
    facts: Vec<(NodeId, N::Fact)>,
    sent: Vec<Sent<N>>,
}

/// A message that was sent, and how many records its sender had on disk.
pub(super) struct Sent<N: Node> {
    pub(super) from: NodeId,
    pub(super) durable: usize,
    pub(super) message: N::Message,
}

/// Which messages in flight are meant. `None` means any.
#[derive(Default)]
pub(super) struct Which {
    from: Option<NodeId>,
    to: Option<NodeId>,
    kind: Option<String>,
}

impl<N: Node> Driver<N> {
    pub(super) fn new(configs: BTreeMap<NodeId, N::Config>, describe_view: fn(&N::View) -> String) -> Self {
        let member = |(id, config)| {
            let (disk, torn, completions) = (LossyDisk::default(), Vec::new(), VecDeque::new());
            (id, Member { config, host: None, disk, torn, life: 0, completions, shown: None })
        };
        Self {
            members: configs.into_iter().map(member).collect(),
            network: VecDeque::new(),
            autosync: true,
            quiet: false,
            describe_view,
            story: String::new(),
            facts: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// The story since the last call.
    pub(super) fn take_story(&mut self) -> String {
        std::mem::take(&mut self.story)
    }

    /// The facts since the last call.
    pub(super) fn take_facts(&mut self) -> Vec<(NodeId, N::Fact)> {
        std::mem::take(&mut self.facts)
    }

    /// What was sent since the last call.
    pub(super) fn take_sent(&mut self) -> Vec<Sent<N>> {
        std::mem::take(&mut self.sent)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.network.len()
    }

    /// Boots a node from what its disk holds. The journal takes the way through the bytes.
    pub(super) fn boot(&mut self, id: NodeId) -> Act {
        let member = self.members.get_mut(&id).ok_or("no such node")?;
        if member.host.is_some() {
            return Err(format!("{id} is up"));
        }
        let mut bytes = Vec::new();
        for (record, number) in member.disk.durable().iter().zip(1..) {
            journal::encode(N::FORM, number, record, &mut bytes);
        }
        let whole = bytes.len() as u64;
        bytes.append(&mut member.torn);
        let recovered =
            journal::recover::<N::Record>(N::FORM, &bytes).map_err(|damage| damage.to_string())?;
        assert_eq!(recovered.records, member.disk.durable(), "recovery finds what is durable");
        assert_eq!(recovered.valid_bytes, whole, "recovery cuts off nothing else");
        member.life += 1;
        let (life, mut out) = (member.life, Vec::new());
        let host = Host::boot(&member.config, &recovered.records, life, &mut |_: u32| 0, &mut out);
        member.host = Some(host);
        let torn = recovered
            .torn
            .map_or(String::new(), |torn| format!(", cuts off a torn line of {} bytes", torn.bytes));
        self.write(&format!("{id} starts life {life} with {} records{torn}", recovered.records.len()));
        self.carry_out(id, out)
    }

    /// Kills a node. Of its unsynced writes the first `keep` survive; with `torn`, so does half of the next.
    pub(super) fn crash(&mut self, id: NodeId, keep: usize, torn: bool) -> Act {
        let member = self.up(id)?;
        if keep > member.disk.unsynced() {
            return Err(format!("{id} has only {} unsynced writes", member.disk.unsynced()));
        }
        let lost = member.disk.crash(keep);
        if torn {
            let first = lost.first().ok_or("no write is left to be torn")?;
            let number = member.disk.durable().len() as u64 + 1;
            journal::encode(N::FORM, number, first, &mut member.torn);
            member.torn.truncate(member.torn.len() / 2);
        }
        let held = member.host.take().map_or(0, |host| host.held());
        member.shown = None;
        let lost: Vec<_> = lost.iter().map(|record| N::describe(Word::Record(record))).collect();
        for record in &lost {
            self.write(&format!("{id} loses the write of {record}"));
        }
        if held > 0 {
            self.write(&format!("{id} never gets to the {held} effects it held back"));
        }
        Ok(())
    }

    /// A new, empty disk in an old machine.
    pub(super) fn wipe(&mut self, id: NodeId) -> Act {
        let member = self.members.get_mut(&id).ok_or_else(|| format!("there is no {id}"))?;
        if member.host.is_some() {
            return Err(format!("{id} is up"));
        }
        let records = member.disk.durable().len();
        member.disk.wipe();
        member.torn.clear();
        self.write(&format!("{id} loses all of its {records} records"));
        Ok(())
    }

    /// Gives a node one event.
    pub(super) fn step(&mut self, id: NodeId, event: Event<N>) -> Act {
        let member = self.up(id)?;
        let mut out = Vec::new();
        let host = member.host.as_mut().ok_or("it is down")?;
        host.step(&member.config, event, &mut |_: u32| 0, &mut out);
        self.carry_out(id, out)
    }

    /// Fires a timer by its name.
    pub(super) fn fire(&mut self, id: NodeId, name: &str) -> Act {
        let member = self.up(id)?;
        let timers = member.host.as_ref().ok_or("it is down")?.timers();
        let named = timers.iter().find(|timer| variant_name(timer).eq_ignore_ascii_case(name));
        let timer = named.cloned().ok_or_else(|| format!("{id} has no such timer armed"))?;
        self.step(id, Event::Timer(timer))
    }

    /// The disk makes the next `count` writes durable (all, if `None`); the node has not heard of it yet.
    pub(super) fn flush(&mut self, id: NodeId, count: Option<usize>) -> Act {
        let member = self.up(id)?;
        let unsynced = member.disk.unsynced();
        let count = count.unwrap_or(unsynced);
        if count == 0 || count > unsynced {
            return Err(format!("{id} has {unsynced} unsynced writes"));
        }
        let upto = member.disk.durable().len() + count;
        member.disk.sync(upto);
        member.completions.push_back((member.life, upto));
        Ok(())
    }

    /// The oldest answer of the disk arrives.
    pub(super) fn complete(&mut self, id: NodeId) -> Act {
        let member = self.up(id)?;
        let (life, upto) = member.completions.pop_front().ok_or("the disk has nothing to answer")?;
        let mut out = Vec::new();
        let host = member.host.as_mut().ok_or("it is down")?;
        host.synced(&member.config, life, upto as u64, &mut |_: u32| 0, &mut out);
        let late = if life == member.life { "" } else { ", says the disk to a former life" };
        self.write(&format!("{id} has {upto} records on disk{late}"));
        self.carry_out(id, out)
    }

    /// Delivers what is in flight now and is meant.
    pub(super) fn deliver(&mut self, which: &Which) -> Act {
        let (meant, others) = self.network.drain(..).partition(|letter| which.means(letter));
        self.network = others;
        self.expect_some(&meant)?;
        for letter in meant {
            self.arrive(letter)?;
        }
        Ok(())
    }

    /// Delivers, in order, until nothing is in flight.
    pub(super) fn deliver_all(&mut self) -> Act {
        for _ in 0..10_000 {
            let Some(letter) = self.network.pop_front() else { return Ok(()) };
            self.arrive(letter)?;
        }
        Err("10,000 deliveries and no end".into())
    }

    /// Loses what is in flight and is meant.
    pub(super) fn lose(&mut self, which: &Which) -> Act {
        let (meant, others): (VecDeque<_>, _) =
            self.network.drain(..).partition(|letter| which.means(letter));
        self.network = others;
        self.expect_some(&meant)?;
        for letter in &meant {
            self.write(&format!("lost: {}", letter.describe()));
        }
        Ok(())
    }

    /// Puts a copy of what is meant in flight, behind everything else.
    pub(super) fn duplicate(&mut self, which: &Which) -> Act {
        let meant = self.network.iter().filter(|letter| which.means(letter));
        let copies: VecDeque<_> = meant.map(Letter::copy).collect();
        self.expect_some(&copies)?;
        for letter in &copies {
            self.write(&format!("twice: {}", letter.describe()));
        }
        self.network.extend(copies);
        Ok(())
    }

    /// A message that nobody sent arrives.
    pub(super) fn inject(&mut self, which: &Which, json: &str) -> Act {
        let (Some(from), Some(to)) = (which.from, which.to) else { return Err("from whom to whom?".into()) };
        let message = serde_json::from_str(json).map_err(|error| error.to_string())?;
        self.arrive(Letter { from, to, message })
    }

    fn arrive(&mut self, letter: Letter<N>) -> Act {
        let Letter { from, to, .. } = letter;
        if self.members.get(&to).is_none_or(|member| member.host.is_none()) {
            self.write(&format!("lost, {to} is down: {}", letter.describe()));
            return Ok(());
        }
        self.write(&format!("{to} <- {from} {}", letter.word()));
        self.step(to, Event::Message { from, message: letter.message })
    }

    fn carry_out(&mut self, id: NodeId, effects: Vec<Effect<N>>) -> Act {
        for effect in effects {
            self.carry_out_one(id, effect)?;
        }
        let autosync = self.autosync;
        let member = self.up(id)?;
        if autosync && member.disk.unsynced() > 0 {
            self.flush(id, None)?;
            return self.complete(id);
        }
        let held = member.host.as_ref().map_or(0, Host::held);
        if held > 0 {
            self.write(&format!("{id} holds back {held} effects"));
        }
        Ok(())
    }

    fn carry_out_one(&mut self, id: NodeId, effect: Effect<N>) -> Act {
        match effect {
            Effect::Append(record) => {
                let member = self.up(id)?;
                let told = N::describe(Word::Record(&record));
                member.disk.append(record);
                let number = member.disk.written().len();
                self.write(&format!("{id} writes {number}: {told}"));
            }
            Effect::Send { to, message } => {
                let durable = self.up(id)?.disk.durable().len();
                self.sent.push(Sent { from: id, durable, message: message.clone() });
                let letter = Letter { from: id, to, message };
                self.write(&letter.describe());
                self.network.push_back(letter);
            }
            Effect::Reply { to, reply } => {
                self.write_always(&format!("{id} answers {to}: {}", N::describe(Word::Reply(&reply))));
            }
            Effect::Publish(view) => {
                let told = (self.describe_view)(&view.0);
                self.write(&format!("{id} shows {told}"));
                self.up(id)?.shown = Some(view.0);
            }
            Effect::Observe(fact) => {
                self.write_always(&format!("{id} notes: {}", N::describe(Word::Fact(&fact))));
                self.facts.push((id, fact));
            }
            Effect::SetTimer { timer, delay } => {
                let (told, delay) = (N::describe(Word::Timer(&timer)), describe_delay(delay));
                self.write(&format!("{id} arms {told} ({delay})"));
            }
            Effect::CancelTimer(timer) => {
                self.write(&format!("{id} disarms {}", N::describe(Word::Timer(&timer))));
            }
            Effect::WhenDurable(_) => return Err("the host keeps tokens to itself".into()),
            Effect::Forget(before) => {
                return Err(format!("{id} forgets what is before {before}: no transcript does"));
            }
            Effect::Meet { peer, .. } | Effect::Part(peer) | Effect::Lost { to: peer, .. } => {
                return Err(format!("{id} does not know {peer} all the time: no transcript does"));
            }
        }
        Ok(())
    }

    fn up(&mut self, id: NodeId) -> Act<&mut Member<N>> {
        let member = self.members.get_mut(&id).ok_or_else(|| format!("there is no {id}"))?;
        if member.host.is_none() { Err(format!("{id} is down")) } else { Ok(member) }
    }

    fn expect_some(&self, meant: &VecDeque<Letter<N>>) -> Act {
        if meant.is_empty() { Err("nothing like that is in flight".into()) } else { Ok(()) }
    }

    fn write(&mut self, line: &str) {
        if !self.quiet {
            self.write_always(line);
        }
    }

    pub(super) fn write_always(&mut self, line: &str) {
        writeln!(self.story, "{line}").expect("a string takes everything");
    }
}

impl<N: Node> Letter<N> {
    fn word(&self) -> String {
        N::describe(Word::Message(&self.message))
    }

    fn describe(&self) -> String {
        format!("{} -> {} {}", self.from, self.to, self.word())
    }

    fn copy(&self) -> Self {
        Self { from: self.from, to: self.to, message: self.message.clone() }
    }
}

impl Which {
    /// `n1->n2`, `*->n2`, `KIND`, or both.
    pub(super) fn parse(words: &[&str]) -> Act<Self> {
        let end = |word| if word == "*" { Ok(None) } else { node(word).map(Some) };
        let mut which = Self::default();
        for word in words {
            if let Some((from, to)) = word.split_once("->") {
                (which.from, which.to) = (end(from)?, end(to)?);
            } else if word.chars().all(|c| c.is_ascii_uppercase() || c == '_') {
                which.kind = Some((*word).into());
            } else {
                return Err(format!("{word:?} is neither `from->to` nor a kind of message"));
            }
        }
        Ok(which)
    }

    /// The kind of a message is the first word of how it is told.
    fn means<N: Node>(&self, letter: &Letter<N>) -> bool {
        self.from.is_none_or(|from| from == letter.from)
            && self.to.is_none_or(|to| to == letter.to)
            && self.kind.as_deref().is_none_or(|kind| letter.word().split(' ').next() == Some(kind))
    }
}

/// A node's name, such as `n2`.
pub(super) fn node(word: &str) -> Act<NodeId> {
    let number = word.strip_prefix('n').and_then(|number| number.parse().ok());
    number.map(NodeId).ok_or_else(|| format!("{word:?} is not a node"))
}

/// A number.
pub(super) fn number<T: FromStr>(word: &str) -> Act<T> {
    word.parse().map_err(|_| format!("{word:?} is not a number"))
}

fn describe_delay(delay: Delay) -> String {
    let (min, max) = (delay.min.as_millis(), delay.max.as_millis());
    if min == max { format!("{min} ms") } else { format!("{min}..{max} ms") }
}
