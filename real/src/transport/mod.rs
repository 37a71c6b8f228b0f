//! Datagrams on TCP. Each node keeps one connection to each peer, for what it sends; what it receives comes
//! in on the connections that the others opened.
//!
//! Nothing is promised: while a peer cannot be reached, what is sent to it is lost, and so is what was under
//! way when a connection broke. Protocols send again what matters. In return nothing waits without bound:
//! queues, frames and connections are limited, and a write that hangs ends its connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use coalmine_core::codec::frame::{self, Decoder};
use coalmine_core::node::{Node, NodeId};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc};

use crate::runtime::{Listener, Runtime};

/// How many frames may wait for a peer; more are lost.
const QUEUED_FRAMES: usize = 1024;
/// How many connections are taken at a time.
const MAX_CONNECTIONS: usize = 256;
/// A write that takes longer ends its connection.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait before connecting again: doubled from the first to the last.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// What a frame between nodes holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope<M> {
    /// Who sends.
    pub from: NodeId,
    /// What.
    pub message: M,
}

/// A message as it came in.
pub(crate) type Inbound<N> = (NodeId, <N as Node>::Message);

/// The sending side: a queue and a task for each peer.
pub(crate) struct Outbound {
    me: NodeId,
    queues: BTreeMap<NodeId, mpsc::Sender<Vec<u8>>>,
}

impl Outbound {
    /// Starts a task for each peer.
    pub(crate) fn start<R: Runtime>(runtime: &R, me: NodeId, peers: &BTreeMap<NodeId, SocketAddr>) -> Self {
        let start = |(&id, &address): (&NodeId, &SocketAddr)| {
            let (queue, frames) = mpsc::channel(QUEUED_FRAMES);
            runtime.spawn(send_frames(runtime.clone(), address, frames));
            (id, queue)
        };
        Self { me, queues: peers.iter().map(start).collect() }
    }

    /// Sends a datagram. `Err` says why it was lost at once.
    pub(crate) fn send<M: Serialize>(&self, to: NodeId, message: M) -> Result<(), String> {
        let queue = self.queues.get(&to).ok_or_else(|| format!("{to} is not a peer"))?;
        let frame = frame::encode(&Envelope { from: self.me, message }).map_err(|e| e.to_string())?;
        queue.try_send(frame).map_err(|_| format!("the queue to {to} is full"))
    }
}

async fn send_frames<R: Runtime>(runtime: R, to: SocketAddr, mut frames: mpsc::Receiver<Vec<u8>>) {
    let mut pause = RECONNECT.0;
    while let Some(frame) = frames.recv().await {
        let Ok(stream) = runtime.connect(to).await else {
            runtime.sleep(pause).await;
            pause = (pause * 2).min(RECONNECT.1);
            while frames.try_recv().is_ok() {} // what could not be sent is lost
            continue;
        };
        pause = RECONNECT.0;
        send_on_connection(&runtime, stream, frame, &mut frames).await;
    }
}

/// Sends until the connection breaks or the node stops.
async fn send_on_connection<R: Runtime>(
    runtime: &R,
    mut stream: R::Stream,
    first: Vec<u8>,
    frames: &mut mpsc::Receiver<Vec<u8>>,
) {
    let mut next = Some(first);
    let mut byte = [0];
    while let Some(frame) = next {
        let write = async {
            stream.write_all(&frame).await?;
            stream.flush().await
        };
        let written = tokio::select! {
            biased;
            written = write => written.is_ok(),
            () = runtime.sleep(WRITE_TIMEOUT) => false,
        };
        if !written {
            return;
        }
        next = tokio::select! {
            biased;
            frame = frames.recv() => frame,
            _ = stream.read(&mut byte) => return, // peers never write here: it has closed the connection
        };
    }
}

/// Takes connections, and hands on the messages that come in on them.
pub(crate) async fn receive<N: Node, R: Runtime>(
    runtime: R,
    mut listener: R::Listener,
    messages: mpsc::Sender<Inbound<N>>,
    complain: impl Fn(String) + Clone + Send + Sync + 'static,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                complain(format!("cannot accept a connection: {error}"));
                runtime.sleep(RECONNECT.1).await; // such as too many open files: it may pass
                continue;
            }
        };
        let (messages, complain) = (messages.clone(), complain.clone());
        runtime.spawn(async move {
            if let Err(why) = receive_on_connection::<N>(stream, messages).await {
                complain(format!("connection from {from} closed: {why}"));
            }
            drop(place);
        });
    }
}

async fn receive_on_connection<N: Node>(
    mut stream: impl tokio::io::AsyncRead + Unpin,
    messages: mpsc::Sender<Inbound<N>>,
) -> Result<(), String> {
    let mut decoder = Decoder::default();
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let Ok(length @ 1..) = stream.read(&mut bytes).await else {
            return if decoder.is_between_frames() { Ok(()) } else { Err("it ended within a frame".into()) };
        };
        decoder.feed(&bytes[..length]);
        while let Some(Envelope { from, message }) =
            decoder.next_frame::<Envelope<N::Message>>().map_err(|e| e.to_string())?
        {
            if messages.send((from, message)).await.is_err() {
                return Ok(()); // the node has stopped
            }
        }
    }
}
