//! What a certificate says about whose it is, and what is wrong with it, in words.

use std::io;
use std::time::Duration;

use coalmine_core::node::NodeId;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

const DOMAIN: &str = ".coalmine";

/// The name of a node in its certificate.
pub fn node_name(node: NodeId) -> String {
    format!("node-{}{DOMAIN}", node.0)
}

/// Which node a name is of; one in another form, such as `node-02.coalmine` or `*.coalmine`, is nobody's.
fn named(name: &str) -> Option<NodeId> {
    let number = name.strip_prefix("node-")?.strip_suffix(DOMAIN)?;
    let node = NodeId(number.parse().ok()?);
    (node_name(node) == name).then_some(node)
}

/// Which node a certificate names. `Err` says why it is not one.
pub(super) fn node_of(certificate: &CertificateDer<'_>) -> Result<NodeId, String> {
    let parsed = webpki::EndEntityCert::try_from(certificate);
    let parsed = parsed.map_err(|why| format!("its certificate cannot be read: {why}"))?;
    // A wildcard would name many; whether or not anything matches it, it is not what a node is given.
    let of_ours: Vec<_> = parsed.valid_dns_names().filter(|name| name.ends_with(DOMAIN)).collect();
    match of_ours[..] {
        [] => Err("its certificate names no node".into()),
        [name] => named(name).ok_or_else(|| format!("its certificate names {name}, which is no node")),
        [first, second, ..] => Err(format!("its certificate names {first} and {second}: only one may be")),
    }
}

/// What is wrong, about "its certificate" and "it": the other end, or the file that was read.
#[allow(clippy::wildcard_enum_match_arm, reason = "rustls adds to it as it likes")]
pub(super) fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => explain_certificate(why),
        Error::NoCertificatesPresented => "it presents no certificate".into(),
        Error::PeerIncompatible(PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon) => {
            "its certificate's kind of signature is not known here".into()
        }
        Error::InvalidMessage(_) => "it does not speak TLS".into(),
        Error::AlertReceived(alert) => format!("it refuses this node: {}", alert_in_words(*alert)),
        other => other.to_string(),
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "rustls adds to it as it likes")]
fn alert_in_words(alert: AlertDescription) -> String {
    let words = match alert {
        AlertDescription::CertificateExpired => "the certificate is expired, or not valid yet, by its clock",
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "the certificate is not of its authority"
        }
        AlertDescription::CertificateRequired => "no certificate was presented",
        AlertDescription::NoApplicationProtocol => "the other end is something else than a node",
        _ => return format!("{alert:?}"),
    };
    format!("{words} ({alert:?})")
}

#[allow(clippy::wildcard_enum_match_arm, reason = "rustls adds to it as it likes")]
fn explain_certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::ExpiredContext { time, not_after } => {
            format!("its certificate expired {} ago", roughly(between(*not_after, *time)))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            let wait = roughly(between(*time, *not_before));
            format!("its certificate is not valid before another {wait} (or a clock is wrong)")
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is not of this authority".into()
        }
        CertificateError::NotValidForNameContext { expected, .. } => {
            format!("its certificate does not name {}", expected.to_str())
        }
        other => format!("its certificate cannot be used: {other}"),
    }
}

fn between(earlier: UnixTime, later: UnixTime) -> Duration {
    Duration::from_secs(later.as_secs().saturating_sub(earlier.as_secs()))
}

/// A span of time for people.
pub(super) fn roughly(span: Duration) -> String {
    let seconds = span.as_secs();
    let (number, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

/// Why hands were not shaken.
pub(super) fn explain_io(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(tls) => explain(tls),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "it hung up within the handshake".into(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_nodes_in_one_form_only() {
        assert_eq!(named(&node_name(NodeId(12))), Some(NodeId(12)));
        for name in
            ["node-02.coalmine", "node-+2.coalmine", "node-.coalmine", "node-2.coalmine.", "*.coalmine"]
        {
            assert_eq!(named(name), None, "{name}");
        }
        assert_eq!(named("node-4294967296.coalmine"), None);
    }

    #[test]
    fn spans_are_told_in_one_unit() {
        let told = [1, 119, 120, 7_200, 200_000].map(|seconds| roughly(Duration::from_secs(seconds)));
        assert_eq!(told, ["1 second", "119 seconds", "2 minutes", "2 hours", "2 days"]);
    }
}
