//! The contract: what a node is, what it is told, what it may do.
//!
//! 1. **`self` is the volatile state.** Only what was appended survives a crash, and was not
//!    [forgotten](Context::forget). The first boot and every recovery are the same [`Node::start`].
//! 2. **Effects leave in program order, and an append holds back everything after it until it is on
//!    disk**: sends, replies, publications and facts, in this step and in later ones. Timers do not wait.
//!    So the safe order is the natural one (`append` the vote, then `send` it); the unsafe order can be
//!    written too, and the checker finds it. The node goes on working while a write is under way. What rests on no
//!    record that is still being written may leave [at once](Context::send_at_once), and says so where it is written.
//! 3. **Derive `Clone`, `Eq`, `Hash`; never write them.** Ordered collections only. Counters, histories
//!    and wall-clock values are [facts](Context::observe), not state.
//! 4. **Time reaches a node only as a timer that fires.** Jitter is the range given to
//!    [`Context::set_timer`]. Safety never rests on a duration.
//! 5. **Messages are datagrams**: lost, duplicated, delayed, reordered. Where order matters, carry a number.
//! 6. **A client's request carries a [`RequestId`]**, so that a retry over a new connection is the same
//!    request.
//! 7. A broken invariant panics. A peer's nonsense is a message to ignore and to report as a fact. A
//!    client's error is a reply.
//! 8. **A node knows whom it may send to**: whom its configuration [names](Node::knows), and whom it has
//!    [met](Context::meet) in this life. What is for anybody else is lost, and said to be. What arrives is taken, whoever
//!    sends it.

use core::net::SocketAddr;
use std::fmt::{self, Debug, Display};
use std::hash::Hash;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::form::{Form, MAX_MESSAGE_BYTES};

/// A member of a cluster. Small numbers, given by the configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u32);

impl Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// As it is displayed: states, records and messages are told in stories by their `Debug` form.
impl Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// Where a member lives. A node hands it on as it was told, and looks into it no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// Where it takes frames from its peers.
    #[serde(with = "as_text")]
    pub control: SocketAddr,
    /// Where it takes HTTP from clients.
    #[serde(with = "as_text")]
    pub data: SocketAddr,
}

/// An address as `ip:port` in every form: what is read by way of serde's buffers (tagged enums are) forgets whether it came
/// from text.
mod as_text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::SocketAddr;

    pub(super) fn serialize<S: Serializer>(address: &SocketAddr, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(address)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.control)
    }
}

/// Names one request of one client: a retry carries the same id, and is the same request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId {
    /// The client, as it calls itself.
    pub client: u64,
    /// The client's own count of its requests.
    pub sequence: u64,
}

impl Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}/{}", self.client, self.sequence)
    }
}

/// As it is displayed.
impl Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// What every piece of a node's vocabulary can do: be compared, hashed, printed, written and sent.
pub trait Data:
    Clone + Eq + Ord + Hash + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
}

impl<T> Data for T where
    T: Clone + Eq + Ord + Hash + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
}

