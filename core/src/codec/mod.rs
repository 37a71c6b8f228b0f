//! Bytes: [`frame`] between nodes, [`journal`] on disk, [`recording`] of what a node lived through. All are
//! JSON inside, so that a person can read a packet dump, a journal and a recording, and all treat every byte
//! as possibly hostile.

pub mod frame;
pub mod journal;
pub mod recording;

use crate::node::{Data, Effect, Node};

/// Asks whether a value is the same after it was written and read back, which every world takes for granted of what
/// leaves a node or outlives it. `Err` says how it differs.
pub fn round_trip<T: Data>(what: &str, value: &T) -> Result<(), String> {
    let json = match serde_json::to_string(value) {
        Ok(json) => json,
        Err(why) => return Err(format!("{what} {} cannot be written as JSON: {why}", shown(value))),
    };
    let as_json = || format!("{what} {} is not the same after it was written as JSON:", shown(value));
    match serde_json::from_str::<T>(&json) {
        Ok(back) if back == *value => Ok(()),
        Ok(back) => Err(format!("{} it is read back as {}", as_json(), shown(&back))),
        Err(why) => Err(format!("{} it cannot be read back: {why}", as_json())),
    }
}

/// Asks it of all that an effect carries.
pub fn survives<N: Node>(effect: &Effect<N>) -> Result<(), String> {
    match effect {
        Effect::Append(record) => round_trip("the record", record),
        Effect::Send { message, .. } => round_trip("the message", message),
        Effect::Reply { reply, .. } => round_trip("the reply", reply),
        Effect::Observe(fact) => round_trip("the fact", fact),
        Effect::SetTimer { timer, .. } => round_trip("the timer", timer),
        Effect::Publish(view) => match serde_json::to_string(&view.0) {
            Ok(_) => Ok(()),
            Err(why) => Err(format!("the view {} cannot be written as JSON: {why}", shown(&view.0))),
        },
        Effect::CancelTimer(_) | Effect::WhenDurable(_) => Ok(()),
    }
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
        assert_eq!(round_trip("the record", &vec![(1, "a".to_owned())]), Ok(()));
        assert_eq!(round_trip("the record", &BTreeMap::from([(1_u64, Some(2_u8))])), Ok(()));
        let is = |value: Option<Option<u8>>| round_trip("the reply", &value).unwrap_err();
        assert_eq!(
            is(Some(None)),
            "the reply Some(None) is not the same after it was written as JSON: it is read back as None"
        );
        let why = round_trip("the fact", &BTreeMap::from([((1, 2), 3)])).unwrap_err();
        assert_eq!(why, "the fact {(1, 2): 3} cannot be written as JSON: key must be a string");
    }
}
