//! The form of a node's vocabulary as bytes, chosen in one place: [`Node::FORM`](crate::node::Node::FORM).
//!
//! [`Form::Json`] is for services whose packets, journals and recordings people read. [`Form::MessagePack`]
//! (<https://github.com/msgpack/msgpack/blob/master/spec.md>) is for those that send much: structs are arrays without
//! names, numbers take as many bytes as they need. Forms that are shorter still (postcard, bincode) were left
//! alone, because they say nothing about themselves: after a variant or a field was added to a type, a record in an
//! old journal would be read as another one, in silence. Here a variant goes by its name and a struct by its
//! number of fields, so that it is an error. Nor do those bound how deep a value nests, which a peer's bytes decide.
//!
//! Frames hold the bytes as they are. Journals and recordings are lines, and a line is recognised, after a crash
//! too, by its line feed and by holding no zero: there MessagePack is written in base64 behind a [mark](MARK) that
//! no JSON begins with.

use std::fmt::{self, Display};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How values of a node's vocabulary are written as bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Text that people read.
    #[default]
    Json,
    /// Compact binary.
    /// The fields of a struct are told apart by their order: a type that leaves some out (`skip_serializing_if`) cannot be
    /// read back.
    MessagePack,
}

impl Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "JSON",
            Self::MessagePack => "MessagePack",
        })
    }
}

