//! Journals: cut anywhere, damaged anywhere. What was synced comes back whole, or recovery says that it does
//! not: never a shorter list in silence, never another record.

use coalmine_core::codec::journal::{Damage, Recovered, Torn, encode, recover};
use coalmine_core::form::Form;
use coalmine_core::rollout::durable;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::{arbitrary, check};

/// A record of the rollout, or any text: with everything that JSON has to escape, or that takes several bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Record {
    Rollout(Box<durable::Record>),
    Text(String),
}

fn record() -> impl Strategy<Value = Record> {
    let text = "[a-z0-9 \"\\\\/.{}:é漢🚀\n\u{0}]{0,12}";
    prop_oneof![4 => arbitrary::record().prop_map(|it| Record::Rollout(Box::new(it))), 1 => text.prop_map(Record::Text)]
}

const FORMS: [Form; 2] = [Form::Json, Form::MessagePack];

fn journal(form: Form, records: &[impl Serialize]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (record, number) in records.iter().zip(1..) {
        encode(form, number, record, &mut bytes);
    }
    bytes
}

fn records(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Record>> {
    prop::collection::vec(record(), count)
}

/// A few records of the rollout.
fn plain() -> Vec<durable::Record> {
    let state = r#"{"version":1,"stable_model_id":"v1","canary_model_id":"v2",
        "weights":{"v1":0.9,"v2":0.1},"status":"canary","txid":"1.1"}"#;
    let records = format!(
        r#"[{{"epoch":{{"epoch":1}}}},
            {{"voted":{{"txid":"1.1","state":{state},"members":[1,2,3]}}}},
            {{"refused":{{"txid":"1.2"}}}},
            {{"decided":{{"txid":"1.1","outcome":"commit","reason":null}}}}]"#
    );
    serde_json::from_str(&records).expect("valid records")
}

/// A fixed journal that holds every kind of byte: enough to try all positions.
fn sample() -> Vec<Record> {
    let mut records: Vec<_> = plain().into_iter().map(|it| Record::Rollout(Box::new(it))).collect();
    records.insert(2, Record::Text("é \"2\" 🚀\n".into()));
    records
}

#[test]
fn journals_round_trip() {
    for form in FORMS {
        check(200, records(0..12), |records| {
            let bytes = journal(form, &records);
            let valid_bytes = bytes.len() as u64;
            let expected =
                Recovered { forgotten: 0, records, valid_bytes, torn: None, unterminated: false, told_in: 1 };
            assert_eq!(recover(form, &bytes), Ok(expected));
        });
    }
}

/// The one thing a crash can do: cut the file short. What is left is a prefix, and the torn tail is named.
#[test]
fn every_cut_leaves_a_prefix_and_names_the_tail() {
    for form in FORMS {
        check(48, records(0..5), |records| {
            let bytes = journal(form, &records);
            let ends: Vec<_> =
                (0..=records.len()).map(|count| journal(form, &records[..count]).len()).collect();
            for cut in 0..=bytes.len() {
                let recovered = recover::<Record>(form, &bytes[..cut]).expect("a cut is not damage");
                // A record is whole when all but its line feed is there.
                let whole =
                    ends.iter().rposition(|&end| end == 0 || end - 1 <= cut).expect("an empty prefix");
                let unterminated = whole > 0 && ends[whole] - 1 == cut;
                let tail = if unterminated { 0 } else { cut - ends[whole] };
                assert_eq!(recovered.records, records[..whole]);
                assert_eq!(recovered.unterminated, unterminated);
                assert_eq!(recovered.valid_bytes, (cut - tail) as u64);
                let torn = Torn { line: whole as u64 + 1, bytes: tail as u64, zeros: 0 };
                assert_eq!(recovered.torn, (tail > 0).then_some(torn));
            }
        });
    }
}

/// The other thing: the file has grown before its bytes reached the disk, so that it ends in zeros, perhaps in the
/// middle of a line or at its line feed. What is before them comes back as if the file ended there.
#[test]
fn zeros_at_the_end_are_a_torn_tail() {
    for form in FORMS {
        check(48, (records(0..4), 1..700_usize), |(records, zeros)| {
            let bytes = journal(form, &records);
            for cut in 0..=bytes.len() {
                let before = recover::<Record>(form, &bytes[..cut]).expect("a cut is not damage");
                let grown = [&bytes[..cut], &vec![0; zeros]].concat();
                let recovered = recover::<Record>(form, &grown).expect("nothing acknowledged can be in it");
                assert_eq!(
                    (&recovered.records, recovered.unterminated),
                    (&before.records, before.unterminated)
                );
                assert_eq!(recovered.valid_bytes, before.valid_bytes);
                let torn = recovered.torn.expect("the zeros are to be cut off");
                assert_eq!(torn.bytes, (grown.len() as u64) - recovered.valid_bytes);
                assert_eq!((torn.line, torn.zeros), (before.records.len() as u64 + 1, zeros as u64));
            }
        });
    }
}

