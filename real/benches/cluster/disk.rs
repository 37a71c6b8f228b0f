//! What a step is made of: a write that is on disk, and a round trip.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Instant;

/// As many bytes as a vote takes in a journal, about.
const RECORD: [u8; 400] = [7; 400];

/// A file at whose end records are written.
pub struct Disk(File);

impl Disk {
    /// A new file.
    pub fn new(dir: &Path) -> Result<Self, String> {
        let path = dir.join("fdatasync");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.map(Self).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// A record is on disk, in microseconds.
    pub fn sync(&mut self) -> Result<f64, String> {
        let began = Instant::now();
        self.0.write_all(&RECORD).and_then(|()| self.0.sync_data()).map_err(|error| error.to_string())?;
        Ok(began.elapsed().as_secs_f64() * 1e6)
    }
}

/// A connection over loopback to whoever sends everything back.
pub struct Echo(TcpStream);

impl Echo {
    /// Connects. The other end is a thread, which ends with the connection.
    pub fn new() -> Result<Self, String> {
        let connect = || {
            let listener = TcpListener::bind(("127.0.0.1", 0))?;
            let here = TcpStream::connect(listener.local_addr()?)?;
            let (mut there, _) = listener.accept()?;
            here.set_nodelay(true)?;
            there.set_nodelay(true)?;
            std::thread::spawn(move || {
                let mut bytes = [0; RECORD.len()];
                while there.read_exact(&mut bytes).and_then(|()| there.write_all(&bytes)).is_ok() {}
            });
            Ok::<_, std::io::Error>(here)
        };
        connect().map(Self).map_err(|error| error.to_string())
    }

    /// A record goes there and comes back, in microseconds.
    pub fn round_trip(&mut self) -> Result<f64, String> {
        let began = Instant::now();
        let mut bytes = RECORD;
        self.0
            .write_all(&bytes)
            .and_then(|()| self.0.read_exact(&mut bytes))
            .map_err(|error| error.to_string())?;
        Ok(began.elapsed().as_secs_f64() * 1e6)
    }
}
