//! The bounds: a peer that does not read, one that floods, too many, and one that breaks off.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use coalmine_core::codec::journal::Segment;
use coalmine_core::form::Form;
use coalmine_core::node::{Context, Delay, Event};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use super::memory::{Memory, at};
use super::places::{MAX_GUESTS, MAX_OF_ONE, MAX_SILENT, QUIET, SILENCE};
use super::*;
use crate::tls::Stream;
use crate::tokio_runtime::{TokioJournal, TokioListener, TokioRuntime};

#[path = "../../tests/support/authority.rs"]
mod authority;

const SOON: Duration = Duration::from_secs(20);

/// tokio's world, in which one waits a hundredth of the time, and whose clock goes so many times as fast.
#[derive(Clone)]
struct Hasty(TokioRuntime, u32);

impl Runtime for Hasty {
    type Stream = Stream;
    type Listener = TokioListener;
    type Journal = TokioJournal;

    fn spawn(&self, _: impl Future<Output = ()> + Send + 'static) {
        unreachable!("the transport has no tasks");
    }
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.0.sleep(duration / 100)
    }
    fn now(&self) -> Duration {
        self.0.now() * self.1
    }
    fn choose(&self, n: u32) -> u32 {
        self.0.choose(n)
    }
    fn draw(&self, delay: Delay) -> Duration {
        self.0.draw(delay)
    }
    async fn connect(&self, to: SocketAddr) -> io::Result<Stream> {
        self.0.connect(to).await
    }
    async fn listen(&self, at: SocketAddr) -> io::Result<TokioListener> {
        self.0.listen(at).await
    }
    async fn connect_peer(&self, peer: NodeId, to: SocketAddr) -> io::Result<Stream> {
        self.0.connect_peer(peer, to).await
    }
    async fn listen_for_peers(&self, at: SocketAddr) -> io::Result<TokioListener> {
        self.0.listen_for_peers(at).await
    }
    fn certified(&self, stream: &Stream) -> Option<NodeId> {
        self.0.certified(stream)
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
    let runtime = Hasty(TokioRuntime::new(""), 1);
    let peers = BTreeMap::from([(NodeId(2), peer)]);
    (Transport::new(runtime, listener.into(), NodeId(1), &peers, Complaints(warn)), address, complaints)
}

fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

fn frame(from: u32, message: &str) -> Vec<u8> {
    frame::encode(Form::Json, &Envelope { from: NodeId(from), message }).expect("it is short")
}

