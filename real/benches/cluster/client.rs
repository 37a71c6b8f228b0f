//! An HTTP client that keeps its connection and waits for each answer: what is measured is the server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A connection.
pub struct Client {
    to: SocketAddr,
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects.
    pub fn new(to: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(to).map_err(|error| format!("{to}: {error}"))?;
        stream.set_nodelay(true).map_err(|error| format!("{to}: {error}"))?;
        Ok(Self { to, stream: BufReader::new(stream) })
    }

    /// Listens to what a node tells from now on.
    pub fn listen(&mut self) -> Result<(), String> {
        let head = format!("GET /events HTTP/1.1\r\nhost: {}\r\n\r\n", self.to);
        let mut line = String::new();
        let told =
            self.stream.get_mut().write_all(head.as_bytes()).and_then(|()| self.stream.read_line(&mut line));
        told.map_err(|error| format!("{}/events: {error}", self.to))?;
        if line.contains(" 200 ") { Ok(()) } else { Err(format!("{}/events: {line}", self.to)) }
    }

    /// Waits until it tells this.
    pub fn hear(&mut self, what: &str) -> Result<(), String> {
        let mut line = String::new();
        while !line.contains(what) {
            line.clear();
            let read =
                self.stream.read_line(&mut line).map_err(|error| format!("{}/events: {error}", self.to))?;
            if read == 0 {
                return Err(format!("{}/events: it has ended", self.to));
            }
        }
        Ok(())
    }

    /// Sends a request; the body of the answer, which must be a success.
    pub fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<String, String> {
        let (status, body) = self.send(method, path, body)?;
        if (200..300).contains(&status) {
            Ok(body)
        } else {
            Err(format!("{}{path}: {status}: {body}", self.to))
        }
    }

    /// Sends a request; the status and the body of the answer.
    pub fn send(&mut self, method: &str, path: &str, body: &str) -> Result<(u16, String), String> {
        self.exchange(method, path, body).map_err(|error| format!("{}{path}: {error}", self.to))
    }

    fn exchange(&mut self, method: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.to,
            body.len()
        );
        self.stream.get_mut().write_all(head.as_bytes())?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        let (mut length, mut is_chunked) = (0, false);
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(bytes) = line.strip_prefix("content-length: ") {
                length = bytes.parse().unwrap_or(0);
            }
            is_chunked |= line == "transfer-encoding: chunked";
        }
        let mut all = Vec::new();
        loop {
            if is_chunked {
                let mut line = String::new();
                self.stream.read_line(&mut line)?;
                length = usize::from_str_radix(line.trim_end(), 16).unwrap_or(0);
            }
            let from = all.len();
            all.resize(from + length, 0);
            self.stream.read_exact(&mut all[from..])?;
            if is_chunked {
                self.stream.read_line(&mut String::new())?;
            }
            if !is_chunked || length == 0 {
                return Ok((status, String::from_utf8_lossy(&all).into_owned()));
            }
        }
    }
}
