//! Journals: recovery of any bytes ends in records or in an error, and no damage to a journal loses a synced
//! record in silence.
//!
//! One kind of damage no journal can see: a file that is cut at the end of a line is a shorter journal. So what
//! leaves a prefix of the file is held to that and no more.

use arbitrary::{Result, Unstructured};
use coalmine_core::codec::journal::{Recovered, encode, recover};
use coalmine_core::form::Form;
use coalmine_core::rollout::message::Record;

use crate::{below, words};

/// One input: any bytes, or a valid journal and one piece of damage.
pub fn run(data: &[u8]) {
    let _ = match data.split_first() {
        Some((first @ 0..64, bytes)) => {
            any_bytes(if first % 2 == 0 { Form::Json } else { Form::MessagePack }, bytes);
            Ok(())
        }
        Some((_, bytes)) => damaged_journal(&mut Unstructured::new(bytes)),
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
    let expected = Recovered { records: recovered.records, valid_bytes, torn: None, unterminated: false };
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