/// However large frames are, those that wait have a bound together.
#[tokio::test]
async fn what_waits_for_a_peer_is_bounded_in_bytes_too() {
    let (mut transport, _, _) = transport(nowhere()).await;
    let large = "x".repeat(1_000_000);
    let mut sent = 0;
    let why = loop {
        match transport.send(NodeId(2), large.clone()) {
            Ok(()) => sent += 1,
            Err(why) => break why,
        }
    };
    assert_eq!((sent, why), (16, NotSent::Lost("the queue to n2 is full".into())));
    assert_eq!(transport.send(NodeId(2), "short".into()), Ok(()), "there is room for that");
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

/// The transport of node 1 in memory, where it listens, beside node 2.
async fn in_memory() -> (Transport<Wordy, Memory, Complaints>, Memory, mpsc::Receiver<String>) {
    let memory = Memory::new();
    let listener = memory.listen(at(1)).await.expect("nobody else listens");
    let (warn, complaints) = mpsc::channel();
    let peers = BTreeMap::from([(NodeId(2), at(2))]);
    (Transport::new(memory.clone(), listener, NodeId(1), &peers, Complaints(warn)), memory, complaints)
}

/// A connection that has said this to node 1.
async fn connected(memory: &Memory, says: &[u8]) -> DuplexStream {
    let mut stream = memory.connect(at(1)).await.expect("it listens");
    stream.write_all(says).await.expect("it is open");
    stream
}

/// All that comes before this time has passed.
async fn heard(transport: &mut Transport<Wordy, Memory, Complaints>, within: Duration) -> Vec<(u32, String)> {
    let mut all = Vec::new();
    let end = Instant::now() + within;
    while let Ok((from, message)) = tokio::time::timeout_at(end, transport.next()).await {
        all.push((from.0, message));
    }
    all
}

const MOMENT: Duration = Duration::from_millis(1);

/// Whether the other end has gone.
async fn is_closed(stream: &mut DuplexStream) -> bool {
    matches!(timeout(MOMENT, stream.read(&mut [0])).await, Ok(Ok(0)))
}

async fn open_ones(streams: &mut [DuplexStream]) -> usize {
    let mut open = 0;
    for stream in streams {
        open += usize::from(!is_closed(stream).await);
    }
    open
}

fn said(from: u32, message: &str) -> (u32, String) {
    (from, message.into())
}

#[tokio::test(start_paused = true)]
async fn silent_strangers_do_not_keep_a_member_out() {
    let (mut transport, memory, complaints) = in_memory().await;
    let mut member = connected(&memory, &frame(2, "before")).await;
    assert_eq!(heard(&mut transport, MOMENT).await, [said(2, "before")]);
    let mut strangers = Vec::new();
    for n in 0..2_000 {
        strangers.push(connected(&memory, if n % 2 == 0 { b"" } else { b"\0" }).await);
    }
    let _again = connected(&memory, &frame(2, "again")).await;
    assert_eq!(heard(&mut transport, MOMENT).await, [said(2, "again")]);
    // So many come that they are not taken in one round, and the member among them.
    for _ in 0..1_000 {
        strangers.push(connected(&memory, b"").await);
    }
    member.write_all(&frame(2, "still here")).await.expect("it is open");
    let _third = connected(&memory, &frame(3, "hello")).await;
    for _ in 0..1_000 {
        strangers.push(connected(&memory, b"").await);
    }
    assert_eq!(heard(&mut transport, MOMENT).await, [said(2, "still here"), said(3, "hello")]);
    assert_eq!(open_ones(&mut strangers).await, MAX_SILENT);
    assert!(complaints.try_recv().is_err(), "nobody has said anything wrong");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_say_who_it_is_is_closed() {
    let (mut transport, memory, _) = in_memory().await;
    let mut strangers = [connected(&memory, b"").await, connected(&memory, &frame(2, "torn")[..9]).await];
    let mut member = connected(&memory, b"").await;
    assert_eq!(heard(&mut transport, SILENCE - 2 * MOMENT).await, []);
    assert_eq!(open_ones(&mut strangers).await, 2);
    // It is late, but it has come before anybody has looked.
    sleep(SILENCE).await;
    member.write_all(&frame(2, "late")).await.expect("it is open");
    assert_eq!(heard(&mut transport, MOMENT).await, [said(2, "late")]);
    assert_eq!(open_ones(&mut strangers).await, 0);
    assert!(!is_closed(&mut member).await);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_connects_again_takes_the_place_of_its_oldest_connection() {
    let (mut transport, memory, _) = in_memory().await;
    let mut others = [connected(&memory, b"").await, connected(&memory, &frame(3, "other")).await];
    assert_eq!(heard(&mut transport, MOMENT).await, [said(3, "other")]);
    let mut mine = Vec::new();
    for n in 0..500 {
        mine.push(connected(&memory, &frame(2, &n.to_string())).await);
        assert_eq!(heard(&mut transport, MOMENT).await, [said(2, &n.to_string())]);
    }
    assert_eq!(open_ones(&mut mine[498..]).await, MAX_OF_ONE);
    assert_eq!(open_ones(&mut mine).await, MAX_OF_ONE);
    assert_eq!(open_ones(&mut others).await, 2, "it took nobody else's");
    // The oldest is the one that was not heard for longest.
    mine[498].write_all(&frame(2, "I am")).await.expect("it is open");
    assert_eq!(heard(&mut transport, MOMENT).await, [said(2, "I am")]);
    mine.push(connected(&memory, &frame(2, "and again")).await);
    assert_eq!(heard(&mut transport, MOMENT).await, [said(2, "and again")]);
    assert!(!is_closed(&mut mine[498]).await && is_closed(&mut mine[499]).await);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_are_no_members_are_bounded_as_a_whole() {
    let (mut transport, memory, _) = in_memory().await;
    let mut member = connected(&memory, &frame(2, "first")).await;
    let mut guests = Vec::new();
    for n in 0..300 {
        guests.push(connected(&memory, &frame(10 + n, "may I?")).await);
    }
    assert_eq!(heard(&mut transport, MOMENT).await.len(), 301, "all of them are heard");
    assert_eq!(open_ones(&mut guests).await, MAX_GUESTS);
    assert!(!is_closed(&mut member).await);
    // Whoever is met has a place of its own from then on.
    let mut met = guests.pop().expect("there are many");
    transport.meet(NodeId(309), at(309));
    for n in 0..300 {
        guests.push(connected(&memory, &frame(1_000 + n, "may I?")).await);
    }
    assert_eq!(heard(&mut transport, MOMENT).await.len(), 300);
    assert_eq!((open_ones(&mut guests).await, is_closed(&mut met).await), (MAX_GUESTS, false));
}

/// What a machine leaves behind that vanished without a word. Its node keeps its place for as long as it says something.
#[tokio::test(start_paused = true)]
async fn a_connection_that_has_long_been_quiet_is_closed_and_the_next_frame_opens_another() {
    let (mut receiver, memory, _) = in_memory().await;
    let peers = BTreeMap::from([(NodeId(1), at(1))]);
    let (warn, _complaints) = mpsc::channel();
    let listener = memory.listen(at(2)).await.expect("nobody else listens");
    let mut sender: Transport<Wordy, _, _> =
        Transport::new(memory.clone(), listener, NodeId(2), &peers, Complaints(warn));
    let mut vanished = connected(&memory, &frame(3, "hello")).await;
    let mut busy = connected(&memory, &frame(4, "hello")).await;
    sender.send(NodeId(1), "hello".into()).expect("there is room");
    let hello = async |sender: &mut Transport<Wordy, Memory, Complaints>, receiver: &mut _| {
        tokio::select! {
            biased;
            (from, _) = sender.next() => panic!("{from} says nothing"),
            heard = heard(receiver, MOMENT) => heard,
        }
    };
    assert_eq!(hello(&mut sender, &mut receiver).await.len(), 3);
    for _ in 0..3 * QUIET.as_secs() {
        sleep(Duration::from_secs(1)).await;
        busy.write_all(&frame(4, "still here")).await.expect("it is open");
        assert_eq!(heard(&mut receiver, MOMENT).await, [said(4, "still here")]);
    }
    assert!(is_closed(&mut vanished).await && !is_closed(&mut busy).await);
    assert_eq!(receiver.places.count(), 1, "the sender's is closed as well");
    // The sender has seen it meanwhile, and loses nothing.
    assert_eq!(hello(&mut sender, &mut receiver).await, []);
    sender.send(NodeId(1), "again".into()).expect("there is room");
    assert_eq!(hello(&mut sender, &mut receiver).await, [said(2, "again")]);
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

mod certified;
