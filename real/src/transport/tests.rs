//! The bounds: a peer that does not read, one that floods, too many, and one that breaks off.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use coalmine_core::codec::journal::Segment;
use coalmine_core::node::{Context, Delay, Event};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use super::*;
use crate::tokio_runtime::{TokioJournal, TokioRuntime};

const SOON: Duration = Duration::from_secs(20);

/// tokio's world, in which one waits a hundredth of the time.
#[derive(Clone)]
struct Hasty(TokioRuntime);

impl Runtime for Hasty {
    type Stream = TcpStream;
    type Listener = TcpListener;
    type Journal = TokioJournal;

    fn spawn(&self, _: impl Future<Output = ()> + Send + 'static) {
        unreachable!("the transport has no tasks");
    }
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.0.sleep(duration / 100)
    }
    fn now(&self) -> Duration {
        self.0.now()
    }
    fn choose(&self, n: u32) -> u32 {
        self.0.choose(n)
    }
    fn draw(&self, delay: Delay) -> Duration {
        self.0.draw(delay)
    }
    async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        self.0.connect(to).await
    }
    async fn listen(&self, at: SocketAddr) -> io::Result<TcpListener> {
        self.0.listen(at).await
    }
    async fn open_journal(&self) -> io::Result<(Vec<Segment>, TokioJournal)> {
        self.0.open_journal().await
    }
}

/// Whatever it would do, its messages are words.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Wordy;

