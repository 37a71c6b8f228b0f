//! Mutual TLS between the nodes of a cluster.
//!
//! **Who is who.** A node's certificate names it by a DNS name among its subject alternative names: `node-2.coalmine` is
//! n2's. It must hold exactly one such name, in just this form, besides which it may hold any others. One authority, whose
//! certificate all nodes have, issues them all; what it has issued is a node of *this* cluster, so two clusters must not
//! share one. Revocation is not looked at: to shut a node out for good, replace the authority. Files are read when the node
//! starts, so renewed ones are used from the next start on; a certificate that expires meanwhile ends no connection,
//! but there will not be another.
//!
//! **What is on the wire.** TLS 1.3, with a certificate at both ends, no resumption (a resumed session would not look at
//! certificates again), and a protocol name of its own (ALPN `coalmine/1`), so that no other service with the same
//! certificates can take part. When the acceptor has seen to it that the dialler may speak, it says so with one byte, the
//! welcome: in TLS 1.3 the dialler has finished long before it is known whether its certificate is taken. It waits for
//! the welcome before it sends a frame, and so learns why it gets none. All other bytes are the same frames as without TLS.
//!
//! **Where it sits.** The transport is generic over its [`Runtime`](crate::runtime::Runtime), and so is hosted in the
//! simulator, which knows no TLS. The runtime has three methods for it, whose defaults are connections as they are:
//!
//! | method | by default | with an [`Identity`] |
//! | --- | --- | --- |
//! | `connect_peer(peer, address)` | `connect(address)` | dials, shakes hands, checks that it is the `peer`, waits for the welcome |
//! | `listen_for_peers(address)` | `listen(address)` | connections that shake hands when they are first read |
//! | `certified(stream)` | nobody | whom the other end's certificate names, once hands are shaken |
//!
//! So a connection that was accepted has its place among the [silent](crate::transport) ones at once, and the handshake is
//! part of reading it: one that stalls is closed as any that says nothing, gives way to others as they do, and needs no
//! timer of its own. It costs the node's task a fraction of a millisecond. The transport compares each frame's sender with whom the certificate names, and dials
//! only whom it means to reach: *nobody speaks for another node*, in either direction. What could not prove who it is
//! ends with an error that holds [`Unproven`](crate::runtime::Unproven), which the transport tells, but not without bound.

mod identity;
mod names;
mod stream;

pub use self::identity::{Files, Identity, TlsError};
pub use self::names::node_name;
pub use self::stream::{Stream, accept, dial};
