//! Journals that forget: lines that say so, and files one after the other. What was not forgotten comes back whole, or
//! recovery says that it does not.

use coalmine_core::codec::journal::{Segment, encode, encode_forget, recover, recover_segments};
use coalmine_core::form::Form;
use proptest::prelude::*;

use super::check;

const FORM: Form = Form::Json;

/// What a journal is told: a record, or that all before a number vanish.
#[derive(Clone, Copy, Debug)]
enum Told {
    Record,
    Forget(u64),
}

/// The lines, and how many records there are after each, and how many of these are forgotten.
fn lines(told: &[Told]) -> Vec<(Vec<u8>, u64, u64)> {
    let (mut records, mut forgotten) = (0, 0);
    let line = |told: &Told| {
        let mut line = Vec::new();
        match told {
            Told::Record => {
                records += 1;
                encode(FORM, records, &records, &mut line);
            }
            Told::Forget(before) => {
                let before = before % (records + 1) + 1;
                forgotten = forgotten.max(before - 1);
                encode_forget(before, records + 1, &mut line);
            }
        }
        (line, records, forgotten)
    };
    told.iter().map(line).collect()
}

fn told() -> impl Strategy<Value = Vec<Told>> {
    let one = prop_oneof![3 => Just(Told::Record), 1 => (0_u64..9).prop_map(Told::Forget)];
    prop::collection::vec(one, 0..12)
}

/// Cut anywhere: what was written whole before the cut is there, but for what that says is forgotten.
#[test]
fn every_cut_leaves_what_is_not_forgotten() {
    check(100, told(), |told| {
        let lines = lines(&told);
        let bytes: Vec<u8> = lines.iter().flat_map(|(line, ..)| line.clone()).collect();
        for cut in 0..=bytes.len() {
            let recovered = recover::<u64>(FORM, &bytes[..cut]).expect("a cut is not damage");
            let mut end = 0;
            let whole = lines.iter().take_while(|(line, ..)| {
                end += line.len();
                end <= cut + 1 // only the line feed may be missing
            });
            let (records, forgotten) =
                whole.last().map_or((0, 0), |(_, records, forgotten)| (*records, *forgotten));
            assert_eq!(recovered.forgotten, forgotten, "cut at {cut}");
            assert_eq!(recovered.records, (forgotten + 1..=records).collect::<Vec<_>>(), "cut at {cut}");
        }
    });
}

/// Cut into files at any lines, of which those may be gone in which all is forgotten: the same comes back.
#[test]
fn segments_are_one_journal() {
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    check(300, (told(), cuts, any::<bool>()), |(told, cuts, keep)| {
        let lines = lines(&told);
        let bytes: Vec<u8> = lines.iter().flat_map(|(line, ..)| line.clone()).collect();
        let whole = recover::<u64>(FORM, &bytes).expect("it is sound");
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(lines.len() + 1)).collect();
        cuts.extend([0, lines.len()]);
        cuts.sort_unstable();
        let first = |cut: usize| cut.checked_sub(1).map_or(0, |before| lines[before].1) + 1;
        cuts.dedup_by_key(|cut| if *cut == lines.len() { u64::MAX } else { first(*cut) });
        let segment = |cut: &[usize]| Segment {
            first: first(cut[0]),
            bytes: lines[cut[0]..cut[1]].iter().flat_map(|(line, ..)| line.clone()).collect(),
        };
        let mut segments: Vec<_> = cuts.windows(2).map(segment).collect();
        // What says that something is forgotten must stay.
        let told_in = recover_segments::<u64>(FORM, &segments).expect("it is sound").told_in;
        while !keep && segments.len() > 1 && segments[1].first <= told_in.min(whole.forgotten + 1) {
            segments.remove(0);
        }
        let recovered = recover_segments::<u64>(FORM, &segments).expect("it is sound");
        assert_eq!(
            (recovered.forgotten, &recovered.records),
            (whole.forgotten, &whole.records),
            "{segments:?}"
        );
        assert_eq!(recovered.valid_bytes, segments.last().map_or(0, |last| last.bytes.len() as u64));
    });
}

fn sample() -> Vec<u8> {
    let told = [Told::Record, Told::Record, Told::Forget(1), Told::Record];
    lines(&told).into_iter().flat_map(|(line, ..)| line).collect()
}

#[test]
fn no_flipped_byte_of_what_is_forgotten_goes_unnoticed() {
    let bytes = sample();
    for position in 0..bytes.len() {
        for mask in [0x01, 0x04, 0x20, 0x2a, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[position] ^= mask;
            recover::<u64>(FORM, &damaged)
                .expect_err(&format!("byte {position} ^ {mask:#04x} was not noticed"));
        }
    }
}

#[test]
fn what_is_missing_is_named() {
    let complaint = |segments: &[(u64, &[u8])]| {
        let segments: Vec<_> =
            segments.iter().map(|(first, bytes)| Segment { first: *first, bytes: bytes.to_vec() }).collect();
        recover_segments::<u64>(FORM, &segments).expect_err("damage").to_string()
    };
    let all = lines(&[Told::Record, Told::Record, Told::Record, Told::Forget(2), Told::Record]);
    let line = |number: usize| all[number].0.as_slice();
    // Two of three were not forgotten, and are gone.
    insta::assert_snapshot!(complaint(&[(3, line(2))]), @"line 1 (byte 0) of the segment that begins with record 3 is damaged: the records 1 to 2 are missing, and were not forgotten");
    // Where the same file says that they are it is sound.
    let bytes = [line(2), line(3)].concat();
    let sound = recover_segments::<u64>(FORM, &[Segment { first: 3, bytes }]).expect("it is sound");
    assert_eq!((sound.forgotten, sound.records), (2, vec![3]));
    // One between is gone, one is there twice, one ends early.
    let gap = complaint(&[(1, line(0)), (3, line(2))]);
    assert_eq!(
        gap,
        "line 1 (byte 0) of the segment that begins with record 3 is damaged: it begins where record 2 was expected"
    );
    let twice = complaint(&[(1, line(0)), (1, line(0))]);
    assert_eq!(twice, "line 1 (byte 0) is damaged: it begins where record 2 was expected");
    let torn = complaint(&[(1, &line(0)[..5]), (2, line(1))]);
    assert_eq!(torn, "line 1 (byte 0) is damaged: its end is torn, although another segment follows");
    // It says more than can be, or something that nobody has written.
    let mut much = Vec::new();
    encode_forget(9, 1, &mut much);
    let much = complaint(&[(1, &much)]);
    assert_eq!(
        much,
        "line 1 (byte 0) is damaged: the records before 9 are forgotten, and the next is number 1"
    );
    for (text, why) in [
        ("forget x 00000000\n", "it is not of the form `forget <number> <crc32>`"),
        ("forget 01 00000000\n", "it is not of the form `forget <number> <crc32>`"),
        ("forget 1 00000000\n", "its checksum is \"00000000\", its content has "),
    ] {
        let told = complaint(&[(1, text.as_bytes())]);
        assert!(told.contains(why), "{text}: {told}");
    }
}
