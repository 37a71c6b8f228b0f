//! Files that people name, of which a program knows nothing but the name: a device never ends, a pipe never begins,
//! a folder is no file, a disk is full. So only regular files are read, never more than has any sense, and text may
//! begin with a byte order mark. What is written takes the place of what was there as a whole or not at all, and
//! whether that can be done is [asked](try_to_write) before the work whose result it is, not after.

use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

/// More than any text that people write: plans, capsules, configurations.
pub const TEXT_BYTES: u64 = 64 << 20;

fn wrong(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why.into())
}

fn regular(what: &Metadata) -> io::Result<()> {
    match what {
        file if file.is_file() => Ok(()),
        folder if folder.is_dir() => Err(wrong("it is a folder, not a file")),
        _ => Err(wrong("it is no regular file but a device, a pipe or a socket")),
    }
}

/// Whether what is here, if anything is, is a regular file. To open a pipe is to wait for its other end.
pub fn regular_or_missing(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(there) => regular(&there),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(why) => Err(why),
    }
}

/// Opens a file to read it, if it is a regular one. A pipe would be waited for without end, so it is not even opened.
pub fn open_regular(path: &Path) -> io::Result<File> {
    regular(&std::fs::metadata(path)?)?;
    let file = File::open(path)?;
    regular(&file.metadata()?)?;
    Ok(file)
}

/// Reads a regular file, if it has at most so many bytes.
pub fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(wrong(format!("it has more than {limit} bytes"))),
        false => Ok(bytes),
    }
}

/// Whether root has handed this file to a process that is not root's, which reads it as one of its group: so do containers get
/// their secrets, and services their credentials. That its group can read it is what it is for, then.
pub fn is_handed(file: &Metadata) -> bool {
    is_handed_to(file.uid(), geteuid().as_raw())
}

fn is_handed_to(owner: u32, me: u32) -> bool {
    owner == 0 && me != 0
}

/// Reads a regular file as text, as [`text`] does.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    text(read_regular(path, limit)?)
}