impl Node for Wordy {
    type Config = ();
    type Message = String;
    type Timer = ();
    type Record = ();
    type Request = ();
    type Reply = ();
    type View = ();
    type Fact = ();
    fn start((): &(), _: &[()], _: &mut Context<'_, Self>) -> Self {
        Self
    }
    fn on(&mut self, (): &(), _: Event<Self>, _: &mut Context<'_, Self>) {}
}

#[derive(Clone)]
struct Complaints(mpsc::Sender<String>);

impl Probe<Wordy> for Complaints {
    fn warn(&self, what: String) {
        self.0.send(what).expect("the test listens");
    }
}

type Tested = Transport<Wordy, Hasty, Complaints>;

/// The transport of node 1, where it listens, and what it complains of. Node 2 is at this address.
async fn transport(peer: SocketAddr) -> (Tested, SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it has an address");
    let (warn, complaints) = mpsc::channel();
    let runtime = Hasty(TokioRuntime::new(""));
    let peers = BTreeMap::from([(NodeId(2), peer)]);
    (Transport::new(runtime, listener, NodeId(1), &peers, Complaints(warn)), address, complaints)
}

fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

fn frame(from: u32, message: &str) -> Vec<u8> {
    frame::encode(Form::Json, &Envelope { from: NodeId(from), message }).expect("it is short")
}

#[tokio::test]
async fn a_peer_that_does_not_read_costs_frames_and_no_time() {
    let peer = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (mut transport, _, _) = transport(peer.local_addr().expect("it has an address")).await;
    let message = "x".repeat(1 << 16);
    let began = Instant::now();
    let mut refused = None;
    let mut connections = Vec::new();
    for _ in 0..10_000 {
        if let Err(why) = transport.send(NodeId(2), message.clone()) {
            refused = Some(why);
            break;
        }
        tokio::select! {
            biased;
            (from, _) = transport.next() => panic!("{from} says nothing"),
            accepted = peer.accept(), if connections.is_empty() => connections.push(accepted.expect("it works")),
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(refused, Some(NotSent::Lost("the queue to n2 is full".into())));
    // The write hangs, so the connection is given up; what waits goes on the next one.
    let next = async {
        tokio::select! {
            biased;
            (from, _) = transport.next() => panic!("{from} says nothing"),
            accepted = peer.accept() => accepted.expect("it works"),
        }
    };
    timeout(SOON, next).await.expect("a write that hangs ends its connection");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_is_sent_arrives_whole_and_in_order() {
    let peer = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (mut transport, _, _) = transport(peer.local_addr().expect("it has an address")).await;
    let messages: Vec<_> = (0..200).map(|n| format!("{n} {}", "x".repeat(1 << 16))).collect();
    let sent: Vec<u8> = messages.iter().flat_map(|it| frame(1, it)).collect();
    // The first is sent before there is a connection, the others when it is open: more than it takes at once,
    // so that writes stop in the middle of a frame.
    let mut messages = messages.into_iter();
    transport.send(NodeId(2), messages.next().expect("it is the first")).expect("there is room");
    let mut read = vec![0; sent.len()];
    let first = frame(1, &format!("0 {}", "x".repeat(1 << 16))).len();
    let connect = async {
        let (mut stream, _) = peer.accept().await.expect("it works");
        stream.read_exact(&mut read[..first]).await.expect("the first comes");
        stream
    };
    let mut stream = tokio::select! {
        biased;
        (from, _) = transport.next() => panic!("{from} says nothing"),
        stream = timeout(SOON, connect) => stream.expect("in time"),
    };
    for message in messages {
        transport.send(NodeId(2), message).expect("there is room");
    }
    tokio::select! {
        biased;
        (from, _) = transport.next() => panic!("{from} says nothing"),
        rest = timeout(SOON, stream.read_exact(&mut read[first..])) => rest.expect("in time").expect("it comes"),
    };
    assert!(read == sent, "other bytes have arrived");
}

#[tokio::test]
async fn a_flood_does_not_keep_others_from_being_heard() {
    let (mut transport, address, _) = transport(nowhere()).await;
    let mut flood = TcpStream::connect(address).await.expect("it listens");
    let mut other = TcpStream::connect(address).await.expect("it listens");
    let many: Vec<u8> = (0..20_000).flat_map(|_| frame(3, "again")).collect();
    tokio::spawn(async move { flood.write_all(&many).await });
    let (from, _) = timeout(SOON, transport.next()).await.expect("the flood has begun");
    assert_eq!(from, NodeId(3));
    other.write_all(&frame(4, "hello")).await.expect("the node reads");
    let mut before = 0;
    while timeout(SOON, transport.next()).await.expect("there is more").0 != NodeId(4) {
        before += 1;
        tokio::task::yield_now().await; // as a node's other work does: the runtime sees what has arrived
    }
    assert!(before < 1000, "{before} messages of the flood came first");
}

#[tokio::test]
async fn whoever_comes_too_many_waits_for_a_place() {
    let (mut transport, address, _) = transport(nowhere()).await;
    let mut connections = Vec::new();
    for _ in 0..=MAX_CONNECTIONS {
        // The system keeps only so many until they are accepted.
        connections.push(tokio::select! {
            biased;
            (from, _) = transport.next() => panic!("{from} says nothing"),
            connected = TcpStream::connect(address) => connected.expect("it listens"),
        });
    }
    let mut last = connections.pop().expect("there are many");
    last.write_all(&frame(9, "hello")).await.expect("the system takes it");
    let heard = timeout(Duration::from_millis(300), transport.next()).await;
    assert!(heard.is_err(), "there is no place for it");
    connections.pop();
    let (from, _) = timeout(SOON, transport.next()).await.expect("now there is one");
    assert_eq!(from, NodeId(9));
}

#[tokio::test]
async fn a_connection_that_ends_within_a_frame_is_complained_of() {
    let (mut transport, address, complaints) = transport(nowhere()).await;
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let mut bytes = frame(2, "whole");
    bytes.extend_from_slice(&frame(2, "torn")[..7]);
    stream.write_all(&bytes).await.expect("the node reads");
    drop(stream);
    let (_, message) = timeout(SOON, transport.next()).await.expect("the first frame is whole");
    assert_eq!(message, "whole");
    let nothing = timeout(Duration::from_millis(300), transport.next()).await;
    assert!(nothing.is_err(), "the second is not");
    let complaint = complaints.try_recv().expect("a complaint");
    assert!(complaint.ends_with("it ended within a frame"), "{complaint}");
    assert!(complaints.try_recv().is_err(), "one is enough");
}

/// A peer that is met is sent to; one that was parted from gets what was sent before, and nothing after; one that has moved is
/// sent to where it lives now.
#[tokio::test]
async fn peers_come_and_go() {
    let (mut transport, _, _) = transport(nowhere()).await;
    let bind = async || {
        let peer = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = peer.local_addr().expect("it has an address");
        (peer, address)
    };
    let ((old, at), (new, moved_to)) = (bind().await, bind().await);
    assert_eq!(transport.send(NodeId(3), "nobody".into()), Err(NotSent::Unknown));
    transport.meet(NodeId(3), at);
    transport.send(NodeId(3), "before".into()).expect("it is known");
    transport.part(NodeId(3));
    assert_eq!(transport.send(NodeId(3), "after".into()), Err(NotSent::Unknown));
    let receive = async |transport: &mut Tested, peer: &TcpListener, message: &str| {
        let wanted = frame(1, message);
        let mut read = vec![0; wanted.len()];
        let receive = async {
            let (mut stream, _) = peer.accept().await.expect("it works");
            stream.read_exact(&mut read).await.expect("it comes");
            stream
        };
        let stream = tokio::select! {
            biased;
            (from, _) = transport.next() => panic!("{from} says nothing"),
            stream = timeout(SOON, receive) => stream.expect("in time"),
        };
        assert_eq!(read, wanted);
        stream
    };
    let _open = receive(&mut transport, &old, "before").await;
    tokio::select! {
        biased;
        (from, _) = transport.next() => panic!("{from} says nothing"),
        () = tokio::time::sleep(Duration::from_millis(50)) => {}
    }
    assert!(!transport.peers.contains_key(&NodeId(3)), "its place is given back");
    transport.meet(NodeId(3), at);
    transport.meet(NodeId(3), moved_to);
    transport.send(NodeId(3), "moved".into()).expect("it is known");
    let _open = receive(&mut transport, &new, "moved").await;
    // Who cannot be reached is not waited for.
    transport.send(NodeId(2), "nowhere".into()).expect("there is room");
    transport.part(NodeId(2));
    for _ in 0..500 {
        tokio::select! {
            biased;
            (from, _) = transport.next() => panic!("{from} says nothing"),
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
        }
        if !transport.peers.contains_key(&NodeId(2)) {
            return;
        }
    }
    panic!("a peer that cannot be reached keeps its place");
}
