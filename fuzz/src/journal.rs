//! Journals: recovery of any bytes ends in records or in an error, and no damage to a journal loses a synced
//! record in silence.
//!
//! One kind of damage no journal can see: a file that is cut at the end of a line is a shorter journal. So what
//! leaves a prefix of the file is held to that and no more. So is a last file that is gone.

use arbitrary::{Result, Unstructured};
use coalmine_core::codec::journal::{Recovered, Segment, encode, encode_forget, recover, recover_segments};
use coalmine_core::form::Form;
use coalmine_core::rollout::durable::Record;

use crate::{below, words};

/// One input: any bytes, a valid journal and one piece of damage, or one in several files that forgets.
pub fn run(data: &[u8]) {
    let _ = match data.split_first() {
        Some((first @ 0..64, bytes)) => {
            any_bytes(if first % 2 == 0 { Form::Json } else { Form::MessagePack }, bytes);
            Ok(())
        }
        Some((64..160, bytes)) => damaged_journal(&mut Unstructured::new(bytes)),
        Some((_, bytes)) => journal_that_forgets(&mut Unstructured::new(bytes)),
        None => Ok(()),
    };
}

fn any_bytes(form: Form, bytes: &[u8]) {
    let Ok(recovered) = recover::<Record>(form, bytes) else { return };
    let valid = usize::try_from(recovered.valid_bytes).expect("a small file");
    let torn = recovered.torn.map_or(0, |torn| torn.bytes as usize);
    assert_eq!(valid + torn, bytes.len(), "every byte is kept or cut");
    // What is left after the mending that recovery asks for is a journal without a blemish.
    let mut mended = bytes[..valid].to_vec();
    if recovered.unterminated {
        mended.push(b'\n');
    }
    let valid_bytes = mended.len() as u64;
    let expected = Recovered { valid_bytes, torn: None, unterminated: false, ..recovered };
    assert_eq!(recover(form, &mended), Ok(expected));
}

fn damaged_journal(u: &mut Unstructured<'_>) -> Result<()> {
    let form = *u.choose(&[Form::Json, Form::MessagePack])?;
    let records: Vec<_> = (0..1 + below(u, 5)?).map(|_| words::record(u)).collect::<Result<_>>()?;
    let (mut bytes, mut ends) = (Vec::new(), vec![0]);
    for (i, record) in records.iter().enumerate() {
        encode(form, i as u64 + 1, record, &mut bytes);
        ends.push(bytes.len());
    }
    assert_eq!(recover::<Record>(form, &bytes).map(|it| it.records).as_ref(), Ok(&records));

    // A crash cuts the file, somewhere after what was synced; then the damage, somewhere in what was.
    let count = 1 + below(u, records.len())?;
    let (synced, end) = (&records[..count], ends[count]);
    bytes.truncate(end + below(u, bytes.len() - end + 1)?);
    let cut = recover::<Record>(form, &bytes).expect("a cut is not damage").records;
    assert!(cut.starts_with(synced) && records.starts_with(&cut), "a crash loses the tail and nothing else");

    let mut damaged = bytes.clone();
    let (a, b) = (below(u, end)?, below(u, end)?);
    let (from, to) = (a.min(b), a.max(b));
    match below(u, 4)? {
        0 => damaged[a] ^= u.int_in_range(1..=255)?,
        1 => drop(damaged.drain(from..to)),
        2 => drop(damaged.splice(a..a, bytes[from..to].iter().copied())),
        _ => {
            // Two lines change places.
            let (first, second) = (below(u, count)?, below(u, count)?);
            let (first, second) = (first.min(second), first.max(second));
            let line = |i: usize| ends[i]..ends[i + 1];
            damaged.splice(line(second), bytes[line(first)].iter().copied());
            damaged.splice(line(first), bytes[line(second)].iter().copied());
        }
    }
    any_bytes(form, &damaged);
    if let Ok(recovered) = recover::<Record>(form, &damaged) {
        let intact = recovered.records.starts_with(synced);
        assert!(intact || bytes.starts_with(&damaged), "a synced record was lost or altered in silence");
        assert!(records.starts_with(&recovered.records), "a record out of nothing");
    }
    Ok(())
}

/// Records that are their own numbers, lines that say what is forgotten, files one after the other: all comes back that is
/// not forgotten, and no byte and no file goes missing in silence.
fn journal_that_forgets(u: &mut Unstructured<'_>) -> Result<()> {
    let form = *u.choose(&[Form::Json, Form::MessagePack])?;
    let mut files = vec![Segment { first: 1, bytes: Vec::new() }];
    let (mut next, mut before, mut told_in) = (1_u64, 1_u64, 1_u64);
    for _ in 0..below(u, 12)? {
        let last = files.last_mut().expect("there is always one");
        match below(u, 4)? {
            0 if last.first != next => files.push(Segment { first: next, bytes: Vec::new() }),
            1 => {
                let forgets = 1 + below(u, next as usize)? as u64;
                encode_forget(forgets, next, &mut last.bytes);
                if forgets >= before {
                    (before, told_in) = (forgets, last.first);
                }
            }
            _ => {
                encode(form, next, &next, &mut last.bytes);
                next += 1;
            }
        }
    }
    let sound = recover_segments::<u64>(form, &files).expect("it is sound");
    let expected: Vec<_> = (before..next).collect();
    assert_eq!((sound.forgotten, &sound.records, sound.told_in), (before - 1, &expected, told_in));

    let place = below(u, files.len())?;
    let mut damaged = files.clone();
    if u.arbitrary()? {
        let is_last = place + 1 == damaged.len();
        damaged.remove(place);
        let found = recover_segments::<u64>(form, &damaged);
        let is_gone = place == 0 && files.get(1).is_some_and(|second| second.first <= before.min(told_in));
        match found {
            Ok(found) if is_last => {
                let fits = found.forgotten < before && found.records.last().is_none_or(|last| *last < next);
                assert!(fits || found.records.is_empty(), "{found:?}");
            }
            Ok(found) => assert!(is_gone && found.records == expected, "{place} of {files:?}: {found:?}"),
            Err(_) => assert!(!is_gone || is_last, "{place} of {files:?}"),
        }
    } else if !damaged[place].bytes.is_empty() {
        let at = below(u, damaged[place].bytes.len())?;
        damaged[place].bytes[at] ^= 1 + below(u, 255)? as u8;
        // A line feed that becomes a zero is one that is missing, and nothing else is.
        if let Ok(found) = recover_segments::<u64>(form, &damaged) {
            let is_whole = (found.forgotten, &found.records) == (before - 1, &expected);
            assert!(is_whole, "byte {at} of file {place} of {files:?}: {found:?}");
        }
    }
    Ok(())
}