/// A journal whose middle was lost looks like a file of which some sectors came before others. Nobody knows which it
/// is, so it is damage: no record is left out that another one follows, and none is made up.
#[test]
fn zeros_before_the_end_are_damage() {
    for form in FORMS {
        check(400, (records(1..5), any::<[prop::sample::Index; 2]>()), |(records, places)| {
            let bytes = journal(form, &records);
            let mut holes = places.map(|place| place.index(bytes.len()));
            holes.sort_unstable();
            let [from, to] = holes;
            let mut damaged = bytes.clone();
            damaged[from..=to].fill(0);
            match recover::<Record>(form, &damaged) {
                Err(Damage { offset, .. }) => assert!(offset <= to as u64, "what is whole was refused"),
                Ok(recovered) => {
                    // Nothing whole, and no line feed, is behind the hole.
                    assert!(!bytes[to + 1..].contains(&b'\n'), "zeros {from} to {to} of {}", bytes.len());
                    assert!(records.starts_with(&recovered.records), "a record out of nothing");
                    let end = journal(form, &recovered.records).len();
                    assert!(end <= from + 1, "a damaged record was kept");
                }
            }
        });
    }
}

/// What no writer begins is no torn tail: it was something else, and may have been acknowledged.
#[test]
fn a_last_line_that_nobody_began_is_damage() {
    let form = Form::Json;
    let good = journal(form, &sample()[..2]);
    for (tail, why) in [
        (&b"4 00000000 {"[..], "its number is another"),
        (b"x", "its number is another"),
        (b"3 0123456z", "no line begins with such a checksum"),
        (b"3 012345678", "no line begins with such a checksum"),
        (b"3 0123 {", "no line begins with such a checksum"),
        (b"3 01234567 {\"epoch\":}", "no record begins like this"),
        (b"3 01234567 {\"epoch\":{\"epoch\":2}}", "no record begins like this"),
        (b"3 01234567 {\"ep\0ch", "no record begins like this"),
        (b"\0\x003 01234567", "its number is another"),
    ] {
        let said = recover::<Record>(form, &[&good, tail].concat()).expect_err(why).to_string();
        assert!(said.contains(why) && said.starts_with("line 3 (byte "), "{tail:?}: {said}");
    }
    for tail in
        [&b"3"[..], b"3 ", b"3 0123", b"3 01234567", b"3 01234567 ", b"3 01234567 {\"e", b"3 01234567 4"]
    {
        let recovered = recover::<Record>(form, &[&good, tail].concat()).expect("a line that was begun");
        assert_eq!(recovered.torn.map(|torn| torn.bytes), Some(tail.len() as u64), "{tail:?}");
    }
}

/// Mending what recovery reports gives a journal that goes on as if nothing had happened.
#[test]
fn a_mended_journal_goes_on() {
    for form in FORMS {
        check(64, (records(1..5), record(), any::<prop::sample::Index>()), |(records, next, cut)| {
            let bytes = journal(form, &records);
            let mut file = bytes[..cut.index(bytes.len() + 1)].to_vec();
            let recovered = recover::<Record>(form, &file).expect("a cut is not damage");
            file.truncate(usize::try_from(recovered.valid_bytes).expect("a small file"));
            if recovered.unterminated {
                file.push(b'\n');
            }
            encode(form, recovered.records.len() as u64 + 1, &next, &mut file);
            let again = recover::<Record>(form, &file).expect("mended");
            let expected: Vec<_> = recovered.records.into_iter().chain([next]).collect();
            assert_eq!((again.records, again.torn, again.unterminated), (expected, None, false));
        });
    }
}

/// Recovery of a journal in which `synced` records are on disk and something is wrong: an error that names
/// a line that is there, or all that was synced.
fn assert_no_silent_loss(form: Form, damaged: &[u8], synced: &[Record], about: &str) {
    match recover::<Record>(form, damaged) {
        Err(Damage { segment, line, offset, what }) => {
            assert_eq!(segment, 1);
            let start = usize::try_from(offset).expect("a small file");
            let feeds = damaged[..start].iter().filter(|&&byte| byte == b'\n').count() as u64;
            assert_eq!(feeds + 1, line, "{about}: line {line} does not start at byte {offset}");
            assert!(start == 0 || damaged[start - 1] == b'\n', "{about}: no line starts at {offset}");
            assert!(!what.is_empty());
        }
        Ok(recovered) => {
            assert!(recovered.records.len() >= synced.len(), "{about}: a synced record was lost in silence");
            assert_eq!(recovered.records[..synced.len()], *synced, "{about}: a synced record was altered");
        }
    }
}

const MASKS: [u8; 6] = [0x01, 0x04, 0x20, 0x2a, 0x80, 0xff];

#[test]
fn no_flipped_byte_goes_unnoticed() {
    for form in FORMS {
        let records = sample();
        let bytes = journal(form, &records);
        for position in 0..bytes.len() {
            // All masks, and the two that turn this byte into a line feed and a space.
            for mask in MASKS.into_iter().chain([bytes[position] ^ b'\n', bytes[position] ^ b' ']) {
                let mut damaged = bytes.clone();
                damaged[position] ^= mask;
                if mask != 0 {
                    recover::<Record>(form, &damaged)
                        .expect_err(&format!("byte {position} ^ {mask:#04x} was not noticed"));
                }
                assert_no_silent_loss(form, &damaged, &records, &format!("byte {position} ^ {mask:#04x}"));
            }
        }
    }
}

