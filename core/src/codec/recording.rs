//! Recordings: what one node took in and what it did, so that another process can let it do the same again.
//!
//! A recording is lines of JSON. The first is a header; then one line for each step:
//!
//! ```text
//! {"header":{"format":2,"program":"canary 0.1.0","protocol":"rollout","node":1,"part":1,"continues":false,"config":{…}},"crc":"5f3a9c1e"}
//! {"step":{"at":1763733028000000000,"took":{"boot":{…}},"did":[{"append":{"epoch":1}}, …]},"crc":"08d1b3aa"}
//! {"step":{"at":1763733028000412345,"took":{"synced":1},"did":[…]},"crc":"17ee02c4"}
//! {"end":{},"crc":"9b0c66f1"}
//! ```
//!
//! So it is where the node's [form](crate::form) is JSON. In another the header names it, and a step is one text:
//!
//! ```text
//! {"packed":"=lM8AAAB…","crc":"08d1b3aa"}
//! ```
//!
//! The checksum at a line's end covers the line's number and all that is before it: names and times, which no
//! execution can confirm, and the order of the lines.
//!
//! A node is deterministic, so the boots, the events, what the disk said and what the node was told when it
//! had a [choice](crate::node::Context::choose) are all there is to know. The effects are kept to be
//! compared. A published view is kept as a checksum: views are large, and leave no trace in a node.
//!
//! A long recording is cut into **parts**. The header says which part it is and whether it **continues** the
//! one before; if it does not, it begins with a boot. A [`Line::Gap`] says that something could not be
//! recorded: what follows is of use from the next boot on. A [`Line::End`] says that nothing of the life is
//! missing; a process that is killed does not write it.
//!
//! A last line without its line feed is a **torn tail**, as a crash leaves it. A file that is never synced may
//! also have grown before its bytes reached the disk: then there are zeros, which no line holds, and perhaps
//! something behind them. So the first line that holds a zero begins a torn tail, too. Any other line that cannot
//! be read is an error.

use std::fmt::{self, Debug};
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::journal::{Recovered, Torn};
use crate::disk::Journal;
use crate::form::{Form, FormError};
use crate::node::{Address, Choose, Delay, Effect, Event, Node, NodeId, RequestId};

/// The version of the form; a reader refuses any other.
pub const FORMAT: u32 = 2;

/// How each part begins, whatever the version of its form.
pub const BEGINNING: &[u8] = br#"{"header":{"format":"#;

/// The first line of each part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// See [`FORMAT`].
    pub format: u32,
    /// The program that recorded, with its version.
    pub program: String,
    /// The name of the scenario or the model that knows this kind of node.
    pub protocol: String,
    /// The node.
    pub node: NodeId,
    /// Which part of the recording this is: the numbers rise by one.
    pub part: u64,
    /// Whether it goes on where the part before ended.
    pub continues: bool,
    /// The node's configuration, as JSON.
    pub config: serde_json::Value,
    /// The form of the steps.
    #[serde(default, skip_serializing_if = "is_json")]
    pub form: Form,
}

/// Headers say nothing of the usual form.
fn is_json(form: &Form) -> bool {
    *form == Form::Json
}

impl Header {
    /// The header of the first part of a life.
    pub fn new<N: Node>(program: &str, protocol: &str, node: NodeId, part: u64, config: &N::Config) -> Self {
        Self {
            format: FORMAT,
            program: program.into(),
            protocol: protocol.into(),
            node,
            part,
            continues: false,
            config: serde_json::to_value(config).expect("configurations are plain data and always serialise"),
            form: N::FORM,
        }
    }
}

/// Any other line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "", rename_all = "snake_case")]
pub enum Line<N: Node> {
    /// Something that the node took in, and what it did.
    Step(Step<N>),
    /// What came from here to the next boot could not be recorded.
    Gap {
        /// Why.
        why: String,
    },
    /// The life that was recorded has ended, and nothing of it is missing.
    End {},
}

