//! What certificates are for. Certificates are made on the spot, connections are real.

#![cfg(test)]

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
        let refused = dialled(&mut transport, &identity, to).await.expect_err("it is refused").to_string();
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
