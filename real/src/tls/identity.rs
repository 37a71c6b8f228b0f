//! Who a node is, by its files: its certificate and key, and the authority of its cluster.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use coalmine_core::node::NodeId;
use thiserror::Error;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, Error as RustlsError, InconsistentKeys, RootCertStore, ServerConfig,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::names::{explain, node_name, node_of, roughly};
use crate::files::{is_handed, read_regular};

/// What nodes call their protocol.
pub(super) const ALPN: &[u8] = b"coalmine/1";
/// More than any certificate, chain or key needs.
const PEM_BYTES: u64 = 1 << 20;

/// Where a node's identity is, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The authority's certificate; several while one takes the place of another.
    pub ca: PathBuf,
    /// The node's certificate, and behind it those between it and the authority's, if there are any.
    pub cert: PathBuf,
    /// The key to it, which nobody but the node may read: its owner, or the group if it is root's and the node is not.
    pub key: PathBuf,
}

/// Why files make no identity.
#[derive(Debug, Error)]
#[error("{key}: {file}: {what}", file = file.display())]
pub struct TlsError {
    /// The key that names the file, such as `tls.cert`.
    pub key: &'static str,
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

/// A node that can prove who it is, and knows whom to believe. Clones share all of it.
#[derive(Clone)]
pub struct Identity {
    me: NodeId,
    expires: Option<UnixTime>,
    pub(super) connector: TlsConnector,
    pub(super) acceptor: TlsAcceptor,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.me) // no key gets into a log
    }
}

impl Identity {
    /// Reads this node's files, and sees to it that its peers will believe them now.
    pub fn load(me: NodeId, files: &Files) -> Result<Self, TlsError> {
        Self::load_at(me, files, UnixTime::now())
    }

    /// The same at another time, at which they would be believed.
    pub(crate) fn load_at(me: NodeId, files: &Files, now: UnixTime) -> Result<Self, TlsError> {
        let wrong = |key, file: &Path, what: String| TlsError { key, file: file.into(), what };
        let in_ca = |what| wrong("tls.ca", &files.ca, what);
        let in_cert = |what| wrong("tls.cert", &files.cert, what);
        let in_key = |what| wrong("tls.key", &files.key, what);

        let mut roots = RootCertStore::empty();
        for authority in certificates(&files.ca).map_err(in_ca)? {
            roots.add(authority).map_err(|why| in_ca(explain(&why)))?;
        }
        let roots = Arc::new(roots);
        let chain = certificates(&files.cert).map_err(in_cert)?;
        only_its_owner_may_read(&files.key).map_err(in_key)?;
        let key = private_key(&files.key).map_err(in_key)?;
        let provider = Arc::new(ring::default_provider());
        let fits = CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider);
        fits.map_err(|why| match why == RustlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) {
            true => in_key(format!("it is not the key of the certificate in {}", files.cert.display())),
            false if matches!(why, RustlsError::InvalidCertificate(_)) => in_cert(explain(&why)),
            false => in_key(explain(&why)),
        })?;

        let trust = Trust::new(&roots, &provider).map_err(in_ca)?;
        trust.check(&chain, me, now).map_err(|why| in_cert(why.replace("of this authority", &of(files))))?;
        let expires = trust.expires(&chain, me);
        let (client, server) =
            trust.configs(roots, provider, chain, key).map_err(|why| in_key(explain(&why)))?;
        let (connector, acceptor) =
            (TlsConnector::from(Arc::new(client)), TlsAcceptor::from(Arc::new(server)));
        Ok(Self { me, expires, connector, acceptor })
    }

    /// Who it is.
    pub fn node(&self) -> NodeId {
        self.me
    }

    /// How long peers will believe it from now on; `None` if that is not known.
    pub fn valid_for(&self) -> Option<Duration> {
        let now = UnixTime::now().as_secs();
        self.expires.map(|expires| Duration::from_secs(expires.as_secs().saturating_sub(now)))
    }

    /// One line about it, which asks for a new certificate when it is time.
    pub fn describe(&self) -> String {
        const SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);
        let name = node_name(self.me);
        match self.valid_for() {
            Some(left) if left < SOON => {
                format!("TLS with peers, as {name}: RENEW the certificate, it expires in {}", roughly(left))
            }
            Some(left) => format!("TLS with peers, as {name}: the certificate expires in {}", roughly(left)),
            None => format!("TLS with peers, as {name}"),
        }
    }
}

fn of(files: &Files) -> String {
    format!("of the authority in {}", files.ca.display())
}

