//! Bytes: [`frame`] between nodes, [`journal`] on disk, [`recording`] of what a node lived through. What is inside is
//! in the [form](crate::form) that the node chooses, and all treat every byte as possibly hostile.

pub mod frame;
pub mod journal;
pub mod recording;

use crate::form::{Form, MAX_MESSAGE_BYTES};
use crate::node::{Data, Effect, Node, NodeId};

/// Asks whether a value is the same after it was written and read back, which every world takes for granted of what
/// leaves a node or outlives it: as JSON, for people's files, and in the node's own form. Returns how many bytes it takes
/// in that; `Err` says how it differs.
pub fn round_trip<T: Data>(form: Form, what: &str, value: &T) -> Result<usize, String> {
    let bytes = round_trip_in(form, what, value)?;
    if form != Form::Json {
        round_trip_in(Form::Json, what, value)?;
    }
    Ok(bytes)
}

fn round_trip_in<T: Data>(form: Form, what: &str, value: &T) -> Result<usize, String> {
    let mut bytes = Vec::new();
    if let Err(why) = form.write(value, &mut bytes) {
        return Err(format!("{what} {} cannot be written as {form}: {why}", shown(value)));
    }
    let written = || format!("{what} {} is not the same after it was written as {form}:", shown(value));
    match form.read::<T>(&bytes) {
        Ok(back) if back == *value => Ok(bytes.len()),
        Ok(back) => Err(format!("{} it is read back as {}", written(), shown(&back))),
        Err(why) => Err(format!("{} it cannot be read back: {why}", written())),
    }
}

/// Asks it of all that an effect carries, and whether a message is small enough.
pub fn survives<N: Node>(effect: &Effect<N>) -> Result<(), String> {
    match effect {
        Effect::Append(record) => round_trip(N::FORM, "the record", record).map(drop),
        Effect::Send { to, message } | Effect::Lost { to, message } => {
            match round_trip(N::FORM, "the message", message)? {
                bytes if bytes > MAX_MESSAGE_BYTES => Err(too_large(*to, bytes)),
                _ => Ok(()),
            }
        }
        Effect::Reply { reply, .. } => round_trip(N::FORM, "the reply", reply).map(drop),
        Effect::Observe(fact) => round_trip(N::FORM, "the fact", fact).map(drop),
        Effect::SetTimer { timer, .. } => round_trip(N::FORM, "the timer", timer).map(drop),
        Effect::Publish(view) => match Form::Json.size(&view.0) {
            Ok(_) => Ok(()),
            Err(why) => Err(format!("the view {} cannot be written as JSON: {why}", shown(&view.0))),
        },
        Effect::CancelTimer(_) | Effect::WhenDurable(_) | Effect::Forget(_) => Ok(()),
        Effect::Meet { .. } | Effect::Part(_) => Ok(()),
    }
}

/// What is wrong with a message of so many bytes.
pub fn too_large(to: NodeId, bytes: usize) -> String {
    format!(
        "a message to {to} takes {bytes} bytes, and {MAX_MESSAGE_BYTES} is the most: split what does not fit \
         (Context::fits)"
    )
}

/// A value in one line that is not too long.
fn shown(value: &impl std::fmt::Debug) -> String {
    const MOST: usize = 200;
    let text = format!("{value:?}");
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_changes_on_the_way_is_named() {
        assert_eq!(round_trip(Form::Json, "the record", &vec![(1, "a".to_owned())]), Ok(9));
        assert_eq!(round_trip(Form::Json, "the record", &BTreeMap::from([(1_u64, Some(2_u8))])), Ok(7));
        let is = |value: Option<Option<u8>>| round_trip(Form::Json, "the reply", &value).unwrap_err();
        assert_eq!(
            is(Some(None)),
            "the reply Some(None) is not the same after it was written as JSON: it is read back as None"
        );
        let why = round_trip(Form::Json, "the fact", &BTreeMap::from([((1, 2), 3)])).unwrap_err();
        assert_eq!(why, "the fact {(1, 2): 3} cannot be written as JSON: key must be a string");
    }
}
