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

/// What certificates are for. Certificates are made on the spot, connections are real.
mod certified {
    use std::path::Path;
    use std::sync::Arc;

    use tempfile::TempDir;
    use tokio::io::{AsyncRead, AsyncWrite};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
    use tokio_rustls::rustls::{ClientConfig, HandshakeKind, RootCertStore};

    use super::authority::{Authority, Issued, NOW};
    use super::*;
    use crate::tls::{self, Files, Identity, node_name};

    /// An authority, and one that is not that of the cluster.
    struct World {
        ours: Authority,
        other: Authority,
        _dir: TempDir,
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a folder");
            let sub = |name: &str| {
                let path = dir.path().join(name);
                std::fs::create_dir(&path).expect("made");
                Authority::new(&path, "ca.pem")
            };
            Self { ours: sub("ours"), other: sub("other"), _dir: dir }
        }

        fn member(&self, node: u32) -> Identity {
            let issued = self.ours.issue(&format!("node-{node}"), &[&node_name(NodeId(node))], NOW);
            identity(node, &self.ours.ca, issued)
        }
    }

    fn identity(node: u32, ca: &Path, Issued { cert, key }: Issued) -> Identity {
        Identity::load(NodeId(node), &Files { ca: ca.into(), cert, key }).expect("it is one")
    }

    /// What it was two hours ago: it has expired since.
    fn expired(node: u32, authority: &Authority) -> Identity {
        let issued = authority.issue("expired", &[&node_name(NodeId(node))], (-9_000, -3_600));
        let Issued { cert, key } = issued;
        let then = UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs() - 7_200));
        let files = Files { ca: authority.ca.clone(), cert, key };
        Identity::load_at(NodeId(node), &files, then).expect("it was one")
    }

    type Certified = (Tested, SocketAddr, mpsc::Receiver<String>);

    /// The transport of a node with an identity; node 2 is at this address.
    async fn node(identity: Identity, pace: u32, peer: SocketAddr) -> Certified {
        let me = identity.node();
        let runtime = Hasty(TokioRuntime::new("").with_identity(Some(identity)), pace);
        let listener = runtime.listen_for_peers(at(0)).await.expect("a free port");
        let address = crate::runtime::Listener::local_addr(&listener).expect("it has an address");
        let (warn, complaints) = mpsc::channel();
        let peers = BTreeMap::from([(NodeId(2), peer)]);
        (Transport::new(runtime, listener, me, &peers, Complaints(warn)), address, complaints)
    }

    async fn tcp(to: SocketAddr) -> TcpStream {
        TcpStream::connect(to).await.expect("it listens")
    }

    /// Lets the node work until it complains, and hears nothing meanwhile.
    async fn complains(transport: &mut Tested, complaints: &mpsc::Receiver<String>) -> String {
        let end = Instant::now() + SOON;
        loop {
            if let Ok(said) = complaints.try_recv() {
                return said;
            }
            assert!(Instant::now() < end, "it has not complained");
            let moment = timeout(Duration::from_millis(5), transport.next()).await;
            assert!(moment.is_err(), "{moment:?} was heard");
        }
    }

    /// Waits until the other end has closed.
    async fn ends(mut stream: impl AsyncRead + Unpin) {
        let mut rest = Vec::new();
        let _ = timeout(SOON, stream.read_to_end(&mut rest)).await.expect("it is closed");
    }

    /// Says something, and lets the node work until it has heard it.
    async fn heard_from(transport: &mut Tested, stream: &mut (impl AsyncWrite + Unpin), from: u32) {
        let text = format!("it is {from}");
        stream.write_all(&frame(from, &text)).await.expect("it is open");
        stream.flush().await.expect("it is open");
        let heard = timeout(SOON, transport.next()).await.expect("it is heard");
        assert_eq!(heard, (NodeId(from), text));
    }

    /// A handshake needs both ends to work.
    async fn dialled(transport: &mut Tested, identity: &Identity, to: SocketAddr) -> io::Result<Stream> {
        let mut dial = Box::pin(async { tls::dial(identity, NodeId(1), tcp(to).await).await });
        tokio::select! {
            biased;
            dialled = &mut dial => dialled,
            (from, _) = transport.next() => panic!("{from} says nothing"),
        }
    }

    #[tokio::test]
    async fn nodes_of_one_authority_hear_each_other() {
        let world = World::new();
        let (mut one, at_one, _complaints_of_one) = node(world.member(1), 1, nowhere()).await;
        let (mut two, at_two, _complaints_of_two) = node(world.member(2), 1, nowhere()).await;
        one.meet(NodeId(2), at_two);
        two.meet(NodeId(1), at_one);
        let (mut from, mut to) = (one, two);
        for n in 0..6 {
            let text = format!("{n} {}", "x".repeat(200_000)); // many records, and more than a connection holds
            let (me, you) = (from.me, to.me);
            from.send(you, text.clone()).expect("there is room");
            let heard = async {
                tokio::select! {
                    heard = to.next() => heard,
                    (other, _) = from.next() => panic!("{other} says nothing"),
                }
            };
            assert_eq!(timeout(SOON, heard).await.expect("it arrives"), (me, text));
            std::mem::swap(&mut from, &mut to);
        }
    }

    #[tokio::test]
    async fn who_cannot_prove_who_he_is_is_not_heard_and_keeps_no_place() {
        let world = World::new();
        let (mut transport, to, complaints) = node(world.member(1), 1, nowhere()).await;
        let mut member = dialled(&mut transport, &world.member(2), to).await.expect("it is a member");
        heard_from(&mut transport, &mut member, 2).await;

        let other = &world.other;
        let stranger = || identity(2, &other.ca, other.issue("s", &[&node_name(NodeId(2))], NOW));
        // It trusts our authority, so that it comes to its own certificate, which is another's.
        let turncoat = {
            let Issued { cert, key } = other.issue("t", &[&node_name(NodeId(2))], NOW);
            let both = other.ca.with_file_name("both.pem");
            let text = [&world.ours.ca, &other.ca].map(|ca| std::fs::read_to_string(ca).expect("there"));
            std::fs::write(&both, text.concat()).expect("written");
            Identity::load(NodeId(2), &Files { ca: both, cert, key }).expect("it is one")
        };
        let cases = [
            (
                stranger(),
                "not of this authority",
                "it refuses this node: the certificate is not of its authority",
            ),
            (turncoat, "it refuses this node", "its certificate is not of this authority"),
            (expired(2, &world.ours), "it refuses this node", "its certificate expired 60 minutes ago"),
        ];
        for (identity, dialler, acceptor) in cases {
            let refused =
                dialled(&mut transport, &identity, to).await.expect_err("it is refused").to_string();
            let told = complains(&mut transport, &complaints).await;
            let of_both = format!("{refused} / {told}");
            assert!(told.contains("refused a connection from") && told.contains(acceptor), "{of_both}");
            assert!(refused.contains(dialler), "{of_both}");
            assert_eq!(transport.places.count(), 1, "{of_both}");
        }
        heard_from(&mut transport, &mut member, 2).await;
    }

    /// What a certificate may be of our authority, and not a node's.
    #[tokio::test]
    async fn a_certificate_that_names_no_node_or_two_speaks_for_nobody() {
        let world = World::new();
        let (mut transport, to, complaints) = node(world.member(1), 1, nowhere()).await;
        for (names, why) in [
            (&["www.example.org"][..], "names no node"),
            (&["node-2.coalmine", "node-3.coalmine"], "only one may be"),
            (&["*.coalmine"], "names no node"),
            (&["node-02.coalmine"], "which is no node"),
        ] {
            let Issued { cert, key } = world.ours.issue("odd", names, NOW);
            let connector = raw(&world.ours.ca, Some((&cert, &key)));
            let name = node_name(NodeId(1)).try_into().expect("a name");
            let mut dial = Box::pin(async { connector.connect(name, tcp(to).await).await });
            let stream = tokio::select! {
                dialled = &mut dial => dialled.expect("it has finished before it is known"),
                (from, _) = transport.next() => panic!("{from} says nothing"),
            };
            let told = complains(&mut transport, &complaints).await;
            assert!(told.contains(why), "{names:?}: {told}");
            ends(stream).await;
            assert_eq!(transport.places.count(), 0);
        }
    }

    fn raw(ca: &Path, certified: Option<(&Path, &Path)>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).expect("there")).expect("a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().expect("1.3").with_root_certificates(roots);
        let mut config = match certified {
            None => config.with_no_client_auth(),
            Some((cert, key)) => {
                let chain = vec![CertificateDer::from_pem_file(cert).expect("there")];
                let key = PemObject::from_pem_file(key).expect("there");
                config.with_client_auth_cert(chain, key).expect("they fit")
            }
        };
        config.alpn_protocols = vec![b"coalmine/1".into()];
        TlsConnector::from(Arc::new(config))
    }

    /// As while the authority is replaced: nodes believe both. And one may have another below it.
    #[tokio::test]
    async fn there_may_be_several_authorities_and_some_between() {
        let world = World::new();
        let text = |file: &Path| std::fs::read_to_string(file).expect("there");
        let both = world.ours.ca.with_file_name("both.pem");
        std::fs::write(&both, text(&world.ours.ca) + &text(&world.other.ca)).expect("written");
        let own = world.ours.issue("node-1", &[&node_name(NodeId(1))], NOW);
        let (mut transport, to, _complaints) = node(identity(1, &both, own), 1, nowhere()).await;

        let replaced = identity(2, &both, world.other.issue("node-2", &[&node_name(NodeId(2))], NOW));
        let below = world.ours.below("below.pem");
        let issued = below.issue("node-3", &[&node_name(NodeId(3))], NOW);
        std::fs::write(&issued.cert, text(&issued.cert) + &text(&below.ca)).expect("written");
        for identity in [replaced, identity(3, &world.ours.ca, issued)] {
            let mut stream = dialled(&mut transport, &identity, to).await.expect("it is a member");
            heard_from(&mut transport, &mut stream, identity.node().0).await;
        }
    }

    /// Whom it has dialled may have stopped. Time passes at once, as nobody does anything.
    #[tokio::test(start_paused = true)]
    async fn a_dialler_does_not_wait_for_ever() {
        let world = World::new();
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let to = silent.local_addr().expect("it has an address");
        let runtime = TokioRuntime::new("").with_identity(Some(world.member(1)));
        let error = runtime.connect_peer(NodeId(2), to).await.expect_err("nobody answers");
        assert_eq!(error.to_string(), "it said nothing for 10s");
    }

    /// A resumed session would not look at certificates again, which may have expired meanwhile.
    #[tokio::test]
    async fn every_handshake_is_a_whole_one() {
        let world = World::new();
        let (mut transport, to, _complaints) = node(world.member(1), 1, nowhere()).await;
        let Issued { cert, key } = world.ours.issue("node-2", &[&node_name(NodeId(2))], NOW);
        let connector = raw(&world.ours.ca, Some((&cert, &key)));
        for _ in 0..2 {
            let name = node_name(NodeId(1)).try_into().expect("a name");
            let welcomed = async {
                let mut stream = connector.connect(name, tcp(to).await).await.expect("it is a member");
                stream.read_u8().await.expect("it is welcome");
                stream
            };
            let stream = tokio::select! {
                stream = welcomed => stream,
                (from, _) = transport.next() => panic!("{from} says nothing"),
            };
            let connection = stream.get_ref().1;
            let kind = connection.handshake_kind();
            assert_eq!((kind, connection.tls13_tickets_received()), (Some(HandshakeKind::Full), 0));
        }
    }

    #[tokio::test]
    async fn no_certificate_no_tls_and_garbage_get_nowhere() {
        let world = World::new();
        let (mut transport, to, complaints) = node(world.member(1), 1, nowhere()).await;
        let mut member = dialled(&mut transport, &world.member(2), to).await.expect("it is a member");

        let anonymous = raw(&world.ours.ca, None);
        let name = node_name(NodeId(1)).try_into().expect("a name");
        let mut dial = Box::pin(async { anonymous.connect(name, tcp(to).await).await });
        let mut stream = tokio::select! {
            dialled = &mut dial => dialled.expect("it has finished before it is known"),
            (from, _) = transport.next() => panic!("{from} says nothing"),
        };
        let _ = stream.write_all(&frame(2, "I have none")).await;
        assert!(complains(&mut transport, &complaints).await.ends_with("it presents no certificate"));
        ends(stream).await;

        let garbage: Vec<u8> = (0..20_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for bytes in [&frame(2, "in the clear")[..], &garbage, &[0x16, 3, 3, 0, 2, 1, 0]] {
            let mut stream = tcp(to).await;
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
            let told = complains(&mut transport, &complaints).await;
            assert!(told.contains("refused a connection from"), "{told}");
            ends(stream).await;
            assert_eq!(transport.places.count(), 1);
        }
        heard_from(&mut transport, &mut member, 2).await;
    }

    #[tokio::test]
    async fn nobody_speaks_for_another() {
        let world = World::new();
        let (mut transport, to, complaints) = node(world.member(1), 1, nowhere()).await;
        let mut three = dialled(&mut transport, &world.member(3), to).await.expect("it is a member");
        heard_from(&mut transport, &mut three, 3).await;
        // Not even after it has spoken for itself.
        three.write_all(&frame(2, "I am two")).await.expect("it is open");
        let told = complains(&mut transport, &complaints).await;
        assert!(told.ends_with("it speaks for n2, and its certificate is n3's"), "{told}");
        ends(three).await;
        assert_eq!(transport.places.count(), 0);
        // However often: what is told of it is bounded.
        for _ in 0..20 {
            let mut three = dialled(&mut transport, &world.member(3), to).await.expect("it is a member");
            three.write_all(&frame(2, "I am two")).await.expect("it is open");
            let mut ended = Box::pin(ends(three));
            tokio::select! {
                () = &mut ended => {}
                (from, _) = transport.next() => panic!("{from} was heard"),
            }
        }
        assert_eq!(complaints.try_iter().count(), 3, "of four in a minute one was told above");
    }

    #[tokio::test]
    async fn whoever_is_dialled_has_to_be_the_one_that_is_meant() {
        let world = World::new();
        let stranger = identity(2, &world.other.ca, world.other.issue("s", &[&node_name(NodeId(2))], NOW));
        let cases = [
            (world.member(3), "its certificate does not name node-2.coalmine"),
            (stranger, "its certificate is not of this authority"),
            (expired(2, &world.ours), "its certificate expired"),
        ];
        for (impostor, why) in cases {
            let (mut there, at_there, _complaints) = node(impostor, 1, nowhere()).await;
            let (mut transport, _, complaints) = node(world.member(1), 1, at_there).await;
            transport.send(NodeId(2), "a secret".into()).expect("there is room");
            let told = async {
                tokio::select! {
                    told = complains(&mut transport, &complaints) => told,
                    (from, message) = there.next() => panic!("{from} has told it: {message}"),
                }
            };
            let told = timeout(SOON, told).await.expect("it complains");
            assert!(told.starts_with(&format!("did not connect to n2 at {at_there}: {why}")), "{told}");
        }
        // One that knows no TLS, and hangs up.
        let plain = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (mut transport, _, complaints) =
            node(world.member(1), 1, plain.local_addr().expect("it has one")).await;
        transport.send(NodeId(2), "a secret".into()).expect("there is room");
        let told = async {
            tokio::select! {
                told = complains(&mut transport, &complaints) => told,
                () = async { loop { drop(plain.accept().await) } } => unreachable!(),
            }
        };
        let told = timeout(SOON, told).await.expect("it complains");
        assert!(told.contains("did not connect to n2"), "{told}");
    }

    #[tokio::test]
    async fn a_handshake_that_stalls_is_as_one_that_says_nothing() {
        let world = World::new();
        let (mut transport, to, _complaints) = node(world.member(1), 100, nowhere()).await;
        let mut member = dialled(&mut transport, &world.member(2), to).await.expect("it is a member");
        // It has proved who it is, so strangers do not take its place though it has said nothing yet.
        let mut strangers = Vec::new();
        for n in 0..2 * MAX_SILENT {
            let mut stream = tcp(to).await;
            if n % 2 == 0 {
                stream.write_all(&[0x16, 3, 1, 1, 0, 1, 0]).await.expect("it is open"); // the head of a client's hello
            }
            strangers.push(stream);
            assert!(timeout(Duration::from_millis(1), transport.next()).await.is_err());
        }
        assert!(transport.places.count() <= MAX_SILENT + 1, "{}", transport.places.count());
        heard_from(&mut transport, &mut member, 2).await;
        // Another member gets in among them, and all of them go when they have been silent for long enough.
        let mut third = dialled(&mut transport, &world.member(3), to).await.expect("it is a member");
        heard_from(&mut transport, &mut third, 3).await;
        sleep(SILENCE / 100).await;
        heard_from(&mut transport, &mut third, 3).await;
        assert!(timeout(Duration::from_millis(50), transport.next()).await.is_err());
        assert_eq!(transport.places.count(), 2, "only the members are left");
        for stranger in strangers {
            ends(stranger).await;
        }
    }
}