/// Something that a node took in, and what it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Step<N: Node> {
    /// When, by the node's clock, in nanoseconds since some moment.
    pub at: u64,
    /// What it took in.
    pub took: Took<N>,
    /// What it was told when it had a choice, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chose: Vec<u32>,
    /// What it did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub did: Vec<Did<N>>,
}

impl<N: Node> Step<N> {
    /// A step with these effects.
    pub fn new(at: Duration, took: Took<N>, chose: Vec<u32>, effects: &[Effect<N>]) -> Self {
        Self { at: u64::try_from(at.as_nanos()).unwrap_or(u64::MAX), took, chose, did: Did::all(effects) }
    }
}

/// What a node took in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "", rename_all = "snake_case")]
pub enum Took<N: Node> {
    /// It booted.
    Boot {
        /// Which life of the node this is, as its [`Host`](crate::host::Host) was told.
        life: u64,
        /// What was left of its journal.
        journal: Left<N::Record>,
        /// Line and bytes of the torn tail that was cut off.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        torn: Option<(u64, u64)>,
    },
    /// It was given an event by its driver.
    Event(Event<N>),
    /// The disk has made this many records durable.
    Synced(u64),
}

impl<N: Node> Took<N> {
    /// A boot from what a journal held.
    pub fn boot(life: u64, journal: &Recovered<N::Record>) -> Self {
        let torn = journal.torn.map(|torn| (torn.line, torn.bytes));
        let journal = Left { forgotten: journal.forgotten, records: journal.records.clone() };
        Self::Boot { life, journal, torn }
    }
}

/// What was left of a journal. It is recorded as a list of its records; if others before them were forgotten, as an object
/// that says how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left<R> {
    /// How many records before these were gone.
    pub forgotten: u64,
    /// Those that were there.
    pub records: Vec<R>,
}

impl<R: Clone> From<Journal<'_, R>> for Left<R> {
    fn from(Journal { forgotten, records }: Journal<'_, R>) -> Self {
        Self { forgotten, records: records.to_vec() }
    }
}

impl<R> Left<R> {
    /// As a host takes it.
    pub fn journal(&self) -> Journal<'_, R> {
        Journal { forgotten: self.forgotten, records: &self.records }
    }
}

impl<R: Serialize> Serialize for Left<R> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        if self.forgotten == 0 {
            return self.records.serialize(out);
        }
        let mut map = out.serialize_map(Some(2))?;
        map.serialize_entry(FORGOTTEN, &self.forgotten)?;
        map.serialize_entry(RECORDS, &self.records)?;
        map.end()
    }
}

const FORGOTTEN: &str = "forgotten";
const RECORDS: &str = "records";

impl<'de, R: Deserialize<'de>> Deserialize<'de> for Left<R> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either<R>(PhantomData<R>);

        impl<'de, R: Deserialize<'de>> Visitor<'de> for Either<R> {
            type Value = Left<R>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of records, or an object with {FORGOTTEN:?} and {RECORDS:?}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Left<R>, A::Error> {
                let records = Vec::deserialize(SeqAccessDeserializer::new(list))?;
                Ok(Left { forgotten: 0, records })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Left<R>, A::Error> {
                let (mut forgotten, mut records) = (None, None);
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        FORGOTTEN if forgotten.is_none() => forgotten = Some(map.next_value()?),
                        RECORDS if records.is_none() => records = Some(map.next_value()?),
                        _ => return Err(A::Error::custom(format!("{key:?} is one key too many"))),
                    }
                }
                Ok(Left {
                    forgotten: forgotten.ok_or_else(|| A::Error::missing_field(FORGOTTEN))?,
                    records: records.ok_or_else(|| A::Error::missing_field(RECORDS))?,
                })
            }
        }

        from.deserialize_any(Either(PhantomData))
    }
}

