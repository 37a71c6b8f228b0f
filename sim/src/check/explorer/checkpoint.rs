//! A search on disk, so that another process can go on with it.
//!
//! Rows name parts by numbers that mean something in one process only, and what stands at a place, a node with all
//! that it remembers, has no form outside of it. But nodes are pure. So the file says of each part where it came
//! from: a packet, a fact and a budget as they are; a history as the one before and what was observed; what
//! stands at a place as what stood there before, what happened to it, and which of the outcomes it was. To read
//! it is to let the nodes do all that once more, which takes a moment: it is once for each local state. A node that
//! does not come to the same is another node than the one that was searched, and the file is refused.
//!
//! ```text
//! head, as JSON | parts, as JSON | fingerprints, parents, who is asleep | rows | digest of all that (XXH3)
//! ```
//!
//! Each piece begins with its length in bytes, eight of them, little-endian.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

use coalmine_core::node::{Node, NodeId};
use coalmine_core::observation::Heard;
use coalmine_real::files;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::bytes::{read_number, write_number};
use super::parts::Origin;
use super::rows::Rows;
use super::space::Space;
use super::table::{SHARDS, Shard, StateId};
use crate::spec::faults::Directions;
use crate::spec::system::{NodeOf, System};
use crate::world::{Ask, Spent};

/// What the file holds of a system's parts; a number names the part at this place of its list.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct Parts<N: Node> {
    /// Sender, receiver, message.
    packets: Vec<(NodeId, NodeId, N::Message)>,
    /// By place: packets.
    inboxes: Vec<Vec<Vec<u32>>>,
    /// Which request, of whom, what, and whether its client was sent there.
    asks: Vec<(usize, NodeId, N::Request, bool)>,
    facts: Vec<(NodeId, Vec<Heard<N>>)>,
    /// Fingerprint; the history before, and what was observed.
    histories: Vec<(u64, Option<(u32, u32)>)>,
    budgets: Vec<(Spent, Directions)>,
    /// By place: fingerprint, and where it comes from.
    locals: Vec<Vec<(u64, Option<Origin>)>>,
}

/// What a search has come to, besides its states.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    pub steps: usize,
    pub states: usize,
    pub depth: usize,
    pub seen: u64,
    pub boots: usize,
    pub settle: bool,
    pub unsettled: Option<StateId>,
    pub not_known: Option<(StateId, String)>,
}

/// Everything that goes to disk.
pub struct Saved {
    pub progress: Progress,
    pub shards: Vec<Shard>,
    /// What is left of the level, what follows it, and where other things than boots may begin.
    pub rows: [Vec<Rows>; 3],
}

/// What can be read of any search, whatever its parts are.
#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    /// What must be the same in order to go on.
    search: serde_json::Map<String, serde_json::Value>,
    progress: Progress,
}

const FORMAT: u32 = 4;

/// New numbers for old.
struct Numbers {
    locals: Vec<Vec<u32>>,
    inboxes: Vec<Vec<u32>>,
    histories: Vec<u32>,
    budgets: Vec<u32>,
}

/// Writes a search, in place of what the file held.
pub fn save<'a, S: System>(
    path: &Path,
    search: &serde_json::Map<String, serde_json::Value>,
    space: &Space<'_, S>,
    progress: Progress,
    shards: impl Iterator<Item = &'a Shard>,
    rows: &[Vec<&Rows>; 3],
) -> Result<(), String> {
    let write = |file: &mut File| {
        let mut out = Digesting { inner: BufWriter::new(file), digest: Xxh3::new() };
        write_json(&mut out, &Head { format: FORMAT, search: search.clone(), progress })?;
        write_json(&mut out, &space.parts())?;
        for shard in shards {
            shard.write(&mut out)?;
        }
        for rows in rows {
            write_number(&mut out, rows.len() as u64)?;
            rows.iter().try_for_each(|rows| rows.write(&mut out))?;
        }
        let digest = out.digest.digest();
        write_number(&mut out, digest)?;
        out.inner.flush()
    };
    files::replace(path, write)
        .map_err(|why| format!("cannot write the checkpoint {}: {why}", path.display()))
}