/// Whom this node's authority vouches for.
struct Trust {
    servers: Arc<WebPkiServerVerifier>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Trust {
    fn new(roots: &Arc<RootCertStore>, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let servers = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
        let servers = servers.build().map_err(|why| why.to_string())?;
        Ok(Self { servers, clients: clients.build().map_err(|why| why.to_string())? })
    }

    /// Whether peers would believe this chain, at both ends of a connection. `Err` says why not.
    fn check(&self, chain: &[CertificateDer<'_>], me: NodeId, now: UnixTime) -> Result<(), String> {
        let [own, between @ ..] = chain else { return Err("there is no certificate in it".into()) };
        match node_of(own) {
            Ok(node) if node == me => {}
            Ok(node) => return Err(format!("its certificate is {node}'s, and this is {me}")),
            Err(why) => return Err(format!("{why}; this one's must name {}", node_name(me))),
        }
        let name = server_name(me)?;
        self.servers.verify_server_cert(own, between, &name, &[], now).map_err(|why| explain(&why))?;
        self.clients.verify_client_cert(own, between, now).map_err(|why| explain(&why))?;
        Ok(())
    }

    /// When a chain that is valid now no longer will be.
    fn expires(&self, chain: &[CertificateDer<'_>], me: NodeId) -> Option<UnixTime> {
        let [own, between @ ..] = chain else { return None };
        let never = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX / 2));
        let verified = self.servers.verify_server_cert(own, between, &server_name(me).ok()?, &[], never);
        match verified {
            Err(RustlsError::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
                Some(not_after)
            }
            _ => None,
        }
    }

    fn configs(
        self,
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<(ClientConfig, ServerConfig), RustlsError> {
        let client =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[&TLS13])?;
        let client = client.with_root_certificates(roots);
        let mut client = client.with_client_auth_cert(chain.clone(), key.clone_key())?;
        // A resumed session would not look at certificates, which may have expired.
        client.resumption = Resumption::disabled();
        client.alpn_protocols = vec![ALPN.into()];
        let server = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13])?;
        let mut server = server.with_client_cert_verifier(self.clients).with_single_cert(chain, key)?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server.alpn_protocols = vec![ALPN.into()];
        Ok((client, server))
    }
}

pub(super) fn server_name(node: NodeId) -> Result<ServerName<'static>, String> {
    ServerName::try_from(node_name(node)).map_err(|why| why.to_string())
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    read_regular(file, PEM_BYTES).map_err(|why| match why.kind() == io::ErrorKind::NotFound {
        true => "there is no such file".into(),
        false => why.to_string(),
    })
}

fn pem_error(what: &str, why: &pem::Error) -> String {
    match why {
        pem::Error::NoItemsFound => format!("there is no {what} in it: it must be in PEM"),
        pem::Error::MissingSectionEnd { .. } => "it is cut off: a part of it does not end".into(),
        pem::Error::IllegalSectionStart { .. } => {
            "it is not in PEM: a part of it does not begin as one".into()
        }
        pem::Error::Base64Decode(_) | pem::Error::Io(_) | pem::Error::SectionTooLarge | _ => {
            format!("it is not in PEM: {why}")
        }
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(file)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let all = all.map_err(|why| pem_error("certificate", &why))?;
    if all.is_empty() { Err(pem_error("certificate", &pem::Error::NoItemsFound)) } else { Ok(all) }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(&read(file)?)
        .map_err(|why| pem_error("private key without a password", &why))
}

/// Whoever can read a node's key can speak for it.
fn only_its_owner_may_read(file: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    let Ok(there) = std::fs::metadata(file) else { return Ok(()) }; // to read it will say why not
    let mode = there.permissions().mode() & 0o777;
    match is_too_open(mode, is_handed(&there)) {
        true => Err(format!(
            "others than its owner may use it (mode {mode:04o}), and so speak for this node: chmod 600 it"
        )),
        false => Ok(()),
    }
}

/// Whether others than the node may use a key, which root may have handed to it.
fn is_too_open(mode: u32, is_handed: bool) -> bool {
    mode & if is_handed { 0o037 } else { 0o077 } != 0
}

#[cfg(test)]
mod tests {
    use super::is_too_open;

    #[test]
    fn a_key_is_for_its_node_alone_however_the_node_comes_by_it() {
        for mode in [0o600, 0o400, 0o700] {
            assert!(!is_too_open(mode, false) && !is_too_open(mode, true), "{mode:o}");
        }
        for mode in [0o440, 0o640] {
            assert!(is_too_open(mode, false) && !is_too_open(mode, true), "{mode:o}");
        }
        for mode in [0o460, 0o450, 0o444, 0o604, 0o602] {
            assert!(is_too_open(mode, false) && is_too_open(mode, true), "{mode:o}");
        }
    }
}