/// Bytes as UTF-8. A byte order mark before it is skipped; those of other encodings are named.
pub fn text(bytes: Vec<u8>) -> io::Result<String> {
    let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] = bytes[..] {
        return Err(bad("it is UTF-16, by its byte order mark: save it as UTF-8".into()));
    }
    let text = String::from_utf8(bytes).map_err(|why| {
        let upto = why.utf8_error().valid_up_to();
        let line = why.as_bytes()[..upto].iter().filter(|&&byte| byte == b'\n').count() + 1;
        bad(format!("it is not UTF-8 (line {line}, byte {upto})"))
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// Whether a file can be written here, with the folders that lead to it. Leaves nothing behind. A file that is there
/// must be a regular one that may be written.
pub fn try_to_write(path: &Path) -> io::Result<()> {
    regular_or_missing(path)?;
    if path.exists() {
        OpenOptions::new().append(true).open(path)?;
    }
    if path.file_name().is_none() {
        return Err(wrong("it names no file"));
    }
    let mut here = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    while let Some(folder) = folder_of(&here) {
        if !folder.exists() {
            here = folder;
            continue;
        }
        if !folder.is_dir() {
            return Err(wrong(format!("{} is not a folder", folder.display())));
        }
        break;
    }
    let part = beside(&here);
    File::create(&part)?;
    std::fs::remove_file(part)
}

/// Whether files can be written into this folder, which is made if need be. Leaves nothing behind.
pub fn try_to_write_into(folder: &Path) -> io::Result<()> {
    if folder.exists() && !folder.is_dir() {
        return Err(wrong("it is not a folder"));
    }
    try_to_write(&folder.join("file"))
}

/// Writes a file as a whole, and the folders that lead to it: beside it first, under a name that no other file's is
/// made to, then in its place. If that fails the old one stays, and nothing is left beside it.
pub fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    if let Ok(there) = std::fs::metadata(path) {
        regular(&there)?;
    }
    if let Some(folder) = folder_of(path) {
        std::fs::create_dir_all(folder)?;
    }
    // A link stays one.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let part = beside(&path);
    let written = File::create(&part).and_then(|mut file| {
        write(&mut file)?;
        file.sync_all()
    });
    let written = written.and_then(|()| std::fs::rename(&part, &path));
    if written.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    written
}

/// The folder that a file lies in; none for what has none but the root.
fn folder_of(path: &Path) -> Option<PathBuf> {
    let folder = path.parent()?;
    Some(if folder.as_os_str().is_empty() { Path::new(".") } else { folder }.to_owned())
}

/// Where a file is written before it takes its place: two processes may write the same.
fn beside(path: &Path) -> OsString {
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{}.part", std::process::id()));
    part
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder can be made")
    }

    fn count(folder: &Path) -> usize {
        std::fs::read_dir(folder).expect("it is there").count()
    }

    #[test]
    fn only_root_hands_files_over_and_not_to_itself() {
        let cases =
            [(0, 10_001, true), (0, 0, false), (10_001, 10_001, false), (7, 10_001, false), (7, 0, false)];
        for (owner, me, expected) in cases {
            assert_eq!(is_handed_to(owner, me), expected, "of {owner}, read by {me}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_skipped_or_named() {
        let read = |bytes: &[u8]| text(bytes.to_vec()).map_err(|why| why.to_string());
        assert_eq!(read(b"\xef\xbb\xbfa = 1\r\n"), Ok("a = 1\r\n".into()));
        assert_eq!(read("a = 1".as_bytes()), Ok("a = 1".into()));
        for utf16 in [b"\xff\xfea\0".as_slice(), b"\xfe\xff\0a"] {
            assert!(read(utf16).is_err_and(|why| why.contains("UTF-16")));
        }
        assert!(read(b"a\nb\xff").is_err_and(|why| why.contains("line 2, byte 3")));
    }

    #[test]
    fn only_regular_files_are_read_and_only_up_to_a_limit() {
        let folder = folder();
        let file = folder.path().join("file");
        std::fs::write(&file, "12345").expect("written");
        assert_eq!(read_regular(&file, 5).expect("it is no longer"), b"12345");
        assert!(read_regular(&file, 4).is_err_and(|why| why.to_string().contains("more than 4 bytes")));
        assert!(read_regular(folder.path(), 9).is_err_and(|why| why.to_string().contains("folder")));
        if Path::new("/dev/zero").exists() {
            assert!(
                read_regular(Path::new("/dev/zero"), 9).is_err_and(|why| why.to_string().contains("device"))
            );
        }
    }

    #[test]
    fn whether_a_file_can_be_written_is_known_before_and_nothing_is_left() {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "old").expect("written");
        for can in ["file", "new", "some/more/folders/new"] {
            try_to_write(&at(can)).expect(can);
        }
        assert_eq!(std::fs::read_to_string(at("file")).expect("it is there"), "old");
        assert_eq!(count(folder.path()), 1);
        for (cannot, why) in [("", "folder"), ("file/new", "ot a directory"), ("file/a/b", "ot a directory")]
        {
            let said = try_to_write(&at(cannot)).expect_err(cannot).to_string();
            assert!(said.contains(why) || said.contains("not a folder"), "{cannot}: {said}");
        }
        assert!(try_to_write_into(&at("file")).is_err());
        try_to_write_into(&at("some/folder")).expect("it can be made");
        if Path::new("/dev/full").exists() {
            assert!(
                try_to_write(Path::new("/dev/full")).is_err_and(|why| why.to_string().contains("device"))
            );
        }
        assert_eq!(count(folder.path()), 1);
    }

    /// Two files may be written at a time, and to names that differ only in what follows the dot.
    #[test]
    fn a_file_is_replaced_as_a_whole_or_not_at_all() {
        let folder = folder();
        let [one, two] = ["rollout.1", "rollout.2"].map(|name| folder.path().join(name));
        let both = replace(&one, |file| {
            file.write_all(b"o")?;
            replace(&two, |file| file.write_all(b"two"))?;
            file.write_all(b"ne")
        });
        both.expect("there is room");
        let held = [&one, &two].map(|path| std::fs::read_to_string(path).expect("it was written"));
        assert_eq!(held, ["one", "two"]);
        let failed = replace(&one, |file| {
            file.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.map_err(|why| why.kind()), Err(io::ErrorKind::StorageFull));
        assert_eq!(std::fs::read_to_string(&one).expect("it is there"), "one");
        assert_eq!(count(folder.path()), 2, "nothing is left beside them");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_one() {
        let folder = folder();
        let [file, link] = ["file", "link"].map(|name| folder.path().join(name));
        std::fs::write(&file, "old").expect("written");
        std::os::unix::fs::symlink("file", &link).expect("made");
        try_to_write(&link).expect("it leads to a file");
        replace(&link, |file| file.write_all(b"new")).expect("there is room");
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_to_string(file).expect("it is there"), "new");
    }
}
