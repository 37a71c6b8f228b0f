//! Frames: a stream may hold anything and arrive in any pieces. The pieces make no difference, an error stays
//! an error, and what was encoded comes back.

use arbitrary::{Result, Unstructured};
use coalmine_core::codec::frame::{Decoder, encode};
use coalmine_core::form::Form;
use coalmine_core::rollout::message::Envelope;

use crate::{below, words};

/// One input: valid frames, any bytes after them, and how the stream is cut.
pub fn run(data: &[u8]) {
    let _ = stream(Unstructured::new(data));
}

fn stream(mut u: Unstructured<'_>) -> Result<()> {
    let form = *u.choose(&[Form::Json, Form::MessagePack])?;
    let sent: Vec<_> = (0..below(&mut u, 4)?).map(|_| words::message(&mut u)).collect::<Result<_>>()?;
    let pieces: Vec<_> = (0..1 + below(&mut u, 8)?).map(|_| u.int_in_range(1..=40)).collect::<Result<_>>()?;
    let mut stream = Vec::new();
    for message in &sent {
        stream.extend(encode(form, message).expect("a message fits in a frame"));
    }
    let mut body = u.take_rest();
    if body.first().is_some_and(|first| first % 2 == 0) {
        // A header that fits, so that the fuzzer need not find one.
        body = &body[1..];
        stream.extend(u32::try_from(body.len()).expect("inputs are short").to_be_bytes());
    }
    stream.extend(body);

    let (messages, end) = decode(form, &stream, &pieces);
    let whole = decode(form, &stream, &[stream.len().max(1)]);
    assert_eq!((&messages, &end), (&whole.0, &whole.1), "the pieces make a difference");
    assert!(messages.starts_with(&sent), "sent {sent:?}, received {messages:?}");
    for message in &messages {
        let again = decode(form, &encode(form, message).expect("it came in a frame"), &[7]).0;
        assert_eq!(again, std::slice::from_ref(message));
    }
    Ok(())
}

/// Feeds the stream in pieces, whose sizes repeat. The end is an error's words, or whether no frame is half
/// read.
fn decode(
    form: Form,
    mut stream: &[u8],
    pieces: &[usize],
) -> (Vec<Envelope>, std::result::Result<bool, String>) {
    let (mut decoder, mut messages) = (Decoder::new(form), Vec::new());
    for &size in pieces.iter().cycle() {
        if stream.is_empty() {
            break;
        }
        let (piece, rest) = stream.split_at(size.min(stream.len()));
        stream = rest;
        decoder.feed(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => {
                    decoder.feed(b"\0\0\0\x02{}");
                    let again = decoder.next_frame::<Envelope>().expect_err("an error is final");
                    assert_eq!(again.to_string(), error.to_string());
                    return (messages, Err(error.to_string()));
                }
            }
        }
    }
    (messages, Ok(decoder.is_between_frames()))
}
