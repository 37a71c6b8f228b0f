//! The production shell: hosts a [`Node`](coalmine_core::node::Node) on TCP, HTTP and a journal file.
//!
//! Everything that touches the outside goes through the [`Runtime`](runtime::Runtime) trait, so the very same
//! shell (its run loop, its frames, its journal lines, its HTTP) also runs inside the simulator. This
//! crate's own runtime is [`tokio`](tokio_runtime); it never links the simulator.
//!
//! ```text
//!   peers ──frames──▶ transport ─┐                      ┌─▶ journal  (append, fsync, "durable up to n")
//!   clients ──HTTP──▶ face ──────┼─▶ shell: one loop, ──┼─▶ transport (datagrams on TCP)
//!   timers ──────────────────────┘    one Host          ├─▶ replies, published view
//!                                                       └─▶ probe (facts, traces, recordings)
//! ```
//!
//! Reading order: [`runtime`], [`shell`], [`transport`] and [`tls`], [`journal`], [`http_api`] and [`http`], [`probe`] and
//! [`recorder`]; [`serve`], which makes a program of a node; then [`rollout`].

// Whatever is printed goes through one layer, where it may fail: `println!` panics when nobody takes it.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod call;
pub mod files;
pub mod http;
pub mod http_api;
pub mod journal;
mod lock;
pub mod metrics;
pub mod paste;
pub mod probe;
pub mod program;
pub mod recorder;
pub mod rollout;
pub mod runtime;
pub mod serve;
pub mod shell;
pub mod tls;
pub mod tokio_runtime;
pub mod transport;
pub mod vitals;
