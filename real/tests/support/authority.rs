//! Authorities that issue whatever a test wants.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

/// An authority whose certificate is in a file.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub ca: PathBuf,
}

/// A certificate and its key.
pub struct Issued {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// A new one; authorities of one name are different ones.
    pub fn new(dir: &Path, file: &str) -> Self {
        let key = KeyPair::generate().expect("there is randomness");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = dir.join(file);
        fs::write(&ca, params.self_signed(&key).expect("it signs itself").pem()).expect("written");
        Self { issuer: Issuer::new(params, key), ca }
    }

    /// One whose certificate this one has issued.
    #[allow(dead_code, reason = "not all who include this have a use for it")]
    pub fn below(&self, file: &str) -> Self {
        let key = KeyPair::generate().expect("there is randomness");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "one below");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = self.ca.with_file_name(file);
        fs::write(&ca, params.signed_by(&key, &self.issuer).expect("it signs").pem()).expect("written");
        Self { issuer: Issuer::new(params, key), ca }
    }

    /// A certificate with these names, valid from so many seconds from now on until so many.
    pub fn issue(&self, stem: &str, names: &[&str], (from, until): (i64, i64)) -> Issued {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("they are names");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later").as_secs();
        let at =
            |offset: i64| date_time_ymd(1970, 1, 1) + Duration::from_secs(now.saturating_add_signed(offset));
        (params.not_before, params.not_after) = (at(from), at(until));
        let key = KeyPair::generate().expect("there is randomness");
        let [cert, key_file] = ["pem", "key"].map(|kind| self.ca.with_file_name(format!("{stem}.{kind}")));
        fs::write(&cert, params.signed_by(&key, &self.issuer).expect("it signs").pem()).expect("written");
        fs::write(&key_file, key.serialize_pem()).expect("written");
        fs::set_permissions(&key_file, Permissions::from_mode(0o600)).expect("it is ours");
        Issued { cert, key: key_file }
    }
}

/// From an hour ago for another hour.
pub const NOW: (i64, i64) = (-3_600, 3_600);