/// Why a value cannot be written, or bytes cannot be read.
#[derive(Debug, Error)]
pub enum FormError {
    /// What the JSON reader or writer says.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// What the MessagePack writer says.
    #[error("{0}")]
    Write(#[from] rmp_serde::encode::Error),
    /// What the MessagePack reader says.
    #[error("{0}")]
    Read(#[from] rmp_serde::decode::Error),
    /// The value is followed by something else.
    #[error("{0} bytes follow the value")]
    Trailing(usize),
    /// A line holds another form than it should.
    #[error("it is no {0}: {1}")]
    Text(Form, &'static str),
}

/// The largest message that a node may send, in bytes of its form.
pub const MAX_MESSAGE_BYTES: usize = (1 << 20) - 64;

/// The first byte of a value that is not JSON, in a line of text.
pub const MARK: u8 = b'=';

/// How many arrays and maps of a MessagePack value may lie within each other, as in JSON.
const MAX_DEPTH: usize = 128;

impl Form {
    /// Appends a value to `out`. After an error `out` is as it was.
    pub fn write(self, value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) -> Result<(), FormError> {
        let before = out.len();
        let written = match self {
            Self::Json => serde_json::to_writer(&mut *out, value).map_err(FormError::from),
            Self::MessagePack => rmp_serde::encode::write(&mut *out, value).map_err(FormError::from),
        };
        if written.is_err() {
            out.truncate(before);
        }
        written
    }

    /// Reads a value that takes all of these bytes.
    pub fn read<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, FormError> {
        match self {
            Self::Json => Ok(serde_json::from_slice(bytes)?),
            Self::MessagePack => {
                let mut rest = bytes;
                let mut reader = rmp_serde::Deserializer::new(&mut rest);
                reader.set_max_depth(MAX_DEPTH);
                let value = T::deserialize(&mut reader)?;
                if rest.is_empty() { Ok(value) } else { Err(FormError::Trailing(rest.len())) }
            }
        }
    }

    /// How many bytes a value takes, or why it cannot be written.
    pub fn size(self, value: &(impl Serialize + ?Sized)) -> Result<usize, FormError> {
        let mut count = Count(0);
        match self {
            Self::Json => serde_json::to_writer(&mut count, value)?,
            Self::MessagePack => rmp_serde::encode::write(&mut count, value)?,
        }
        Ok(count.0)
    }

    /// Appends a value as text that holds neither a line feed nor a zero. After an error `out` is as it was.
    pub fn write_text(self, value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) -> Result<(), FormError> {
        match self {
            Self::Json => self.write(value, out),
            Self::MessagePack => {
                let mut bytes = Vec::new();
                self.write(value, &mut bytes)?;
                out.push(MARK);
                out.extend_from_slice(STANDARD_NO_PAD.encode(bytes).as_bytes());
                Ok(())
            }
        }
    }

    /// Reads such a text.
    pub fn read_text<T: DeserializeOwned>(self, text: &[u8]) -> Result<T, FormError> {
        match (self, text.split_first()) {
            (Self::Json, Some((&MARK, _))) => {
                Err(FormError::Text(self, "it begins as MessagePack does here"))
            }
            (Self::Json, _) => self.read(text),
            (Self::MessagePack, Some((&MARK, rest))) => {
                let bytes = STANDARD_NO_PAD.decode(rest);
                self.read(&bytes.map_err(|_| FormError::Text(self, "it is not in base64"))?)
            }
            (Self::MessagePack, _) => Err(FormError::Text(self, "it does not begin with `=`")),
        }
    }

    /// Whether a text of which only this was written may be the beginning of a value, and not all of it.
    pub fn begins_a_text(self, piece: &[u8]) -> bool {
        match self {
            // A number that is cut short may be none, such as `0.` and `-`.
            Self::Json => begins_json(piece) || begins_json(&[piece, b"0"].concat()),
            Self::MessagePack => match piece.split_first() {
                Some((&MARK, rest)) => {
                    rest.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
                }
                Some(_) => false,
                None => true,
            },
        }
    }
}

fn begins_json(piece: &[u8]) -> bool {
    match serde_json::from_slice::<IgnoredAny>(piece) {
        // A number may go on; all else is complete, and its checksum would hold.
        Ok(IgnoredAny) => piece.first().is_some_and(|byte| matches!(byte, b'-' | b'0'..=b'9')),
        Err(why) => why.is_eof(),
    }
}

/// Counts what is written to it.
struct Count(usize);

impl std::io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Tree {
        Leaf(u64),
        Fork(Vec<Self>),
        Named { left: Option<u8>, words: BTreeMap<(u8, u8), String> },
    }

    const FORMS: [Form; 2] = [Form::Json, Form::MessagePack];

    fn text(form: Form, value: &Tree) -> Vec<u8> {
        let mut text = Vec::new();
        form.write_text(value, &mut text).expect("it can be written");
        text
    }

    #[test]
    fn a_value_is_the_same_in_bytes_and_in_text() {
        let tree = Tree::Fork(vec![Tree::Leaf(0), Tree::Leaf(u64::MAX), Tree::Fork(Vec::new())]);
        for form in FORMS {
            let mut bytes = vec![7];
            form.write(&tree, &mut bytes).expect("it can be written");
            assert_eq!((bytes[0], form.size(&tree).expect("a size")), (7, bytes.len() - 1));
            assert_eq!(form.read::<Tree>(&bytes[1..]).expect("it can be read"), tree);
            let text = text(form, &tree);
            assert!(text.iter().all(|byte| !matches!(byte, 0 | b'\n')), "{form}");
            assert_eq!(form.read_text::<Tree>(&text).expect("it can be read"), tree);
            for end in 0..text.len() {
                assert!(form.begins_a_text(&text[..end]), "{form}: a crash may leave {end} bytes");
            }
        }
        let words = BTreeMap::from([((1, 2), "a".to_owned())]);
        let named = Tree::Named { left: None, words };
        let text = text(Form::MessagePack, &named);
        assert_eq!(Form::MessagePack.read_text::<Tree>(&text).expect("a map with such keys"), named);
        let mut out = vec![7];
        assert!(Form::Json.write(&named, &mut out).is_err() && out == [7], "JSON has no such keys");
    }

    #[test]
    fn one_form_is_never_read_as_the_other() {
        let tree = Tree::Leaf(3);
        for (writes, reads) in [(Form::Json, Form::MessagePack), (Form::MessagePack, Form::Json)] {
            let text = text(writes, &tree);
            let why = reads.read_text::<Tree>(&text).expect_err("another form").to_string();
            assert!(why.starts_with(&format!("it is no {reads}: ")), "{why}");
            assert!(!reads.begins_a_text(&text), "{why}");
        }
    }

    #[test]
    fn bytes_that_are_no_value_are_refused_whatever_they_claim() {
        let read = |bytes: &[u8]| Form::MessagePack.read::<Tree>(bytes).expect_err("no value").to_string();
        let mut tree = Vec::new();
        Form::MessagePack.write(&Tree::Leaf(3), &mut tree).expect("plain");
        for end in 0..tree.len() {
            read(&tree[..end]);
        }
        tree.push(0);
        assert_eq!(read(&tree), "1 bytes follow the value");
        // An array that claims four billion elements, and values that lie within each other for ever.
        read(b"\x81\xa4Fork\xdd\xff\xff\xff\xff");
        let deep = b"\x81\xa4Fork\x91".repeat(100_000);
        assert!(read(&deep).contains("depth limit"), "{}", read(&deep));
        // A variant that the type has no more, and a struct with one field more.
        read(b"\x81\xa4Twig\x03");
        read(b"\x81\xa5Named\x93\xc0\x80\x01");
    }

    #[test]
    fn it_is_the_shorter_one() {
        let tree = Tree::Named { left: Some(3), words: BTreeMap::new() };
        let [json, packed] = FORMS.map(|form| form.size(&tree).expect("a size"));
        assert!(packed * 2 < json, "{packed} bytes instead of {json}");
    }
}
