//! The JSON of messages, records and states: what is written is read back, and what is wrong is refused in
//! words that help.

use std::collections::BTreeMap;

use coalmine_core::node::NodeId;
use coalmine_core::rollout::config::Timeouts;
use coalmine_core::rollout::durable::Record;
use coalmine_core::rollout::gates::Gates;
use coalmine_core::rollout::health::Health;
use coalmine_core::rollout::message::{Envelope, Message, Request};
use coalmine_core::rollout::state::{ClusterId, ModelId, RoutingState, Txid, WHOLE_BP, Weights};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::arbitrary::{message, record, state};
use super::check;

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let text = serde_json::to_string(value).expect("plain data always serialises");
    assert!(!text.contains('\n'), "JSON holds no raw line feed: {text}");
    assert_eq!(&serde_json::from_str::<T>(&text).expect("what was written"), value, "{text}");
}

#[test]
fn messages_round_trip() {
    check(1_000, message(), |message| round_trip(&message));
}

#[test]
fn records_round_trip() {
    check(1_000, record(), |record| round_trip(&record));
}

#[test]
fn states_round_trip_and_keep_their_digest() {
    check(500, state(), |state| {
        round_trip(&state);
        let text = serde_json::to_string(&state).expect("plain data");
        let copy: RoutingState = serde_json::from_str(&text).expect("what was written");
        assert_eq!(copy.digest(), state.digest());
    });
}

/// Every basis point is a decimal that comes back as itself.
#[test]
fn every_weight_round_trips() {
    for bp in 0..=WHOLE_BP {
        let shares = [("a", bp), ("b", WHOLE_BP - bp)];
        let shares = shares.map(|(name, bp)| (ModelId::new(name).expect("a name"), bp));
        round_trip(&Weights::new(BTreeMap::from(shares)).expect("the whole"));
    }
}

