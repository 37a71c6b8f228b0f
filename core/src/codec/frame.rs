//! Frames: a 4-byte big-endian length, then that many bytes in the [form](crate::form) of the node.
//!
//! The first byte of the length is the [version](PROTOCOL) of what is said: lengths are below it.
//!
//! A stream of frames cannot be resynchronised, so every error is final for its connection: the driver
//! closes it and says why. The length is bounded before anything is allocated.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::form::{Form, FormError, MAX_MESSAGE_BYTES};

/// The longest body that is sent or taken, in bytes: a message, and who sends it.
pub const MAX_FRAME_BYTES: usize = MAX_MESSAGE_BYTES + 64;

/// The version of what nodes say to each other. A node does not read on what is of another one, and says so; so a version that
/// changes what is said must be spoken by nodes that can say both, until all can.
pub const PROTOCOL: u8 = 0;

/// Up to here a first byte is taken for a version: what is above begins no frame of ours.
const LAST_PROTOCOL: u8 = 31;

const HEADER_BYTES: usize = 4;
/// Room for what most frames hold, so that they are written without growing.
const ROOM_BYTES: usize = 256;

/// Why a frame could not be written or read.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The body is longer than [`MAX_FRAME_BYTES`].
    #[error("frame {frame} (byte {offset} of the stream): {length} bytes, the limit is {MAX_FRAME_BYTES}")]
    TooLong {
        /// Which frame of the stream, counted from 1.
        frame: u64,
        /// Where the frame starts in the stream.
        offset: u64,
        /// The length its header gives.
        length: usize,
    },
    /// Whoever sends it speaks another version.
    #[error(
        "frame {frame} (byte {offset} of the stream): it is of version {version} of the protocol, and this node speaks {PROTOCOL}"
    )]
    Version {
        /// Which frame of the stream, counted from 1.
        frame: u64,
        /// Where the frame starts in the stream.
        offset: u64,
        /// What its header says.
        version: u8,
    },
    /// The body is not what it should be.
    #[error("frame {frame} (byte {offset} of the stream): {source}")]
    Body {
        /// Which frame of the stream, counted from 1.
        frame: u64,
        /// Where the frame starts in the stream.
        offset: u64,
        /// What its reader or writer says.
        source: FormError,
    },
}

/// One frame as bytes.
pub fn encode(form: Form, value: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let mut frame = Vec::with_capacity(ROOM_BYTES);
    encode_into(form, value, &mut frame)?;
    Ok(frame)
}

/// One frame as bytes, in place of what the buffer held.
pub fn encode_into(form: Form, value: &impl Serialize, frame: &mut Vec<u8>) -> Result<(), FrameError> {
    frame.clear();
    frame.extend_from_slice(&[0; HEADER_BYTES]);
    form.write(value, frame).map_err(|source| FrameError::Body { frame: 1, offset: 0, source })?;
    let length = frame.len() - HEADER_BYTES;
    if length > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong { frame: 1, offset: 0, length });
    }
    let header = u32::try_from(length).expect("the limit fits in 32 bits").to_be_bytes();
    frame[..HEADER_BYTES].copy_from_slice(&header);
    Ok(())
}

/// Cuts a stream of bytes into frames. Holds at most one unfinished frame and one read's worth of bytes.
#[derive(Debug)]
pub struct Decoder {
    form: Form,
    buffer: Vec<u8>,
    /// How much of the buffer is used up.
    start: usize,
    /// Frames taken so far, and the bytes they took.
    frames: u64,
    offset: u64,
}

impl Decoder {
    /// Of a stream that nothing was read from yet, whose frames are of this form.
    pub fn new(form: Form) -> Self {
        Self { form, buffer: Vec::new(), start: 0, frames: 0, offset: 0 }
    }

    /// Adds bytes as they came from the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete frame, or `None` if more bytes are needed.
    pub fn next_frame<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let rest = &self.buffer[self.start..];
        let Some((header, rest)) = rest.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let (frame, offset) = (self.frames + 1, self.offset);
        let version = header[0];
        if version != PROTOCOL && version <= LAST_PROTOCOL {
            return Err(FrameError::Version { frame, offset, version });
        }
        let length = u32::from_be_bytes(*header) as usize;
        if length > MAX_FRAME_BYTES {
            return Err(FrameError::TooLong { frame, offset, length });
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let value = self.form.read(body).map_err(|source| FrameError::Body { frame, offset, source })?;
        self.start += HEADER_BYTES + length;
        self.offset += (HEADER_BYTES + length) as u64;
        self.frames = frame;
        Ok(Some(value))
    }

    /// Whether the stream may end here: no frame is half read.
    pub fn is_between_frames(&self) -> bool {
        self.start == self.buffer.len()
    }
}