/// What a node did: an [`Effect`] that left its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "", rename_all = "snake_case")]
pub enum Did<N: Node> {
    /// See [`Effect::Append`].
    Append(N::Record),
    /// See [`Effect::Send`].
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: N::Message,
    },
    /// See [`Effect::Reply`].
    Reply {
        /// Which request is answered.
        to: RequestId,
        /// The answer.
        reply: N::Reply,
    },
    /// See [`Effect::Publish`]: the checksum of the view.
    Publish(u32),
    /// See [`Effect::Observe`].
    Observe(N::Fact),
    /// See [`Effect::SetTimer`].
    SetTimer {
        /// Its name.
        timer: N::Timer,
        /// When it fires: the shortest and the longest delay.
        delay: (Duration, Duration),
    },
    /// See [`Effect::CancelTimer`].
    CancelTimer(N::Timer),
    /// See [`Effect::Forget`].
    Forget(u64),
    /// See [`Effect::Meet`].
    Meet {
        /// Who.
        peer: NodeId,
        /// Where.
        address: Address,
    },
    /// See [`Effect::Part`].
    Part(NodeId),
    /// See [`Effect::Lost`].
    Lost {
        /// For whom it was.
        to: NodeId,
        /// What it said.
        message: N::Message,
    },
}

impl<N: Node> Did<N> {
    /// These effects, as they are recorded.
    pub fn all(effects: &[Effect<N>]) -> Vec<Self> {
        effects.iter().map(Self::of).collect()
    }

    fn of(effect: &Effect<N>) -> Self {
        match effect.clone() {
            Effect::Append(record) => Self::Append(record),
            Effect::Send { to, message } => Self::Send { to, message },
            Effect::Reply { to, reply } => Self::Reply { to, reply },
            Effect::Publish(view) => {
                // A view that cannot be written is told as such [elsewhere](super::survives).
                let mut bytes = Vec::new();
                let _ = N::FORM.write(&view.0, &mut bytes);
                Self::Publish(crc32fast::hash(&bytes))
            }
            Effect::Observe(fact) => Self::Observe(fact),
            Effect::SetTimer { timer, delay: Delay { min, max } } => {
                Self::SetTimer { timer, delay: (min, max) }
            }
            Effect::CancelTimer(timer) => Self::CancelTimer(timer),
            Effect::Forget(before) => Self::Forget(before),
            Effect::Meet { peer, address } => Self::Meet { peer, address },
            Effect::Part(peer) => Self::Part(peer),
            Effect::Lost { to, message } => Self::Lost { to, message },
            Effect::WhenDurable(_) => unreachable!("the host keeps tokens to itself"),
        }
    }
}

/// Appends a header to `out`: the first line.
pub fn encode_header(header: &Header, out: &mut Vec<u8>) {
    #[derive(Serialize)]
    struct First<'a> {
        header: &'a Header,
    }
    seal(1, &First { header }, out).expect("a header is words and numbers");
}

/// Appends any other line to `out`; the first of them has the number 2. `Err`, and nothing appended: there is a value
/// in it that cannot be written in the node's form.
pub fn encode<N: Node>(number: u64, line: &Line<N>, out: &mut Vec<u8>) -> Result<(), FormError> {
    match (N::FORM, line) {
        (Form::Json, _) | (_, Line::Gap { .. } | Line::End {}) => seal(number, line, out),
        (form @ Form::MessagePack, Line::Step(Step { at, took, chose, did })) => {
            let mut text = Vec::new();
            form.write_text(&(at, took, chose, did), &mut text)?;
            let packed = String::from_utf8(text).expect("a text");
            seal(number, &Packed::<N>::Packed(packed), out)
        }
    }
}

/// A line after the header, as it is written where the form is not JSON: what is about the node is one text.
#[derive(Serialize, Deserialize)]
#[serde(bound = "", rename_all = "snake_case")]
enum Packed<N: Node> {
    Packed(String),
    #[serde(untagged)]
    Line(Line<N>),
}