/// The same with a torn tail behind what was synced: the damage must not hide in it.
#[test]
fn no_flipped_byte_hides_in_a_torn_tail() {
    for form in FORMS {
        let records = sample();
        let (synced, last) = records.split_at(records.len() - 1);
        let start = journal(form, synced).len();
        let bytes = journal(form, &records);
        let length = bytes.len() - start;
        assert_eq!(last.len(), 1);
        for torn in [1, 2, 5, length / 2, length - 2] {
            for position in 0..start {
                for mask in MASKS {
                    let mut damaged = bytes[..start + torn].to_vec();
                    damaged[position] ^= mask;
                    let about = format!("byte {position} ^ {mask:#04x} before a torn tail of {torn} bytes");
                    assert_no_silent_loss(form, &damaged, synced, &about);
                }
            }
        }
    }
}

#[test]
fn lines_lost_repeated_or_swapped_are_damage() {
    let form = Form::Json;
    let text = String::from_utf8(journal(form, &plain())).expect("JSON is UTF-8");
    let lines: Vec<_> = text.lines().collect();
    let complaint = |order: &[usize]| {
        let bytes: Vec<_> =
            order.iter().flat_map(|&line| format!("{}\n", lines[line]).into_bytes()).collect();
        recover::<durable::Record>(form, &bytes).expect_err("damage").to_string()
    };
    insta::assert_snapshot!(complaint(&[1, 2]), @r#"line 1 (byte 0) is damaged: it is numbered "2" where 1 was expected"#);
    insta::assert_snapshot!(complaint(&[0, 2, 3]), @r#"line 2 (byte 33) is damaged: it is numbered "3" where 2 was expected"#);
    insta::assert_snapshot!(complaint(&[0, 0, 1]), @r#"line 2 (byte 33) is damaged: it is numbered "1" where 2 was expected"#);
    insta::assert_snapshot!(complaint(&[0, 2, 1]), @r#"line 2 (byte 33) is damaged: it is numbered "3" where 2 was expected"#);
}

#[test]
fn damage_is_named_by_line_byte_and_kind() {
    let form = Form::Json;
    let complaint = |text: &[u8]| recover::<durable::Record>(form, text).expect_err("damage").to_string();
    let good = String::from_utf8(journal(form, &plain()[..2])).expect("JSON is UTF-8");
    insta::assert_snapshot!(complaint(good.replace("\"epoch\":1", "\"epoch\":2").as_bytes()), @r#"line 1 (byte 0) is damaged: its checksum is "b1188120", its content has "b35e3f79""#);
    insta::assert_snapshot!(complaint(good.replace("[1,2,3]", "[1,2]").as_bytes()), @r#"line 2 (byte 33) is damaged: its checksum is "4aabb6f1", its content has "023a7d0b""#);
    insta::assert_snapshot!(complaint(b"\n"), @"line 1 (byte 0) is damaged: it is not of the form `<number> <crc32> <record>`");
    insta::assert_snapshot!(complaint(b"1 2\n"), @"line 1 (byte 0) is damaged: it is not of the form `<number> <crc32> <record>`");
    insta::assert_snapshot!(complaint(b"01 00000000 {}\n"), @r#"line 1 (byte 0) is damaged: it is numbered "01" where 1 was expected"#);
    insta::assert_snapshot!(complaint(b"1 \xff {}\n"), @"line 1 (byte 0) is damaged: it is not of the form `<number> <crc32> <record>`");
    let mut foreign = Vec::new();
    encode(form, 1, &serde_json::json!({ "hello": 1 }), &mut foreign);
    insta::assert_snapshot!(complaint(&foreign), @"line 1 (byte 0) is damaged: its checksum holds, but it is not a record: unknown variant `hello`, expected one of `epoch`, `accepted`, `queued`, `voted`, `steered`, `refused`, `decided`, `installed`, `granted`, `changing`, `taking_over`, `resolved`, `outdated`, `fleet`, `recalled`, `snapshot`, `admitted` at line 1 column 8");
    let mut line_feed_lost = journal(form, &plain()[..1]);
    *line_feed_lost.last_mut().expect("a line") = b'\r';
    insta::assert_snapshot!(complaint(&line_feed_lost), @"line 1 (byte 0) is damaged: a whole record is followed by a byte that is not a line feed");
}

#[test]
fn any_bytes_are_a_journal_or_damage() {
    for form in FORMS {
        check(
            2_000,
            prop::collection::vec(prop_oneof![any::<u8>(), Just(b' '), Just(b'\n')], 0..80),
            |soup| {
                if let Ok(recovered) = recover::<Record>(form, &soup) {
                    assert_eq!(recovered.records, [], "a record out of nothing");
                    assert!(!soup.contains(&b'\n'), "only an unfinished line can be a torn tail");
                }
            },
        );
    }
}
