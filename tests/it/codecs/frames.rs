//! Frames: a stream may be cut anywhere, and may hold anything.

use coalmine_core::codec::frame::{Decoder, FrameError, MAX_FRAME_BYTES, encode};
use coalmine_core::form::Form;
use coalmine_core::rollout::message::{Envelope, Message};
use coalmine_core::rollout::state::Txid;
use proptest::prelude::*;
use serde_json::Value;

use super::arbitrary::message;
use super::check;

/// The sizes of the pieces in which a stream arrives.
fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![4 => 1..8_usize, 1 => 8..2_000_usize], 1..64)
}

/// Feeds a stream in pieces (the sizes repeat) and takes all frames after each; the error ends it.
fn decode(form: Form, mut stream: &[u8], pieces: &[usize]) -> (Vec<Envelope>, Result<bool, FrameError>) {
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
                Err(error) => return (messages, Err(error)),
            }
        }
    }
    (messages, Ok(decoder.is_between_frames()))
}

#[test]
fn frames_survive_any_chunking() {
    let forms = prop_oneof![Just(Form::Json), Just(Form::MessagePack)];
    let sent = prop::collection::vec(message(), 0..8);
    check(400, (forms, sent, pieces(), 0..9_usize), |(form, sent, pieces, cut)| {
        let mut stream = Vec::new();
        for message in &sent {
            stream.extend(encode(form, message).expect("a message fits in a frame"));
        }
        let (received, end) = decode(form, &stream, &pieces);
        assert_eq!(received, sent);
        assert!(end.expect("no error"), "the stream ends between frames");

        // A stream that breaks off inside its last frame: all but that one, and the end is not a clean one.
        if let (Some(last), true) = (sent.last(), cut > 0) {
            let inside = cut.min(encode(form, last).expect("it fits").len() - 1);
            let (received, end) = decode(form, &stream[..stream.len() - inside], &pieces);
            assert_eq!(received, sent[..sent.len() - 1]);
            assert!(!end.expect("no error"));
        }
    });
}

#[test]
fn any_bytes_are_frames_or_an_error_that_stays() {
    let short_header = prop::collection::vec(any::<u8>(), 0..40).prop_map(|mut body| {
        body.splice(0..0, [0, 0, 0, 3]);
        body
    });
    let soup = prop_oneof![prop::collection::vec(any::<u8>(), 0..200), short_header];
    let forms = prop_oneof![Just(Form::Json), Just(Form::MessagePack)];
    check(2_000, (forms, soup, pieces()), |(form, soup, pieces)| {
        let (messages, end) = decode(form, &soup, &pieces);
        assert!(messages.is_empty(), "a message out of nothing: {messages:?}");
        let whole = decode(form, &soup, &[soup.len().max(1)]);
        assert_eq!(format!("{end:?}"), format!("{:?}", whole.1), "the chunking makes a difference");

        let mut decoder = Decoder::new(form);
        decoder.feed(&soup);
        if let Err(error) = decoder.next_frame::<Value>() {
            decoder.feed(b"\0\0\0\x02{}");
            let again = decoder.next_frame::<Value>().expect_err("an error is final");
            assert_eq!(again.to_string(), error.to_string());
        }
    });
}

/// The header is judged before its body comes: a peer cannot make a node buffer more than the limit.
#[test]
fn a_length_above_the_limit_is_refused_at_once() {
    for length in [MAX_FRAME_BYTES + 1, MAX_FRAME_BYTES * 2, u32::MAX as usize] {
        let mut decoder = Decoder::new(Form::Json);
        decoder.feed(&encode(Form::Json, &Value::Bool(true)).expect("it fits"));
        decoder.feed(&u32::try_from(length).expect("32 bits").to_be_bytes());
        assert_eq!(decoder.next_frame::<Value>().expect("a frame"), Some(Value::Bool(true)));
        let error = decoder.next_frame::<Value>().expect_err("too long");
        assert_eq!(
            error.to_string(),
            format!("frame 2 (byte 8 of the stream): {length} bytes, the limit is {MAX_FRAME_BYTES}")
        );
    }
}