#[test]
fn a_state_on_the_wire() {
    let initial = RoutingState::initial(&ModelId::new("v1").expect("a name"), &[NodeId(1)]);
    let model = ModelId::new("v2").expect("a name");
    let state =
        initial.next(&model, 525, Txid { generation: 1, epoch: 3, number: 14 }).expect("a valid step");
    let message = Envelope {
        message: Message::PrepareReq {
            txid: Txid { generation: 1, epoch: 3, number: 14 },
            state,
            members: Vec::new(),
            gates: None,
        },
        cluster: Some(ClusterId(0xc0a1)),
    };
    insta::assert_snapshot!(serde_json::to_string_pretty(&message).expect("plain data"), @r#"
    {
      "type": "PREPARE_REQ",
      "txid": "3.14",
      "state": {
        "version": 1,
        "stable_model_id": "v1",
        "canary_model_id": "v2",
        "weights": {
          "v1": 0.9475,
          "v2": 0.0525
        },
        "status": "canary",
        "txid": "3.14",
        "trial": "3.14",
        "members": [
          {
            "id": 1,
            "address": null,
            "since": 0
          }
        ]
      },
      "members": [],
      "gates": null,
      "cluster": "000000000000c0a1"
    }
    "#);
}

#[test]
fn no_version_follows_the_last() {
    let model = |name| ModelId::new(name).expect("a name");
    let state = RoutingState { version: u64::MAX, ..RoutingState::initial(&model("v1"), &[NodeId(1)]) };
    for share_bp in [500, WHOLE_BP] {
        let complaint = state.next(&model("v2"), share_bp, Txid::default()).expect_err("no version is left");
        assert_eq!(complaint.to_string(), "there is no version after 18446744073709551615");
    }
}

fn complaint<T: DeserializeOwned + std::fmt::Debug>(value: Value) -> String {
    serde_json::from_value::<T>(value).expect_err("it is wrong").to_string()
}

#[test]
fn wrong_weights_are_refused() {
    insta::assert_snapshot!(complaint::<Weights>(json!({ "v1": 0.5 })), @"weights sum to 0.5, must sum to 1");
    insta::assert_snapshot!(complaint::<Weights>(json!({ "v1": 0.99995, "v2": 0.00005 })), @"weight 0.99995 of model v1: must lie in 0..=1 in steps of 0.0001");
    insta::assert_snapshot!(complaint::<Weights>(json!({ "v1": 1.5, "v2": -0.5 })), @"weight 1.5 of model v1: must lie in 0..=1 in steps of 0.0001");
    insta::assert_snapshot!(complaint::<Weights>(json!({ "v1": "1" })), @r#"invalid type: string "1", expected f64"#);
    insta::assert_snapshot!(complaint::<Weights>(json!({ "": 1 })), @r#"model name "": must be 1 to 128 of A-Z a-z 0-9 . _ - + : / @, a letter or digit first"#);
    insta::assert_snapshot!(complaint::<Weights>(json!({})), @"weights sum to 0, must sum to 1");
}

#[test]
fn wrong_names_and_txids_are_refused() {
    insta::assert_snapshot!(complaint::<ModelId>(json!("")), @r#"model name "": must be 1 to 128 of A-Z a-z 0-9 . _ - + : / @, a letter or digit first"#);
    insta::assert_snapshot!(complaint::<ModelId>(json!("a\nb")), @r#"model name "a\nb": must be 1 to 128 of A-Z a-z 0-9 . _ - + : / @, a letter or digit first"#);
    insta::assert_snapshot!(complaint::<ModelId>(json!("x".repeat(129))), @r#"model name "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx": must be 1 to 128 of A-Z a-z 0-9 . _ - + : / @, a letter or digit first"#);
    for text in [
        "",
        "1",
        "1.",
        ".1",
        "1.2.3",
        "-1.2",
        "a.b",
        "1.4294967296",
        "1 .2",
        "1.2 ",
        "01.2",
        "1.02",
        "+1.2",
        "1.+2",
        "0x1.2",
        "١.2",
        "1:1.2", // the first generation is not written
        ":1.2",
        "2:",
        "2:1",
        "02:1.2",
        "2:3:1.2",
    ] {
        let expected =
            format!("txid {text:?}: must be two numbers, such as \"1.2\", or three, such as \"2:1.2\"");
        assert_eq!(complaint::<Txid>(json!(text)), expected);
    }
    insta::assert_snapshot!(complaint::<Txid>(json!(1.2)), @"invalid type: floating point `1.2`, expected a string");
}

#[test]
fn wrong_messages_records_and_requests_are_refused() {
    insta::assert_snapshot!(complaint::<Message>(json!({ "txid": "1.1" })), @"missing field `type`");
    insta::assert_snapshot!(
        complaint::<Message>(json!({ "type": "DECISION", "txid": "1.1", "version": 1, "outcome": "maybe" })),
        @"unknown variant `maybe`, expected `commit` or `abort`"
    );
    insta::assert_snapshot!(
        complaint::<Message>(json!({ "type": "DECISION", "txid": "1.1", "version": -1, "outcome": "abort" })),
        @"invalid value: integer `-1`, expected u64"
    );
    insta::assert_snapshot!(complaint::<Record>(json!({ "refused": { "txid": "1.1", "why": "" } })), @"unknown field `why`, expected `txid`");
    insta::assert_snapshot!(complaint::<Record>(json!({ "forgotten": {} })), @"unknown variant `forgotten`, expected one of `epoch`, `accepted`, `queued`, `voted`, `steered`, `refused`, `decided`, `installed`, `granted`, `changing`, `taking_over`, `resolved`, `outdated`, `fleet`, `recalled`, `snapshot`, `admitted`");
    insta::assert_snapshot!(
        complaint::<Request>(json!({ "start_rollout": { "model": "v2", "steps": [5] } })),
        @"unknown field `steps`, expected one of `model`, `steps_bp`, `pause_ms`, `holds_ms`, `gates`, `on_failure`, `deadline_ms`, `supersede`"
    );
    insta::assert_snapshot!(
        complaint::<Health>(json!({ "window_id": 1, "version": 1, "models": { "v2": { "samples": 1, "p95_ms": 1.5, "error_bp": 0 } } })),
        @"invalid type: floating point `1.5`, expected u32"
    );
    insta::assert_snapshot!(complaint::<Timeouts>(json!({ "votes_ms": 1 })), @"unknown field `votes_ms`, expected one of `vote_ms`, `resend_ms`, `inquire_ms`, `heartbeat_ms`");
}

/// The defaults of the gates are part of the promise: 200 ms, 5 %, 100 ms and 2 points above the stable model, 100
/// samples.
#[test]
fn the_default_gates() {
    insta::assert_debug_snapshot!(Gates::default(), @r#"
    Gates {
        max_p95_ms: 200,
        max_error_bp: 500,
        max_p95_rise_ms: 100,
        max_error_rise_bp: 200,
        min_samples: 100,
    }
    "#);
}
