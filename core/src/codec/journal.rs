//! The journal: one record a line, `<number> <crc32> <record>`, such as
//!
//! ```text
//! 1 5f3a9c1e {"epoch":1}
//! 2 08d1b3aa {"voted":{"txid":"1.1", … }}
//! ```
//!
//! The number counts from 1, so that a lost or repeated line is seen. The checksum (8 hexadecimal digits)
//! covers the number and the record, which is text in the [form](crate::form) of the node. The line feed ends the
//! record: the text holds none.
//!
//! **Recovery.** A line is acknowledged once it is synced, and then it is on disk with its line feed. A crash
//! leaves all of these, and of what comes after them a piece: the file is cut short somewhere, or it has grown
//! before its bytes reached the disk, and ends in zeros. So what may be a *torn tail* is the beginning of one line
//! without its line feed, then nothing or nothing but zeros: nothing acknowledged can be in it. It is cut off and
//! reported. (If only the line feed is missing, the record is whole, and kept: it may have been acknowledged when a
//! sector was lost later.) A longer piece of a file that grew before its bytes came may hold zeros and then whole
//! lines; but so does a journal whose middle was lost. Anything else that does not add up cannot come from a crash
//! at all. Both are *damage*: recovery refuses and names line and byte, because starting without a record that was
//! acknowledged would break a promise in silence.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::form::Form;

/// Appends to `out` the line of the record with this number (counted from 1).
pub fn encode(form: Form, number: u64, record: &impl Serialize, out: &mut Vec<u8>) {
    let mut text = Vec::new();
    form.write_text(record, &mut text).expect("records are plain data and always serialise");
    let crc = checksum(number, &text);
    out.extend_from_slice(format!("{number} {crc:08x} ").as_bytes());
    out.extend_from_slice(&text);
    out.push(b'\n');
}

/// What a journal held.
#[derive(Debug, PartialEq, Eq)]
pub struct Recovered<R> {
    /// All whole records.
    pub records: Vec<R>,
    /// How many bytes of the file they take: what follows is to be cut off.
    pub valid_bytes: u64,
    /// The torn tail that is to be cut off, if there is one.
    pub torn: Option<Torn>,
    /// The last record is whole but its line feed is missing: one is to be written.
    pub unterminated: bool,
}

/// What a crash left behind the last whole record: the beginning of a line, zeros, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Which line, counted from 1.
    pub line: u64,
    /// How many bytes of it there are.
    pub bytes: u64,
    /// How many of them, at its end, are zeros. A file that grew before its bytes came ends like this, and so does
    /// one that has lost what was synced: whether anybody was told of it is not known.
    pub zeros: u64,
}

/// Why a journal cannot be trusted.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("line {line} (byte {offset}) is damaged: {what}")]
pub struct Damage {
    /// Which line, counted from 1.
    pub line: u64,
    /// Where the line starts in the file.
    pub offset: u64,
    /// What is wrong with it.
    pub what: String,
}

/// Reads a whole journal. See the module's head for what is mended and what is refused.
pub fn recover<R: DeserializeOwned>(form: Form, bytes: &[u8]) -> Result<Recovered<R>, Damage> {
    let mut records = Vec::new();
    let mut offset = 0;
    while offset < bytes.len() {
        let number = records.len() as u64 + 1;
        let damage = |what: String| Damage { line: number, offset: offset as u64, what };
        let rest = &bytes[offset..];
        if let Some(length) = rest.iter().position(|&b| b == b'\n') {
            records.push(parse(form, number, &rest[..length]).map_err(damage)?);
            offset += length + 1;
            continue;
        }
        // The file may have grown before its bytes reached the disk.
        let zeros = rest.iter().rev().take_while(|&&byte| byte == 0).count();
        let line = &rest[..rest.len() - zeros];
        let unterminated = match parse(form, number, line) {
            Ok(record) => {
                records.push(record);
                offset += line.len();
                true
            }
            Err(_) if begins_with_a_record::<R>(form, number, line) => {
                return Err(damage("a whole record is followed by a byte that is not a line feed".into()));
            }
            Err(_) => {
                begins_a_line(form, number, line).map_err(|what| damage(what.into()))?;
                false
            }
        };
        let bytes = (bytes.len() - offset) as u64;
        let torn = (bytes > 0).then_some(Torn { line: records.len() as u64 + 1, bytes, zeros: zeros as u64 });
        return Ok(Recovered { records, valid_bytes: offset as u64, torn, unterminated });
    }
    Ok(Recovered { records, valid_bytes: offset as u64, torn: None, unterminated: false })
}

fn parse<R: DeserializeOwned>(form: Form, number: u64, line: &[u8]) -> Result<R, String> {
    let mut fields = line.splitn(3, |&b| b == b' ');
    let mut field = || fields.next().and_then(|field| std::str::from_utf8(field).ok());
    let (Some(stated), Some(crc), Some(text)) = (field(), field(), field()) else {
        return Err("it is not of the form `<number> <crc32> <record>`".into());
    };
    if stated != number.to_string() {
        return Err(format!("it is numbered {stated:?} where {number} was expected"));
    }
    let computed = format!("{:08x}", checksum(number, text.as_bytes()));
    if crc != computed {
        return Err(format!("its checksum is {crc:?}, its content has {computed:?}"));
    }
    form.read_text(text.as_bytes()).map_err(|e| format!("its checksum holds, but it is not a record: {e}"))
}

/// Whether a line that its writer has begun may look like this. Where it cannot, what was there before may have been
/// acknowledged. `Err` says what is wrong.
fn begins_a_line(form: Form, number: u64, piece: &[u8]) -> Result<(), &'static str> {
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
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let crc = crc.unwrap_or_default();
    if crc.len() > 8 || (text.is_some() && crc.len() < 8) || !crc.iter().all(is_hex) {
        return Err("it is the last, has no line feed, and no line begins with such a checksum");
    }
    if form.begins_a_text(text.unwrap_or_default()) {
        return Ok(());
    }
    Err("it is the last, has no line feed, and no record begins like this")
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
            && parse::<R>(form, number, &line[..line.len() - text.len() + end + 1]).is_ok()
    })
}

fn checksum(number: u64, text: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_be_bytes());
    hasher.update(text);
    hasher.finalize()
}
