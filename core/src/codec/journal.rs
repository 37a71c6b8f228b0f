//! The journal: one record a line, `<number> <crc32> <record>`, such as
//!
//! ```text
//! 1 5f3a9c1e {"epoch":1}
//! 2 08d1b3aa {"voted":{"txid":"1.1", … }}
//! forget 2 77b02e1c
//! ```
//!
//! The number counts from 1, so that a lost or repeated line is seen. The checksum (8 hexadecimal digits)
//! covers the number and the record, which is text in the [form](crate::form) of the node. The line feed ends the
//! record: the text holds none.
//!
//! **What is forgotten.** A line may say that the records before a number are [forgotten](crate::node::Context::forget); its
//! checksum covers that number and the one of the next record. Once it is durable these records are gone: whoever
//! recovers does not see them. A journal may be cut into **segments**, a file each, that hold whole lines and are named
//! by the number of their first record; a segment of which all is forgotten may be deleted. Only the last one is
//! written, and it is begun when all before it is durable. So the segments follow one another without a gap, and what
//! lies before the first must be forgotten.
//!
//! **Recovery.** A line is acknowledged once it is synced, and then it is on disk with its line feed. A crash
//! leaves all of these, and of what comes after them a piece: the file is cut short somewhere, or it has grown
//! before its bytes reached the disk, and ends in zeros. So what may be a *torn tail* is the beginning of one line
//! without its line feed, then nothing or nothing but zeros: nothing acknowledged can be in it. It is cut off and
//! reported. (If only the line feed is missing, the line is whole, and kept: it may have been acknowledged when a
//! sector was lost later.) A longer piece of a file that grew before its bytes came may hold zeros and then whole
//! lines; but so does a journal whose middle was lost. Anything else that does not add up cannot come from a crash
//! at all. Both are *damage*: recovery refuses and names line and byte, because starting without a record that was
//! acknowledged would break a promise in silence.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::disk::Journal;
use crate::form::Form;

/// How a line begins that says what is forgotten.
const FORGET: &[u8] = b"forget ";

/// Appends to `out` the line of the record with this number (counted from 1).
pub fn encode(form: Form, number: u64, record: &impl Serialize, out: &mut Vec<u8>) {
    let mut text = Vec::new();
    form.write_text(record, &mut text).expect("records are plain data and always serialise");
    let crc = checksum(number, &text);
    out.extend_from_slice(format!("{number} {crc:08x} ").as_bytes());
    out.extend_from_slice(&text);
    out.push(b'\n');
}

/// Appends to `out` the line which says that the records before this number are forgotten; `next` is the number of the
/// record that is written next.
pub fn encode_forget(before: u64, next: u64, out: &mut Vec<u8>) {
    let crc = checksum_of_forget(before, next);
    out.extend_from_slice(FORGET);
    out.extend_from_slice(format!("{before} {crc:08x}\n").as_bytes());
}

/// One file of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The number of its first record.
    pub first: u64,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// What a journal held.
#[derive(Debug, PartialEq, Eq)]
pub struct Recovered<R> {
    /// How many records before these are forgotten.
    pub forgotten: u64,
    /// All whole records that are not.
    pub records: Vec<R>,
    /// How many bytes of the last file they take, with what says that others are forgotten: what follows is to be cut off.
    pub valid_bytes: u64,
    /// The torn tail that is to be cut off, if there is one.
    pub torn: Option<Torn>,
    /// The last line is whole but its line feed is missing: one is to be written.
    pub unterminated: bool,
    /// The number of the first record of the file that says what is forgotten: as long as something is, it must not be
    /// deleted.
    pub told_in: u64,
}

impl<R> Recovered<R> {
    /// As a host takes it.
    pub fn journal(&self) -> Journal<'_, R> {
        Journal { forgotten: self.forgotten, records: &self.records }
    }
}

/// What a crash left behind the last whole line: the beginning of another, zeros, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Which record it was to be, counted from 1.
    pub line: u64,
    /// How many bytes of it there are.
    pub bytes: u64,
    /// How many of them, at its end, are zeros. A file that grew before its bytes came ends like this, and so does
    /// one that has lost what was synced: whether anybody was told of it is not known.
    pub zeros: u64,
}

/// Why a journal cannot be trusted.
#[derive(Debug, Error, PartialEq, Eq)]
pub struct Damage {
    /// The number of the first record of the segment: 1 in a journal of one file.
    pub segment: u64,
    /// Which line of it, counted from 1.
    pub line: u64,
    /// Where the line starts in the file.
    pub offset: u64,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, line, offset, what } = self;
        write!(f, "line {line} (byte {offset})")?;
        if *segment > 1 {
            write!(f, " of the segment that begins with record {segment}")?;
        }
        write!(f, " is damaged: {what}")
    }
}