fn parse<N: Node>(json: &[u8]) -> Result<Line<N>, FormError> {
    if N::FORM == Form::Json {
        return Ok(serde_json::from_slice(json)?);
    }
    match serde_json::from_slice(json)? {
        Packed::Packed(text) => {
            let (at, took, chose, did) = N::FORM.read_text(text.as_bytes())?;
            Ok(Line::Step(Step { at, took, chose, did }))
        }
        Packed::Line(line) => Ok(line),
    }
}

/// How the checksum stands at the end of a line, around its eight digits.
const SEAL: (&[u8], &[u8]) = (br#","crc":""#, br#""}"#);

/// Writes a line with its checksum, which becomes the last key of the object.
fn seal(number: u64, line: &impl Serialize, out: &mut Vec<u8>) -> Result<(), FormError> {
    let start = out.len();
    Form::Json.write(line, out)?;
    out.pop(); // the bracket that closes the object
    let crc = checksum(number, &out[start..]);
    out.extend_from_slice(SEAL.0);
    out.extend_from_slice(format!("{crc:08x}").as_bytes());
    out.extend_from_slice(SEAL.1);
    out.push(b'\n');
    Ok(())
}

/// A line as it was before it was sealed; `Err` says what is wrong with its checksum.
fn unseal(number: u64, line: &[u8]) -> Result<Vec<u8>, String> {
    let split = |line: &'_ [u8]| {
        let rest = line.strip_suffix(SEAL.1)?;
        let (rest, crc) = rest.split_at_checked(rest.len().checked_sub(8)?)?;
        let crc = std::str::from_utf8(crc).ok()?.to_owned();
        Some((rest.strip_suffix(SEAL.0)?.to_owned(), crc))
    };
    let (mut json, crc) = split(line).ok_or("it does not end in a checksum")?;
    let computed = format!("{:08x}", checksum(number, &json));
    if crc != computed {
        return Err(format!("its checksum is {crc:?}, its content as line {number} has {computed:?}"));
    }
    json.push(b'}');
    Ok(json)
}

fn checksum(number: u64, json: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_be_bytes());
    hasher.update(json);
    hasher.finalize()
}

/// One part of a recording.
#[derive(Debug, PartialEq, Eq)]
pub struct Part<N: Node> {
    /// Its first line.
    pub header: Header,
    /// The others, which begin with line 2.
    pub lines: Vec<Line<N>>,
    /// A last line that was only half written.
    pub torn: Option<Torn>,
}

/// Why a recording cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("line {line}: {what}")]
pub struct Unreadable {
    /// Which line, counted from 1.
    pub line: u64,
    /// What is wrong with it.
    pub what: String,
}

/// Reads a whole part; `None` if there is not one whole line in it.
pub fn decode<N: Node>(bytes: &[u8]) -> Result<Option<Part<N>>, Unreadable> {
    let Some(header) = decode_header(bytes)? else { return Ok(None) };
    if header.form != N::FORM {
        let what = format!("it is in {}, and this program's nodes are in {}", header.form, N::FORM);
        return Err(Unreadable { line: 1, what });
    }
    let mut part = Part { header, lines: Vec::new(), torn: None };
    let mut offset = 0;
    for (number, line) in (1..).zip(bytes.split_inclusive(|&byte| byte == b'\n')) {
        if number > 1 {
            let Some(whole) = whole(line) else {
                let torn = &bytes[offset..];
                let zeros = torn.iter().rev().take_while(|&&byte| byte == 0).count() as u64;
                part.torn = Some(Torn { line: number, bytes: torn.len() as u64, zeros });
                break;
            };
            let unreadable = |why| Unreadable { line: number, what: format!("no step: {why}") };
            let json = unseal(number, whole).map_err(unreadable)?;
            part.lines.push(parse(&json).map_err(|why| unreadable(why.to_string()))?);
        }
        offset += line.len();
    }
    Ok(Some(part))
}

/// A line without its line feed, if a disk has all of it.
fn whole(line: &[u8]) -> Option<&[u8]> {
    line.strip_suffix(b"\n").filter(|line| !line.contains(&0))
}

