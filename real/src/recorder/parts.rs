//! The files of one recording. Each life of a node begins a new part, and so does a part that is full. The
//! newest part is the file itself; an older one has its number behind the name: `n1.rec.1`, `n1.rec.2`,
//! `n1.rec`.
//!
//! Only the whole of a life can be executed again, so only parts of former lives are deleted. A life that
//! alone takes all the room ends its recording with a gap: the disk is never filled.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use coalmine_core::codec::recording::BEGINNING;

use crate::files;

/// Gives the newest part the name of an older one, deletes the oldest so that one more part is not too many,
/// and says which number that part has. The life under way is never touched: it has fewer parts than there
/// may be.
pub fn make_room(path: &Path, parts: usize) -> io::Result<u64> {
    let mut older = older_parts(path)?;
    let mut next = older.last().map_or(1, |&(part, _)| part + 1);
    if path.exists() {
        check_is_recording(path)?;
        let name = numbered(path, next);
        fs::rename(path, &name)?;
        older.push((next, name));
        next += 1;
    }
    let too_many = (older.len() + 1).saturating_sub(parts.max(1));
    for (_, oldest) in &older[..too_many] {
        fs::remove_file(oldest)?;
    }
    Ok(next)
}

/// All parts of a recording that are there, the oldest first.
pub fn parts(path: &Path) -> io::Result<Vec<PathBuf>> {
    let older = older_parts(path)?.into_iter().map(|(_, path)| path);
    Ok(older.chain(path.exists().then(|| path.to_owned())).collect())
}

fn older_parts(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let name = path.file_name().ok_or_else(|| io::Error::other("it has no file name"))?;
    let prefix = format!("{}.", name.to_string_lossy());
    let mut parts = Vec::new();
    for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
        let entry = entry?;
        let number = entry.file_name().to_string_lossy().strip_prefix(&prefix).map(str::to_owned);
        if let Some(Ok(part)) = number.map(|number| number.parse()) {
            parts.push((part, entry.path()));
        }
    }
    parts.sort();
    Ok(parts)
}

fn numbered(path: &Path, part: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{part}"));
    name.into()
}

/// A file that is no recording is not moved out of the way.
fn check_is_recording(path: &Path) -> io::Result<()> {
    let mut start = Vec::new();
    files::open_regular(path)?.take(BEGINNING.len() as u64).read_to_end(&mut start)?;
    // It may have been cut short by a crash, or have grown before its bytes reached the disk.
    let zeros = start.iter().rev().take_while(|&&byte| byte == 0).count();
    if BEGINNING.starts_with(&start[..start.len() - zeros]) {
        return Ok(());
    }
    Err(io::Error::other("the file is there, and is no recording"))
}