/// Reads a whole journal. See the module's head for what is mended and what is refused.
pub fn recover<R: DeserializeOwned>(form: Form, bytes: &[u8]) -> Result<Recovered<R>, Damage> {
    recover_segments(form, &[Segment { first: 1, bytes: bytes.to_vec() }])
}

/// Reads a whole journal that consists of these files, in order.
pub fn recover_segments<R: DeserializeOwned>(
    form: Form,
    segments: &[Segment],
) -> Result<Recovered<R>, Damage> {
    let first = segments.first().map_or(1, |segment| segment.first.max(1));
    let mut reader = Reader {
        form,
        first,
        records: Vec::new(),
        before: 1,
        told_in: first,
        segment: first,
        line: 1,
        offset: 0,
    };
    let mut end = End::default();
    for (place, segment) in segments.iter().enumerate() {
        (reader.segment, reader.line, reader.offset) = (segment.first, 1, 0);
        let expected = reader.next();
        if segment.first != expected {
            return Err(reader.damage(format!("it begins where record {expected} was expected")));
        }
        end = reader.read(&segment.bytes)?;
        if end.is_cut() && place + 1 < segments.len() {
            return Err(reader.damage("its end is torn, although another segment follows".into()));
        }
    }
    if first > reader.before {
        (reader.segment, reader.line, reader.offset) = (first, 1, 0);
        let (from, to) = (reader.before, first - 1);
        return Err(reader.damage(format!("the records {from} to {to} are missing, and were not forgotten")));
    }
    let forgotten = reader.before - 1;
    reader.records.drain(..(reader.before - first) as usize);
    let (Reader { records, offset, told_in, .. }, End { torn, unterminated }) = (reader, end);
    Ok(Recovered { forgotten, records, valid_bytes: offset as u64, torn, unterminated, told_in })
}

/// How a file ends.
#[derive(Default)]
struct End {
    torn: Option<Torn>,
    unterminated: bool,
}

impl End {
    fn is_cut(&self) -> bool {
        self.torn.is_some() || self.unterminated
    }
}

/// What a line says.
enum Line<R> {
    Record(R),
    /// The records before this number are forgotten.
    Forget(u64),
}

/// Reads line after line.
struct Reader<R> {
    form: Form,
    /// The number of the first record.
    first: u64,
    records: Vec<R>,
    /// The records before this number are forgotten.
    before: u64,
    /// Which segment says so.
    told_in: u64,
    segment: u64,
    line: u64,
    offset: usize,
}

