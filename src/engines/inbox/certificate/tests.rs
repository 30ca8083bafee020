//! Certificates that are renewed, and those that cannot be used.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;

use super::*;

/// The two files, in a folder of their own.
struct Files {
    _dir: TempDir,
    cert: PathBuf,
    key: PathBuf,
    /// How often they were written.
    writes: u64,
}

impl Files {
    fn new() -> Files {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Files {
            cert: dir.path().join("page.crt"),
            key: dir.path().join("page.key"),
            _dir: dir,
            writes: 0,
        };
        files.renew();
        files
    }

    /// Writes a new certificate and its key.
    fn renew(&mut self) {
        let (cert, key) = made();
        self.write(&self.cert.clone(), &cert);
        self.write(&self.key.clone(), &key);
    }

    /// Writes a file at another time than before: file systems have coarse clocks.
    fn write(&mut self, file: &Path, text: &str) {
        self.writes += 1;
        fs::write(file, text).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(self.writes);
        File::options()
            .write(true)
            .open(file)
            .unwrap()
            .set_modified(time)
            .unwrap();
    }

    fn load(&self) -> Result<Certificate, CertificateError> {
        Certificate::load(&self.cert, &self.key)
    }

    fn error(&self) -> String {
        crate::sys::with_causes(&self.load().unwrap_err())
    }
}

/// Returns a certificate and its key.
fn made() -> (String, String) {
    let names = vec!["phone.example".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    (cert.pem(), signing_key.serialize_pem())
}

/// Returns the later moment at which the files are looked at again.
fn minutes(count: u32) -> Duration {
    LOOK_EVERY * count + Duration::from_secs(1)
}

#[test]
fn a_renewed_certificate_is_in_use_within_a_minute() {
    let mut files = Files::new();
    let certificate = files.load().unwrap();
    let first = certificate.config(Duration::ZERO);
    files.renew();
    let soon = certificate.config(LOOK_EVERY / 2);
    assert!(Arc::ptr_eq(&first, &soon), "no look at each connection");
    let renewed = certificate.config(minutes(1));
    assert!(!Arc::ptr_eq(&first, &renewed));
    let later = certificate.config(minutes(2));
    assert!(
        Arc::ptr_eq(&renewed, &later),
        "only what has changed is read"
    );
}

#[test]
fn a_broken_renewal_keeps_the_old_certificate_until_it_is_whole() {
    let mut files = Files::new();
    let certificate = files.load().unwrap();
    let first = certificate.config(Duration::ZERO);
    let (cert, key) = made();
    // The certificate is there, and the key is still the old one.
    files.write(&files.cert.clone(), &cert);
    assert!(Arc::ptr_eq(&first, &certificate.config(minutes(1))));
    let looked = |certificate: &Certificate| held_changed(certificate);
    let tried = looked(&certificate);
    assert!(Arc::ptr_eq(&first, &certificate.config(minutes(2))));
    assert_eq!(looked(&certificate), tried, "the same files are tried once");
    fs::remove_file(&files.key).unwrap();
    assert!(Arc::ptr_eq(&first, &certificate.config(minutes(3))));
    files.write(&files.key.clone(), &key);
    assert!(!Arc::ptr_eq(&first, &certificate.config(minutes(4))));
}

fn held_changed(certificate: &Certificate) -> Changed {
    certificate.0.current.lock().unwrap().changed
}

#[test]
fn what_cannot_be_used_is_named_with_its_file_and_its_key() {
    let mut files = Files::new();
    let (cert, key) = (files.cert.clone(), files.key.clone());
    files.write(&key, &made().1);
    let error = files.error();
    assert!(
        error.contains("page.crt") && error.contains("page.key"),
        "{error}"
    );
    files.write(&key, "");
    let error = files.error();
    assert!(
        error.contains("page.key")
            && error.contains("no private key")
            && error.contains("`tlsKey`"),
        "{error}"
    );
    files.write(&cert, "no certificate");
    let error = files.error();
    assert!(
        error.contains("page.crt")
            && error.contains("no certificate")
            && error.contains("`tlsCert`"),
        "{error}"
    );
    fs::remove_file(&cert).unwrap();
    let error = files.error();
    assert!(
        error.contains("page.crt") && error.contains("cannot be read"),
        "{error}"
    );
}
