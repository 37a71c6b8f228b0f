//! The thread that encodes and writes.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvError, TryRecvError};
use std::thread;
use std::time::Duration;

use coalmine_core::codec::recording::{self, Header, Line, Step, Took};
use coalmine_core::node::{Effect, Node};

use super::{Limits, parts};

/// How often the writer looks what was done: while it looks by itself, the node need not wake it.
const LOOK: Duration = Duration::from_millis(5);
/// After so many looks at nothing, it waits until it is woken.
const IDLE_LOOKS: u32 = 200;

/// A [`Step`] that is not encoded yet.
pub struct Taken<N: Node> {
    /// When, since 1970.
    pub at: Duration,
    /// What the node took in.
    pub took: Took<N>,
    /// What it was told when it had a choice.
    pub chose: Vec<u32>,
    /// What it did.
    pub effects: Vec<Effect<N>>,
}

/// Writes the parts of one life.
pub struct Writer<F: Write, C> {
    create: C,
    path: PathBuf,
    limits: Limits,
    /// Of the part that is being written.
    header: Header,
    /// The first part of this life.
    first: u64,
    file: BufWriter<F>,
    /// How many bytes the part has.
    bytes: u64,
    /// How many lines.
    lines: u64,
    line: Vec<u8>,
}

impl<F: Write, C: Fn(&Path) -> io::Result<F>> Writer<F, C> {
    /// Begins the first part.
    pub fn open(create: C, path: &Path, header: Header, limits: Limits) -> io::Result<Self> {
        let file = BufWriter::with_capacity(1 << 16, create(path)?);
        let first = header.part;
        let mut writer = Self {
            create,
            path: path.into(),
            limits,
            header,
            first,
            file,
            bytes: 0,
            lines: 0,
            line: Vec::new(),
        };
        writer.write_header()?;
        Ok(writer)
    }

    /// Writes until the recorder has nothing more.
    pub fn work<N: Node>(&mut self, taken: &Receiver<Taken<N>>, overflowed: &AtomicBool) -> io::Result<()> {
        let mut idle = 0;
        loop {
            match taken.try_recv() {
                Ok(next) => {
                    self.step(next)?;
                    idle = 0;
                }
                Err(TryRecvError::Empty) if idle < IDLE_LOOKS => {
                    self.file.flush()?;
                    idle += 1;
                    thread::sleep(LOOK);
                }
                Err(TryRecvError::Empty) => match taken.recv() {
                    Ok(next) => {
                        self.step(next)?;
                        idle = 0;
                    }
                    Err(RecvError) => return self.end::<N>(overflowed),
                },
                Err(TryRecvError::Disconnected) => return self.end::<N>(overflowed),
            }
        }
    }

    fn end<N: Node>(&mut self, overflowed: &AtomicBool) -> io::Result<()> {
        if overflowed.load(Ordering::Relaxed) {
            return self.gap::<N>(format!("more than {} events waited to be written", self.limits.queued));
        }
        self.write::<N>(&Line::End {})?;
        self.file.flush()
    }

    /// The recording ends before the node does.
    fn gap<N: Node>(&mut self, why: String) -> io::Result<()> {
        self.write::<N>(&Line::Gap { why: why.clone() })?;
        self.file.flush()?;
        Err(io::Error::other(why))
    }

    fn step<N: Node>(&mut self, taken: Taken<N>) -> io::Result<()> {
        let Taken { at, took, chose, effects } = taken;
        if self.bytes >= self.limits.part_bytes {
            self.next_part::<N>()?;
        }
        self.write(&Line::Step(Step::new(at, took, chose, &effects)))
    }

    fn next_part<N: Node>(&mut self) -> io::Result<()> {
        let of_this_life = usize::try_from(self.header.part - self.first + 1).unwrap_or(usize::MAX);
        if of_this_life >= self.limits.parts {
            let Limits { parts, part_bytes, .. } = self.limits;
            return self.gap::<N>(format!("this life has filled {parts} parts of {part_bytes} bytes"));
        }
        self.file.flush()?;
        (self.header.part, self.header.continues) = (parts::make_room(&self.path, self.limits.parts)?, true);
        self.file = BufWriter::with_capacity(1 << 16, (self.create)(&self.path)?);
        (self.bytes, self.lines) = (0, 0);
        self.write_header()
    }

    fn write_header(&mut self) -> io::Result<()> {
        self.line.clear();
        recording::encode_header(&self.header, &mut self.line);
        self.write_line()?;
        self.file.flush()
    }

    fn write<N: Node>(&mut self, line: &Line<N>) -> io::Result<()> {
        self.line.clear();
        if let Err(why) = recording::encode(self.lines + 1, line, &mut self.line) {
            return self.gap::<N>(format!("a step cannot be written as JSON: {why}"));
        }
        self.write_line()
    }

    fn write_line(&mut self) -> io::Result<()> {
        self.bytes += self.line.len() as u64;
        self.lines += 1;
        self.file.write_all(&self.line)
    }
}