/// Reads a search, if the file is there.
pub fn load<S: System>(
    path: &Path,
    search: &serde_json::Map<String, serde_json::Value>,
    space: &Space<'_, S>,
) -> Result<Option<Saved>, String> {
    let file = match files::open_regular(path) {
        Ok(file) => file,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(format!("cannot read the checkpoint {}: {why}", path.display())),
    };
    let saved = read(file, search, space);
    saved.map(Some).map_err(|why| format!("{}: {why}; name another --checkpoint", path.display()))
}

fn read<S: System>(
    file: File,
    search: &serde_json::Map<String, serde_json::Value>,
    space: &Space<'_, S>,
) -> Result<Saved, String> {
    let damaged = |why: io::Error| format!("not a sound checkpoint: {why}");
    let len = file.metadata().map_err(damaged)?.len().saturating_sub(8);
    let mut input = BufReader::new(file);
    let mut digest = Digesting { inner: io::sink(), digest: Xxh3::new() };
    io::copy(&mut input.by_ref().take(len), &mut digest).map_err(damaged)?;
    if read_number(&mut input).map_err(damaged)? != digest.digest.digest() {
        return Err("not a sound checkpoint: its end does not fit the rest".into());
    }
    input.rewind().map_err(damaged)?;
    let head: Head = read_json(&mut input).map_err(damaged)?;
    if head.format != FORMAT {
        return Err(format!("its format is {}, this program writes {FORMAT}", head.format));
    }
    for (field, ours) in search {
        let theirs = head.search.get(field).unwrap_or(&serde_json::Value::Null);
        if theirs != ours {
            return Err(format!("it is of another search: its `{field}` is {theirs}, this one's is {ours}"));
        }
    }
    let numbers = space.restore(read_json(&mut input).map_err(damaged)?)?;
    let shards = (0..SHARDS).map(|number| Shard::read(number, &mut input)).collect::<Result<_, _>>();
    let shards = shards.map_err(damaged)?;
    let mut rows = || -> Result<Vec<Rows>, String> {
        let count = read_number(&mut input).map_err(damaged)?;
        let read = (0..count).map(|_| Rows::read(&mut input).map_err(damaged));
        read.map(|rows| numbers.translate(&rows?)).collect()
    };
    let rows = [rows()?, rows()?, rows()?];
    Ok(Saved { progress: head.progress, shards, rows })
}