/// A distributed node as a plain deterministic value. The module's head is the contract.
pub trait Node: Clone + Eq + Hash + Debug + Send + Sync + Sized + 'static {
    /// What the node is told about itself and its cluster; constant during a life. Recordings keep it.
    type Config: Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// What nodes tell each other.
    type Message: Data;
    /// The names of the node's timers. At most one timer of a name is armed at a time.
    type Timer: Data;
    /// What the node writes to its journal.
    type Record: Data;
    /// What clients ask.
    type Request: Data;
    /// What clients are answered.
    type Reply: Data;
    /// What readers outside, such as a data plane, see of the node.
    type View: Clone + Debug + Hash + Serialize + Send + Sync + 'static;
    /// What checkers and logs learn. Nothing reads a fact back into a node.
    type Fact: Data;

    /// How messages, records and recordings are written as bytes. Whatever it is, requests and replies are JSON over
    /// HTTP, and files for people (plans, paths, pages) hold all of the vocabulary as JSON.
    const FORM: Form = Form::Json;

    /// Boots the node from all that its journal holds: nothing at the first boot. Of what it has
    /// [forgotten](Context::forget) nothing may be there, or all, or the younger part.
    fn start(config: &Self::Config, disk: &[Self::Record], cx: &mut Context<'_, Self>) -> Self;

    /// Takes one event.
    fn on(&mut self, config: &Self::Config, event: Event<Self>, cx: &mut Context<'_, Self>);

    /// Whom a node of this configuration knows when it boots; `None`: all whom its configuration gives an address. Where members
    /// come and go these are the first to be spoken to; of the others the journal tells, and [`start`](Self::start)
    /// [meets](Context::meet) them.
    fn knows(_config: &Self::Config) -> Option<Vec<NodeId>> {
        None
    }

    /// Why a node of this configuration must not start from this journal: it is another one's. Asked in production before
    /// [`start`](Self::start); simulated disks are not exchanged. Default never.
    fn refuses(_config: &Self::Config, _disk: &[Self::Record]) -> Option<String> {
        None
    }

    /// Whether this answer means "not yet": whoever gets it asks again later, as after HTTP's 503.
    fn is_not_yet(_reply: &Self::Reply) -> bool {
        false
    }

    /// Whom this answer says to ask instead: whoever gets it asks that member, under the same name.
    fn instead(_reply: &Self::Reply) -> Option<NodeId> {
        None
    }

    /// Which words rest on which records, if the protocol says so: every world then asks it about each word
    /// that leaves, with the records that are durable at that moment (see [`crate::write_ahead`]). A node without
    /// records has nothing to say here.
    fn rests_on() -> Option<RestsOn<Self>> {
        None
    }

    /// Puts a piece of the vocabulary into words, for stories. The default is its `Debug` form.
    fn describe(word: Word<'_, Self>) -> String {
        word.debug()
    }
}

/// One piece of a node's vocabulary, to be [described](Node::describe).
#[derive(Debug)]
pub enum Word<'a, N: Node> {
    /// A message between nodes.
    Message(&'a N::Message),
    /// A timer's name.
    Timer(&'a N::Timer),
    /// A journal record.
    Record(&'a N::Record),
    /// A client's request.
    Request(&'a N::Request),
    /// The answer to it.
    Reply(&'a N::Reply),
    /// A fact.
    Fact(&'a N::Fact),
}

/// Something that leaves a node.
#[derive(Debug)]
pub enum Output<'a, N: Node> {
    /// A peer is told.
    Message {
        /// Who.
        to: NodeId,
        /// What.
        message: &'a N::Message,
    },
    /// A client is answered.
    Reply {
        /// Which request.
        to: RequestId,
        /// What.
        reply: &'a N::Reply,
    },
    /// Readers outside see this from now on.
    View(&'a N::View),
    /// Checkers and logs learn this.
    Fact(&'a N::Fact),
}

/// Whether the records that are durable are all that a word rests on; `Err` names what is missing.
pub type RestsOn<N> = fn(&<N as Node>::Config, &Output<'_, N>, &[<N as Node>::Record]) -> Result<(), String>;

impl<N: Node> Clone for Word<'_, N> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<N: Node> Copy for Word<'_, N> {}

impl<N: Node> Word<'_, N> {
    /// As the node [describes](Node::describe) it. Descriptions are for people, and no verdict is lost for want of one: if
    /// describing panics it is the `Debug` form, and if that panics as well it says so.
    pub fn describe(self) -> String {
        catch_unwind(|| N::describe(self))
            .or_else(|| catch_unwind(|| self.debug()))
            .unwrap_or_else(|| NO_WORDS.into())
    }

    /// Its `Debug` form.
    pub fn debug(self) -> String {
        match self {
            Self::Message(it) => format!("{it:?}"),
            Self::Timer(it) => format!("{it:?}"),
            Self::Record(it) => format!("{it:?}"),
            Self::Request(it) => format!("{it:?}"),
            Self::Reply(it) => format!("{it:?}"),
            Self::Fact(it) => format!("{it:?}"),
        }
    }
}

/// What stands for a value whose every description panics.
const NO_WORDS: &str = "<panicked while it was described>";

/// Nothing, if it panics.
fn catch_unwind<T>(work: impl FnOnce() -> T) -> Option<T> {
    // What is described is only read.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).ok()
}

/// The name of an enum's variant, as `derive(Debug)` writes it: `Vote` for `Vote { txid: 3 }`. Plans and
/// filters select messages, records and timers by this name.
pub fn variant_name(value: &impl Debug) -> String {
    struct FirstWord(String);
    impl fmt::Write for FirstWord {
        fn write_str(&mut self, piece: &str) -> fmt::Result {
            for c in piece.chars() {
                if !(c.is_alphanumeric() || c == '_') {
                    return Err(fmt::Error); // the name is complete: stop formatting
                }
                self.0.push(c);
            }
            Ok(())
        }
    }
    let mut word = FirstWord(String::new());
    let _ = catch_unwind(|| fmt::write(&mut word, format_args!("{value:?}")));
    word.0
}

/// What a node is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound = "", rename_all = "snake_case")]
pub enum Event<N: Node> {
    /// A message from a peer arrived.
    Message {
        /// Who sent it.
        from: NodeId,
        /// What it says.
        message: N::Message,
    },
    /// A timer that was armed has fired; it is no longer armed.
    Timer(N::Timer),
    /// A client asks.
    Request {
        /// Whom to answer.
        id: RequestId,
        /// What is asked.
        request: N::Request,
    },
    /// All that was appended before [`Context::when_durable`] was called is on disk.
    Durable(u64),
}

/// How long until a timer fires: anything from `min` to `max`, drawn by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delay {
    /// The shortest delay.
    pub min: Duration,
    /// The longest delay, inclusive.
    pub max: Duration,
}

impl Delay {
    /// The middle of the range.
    pub fn middle(self) -> Duration {
        self.min + (self.max - self.min) / 2
    }

    /// One of the range: `below` gives a number below its argument.
    pub fn draw(self, below: impl FnOnce(u64) -> u64) -> Duration {
        // Drawn in nanoseconds, of which a word counts five centuries: a range that is longer ends there.
        let spread = u64::try_from((self.max - self.min).as_nanos()).unwrap_or(u64::MAX).min(u64::MAX - 1);
        self.min.saturating_add(Duration::from_nanos(below(spread + 1)))
    }
}

impl From<Duration> for Delay {
    fn from(exact: Duration) -> Self {
        Self { min: exact, max: exact }
    }
}

impl From<RangeInclusive<Duration>> for Delay {
    fn from(range: RangeInclusive<Duration>) -> Self {
        assert!(range.start() <= range.end(), "a timer's range is empty: {range:?}");
        Self { min: *range.start(), max: *range.end() }
    }
}

/// What a node does. The [`Host`](crate::host::Host) interprets effects; drivers carry them out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect<N: Node> {
    /// Write this record at the journal's end. It is not durable yet.
    Append(N::Record),
    /// Send this message; it may be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: N::Message,
    },
    /// Answer a client.
    Reply {
        /// Which request is answered.
        to: RequestId,
        /// The answer.
        reply: N::Reply,
    },
    /// Show readers outside a new view.
    Publish(Published<N>),
    /// Tell checkers and logs.
    Observe(N::Fact),
    /// Arm a timer, or arm it anew.
    SetTimer {
        /// Its name.
        timer: N::Timer,
        /// When it fires.
        delay: Delay,
    },
    /// Disarm a timer.
    CancelTimer(N::Timer),
    /// Ask for [`Event::Durable`]. The host answers it; no driver sees it.
    WhenDurable(u64),
    /// Let the records before this number vanish.
    Forget(u64),
    /// From now on this member lives there.
    Meet {
        /// Who.
        peer: NodeId,
        /// Where.
        address: Address,
    },
    /// From now on nothing is sent to this member.
    Part(NodeId),
    /// A message that was lost, since the node does not know whom it is for. Hosts make it of [`Self::Send`].
    Lost {
        /// For whom it was.
        to: NodeId,
        /// What it said.
        message: N::Message,
    },
}

/// A published view. Views only leave, so nobody compares them: any two are equal. A view that waits for the
/// disk therefore does not tell two states of a host apart.
#[derive(Clone, Debug)]
pub struct Published<N: Node>(pub N::View);

impl<N: Node> PartialEq for Published<N> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl<N: Node> Eq for Published<N> {}
impl<N: Node> Hash for Published<N> {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

/// Who answers [`Context::choose`]: the seed in simulation, every answer in turn in the checker.
pub trait Choose {
    /// A number below `n`.
    fn choose(&mut self, n: u32) -> u32;
}

impl<F: FnMut(u32) -> u32> Choose for F {
    fn choose(&mut self, n: u32) -> u32 {
        self(n)
    }
}

/// Collects what a node does during one step.
pub struct Context<'a, N: Node> {
    effects: &'a mut Vec<Effect<N>>,
    /// The places of those that do not wait for the disk, in order.
    at_once: Vec<usize>,
    life: u64,
    written: u64,
    choose: &'a mut dyn Choose,
}

impl<'a, N: Node> Context<'a, N> {
    /// For the node's life of this name, which has written so many records, with those of its former lives.
    pub(crate) fn new(
        life: u64,
        written: u64,
        choose: &'a mut dyn Choose,
        effects: &'a mut Vec<Effect<N>>,
    ) -> Self {
        Self { effects, at_once: Vec::new(), life, written, choose }
    }

    /// The places of the effects that do not wait for the disk, in order.
    pub(crate) fn into_at_once(self) -> Vec<usize> {
        self.at_once
    }

    /// Writes a record. All effects after it, in this step and in later ones, wait until it is on disk
    /// (timers do not wait). Returns the record's number: records are counted from 1, and go on being counted whatever
    /// is forgotten; a disk that is replaced begins anew.
    pub fn append(&mut self, record: N::Record) -> u64 {
        self.effects.push(Effect::Append(record));
        self.written += 1;
        self.written
    }

    /// The number of the last record that was written, by this life or a former one; 0 if none was.
    pub fn last_record(&self) -> u64 {
        self.written
    }

    /// Lets the records before this number vanish: the oldest first, some time or never. It waits for all that was
    /// appended before it, as a message does. So `let number = cx.append(snapshot); cx.forget(number)` is safe; to
    /// forget first is not, and the checker finds it: it crashes the node between the two.
    ///
    /// # Panics
    ///
    /// If there is no record of this number yet, nor is it the next.
    pub fn forget(&mut self, before: u64) {
        let next = self.written + 1;
        assert!(before <= next, "records before {before} are to be forgotten, and the next is number {next}");
        self.effects.push(Effect::Forget(before));
    }

    /// Sends a datagram, of at most [`MAX_MESSAGE_BYTES`]: a larger one panics as soon as it is written as bytes,
    /// in every world.
    pub fn send(&mut self, to: NodeId, message: N::Message) {
        self.effects.push(Effect::Send { to, message });
    }

    /// Whether a message is small enough to be sent, in the node's [form](Node::FORM). What is larger is to be split.
    pub fn fits(&self, message: &N::Message) -> bool {
        N::FORM.size(message).is_ok_and(|bytes| bytes <= MAX_MESSAGE_BYTES)
    }

    /// Sends without waiting for the disk: the message leaves although records are still being written, **and passes all
    /// that waits for them**. For what rests on no such record: a heart's beat, a record that others may hold before this
    /// node does, what is long durable. If it rests on one after all, that is a bug, which the checker finds: it
    /// crashes the node between the two.
    pub fn send_at_once(&mut self, to: NodeId, message: N::Message) {
        self.at_once.push(self.effects.len());
        self.send(to, message);
    }

    /// Learns where a member lives, in place of what was known of it: from now on it may be sent to. Like a message it waits for
    /// what was appended before it; and it is gone with this life, so that what is to last belongs in the journal.
    pub fn meet(&mut self, peer: NodeId, address: Address) {
        self.effects.push(Effect::Meet { peer, address });
    }

    /// Forgets where a member lives: what is sent to it from now on is lost. What was sent before is still under way.
    pub fn part(&mut self, peer: NodeId) {
        self.effects.push(Effect::Part(peer));
    }

    /// Answers a client.
    pub fn reply(&mut self, to: RequestId, reply: N::Reply) {
        self.effects.push(Effect::Reply { to, reply });
    }

    /// Answers a client without waiting for the disk; see [`send_at_once`](Self::send_at_once).
    pub fn reply_at_once(&mut self, to: RequestId, reply: N::Reply) {
        self.at_once.push(self.effects.len());
        self.reply(to, reply);
    }

    /// Shows readers outside a new view.
    pub fn publish(&mut self, view: N::View) {
        self.effects.push(Effect::Publish(Published(view)));
    }

    /// Shows readers outside a new view without waiting for the disk; see [`send_at_once`](Self::send_at_once). A view
    /// that still waits is shown when its records are durable, so it may replace a newer one: publish at once always, or
    /// never.
    pub fn publish_at_once(&mut self, view: N::View) {
        self.at_once.push(self.effects.len());
        self.publish(view);
    }

    /// Tells checkers and logs a fact.
    pub fn observe(&mut self, fact: N::Fact) {
        self.effects.push(Effect::Observe(fact));
    }

    /// Arms `timer` to fire once, after a delay drawn from the range. Arming it again replaces it.
    ///
    /// [`Duration::MAX`] means never: a timer that never fires is not armed, in no world, and a timer of this name
    /// that was is [disarmed](Self::cancel_timer). So the checker, which knows no durations, does not fire it either.
    pub fn set_timer(&mut self, timer: N::Timer, delay: impl Into<Delay>) {
        let delay = delay.into();
        if delay.min == Duration::MAX {
            return self.cancel_timer(timer);
        }
        self.effects.push(Effect::SetTimer { timer, delay });
    }

    /// Disarms `timer`, if it is armed.
    pub fn cancel_timer(&mut self, timer: N::Timer) {
        self.effects.push(Effect::CancelTimer(timer));
    }

    /// Asks for [`Event::Durable`] with this token once all that was appended so far is on disk.
    pub fn when_durable(&mut self, token: u64) {
        self.effects.push(Effect::WhenDurable(token));
    }

    /// Names this life of this node: no other life of it has, or ever had, the same name. A node that has
    /// lost its disk can tell by it the answers to its own questions from those to a former life's.
    pub fn life(&self) -> u64 {
        self.life
    }

    /// A number below `n`: the only nondeterminism a node has. Drawn from the seed in simulation;
    /// the checker tries every one.
    pub fn choose(&mut self, n: u32) -> u32 {
        assert!(n > 0, "choose(0) has no answer");
        let chosen = self.choose.choose(n);
        assert!(chosen < n, "the driver chose {chosen}, which is not below {n}");
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variant_names_stop_at_the_first_bracket() {
        #[derive(Debug)]
        #[allow(dead_code, reason = "only their names are read")]
        enum Kind {
            Unit,
            Tuple(u8),
            Named { x: u8 },
        }
        let names: Vec<_> =
            [Kind::Unit, Kind::Tuple(1), Kind::Named { x: 1 }].iter().map(variant_name).collect();
        assert_eq!(names, ["Unit", "Tuple", "Named"]);
    }

    #[test]
    fn delays_are_drawn_from_their_range_however_long_it_is() {
        let [short, long] = [Duration::from_nanos(7), Duration::MAX];
        let draw = |delay: Delay| [delay.draw(|_| 0), delay.draw(|n| n - 1)];
        assert_eq!(draw(short.into()), [short, short]);
        assert_eq!(draw(long.into()), [long, long]);
        assert_eq!(draw((short..=short * 3).into()), [short, short * 3]);
        let [least, most] = draw((short..=long).into());
        assert!(least == short && most > Duration::from_secs(500 * 365 * 24 * 60 * 60));
        assert_eq!(draw((long - short..=long).into()), [long - short, long]);
    }
}
