//! The places of the connections that others have opened, and who gives his up.
//!
//! Anybody can open a connection, so those that have not said yet who they are have places of their own, which the next
//! ones take from them. A node that has spoken has two, which nobody can take but itself: when it comes again, since it did
//! not see its connection end as we did not, the older one goes. What no member has sent is bounded as a whole.
//!
//! There is no timer: what has been silent for too long is looked for when the node has something to do anyhow. Nobody
//! waits for these places, so there is no hurry.

use std::net::SocketAddr;
use std::time::Duration;

use coalmine_core::form::Form;
use coalmine_core::node::NodeId;
use tokio::io::AsyncRead;

use super::Who;
use super::incoming::Incoming;
use super::wake_set::WakeSet;

/// How many connections there may be of which nobody knows whose they are. More than the members of any cluster that come
/// back at the same time; a node that has lost its place to others just connects again.
pub(super) const MAX_SILENT: usize = 128;
/// How many connections there may be of nodes that are no members, such as those that want to become some.
pub(super) const MAX_GUESTS: usize = 64;
/// How many connections a node may have. It opens one at a time; the one before it may have frames left, or may have been
/// cut off without a word.
pub(super) const MAX_OF_ONE: usize = 2;
/// A connection that has not said so long after its beginning whose it is, is closed. A node opens one when it has a frame to
/// send, so this is time for a frame on a bad network: far longer than a simulated one holds a frame back, lest its plans
/// lose what they mean to delay.
pub(super) const SILENCE: Duration = Duration::from_secs(30);
/// A connection on which no frame has come between two looks that are so far apart is closed: its node's machine may have
/// vanished. One that was merely quiet opens another when it has something to say. As its place is its own it is in nobody's
/// way, so there is time enough not to trouble the quiet.
pub(super) const QUIET: Duration = Duration::from_secs(300);
/// In how many rounds it is looked once for those. To know the time costs more than a round without it.
const ROUNDS: u64 = 256;

/// The connections that others have opened, each at its place. A place is used again.
pub(super) struct Places<S> {
    all: Vec<Option<Incoming<S>>>,
    /// How many places are taken.
    taken: usize,
    /// How many connections had to go so that others had a place.
    made_room: u64,
    /// Counts connections and frames: who was heard later has the greater number.
    turn: u64,
    rounds: u64,
    /// When the oldest of those that have not said whose they are should have; it may have by now.
    due: Option<Duration>,
    /// When it was last looked for quiet ones, and what was the turn.
    looked: (Duration, u64),
}

impl<S: AsyncRead + Unpin> Places<S> {
    pub(super) fn new(now: Duration) -> Self {
        Self { all: Vec::new(), taken: 0, made_room: 0, turn: 0, rounds: 0, due: None, looked: (now, 0) }
    }

    /// The connection at a place, if there is one.
    pub(super) fn get(&mut self, place: usize) -> Option<&mut Incoming<S>> {
        self.all[place].as_mut()
    }

    /// A place is given back.
    pub(super) fn clear(&mut self, place: usize) {
        self.taken -= usize::from(self.all[place].take().is_some());
    }

    /// How many are taken.
    pub(super) fn count(&self) -> usize {
        self.taken
    }

    /// How many connections had to go so that others had a place.
    pub(super) fn made_room(&self) -> u64 {
        self.made_room
    }

    /// Gives a connection a place, and a waker that says which.
    pub(super) fn add(
        &mut self,
        wakes: &WakeSet<Who>,
        (stream, from): (S, SocketAddr),
        form: Form,
        now: Duration,
    ) {
        if self.silent().count() >= MAX_SILENT {
            self.close_a_silent_one();
        }
        let place = self.all.iter().position(Option::is_none).unwrap_or_else(|| {
            self.all.push(None);
            self.all.len() - 1
        });
        self.turn += 1;
        let mut connection = Incoming::new(stream, from, wakes.waker(Who::Connection(place)), form);
        (connection.since, connection.heard) = (now, self.turn);
        self.all[place] = Some(connection);
        self.taken += 1;
        self.due.get_or_insert(now + SILENCE);
    }

    /// Closes the connection that has said nothing for longest; one that is about to say something only if all are.
    pub(super) fn close_a_silent_one(&mut self) {
        let first = self.silent().min_by_key(|(_, it)| (it.waker().has_woken(), it.heard));
        if let Some((place, _)) = first {
            self.made_room += 1;
            self.clear(place);
        }
    }

    /// A frame has come from this node.
    pub(super) fn hear(&mut self, place: usize, from: NodeId, is_member: impl Fn(NodeId) -> bool) {
        self.turn += 1;
        let Some(connection) = &mut self.all[place] else { return };
        connection.heard = self.turn;
        connection.is_overdue = false;
        if connection.whose.is_some() {
            return;
        }
        connection.whose = Some(from);
        self.due = self.silent().map(|(_, it)| it.since).min().map(|since| since + SILENCE);
        self.close_longest_unheard(MAX_OF_ONE, |whose| whose == from);
        if !is_member(from) {
            self.close_longest_unheard(MAX_GUESTS, |whose| !is_member(whose));
        }
    }

    /// Closes one of these nodes' connections if there are more than so many.
    fn close_longest_unheard(&mut self, most: usize, of: impl Fn(NodeId) -> bool) {
        let theirs = || self.open().filter(|(_, it)| it.whose.is_some_and(&of));
        if theirs().count() > most
            && let Some((place, _)) = theirs().min_by_key(|(_, it)| it.heard)
        {
            self.made_room += 1;
            self.clear(place);
        }
    }

    /// A round begins: whoever has been silent for too long is woken, and closed unless there is something to read.
    pub(super) fn begin_round(&mut self, now: impl FnOnce() -> Duration) {
        self.rounds += 1;
        if self.due.is_some() || self.rounds.is_multiple_of(ROUNDS) {
            self.look(now());
        }
    }

    /// The same as often as somebody comes.
    pub(super) fn look(&mut self, now: Duration) {
        if self.due.is_some_and(|due| due <= now) {
            self.wake_overdue(|it| it.whose.is_none() && it.since + SILENCE <= now);
            let next = self.silent().map(|(_, it)| it.since + SILENCE).filter(|&due| due > now).min();
            self.due = next;
        }
        let (looked, turn) = self.looked;
        if now >= looked + QUIET {
            self.wake_overdue(|it| it.whose.is_some() && it.heard <= turn);
            self.looked = (now, self.turn);
        }
    }

    fn wake_overdue(&mut self, is_overdue: impl Fn(&Incoming<S>) -> bool) {
        for connection in self.all.iter_mut().flatten().filter(|it| is_overdue(it)) {
            connection.is_overdue = true;
            connection.waker().waker().wake_by_ref();
        }
    }

    fn open(&self) -> impl Iterator<Item = (usize, &Incoming<S>)> {
        self.all.iter().enumerate().filter_map(|(place, it)| Some((place, it.as_ref()?)))
    }

    /// Those that have not said whose they are.
    fn silent(&self) -> impl Iterator<Item = (usize, &Incoming<S>)> {
        self.open().filter(|(_, it)| it.whose.is_none())
    }
}