impl<R: DeserializeOwned> Reader<R> {
    /// The number of the record that comes next.
    fn next(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    fn damage(&self, what: String) -> Damage {
        Damage { segment: self.segment, line: self.line, offset: self.offset as u64, what }
    }

    fn take(&mut self, line: Line<R>, length: usize) {
        match line {
            Line::Record(record) => self.records.push(record),
            Line::Forget(before) if before >= self.before => {
                (self.before, self.told_in) = (before, self.segment);
            }
            Line::Forget(_) => {}
        }
        self.line += 1;
        self.offset += length;
    }

    fn read(&mut self, bytes: &[u8]) -> Result<End, Damage> {
        while self.offset < bytes.len() {
            let (form, number, rest) = (self.form, self.next(), &bytes[self.offset..]);
            if let Some(length) = rest.iter().position(|&b| b == b'\n') {
                let line = parse(form, number, &rest[..length]).map_err(|what| self.damage(what))?;
                self.take(line, length + 1);
                continue;
            }
            // The file may have grown before its bytes reached the disk.
            let zeros = rest.iter().rev().take_while(|&&byte| byte == 0).count();
            let line = &rest[..rest.len() - zeros];
            let unterminated = match parse(form, number, line) {
                Ok(whole) => {
                    self.take(whole, line.len());
                    true
                }
                Err(_) if begins_with_a_record::<R>(form, number, line) => {
                    let what = "a whole record is followed by a byte that is not a line feed";
                    return Err(self.damage(what.into()));
                }
                Err(_) => {
                    begins_a_line(form, number, line).map_err(|what| self.damage(what.into()))?;
                    false
                }
            };
            let bytes = (bytes.len() - self.offset) as u64;
            let torn = (bytes > 0).then_some(Torn { line: self.next(), bytes, zeros: zeros as u64 });
            return Ok(End { torn, unterminated });
        }
        Ok(End::default())
    }
}

fn parse<R: DeserializeOwned>(form: Form, number: u64, line: &[u8]) -> Result<Line<R>, String> {
    match line.strip_prefix(FORGET) {
        Some(rest) => parse_forget(number, rest).map(Line::Forget),
        None => parse_record(form, number, line).map(Line::Record),
    }
}

fn parse_forget(next: u64, rest: &[u8]) -> Result<u64, String> {
    let rest = std::str::from_utf8(rest).unwrap_or_default();
    let read = rest.split_once(' ').and_then(|(before, crc)| Some((before.parse::<u64>().ok()?, crc)));
    let Some((before, crc)) = read.filter(|(before, _)| rest.starts_with(&format!("{before} "))) else {
        return Err("it is not of the form `forget <number> <crc32>`".into());
    };
    agrees(crc, checksum_of_forget(before, next))?;
    if before > next {
        return Err(format!("the records before {before} are forgotten, and the next is number {next}"));
    }
    Ok(before)
}

fn parse_record<R: DeserializeOwned>(form: Form, number: u64, line: &[u8]) -> Result<R, String> {
    let mut fields = line.splitn(3, |&b| b == b' ');
    let mut field = || fields.next().and_then(|field| std::str::from_utf8(field).ok());
    let (Some(stated), Some(crc), Some(text)) = (field(), field(), field()) else {
        return Err("it is not of the form `<number> <crc32> <record>`".into());
    };
    if stated != number.to_string() {
        return Err(format!("it is numbered {stated:?} where {number} was expected"));
    }
    agrees(crc, checksum(number, text.as_bytes()))?;
    form.read_text(text.as_bytes()).map_err(|e| format!("its checksum holds, but it is not a record: {e}"))
}

/// Whether a line states the checksum that its content has.
fn agrees(stated: &str, computed: u32) -> Result<(), String> {
    let computed = format!("{computed:08x}");
    if stated == computed {
        return Ok(());
    }
    Err(format!("its checksum is {stated:?}, its content has {computed:?}"))
}

/// Whether these bytes begin a checksum as it is written.
fn begins_a_checksum(piece: &[u8]) -> bool {
    piece.len() <= 8 && piece.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a line that its writer has begun may look like this. Where it cannot, what was there before may have been
/// acknowledged. `Err` says what is wrong.
fn begins_a_line(form: Form, number: u64, piece: &[u8]) -> Result<(), &'static str> {
    if FORGET.starts_with(piece) || piece.starts_with(FORGET) && begins_a_forget(&piece[FORGET.len()..]) {
        return Ok(());
    }
    let mut fields = piece.splitn(3, |&b| b == b' ');
    let (stated, crc, text) = (fields.next().unwrap_or_default(), fields.next(), fields.next());
    let expected = number.to_string();
    let numbered = match crc {
        None => expected.as_bytes().starts_with(stated),
        Some(_) => expected.as_bytes() == stated,
    };
    if !numbered {
        return Err("it is the last, has no line feed, and its number is another");
    }
    let crc = crc.unwrap_or_default();
    if (text.is_some() && crc.len() < 8) || !begins_a_checksum(crc) {
        return Err("it is the last, has no line feed, and no line begins with such a checksum");
    }
    if form.begins_a_text(text.unwrap_or_default()) {
        return Ok(());
    }
    Err("it is the last, has no line feed, and no record begins like this")
}

/// The same of what follows the word in a line that says what is forgotten.
fn begins_a_forget(piece: &[u8]) -> bool {
    let (before, crc) = match piece.iter().position(|&byte| byte == b' ') {
        Some(at) => (&piece[..at], &piece[at + 1..]),
        None => (piece, &[][..]),
    };
    let is_number = before.iter().all(u8::is_ascii_digit) && before.len() <= 20;
    is_number && crc.len() < 8 && begins_a_checksum(crc)
}

/// Whether a line without its line feed begins with a whole record. No torn line does: the line feed of that
/// record was damaged, and what follows is another line.
fn begins_with_a_record<R: DeserializeOwned>(form: Form, number: u64, line: &[u8]) -> bool {
    let mut fields = line.splitn(3, |&b| b == b' ');
    let (Some(_), Some(crc), Some(text)) = (fields.next(), fields.next(), fields.next()) else {
        return false;
    };
    let stated = std::str::from_utf8(crc).ok().and_then(|crc| u32::from_str_radix(crc, 16).ok());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_be_bytes());
    (0..text.len()).any(|end| {
        hasher.update(&text[end..=end]);
        Some(hasher.clone().finalize()) == stated
            && parse_record::<R>(form, number, &line[..line.len() - text.len() + end + 1]).is_ok()
    })
}

fn checksum(number: u64, text: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_be_bytes());
    hasher.update(text);
    hasher.finalize()
}

fn checksum_of_forget(before: u64, next: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(FORGET);
    hasher.update(&before.to_be_bytes());
    hasher.update(&next.to_be_bytes());
    hasher.finalize()
}
