//! Recordings that a disk, a person or another program has changed: refused by name, or incomplete.

use coalmine_sim::verify::protocol_of;

use super::*;

/// Whatever is changed, be it a name or a time that no execution can confirm: it is refused, with its line.
#[test]
fn a_damaged_byte_is_an_error() {
    let folder = folder("damaged");
    record(None, &folder, Engine::Direct, 2);
    let path = folder.join("n2.rec");
    let bytes = fs::read(&path).expect("it is there");
    let header = bytes.iter().position(|&byte| byte == b'\n').expect("a line");
    for place in (0..header).chain((header..bytes.len() - 1).step_by(41)) {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1;
        fs::write(&path, damaged).expect("the folder is ours");
        let why = verify(&folder).expect_err("it is not what was recorded");
        assert!(why.contains("n2.rec: line "), "byte {place}: {why}");
    }
    // A line that is lost, repeated, or in the place of another.
    let lines: Vec<_> = bytes.split_inclusive(|&b| b == b'\n').collect();
    for order in [vec![0, 1, 3], vec![0, 1, 1, 2], vec![0, 2, 1], vec![0, 1, 2, 3, 3]] {
        let swapped: Vec<_> = order.iter().map(|&line| lines[line]).collect();
        fs::write(&path, swapped.concat()).expect("the folder is ours");
        let why = verify(&folder).expect_err("it is not what was recorded");
        assert!(why.contains("its checksum is"), "{order:?}: {why}");
    }
    fs::remove_dir_all(folder).expect("it is ours");
}

/// A file that is never synced may have grown before its bytes came. What is behind the zeros is of no use.
#[test]
fn zeros_begin_a_torn_tail() {
    let folder = folder("zeros");
    record(None, &folder, Engine::Direct, 2);
    let path = folder.join("n2.rec");
    let bytes = fs::read(&path).expect("it is there");
    let lines: Vec<_> = bytes.split_inclusive(|&b| b == b'\n').collect();
    let whole = lines[..9].concat();
    let half = &lines[9][..lines[9].len() / 2];
    for tail in [vec![0; 512], [half, &[0; 512]].concat(), [half, &[0; 512], &lines[11..].concat()].concat()]
    {
        fs::write(&path, [&whole[..], &tail].concat()).expect("the folder is ours");
        let verified = verify(&folder).expect("it is what a power failure leaves");
        assert_eq!((&verified.difference, &verified.violated), (&None, &None));
        let torn = format!("n2.rec: line 10: a torn tail of {} bytes", tail.len());
        assert!(verified.notes.iter().any(|note| note.contains(&torn)), "{:?}", verified.notes);
        let lost = verified.missing.iter().any(|it| it.node == NodeId(2) && it.line == 9);
        assert!(lost && !verified.is_complete(), "{:?}", verified.missing);
    }
    // The recorder takes such a file for its own.
    fs::write(&path, [&bytes[..5], &[0; 100]].concat()).expect("the folder is ours");
    assert_eq!(live(&path, Limits::default(), 1), Vec::<String>::new());
    fs::remove_dir_all(folder).expect("it is ours");
}

/// What is no file may never end, and a header may say anything.
#[test]
fn devices_and_absurd_headers_are_refused() {
    let folder = folder("absurd");
    let said = verify(Path::new("/dev/zero")).expect_err("it is endless");
    assert!(said.contains("/dev/zero: it is no regular file"), "{said}");
    let said = chaos::scenario().verify(&[PathBuf::from("/dev/null")], false).expect_err("it is no file");
    assert!(said.contains("/dev/null: it is no regular file"), "{said}");
    fs::create_dir(folder.join("n9.rec")).expect("the folder is ours");
    let said = verify(&folder).expect_err("a folder in a folder");
    assert!(said.contains("n9.rec: it is a folder, not a file"), "{said}");
    fs::remove_dir(folder.join("n9.rec")).expect("it is ours");
    let path = folder.join("n1.rec");
    let huge = fs::File::create(&path).expect("the folder is ours");
    huge.set_len(5 << 40).expect("it takes no room");
    let said = verify(&folder).expect_err("it is too large");
    assert!(said.contains("n1.rec: it has 5497558138880 bytes"), "{said}");

    record(None, &folder, Engine::Direct, 2);
    let whole = read(&path);
    let with = |part, continues| {
        let header = Header { part, continues, ..whole.header.clone() };
        write(&path, &Part { header, lines: whole.lines.clone(), torn: None });
        verify(&folder)
    };
    for continues in [false, true] {
        let verified = with(u64::MAX, continues).expect("something is missing before it");
        assert_eq!((&verified.difference, &verified.violated), (&None, &None));
        assert!(!verified.is_complete(), "{:?}", verified.notes);
    }
    let said = with(0, false).expect_err("parts count from 1");
    assert!(said.contains("n1.rec: line 1: it is part 0"), "{said}");
    let late = |line: &mut Line<Node>| {
        if let Line::Step(step) = line {
            step.at = u64::MAX;
        }
    };
    let mut never = read(&folder.join("n3.rec"));
    never.lines.iter_mut().for_each(late);
    write(&path, &whole);
    write(&folder.join("n3.rec"), &never);
    let verified = verify(&folder).expect("a clock may say anything");
    assert_eq!((&verified.difference, &verified.violated), (&None, &None));
    fs::remove_dir_all(folder).expect("it is ours");
}

