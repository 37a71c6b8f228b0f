//! The journal: one record a line, `<number> <crc32> <json>`, such as
//!
//! ```text
//! 1 5f3a9c1e {"epoch":1}
//! 2 08d1b3aa {"voted":{"txid":"1.1", … }}
//! ```
//!
//! The number counts from 1, so that a lost or repeated line is seen. The checksum (8 hexadecimal digits)
//! covers the number and the JSON. The line feed ends the record: JSON holds no raw one.
//!
//! **Recovery.** A crash can only cut the journal short, somewhere in a line that no sync had covered yet.
//! So a last line without its line feed is a *torn tail*: it is cut off and reported, and nothing that was
//! acknowledged is lost. (If only the line feed is missing, the record is whole, and kept.) Anything else
//! that does not add up cannot come from a crash. It is *damage*: recovery refuses and names line and byte,
//! because starting without a record that was acknowledged would break a promise in silence.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Appends to `out` the line of the record with this number (counted from 1).
pub fn encode(number: u64, record: &impl Serialize, out: &mut Vec<u8>) {
    let json = serde_json::to_string(record).expect("records are plain data and always serialise");
    let crc = checksum(number, json.as_bytes());
    out.extend_from_slice(format!("{number} {crc:08x} {json}\n").as_bytes());
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

/// A last line that was only half written when its writer crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Which line, counted from 1.
    pub line: u64,
    /// How many bytes of it there are.
    pub bytes: u64,
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
pub fn recover<R: DeserializeOwned>(bytes: &[u8]) -> Result<Recovered<R>, Damage> {
    let mut records = Vec::new();
    let mut offset = 0;
    while offset < bytes.len() {
        let number = records.len() as u64 + 1;
        let damage = |what: String| Damage { line: number, offset: offset as u64, what };
        let rest = &bytes[offset..];
        if let Some(length) = rest.iter().position(|&b| b == b'\n') {
            records.push(parse(number, &rest[..length]).map_err(damage)?);
            offset += length + 1;
            continue;
        }
        if let Ok(record) = parse(number, rest) {
            records.push(record);
            return Ok(Recovered {
                records,
                valid_bytes: bytes.len() as u64,
                torn: None,
                unterminated: true,
            });
        }
        if begins_with_a_record::<R>(number, rest) {
            return Err(damage("a whole record is followed by a byte that is not a line feed".into()));
        }
        let torn = Some(Torn { line: number, bytes: rest.len() as u64 });
        return Ok(Recovered { records, valid_bytes: offset as u64, torn, unterminated: false });
    }
    Ok(Recovered { records, valid_bytes: offset as u64, torn: None, unterminated: false })
}

fn parse<R: DeserializeOwned>(number: u64, line: &[u8]) -> Result<R, String> {
    let mut fields = line.splitn(3, |&b| b == b' ');
    let mut field = || fields.next().and_then(|field| std::str::from_utf8(field).ok());
    let (Some(stated), Some(crc), Some(json)) = (field(), field(), field()) else {
        return Err("it is not of the form `<number> <crc32> <json>`".into());
    };
    if stated != number.to_string() {
        return Err(format!("it is numbered {stated:?} where {number} was expected"));
    }
    let computed = format!("{:08x}", checksum(number, json.as_bytes()));
    if crc != computed {
        return Err(format!("its checksum is {crc:?}, its content has {computed:?}"));
    }
    serde_json::from_str(json).map_err(|e| format!("its checksum holds, but it is not a record: {e}"))
}

/// Whether a line without its line feed begins with a whole record. No torn line does: the line feed of that
/// record was damaged, and what follows is another line.
fn begins_with_a_record<R: DeserializeOwned>(number: u64, line: &[u8]) -> bool {
    let mut fields = line.splitn(3, |&b| b == b' ');
    let (Some(_), Some(crc), Some(json)) = (fields.next(), fields.next(), fields.next()) else {
        return false;
    };
    let stated = std::str::from_utf8(crc).ok().and_then(|crc| u32::from_str_radix(crc, 16).ok());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_be_bytes());
    (0..json.len()).any(|end| {
        hasher.update(&json[end..=end]);
        Some(hasher.clone().finalize()) == stated
            && parse::<R>(number, &line[..line.len() - json.len() + end + 1]).is_ok()
    })
}

fn checksum(number: u64, json: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_be_bytes());
    hasher.update(json);
    hasher.finalize()
}
