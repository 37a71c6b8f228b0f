//! Connections between nodes: in TLS, or as they are where nobody has an identity.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use coalmine_core::node::NodeId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::rustls::CommonState;
use tokio_rustls::{Accept, TlsStream};

use super::identity::{ALPN, Identity, server_name};
use super::names::{explain_io, node_of};
use crate::runtime::Unproven;

/// What the acceptor says when the dialler may speak.
const WELCOME: u8 = 1;
/// How long a dialler waits for its welcome. Whom it has reached may be busy, but not dead.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// As it is: to or from a client, or between nodes that have no identity.
    Plain(TcpStream),
    /// Between nodes, in TLS.
    Secure(Secure),
}

/// A connection in TLS, or on its way there.
pub struct Secure {
    /// Whom the other end's certificate names.
    peer: Option<NodeId>,
    state: Box<State>,
}

enum State {
    Shaking(Accept<TcpStream>),
    /// Hands are shaken; the welcome is on its way.
    Welcoming {
        stream: TlsStream<TcpStream>,
        is_written: bool,
    },
    Open(TlsStream<TcpStream>),
    /// It is of no use.
    Over,
}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secure").field("peer", &self.peer).finish_non_exhaustive()
    }
}

fn unproven(what: impl Into<String>) -> io::Error {
    io::Error::other(Unproven(what.into()))
}

/// Who is at the other end of a connection on which hands were shaken.
fn who(connection: &CommonState) -> Result<NodeId, String> {
    if connection.alpn_protocol() != Some(ALPN) {
        return Err("it speaks another protocol".into());
    }
    match connection.peer_certificates() {
        Some([certificate, ..]) => node_of(certificate),
        Some([]) | None => Err("it presents no certificate".into()),
    }
}

/// A connection that was accepted. Hands are shaken when it is first read.
pub fn accept(identity: &Identity, stream: TcpStream) -> Stream {
    let state = Box::new(State::Shaking(identity.acceptor.accept(stream)));
    Stream::Secure(Secure { peer: None, state })
}

/// Shakes hands with a peer that was dialled, and waits for its welcome.
pub async fn dial(identity: &Identity, peer: NodeId, stream: TcpStream) -> io::Result<Stream> {
    let shaken = tokio::time::timeout(PATIENCE, shake(identity, peer, stream)).await;
    let stream =
        shaken.unwrap_or_else(|_| Err(format!("it said nothing for {PATIENCE:?}"))).map_err(unproven)?;
    Ok(Stream::Secure(Secure { peer: Some(peer), state: Box::new(State::Open(stream)) }))
}

async fn shake(identity: &Identity, peer: NodeId, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
    let shaken = identity.connector.connect(server_name(peer)?, stream).await;
    let mut stream = TlsStream::Client(shaken.map_err(|error| explain_io(&error))?);
    let node = who(stream.get_ref().1)?;
    if node != peer {
        return Err(format!("its certificate is {node}'s"));
    }
    match stream.read_u8().await {
        Ok(WELCOME) => Ok(stream),
        Ok(_) => Err("it speaks another protocol".into()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err("it hung up without a welcome".into())
        }
        Err(error) => Err(explain_io(&error)),
    }
}

impl Stream {
    /// Whom the other end's certificate names; nobody before hands are shaken, or without TLS.
    pub fn peer(&self) -> Option<NodeId> {
        match self {
            Self::Plain(_) => None,
            Self::Secure(secure) => secure.peer,
        }
    }
}

impl Secure {
    /// The connection, once the welcome has left.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut TlsStream<TcpStream>>>> {
        loop {
            match &mut *self.state {
                State::Shaking(shaking) => {
                    let shaken = ready!(Pin::new(shaking).poll(cx));
                    *self.state = State::Over;
                    let stream = TlsStream::Server(shaken.map_err(|error| unproven(explain_io(&error)))?);
                    self.peer = Some(who(stream.get_ref().1).map_err(unproven)?);
                    *self.state = State::Welcoming { stream, is_written: false };
                }
                State::Welcoming { stream, is_written } => {
                    if !*is_written {
                        *is_written = ready!(Pin::new(&mut *stream).poll_write(cx, &[WELCOME]))? == 1;
                    }
                    ready!(Pin::new(stream).poll_flush(cx))?;
                    if let State::Welcoming { stream, .. } = std::mem::replace(&mut *self.state, State::Over)
                    {
                        *self.state = State::Open(stream);
                    }
                }
                State::Open(_) => break,
                State::Over => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            }
        }
        match &mut *self.state {
            State::Open(stream) => Poll::Ready(Ok(Pin::new(stream))),
            State::Shaking(_) | State::Welcoming { .. } | State::Over => {
                Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Secure(secure) => ready!(secure.poll_open(cx))?.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Secure(secure) => ready!(secure.poll_open(cx))?.poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Secure(secure) => ready!(secure.poll_open(cx))?.poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Secure(secure) => ready!(secure.poll_open(cx))?.poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Self::Secure(secure) => ready!(secure.poll_open(cx))?.poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Secure(_) => true, // what is written is copied in any case
        }
    }
}