/// A first byte that is a version of the protocol is told as one; what is no frame at all is not.
#[test]
fn another_version_is_told_apart() {
    let said = |header: [u8; 4]| {
        let mut decoder = Decoder::new(Form::Json);
        decoder.feed(&encode(Form::Json, &Value::Bool(true)).expect("it fits"));
        decoder.feed(&header);
        decoder.next_frame::<Value>().expect("a frame");
        decoder.next_frame::<Value>().expect_err("it cannot be read").to_string()
    };
    let other = "frame 2 (byte 8 of the stream): it is of version 1 of the protocol, and this node speaks 0";
    assert_eq!(said([1, 0, 0, 2]), other);
    assert!(said([31, 0, 0, 2]).contains("of version 31"));
    for header in [[32, 0, 0, 2], *b"GET "] {
        assert!(said(header).contains("bytes, the limit is"), "{}", said(header));
    }
}

#[test]
fn the_longest_body_passes_and_one_byte_more_does_not() {
    let text = |bytes: usize| Value::String("x".repeat(bytes - 2)); // two quotes
    let frame = encode(Form::Json, &text(MAX_FRAME_BYTES)).expect("exactly the limit");
    let mut decoder = Decoder::new(Form::Json);
    for piece in frame.chunks(4_096) {
        assert_eq!(decoder.next_frame::<Value>().expect("no error"), None);
        decoder.feed(piece);
    }
    assert_eq!(decoder.next_frame().expect("a frame"), Some(text(MAX_FRAME_BYTES)));
    assert!(decoder.is_between_frames());
    insta::assert_snapshot!(
        encode(Form::Json, &text(MAX_FRAME_BYTES + 1)).expect_err("one too many"),
        @"frame 1 (byte 0 of the stream): 1048577 bytes, the limit is 1048576"
    );
}

#[test]
fn frames_that_are_no_messages_say_where_and_why() {
    let complaint = |body: &str| {
        let mut decoder = Decoder::new(Form::Json);
        let message = Message::DecisionAck { txid: Txid::default() };
        let acknowledgement = Envelope { message, cluster: None };
        decoder.feed(&encode(Form::Json, &acknowledgement).expect("it fits"));
        decoder.feed(&u32::try_from(body.len()).expect("short").to_be_bytes());
        decoder.feed(body.as_bytes());
        decoder.next_frame::<Envelope>().expect("a message");
        decoder.next_frame::<Envelope>().expect_err("not a message").to_string()
    };
    insta::assert_snapshot!(complaint(""), @"frame 2 (byte 57 of the stream): EOF while parsing a value at line 1 column 0");
    insta::assert_snapshot!(complaint("{"), @"frame 2 (byte 57 of the stream): EOF while parsing an object at line 1 column 1");
    insta::assert_snapshot!(complaint("{} {}"), @"frame 2 (byte 57 of the stream): missing field `type` at line 1 column 2");
    insta::assert_snapshot!(complaint(r#"{"type":"HELLO"}"#), @"frame 2 (byte 57 of the stream): unknown variant `HELLO`, expected one of `PREPARE_REQ`, `PREPARE_RESP`, `DECISION`, `DECISION_ACK`, `DECISION_REQ`, `DECISION_RESP`, `HEARTBEAT`, `HEALTH_SNAPSHOT`, `STATE_SYNC`, `JOIN_REQ`, `JOIN_RESP`, `UNLIKE`, `ADMIT_REQ`, `ADMIT_RESP`, `REGION_REQ`, `REGION_RESP` at line 1 column 16");
    insta::assert_snapshot!(complaint(r#"{"type":"DECISION_ACK"}"#), @"frame 2 (byte 57 of the stream): missing field `txid` at line 1 column 23");
    insta::assert_snapshot!(complaint(r#"{"type":"DECISION_ACK","txid":"1.1","extra":1}"#), @"frame 2 (byte 57 of the stream): unknown field `extra`, expected `txid` at line 1 column 46");
    let deep = "[".repeat(100_000);
    insta::assert_snapshot!(complaint(&deep), @"frame 2 (byte 57 of the stream): invalid type: sequence, expected struct Envelope at line 1 column 0");
}
