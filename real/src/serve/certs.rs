//! `certs`: an authority for [mutual TLS](crate::tls) while a cluster is developed, and the certificates of its nodes.
//!
//! All that is known of an authority is in its key: its name is made from that, so a further certificate is issued
//! without reading the authority's own.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use coalmine_core::node::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType, date_time_ymd,
};
use xxhash_rust::xxh3::xxh3_64;

use super::command::{Failure, described};
use super::local;
use super::output;
use super::service::Service;
use crate::files::read_text;
use crate::paste;
use crate::tls::{Files, Identity, node_name};

/// How long the authority is to last, in days: longer than any certificate that it issues.
const AUTHORITY_DAYS: u32 = 3_660;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// More than any key has.
const KEY_BYTES: u64 = 1 << 16;

/// `certs`.
pub(super) fn command<S: Service>() -> clap::Command {
    let name = S::NAME;
    let dir: &'static str = format!("{}/{DIR}", local::default_dir(name)).leak();
    let text = format!(
        "Make certificates for TLS between nodes, for development.\n\n\
         With a table [tls] in its config a node believes only peers whose certificate its cluster's authority has\n\
         issued, and each of them only as the node that its certificate names.\n\n\
         Examples:\n\n  {name} certs init --nodes 3\n  {name} certs add --node 4\n  {name} up --tls"
    );
    let init = format!(
        "Make an authority and certificates for its nodes.\n\n\
         Writes ca.pem and ca.key, and node-N.pem and node-N.key for each node, and overwrites nothing. Whoever has\n\
         ca.key can make himself any node: keep it off the machines that nodes run on, or use an authority of your\n\
         own. node-N.pem names node N by the DNS name {node}; one that you have made elsewhere must hold exactly\n\
         one such name, and be valid for servers and for clients.\n\n\
         Examples:\n\n  {name} certs init\n  {name} certs init --dir certs --nodes 5 --days 90",
        node = "node-N.coalmine",
    );
    let add = format!(
        "Make a certificate for one more node, of the same authority.\n\n\
         Writes node-N.pem and node-N.key in DIR, where ca.pem and ca.key are. To renew a certificate, move its two\n\
         files away first, and start the node again afterwards.\n\n\
         Examples:\n\n  {name} certs add --node 4\n  {name} certs add --dir certs --node 4 --days 90",
    );
    let with = |text: String| {
        move |command: clap::Command| {
            described(command, &text).mut_arg("dir", |arg| arg.required(false).default_value(dir))
        }
    };
    let command = <Args as clap::Args>::augment_args(clap::Command::new("certs"));
    described(command, &text).mut_subcommand("init", with(init)).mut_subcommand("add", with(add))
}

/// What `certs` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Init(Init),
    Add(Add),
}

#[derive(Debug, clap::Args)]
struct Init {
    /// Where the files go.
    #[arg(long)]
    dir: PathBuf,
    /// For how many nodes, from node 1 on.
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..=999))]
    nodes: u32,
    #[command(flatten)]
    valid: Valid,
}

#[derive(Debug, clap::Args)]
struct Add {
    /// Where the authority is, and the files go.
    #[arg(long)]
    dir: PathBuf,
    /// For which node.
    #[arg(long, value_name = "N")]
    node: u32,
    #[command(flatten)]
    valid: Valid,
}

#[derive(Debug, clap::Args)]
struct Valid {
    /// For how many days a node's certificate is valid.
    #[arg(long, value_name = "N", default_value = "365", value_parser = clap::value_parser!(u32).range(1..=3_650))]
    days: u32,
}

/// Makes certificates.
pub async fn run(args: Args) -> Result<(), Failure> {
    let (dir, nodes, days) = match &args.what {
        What::Init(Init { dir, nodes, valid }) => (dir, 1..=*nodes, valid.days),
        What::Add(Add { dir, node, valid }) => (dir, *node..=*node, valid.days),
    };
    let nodes: Vec<_> = nodes.map(NodeId).collect();
    match args.what {
        What::Init(_) => init(dir, &nodes, days)?,
        What::Add(_) => add(dir, &nodes, days)?,
    }
    let pasted = paste::path(dir);
    let of = match nodes[..] {
        [one] => format!("{one} ({})", node_name(one)),
        [first, .., last] => format!("{first} to {last}"),
        [] => String::new(),
    };
    output::line(format_args!("{pasted}: the certificate and key of {of}, valid for {days} days"));
    if let (What::Init(_), [first, ..]) = (&args.what, &nodes[..]) {
        output::line(format_args!("{pasted}/ca.key makes nodes of whoever has it: keep it away from them"));
        let whole = std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
        output::line(format_args!(
            "\nIn the config of each node, such as that of {first}:\n{}",
            table(&whole, *first)
        ));
    }
    Ok(())
}

/// The folder in that of a cluster in which `up` looks for them.
pub(super) const DIR: &str = "certs";

/// What the config of a node says about its files in a folder.
pub(super) fn table(dir: &Path, node: NodeId) -> String {
    let Files { ca, cert, key } = files_of(dir, node);
    let quoted = |path: PathBuf| toml::Value::String(path.to_string_lossy().into_owned()).to_string();
    format!("\n[tls]\nca = {}\ncert = {}\nkey = {}\n", quoted(ca), quoted(cert), quoted(key))
}