impl<S: System> Space<'_, S> {
    fn parts(&self) -> Parts<NodeOf<S>> {
        let locals = self.places.iter().map(|locals| {
            let locals = locals.all();
            locals.map(|local| (local.hash, local.origin.get().copied())).collect()
        });
        let inboxes = self.inboxes.iter().map(|inboxes| {
            let inboxes = inboxes.all();
            inboxes.map(|inbox| inbox.packets.to_vec()).collect()
        });
        let packets = self.packets.all().map(|known| {
            let packet = &known.packet;
            (packet.from, packet.to, packet.message.clone())
        });
        let asks = self.asks.all().map(|ask| (ask.index, ask.to, ask.request.clone(), ask.sent_on));
        Parts {
            packets: packets.collect(),
            asks: asks.collect(),
            inboxes: inboxes.collect(),
            facts: self.facts.all().map(|known| (known.node, known.facts.clone())).collect(),
            histories: self.histories.all().map(|past| (past.hash, past.origin.get().copied())).collect(),
            budgets: self.budgets.all().map(|budget| (budget.spent, budget.cut.clone())).collect(),
            locals: locals.collect(),
        }
    }

    /// Makes all parts again.
    fn restore(&self, parts: Parts<NodeOf<S>>) -> Result<Numbers, String> {
        let unsound = || "not a sound checkpoint: a part is missing".to_owned();
        let of = |numbers: &[u32], old: u32| numbers.get(old as usize).copied().ok_or_else(unsound);
        let packets = parts.packets.into_iter().map(|(from, to, message)| {
            if !self.rules.is_member(from) || !self.rules.is_member(to) {
                return Err(unsound());
            }
            Ok(self.packet(crate::world::Packet { from, to, message }))
        });
        let packets: Vec<u32> = packets.collect::<Result<_, _>>()?;
        let asks = parts.asks.into_iter().map(|(index, to, request, sent_on)| {
            if !self.rules.is_member(to) || index >= self.rules.requests.len() {
                return Err(unsound());
            }
            Ok(self.asked(Ask { index, to, request, sent_on }))
        });
        let asks: Vec<u32> = asks.collect::<Result<_, _>>()?;
        if parts.inboxes.len() != self.places.len() || parts.locals.len() != self.places.len() {
            return Err(unsound());
        }
        let inboxes = parts.inboxes.into_iter().enumerate().map(|(place, inboxes)| {
            let inbox = |inbox: Vec<u32>| {
                let packets = inbox.into_iter().map(|packet| of(&packets, packet));
                Ok(self.inbox(place, packets.collect::<Result<_, String>>()?))
            };
            inboxes.into_iter().map(inbox).collect()
        });
        let inboxes = inboxes.collect::<Result<_, String>>()?;
        let facts: Vec<u32> = parts.facts.into_iter().map(|(node, facts)| self.told(node, facts)).collect();
        let first = self.row(&self.rules.before_boot());
        let mut histories = Vec::new();
        for (hash, origin) in parts.histories {
            let history = match origin {
                None => first[2 * self.places.len()],
                Some((before, more)) => {
                    let after = self.observe(of(&histories, before)?, of(&facts, more)?);
                    after.map_err(|panic| panic.to_string())?
                }
            };
            if self.histories.get(history).hash != hash {
                return Err("the histories of this system are other ones than when it was written".into());
            }
            histories.push(history);
        }
        let budgets = parts.budgets.into_iter().map(|(spent, cut)| self.budget(spent, cut)).collect();
        let mut locals = Vec::new();
        for (place, known) in parts.locals.into_iter().enumerate() {
            let mut here = Vec::new();
            for (hash, origin) in known {
                let slot = match origin {
                    None => Some(first[place]),
                    Some(origin) => {
                        let origin = Origin { before: of(&here, origin.before)?, ..origin };
                        self.again(place, origin, |packet| of(&packets, packet), |ask| of(&asks, ask))?
                    }
                };
                let slot = slot.filter(|&slot| self.places[place].get(slot).hash == hash);
                let node = self.rules.members[place].0;
                here.push(slot.ok_or_else(|| {
                    format!("{node} does not do what it did when it was written: it is of another version")
                })?);
            }
            locals.push(here);
        }
        Ok(Numbers { locals, inboxes, histories, budgets })
    }
}

impl Numbers {
    /// Rows with new numbers.
    fn translate(&self, old: &Rows) -> Result<Rows, String> {
        let places = self.locals.len();
        let (mut rows, mut row) = (Rows::default(), Vec::new());
        for number in 0..old.len() {
            old.get(number, &mut row);
            let lists = self.locals.iter().chain(&self.inboxes).chain([&self.histories, &self.budgets]);
            if row.len() != 2 * places + 3 {
                return Err("not a sound checkpoint: its rows are of another length".into());
            }
            for (part, numbers) in row.iter_mut().zip(lists) {
                *part = *numbers.get(*part as usize).ok_or("not a sound checkpoint: a part is missing")?;
            }
            rows.push(&row);
        }
        Ok(rows)
    }
}

/// Writes through, and digests what is written.
struct Digesting<W> {
    inner: W,
    digest: Xxh3,
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn write_json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_vec(value)?;
    write_number(out, json.len() as u64)?;
    out.write_all(&json)
}

fn read_json<T: DeserializeOwned>(input: &mut impl Read) -> io::Result<T> {
    let len = read_number(input)?;
    Ok(serde_json::from_reader(input.take(len))?)
}