/// What was saved anew by another program, and what is no recording at all, is told from one that is empty.
#[test]
fn what_is_no_recording_is_named() {
    let folder = folder("strange");
    record(None, &folder, Engine::Direct, 2);
    let path = folder.join("n1.rec");
    let whole = fs::read(&path).expect("it is there");
    let marked = [b"\xef\xbb\xbf".as_slice(), &whole].concat();
    let strange = b"\x7fELF\x02\x01\0\0 and so on".to_vec();
    let wide: Vec<_> =
        b"\xff\xfe".iter().copied().chain(whole.iter().take(99).flat_map(|&byte| [byte, 0])).collect();
    for (bytes, says) in [
        (marked, "line 1: it begins with a byte order mark"),
        (strange, "line 1: no recording: its 18 bytes begin with 7f 45 4c 46 02 01 00 00"),
        (wide, "line 1: no recording: its 200 bytes begin with ff fe 7b 00 22"),
    ] {
        fs::write(&path, bytes).expect("the folder is ours");
        for said in [verify(&folder).map(drop), protocol_of(std::slice::from_ref(&path)).map(drop)] {
            let said = said.expect_err("it is no recording");
            assert!(said.contains("n1.rec: ") && said.contains(says), "{said}");
        }
    }
    fs::write(&path, b"").expect("the folder is ours");
    let said = protocol_of(std::slice::from_ref(&path)).expect_err("it is empty");
    assert!(said.contains("n1.rec: empty"), "{said}");
    fs::remove_dir_all(folder).expect("it is ours");
}

/// Without the recording of a member, the invariants that ask what was *not* told are not asked.
#[test]
fn a_member_without_a_recording_is_missed() {
    let folder = folder("member");
    record(None, &folder, Engine::Direct, 2);
    fs::remove_file(folder.join("n2.rec")).expect("it is ours");
    let verified = verify(&folder).expect("it can be read");
    assert_eq!((&verified.difference, &verified.violated), (&None, &None));
    assert!(
        verified.strangers.as_ref().is_some_and(|why| why.contains("no recording of n2")),
        "{verified:?}"
    );
    let judged = |name: &str| verified.judged.iter().find(|it| it.invariant == name).map(|it| it.steps);
    assert_eq!((judged("unanimous"), judged("one-outcome")), (Some(0), Some(verified.steps)));
    // A recording of another cluster among these.
    record(None, &folder, Engine::Direct, 2);
    let alone = folder.join("n9.rec");
    live(&alone, Limits::default(), 3);
    let mut stranger = read(&alone);
    stranger.header.node = NodeId(9);
    write(&alone, &stranger);
    let verified = verify(&folder).expect("it can be read");
    assert_eq!((&verified.difference, &verified.violated), (&None, &None));
    let why = "nothing shows that n9 is of one cluster";
    assert!(verified.strangers.as_ref().is_some_and(|said| said.contains(why)), "{:?}", verified.strangers);
    fs::remove_dir_all(folder).expect("it is ours");
}

/// What was durable is gone, and no disk is new: no gap explains it.
#[test]
fn a_journal_that_contradicts_a_recording_is_told() {
    let folder = folder("journal");
    let path = folder.join("n3.rec");
    let is_boot = |line: &Line<Node>| matches!(line, Line::Step(Step { took: Took::Boot { journal, .. }, .. }) if journal.records.len() > 2);
    let seed = (0..50).find(|&seed| {
        record(None, &folder, Engine::Direct, seed);
        read(&path).lines.iter().any(is_boot)
    });
    seed.expect("in some run the third node boots again");
    let whole = read(&path);
    let place = whole.lines.iter().position(is_boot).expect("it boots again");
    for (has_end, extra) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut lines = whole.lines.clone();
        if let Line::Step(Step { took: Took::Boot { journal, .. }, .. }) = &mut lines[place] {
            if extra { journal.records.push(journal.records[0].clone()) } else { journal.records.truncate(1) }
        }
        lines.truncate(place + 1);
        if !has_end {
            lines.remove(place - 1);
        }
        write(&path, &Part { header: whole.header.clone(), lines, torn: None });
        let verified = verify(&folder).expect("it can be read");
        if extra && !has_end {
            // It may have been written after the end of what is recorded: nothing is known of it.
            let why = verified.beyond.iter().find(|it| it.node == NodeId(3)).map(|it| it.why.clone());
            assert!(why.is_some_and(|why| why.contains("is known to have written")), "{:?}", verified.beyond);
            continue;
        }
        let difference = verified.difference.as_ref().expect("no crash leaves this");
        assert!(difference.here.contains("no crash of its life before leaves this"), "{difference:?}");
        assert_eq!((difference.node, verified.exit_code()), (NodeId(3), 5));
    }
    fs::remove_dir_all(folder).expect("it is ours");
}