/// Sees to it that these nodes have certificates in a folder: keeps what is there, and adds what is not.
pub(super) fn complete(dir: &Path, nodes: &[NodeId]) -> Result<(), Failure> {
    let days = 365;
    if !dir.join(CA).exists() {
        return init(dir, nodes, days);
    }
    let missing: Vec<_> = nodes.iter().copied().filter(|&node| !files_of(dir, node).cert.exists()).collect();
    if missing.is_empty() { Ok(()) } else { add(dir, &missing, days) }
}

const CA: &str = "ca.pem";
const CA_KEY: &str = "ca.key";

fn files_of(dir: &Path, node: NodeId) -> Files {
    let of = |kind: &str| dir.join(format!("node-{}.{kind}", node.0));
    Files { ca: dir.join(CA), cert: of("pem"), key: of("key") }
}

fn init(dir: &Path, nodes: &[NodeId], days: u32) -> Result<(), Failure> {
    let failed = |why: rcgen::Error| Failure::failed(format!("cannot make an authority: {why}"));
    let key = KeyPair::generate().map_err(failed)?;
    let params = authority(&key);
    let own = params.self_signed(&key).map_err(failed)?;
    let mut new = New::default();
    new.add(dir.join(CA), own.pem(), false);
    new.add(dir.join(CA_KEY), key.serialize_pem(), true);
    let issuer = Issuer::new(params, key);
    issue(&mut new, dir, &issuer, nodes, days)?;
    std::fs::create_dir_all(dir).map_err(|why| Failure::failed(format!("{}: {why}", dir.display())))?;
    new.write(dir, nodes)
}

fn add(dir: &Path, nodes: &[NodeId], days: u32) -> Result<(), Failure> {
    let file = dir.join(CA_KEY);
    let wrong = |why: String| Failure::failed(format!("{}: {why}", file.display()));
    let text = read_text(&file, KEY_BYTES).map_err(|why| match why.kind() == ErrorKind::NotFound {
        true => wrong("there is no such file; `certs init` makes an authority".into()),
        false => wrong(why.to_string()),
    })?;
    let key =
        KeyPair::from_pem(&text).map_err(|why| wrong(format!("it holds no key that can be used: {why}")))?;
    let issuer = Issuer::new(authority(&key), key);
    let mut new = New::default();
    issue(&mut new, dir, &issuer, nodes, days)?;
    new.write(dir, nodes)
}

fn authority(key: &KeyPair) -> CertificateParams {
    // Two authorities must not have one name: each would seem to have issued what the other has.
    let number = xxh3_64(&key.subject_public_key_info()) >> 32;
    let mut params = valid_for(AUTHORITY_DAYS);
    params.distinguished_name = common_name(format!("Coalmine development authority {number:08x}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn issue(
    new: &mut New,
    dir: &Path,
    issuer: &Issuer<'_, KeyPair>,
    nodes: &[NodeId],
    days: u32,
) -> Result<(), Failure> {
    for &node in nodes {
        let failed =
            |why: rcgen::Error| Failure::failed(format!("cannot make a certificate of {node}: {why}"));
        let mut params = valid_for(days);
        params.distinguished_name = common_name(node_name(node));
        let names = [node_name(node), "localhost".into()].map(TryInto::try_into);
        for name in names {
            params.subject_alt_names.push(SanType::DnsName(name.map_err(failed)?));
        }
        let own = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
        params.subject_alt_names.extend(own.map(SanType::IpAddress));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, issuer).map_err(failed)?;
        let files = files_of(dir, node);
        new.add(files.cert, certificate.pem(), false);
        new.add(files.key, key.serialize_pem(), true);
    }
    Ok(())
}

/// From yesterday on, as clocks differ.
fn valid_for(days: u32) -> CertificateParams {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = date_time_ymd(1970, 1, 1) + Duration::from_secs(now.as_secs());
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (now - DAY, now + DAY * days);
    params
}

fn common_name(name: String) -> DistinguishedName {
    let mut whole = DistinguishedName::new();
    whole.push(DnType::CommonName, name);
    whole
}

/// Files that are to be written, all or none.
#[derive(Default)]
struct New(Vec<(PathBuf, String, bool)>);

impl New {
    fn add(&mut self, file: PathBuf, text: String, is_secret: bool) {
        self.0.push((file, text, is_secret));
    }

    /// Writes them, overwriting nothing, and has the nodes' read as they will be.
    fn write(self, dir: &Path, nodes: &[NodeId]) -> Result<(), Failure> {
        let there: Vec<_> = self.0.iter().filter(|(file, ..)| file.exists()).collect();
        if let [(file, ..), others @ ..] = &there[..] {
            let more = if others.is_empty() { String::new() } else { format!(", and {} more", others.len()) };
            let why = format!("{} is there already{more}; nothing was written", file.display());
            return Err(Failure::failed(why));
        }
        let mut written = Vec::new();
        let result = self.write_into(&mut written).and_then(|()| {
            let check = |&node| Identity::load(node, &files_of(dir, node)).map(|_| ());
            nodes.iter().try_for_each(check).map_err(|why| Failure::failed(why.to_string()))
        });
        if result.is_err() {
            for file in written {
                let _ = std::fs::remove_file(file); // the error that is told is the first
            }
        }
        result
    }

    fn write_into(self, written: &mut Vec<PathBuf>) -> Result<(), Failure> {
        for (file, text, is_secret) in self.0 {
            let mode = if is_secret { 0o600 } else { 0o644 };
            let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(&file);
            let result = opened.and_then(|mut out| {
                written.push(file.clone());
                out.write_all(text.as_bytes())?;
                out.sync_all()
            });
            result.map_err(|why| Failure::failed(format!("{}: {why}", file.display())))?;
        }
        Ok(())
    }
}