/// Reads the header of a part, for whoever does not know the kind of node yet; `None` if there is not one
/// whole line, but may have been the beginning of one.
pub fn decode_header(bytes: &[u8]) -> Result<Option<Header>, Unreadable> {
    #[derive(Deserialize)]
    struct First<T> {
        header: T,
    }
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let unreadable = |what| Unreadable { line: 1, what };
    if bytes.starts_with(MARK) {
        let why =
            "it begins with a byte order mark, so another program has saved it anew: take these 3 bytes off";
        return Err(unreadable(why.into()));
    }
    let Some(line) = bytes.split_inclusive(|&byte| byte == b'\n').next().and_then(whole) else {
        return if is_begun(bytes) {
            Ok(None)
        } else {
            Err(unreadable(format!("no recording: {}", describe(bytes))))
        };
    };
    let not_ours = |why: String| unreadable(format!("not the header of a recording: {why}"));
    let First { header: Format { format } } =
        serde_json::from_slice(line).map_err(|why| not_ours(why.to_string()))?;
    if format != FORMAT {
        return Err(unreadable(format!("it is of format {format}, and this program reads format {FORMAT}")));
    }
    let json = unseal(1, line).map_err(not_ours)?;
    let First { header } = serde_json::from_slice(&json).map_err(|why| not_ours(why.to_string()))?;
    Ok(Some(header))
}

/// UTF-8's byte order mark.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Whether this may be what a crash has left of a first line: the beginning of one, or nothing, then perhaps zeros and
/// what is behind them.
fn is_begun(bytes: &[u8]) -> bool {
    let written = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    let common = written.len().min(BEGINNING.len());
    written[..common] == BEGINNING[..common]
}

/// What a file holds that is something else.
fn describe(bytes: &[u8]) -> String {
    let first: Vec<_> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("its {} bytes begin with {}", bytes.len(), first.join(" "))
}

/// Answers a node's choices as they were answered before.
#[derive(Debug)]
pub struct Again<'a> {
    left: &'a [u32],
    /// A choice that the recording has no answer for: among how many.
    pub stranger: Option<u32>,
}

impl<'a> Again<'a> {
    /// These answers, in order.
    pub fn new(chose: &'a [u32]) -> Self {
        Self { left: chose, stranger: None }
    }

    /// The answers that were not asked for.
    pub fn left(&self) -> &'a [u32] {
        self.left
    }
}

impl Choose for Again<'_> {
    fn choose(&mut self, n: u32) -> u32 {
        match self.left.split_first() {
            Some((&answer, rest)) if answer < n => {
                self.left = rest;
                answer
            }
            Some(_) | None => {
                self.stranger.get_or_insert(n);
                0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_recording_is_told_from_one_that_was_just_begun() {
        let begun: [&[u8]; 5] =
            [b"", b"{\"head", b"{\"header\":{\"format\":2,\"pro", b"\0\0\0", b"{\"he\0\0x\n"];
        for begun in begun {
            assert_eq!(decode_header(begun), Ok(None), "{begun:?}");
        }
        let why = |bytes: &[u8]| decode_header(bytes).expect_err("it is none").to_string();
        assert_eq!(why(b"\x9f\x02\0\0\x17"), "line 1: no recording: its 5 bytes begin with 9f 02 00 00 17");
        assert_eq!(why(b"hello"), "line 1: no recording: its 5 bytes begin with 68 65 6c 6c 6f");
        assert!(why(b"\xef\xbb\xbf{\"header\":{\"format\":2").contains("byte order mark"));
    }

    #[test]
    fn answers_come_again_in_order_and_a_strange_question_is_noticed() {
        let mut again = Again::new(&[1, 0, 7]);
        assert_eq!((again.choose(2), again.choose(2)), (1, 0));
        assert_eq!((again.stranger, again.left()), (None, &[7][..]));
        assert_eq!(again.choose(3), 0, "7 is not below 3");
        assert_eq!(again.stranger, Some(3));
    }
}
