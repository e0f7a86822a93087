//! Whom to trust towards Redis: `REDIS_CA_FILE`, else the roots of the system, else the built-in ones of Mozilla.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;

use crate::config::Sharing;

/// Returns the certificates in PEM form; `None` leaves it to the built-in ones, or when no TLS is asked for.
///
/// They are read once, since reading them takes milliseconds and Redis may have to be connected to often.
pub(super) fn pem(config: &Sharing) -> Option<Vec<u8>> {
    if !config.servers.is_tls() {
        return None;
    }
    if let Some(file) = &config.ca {
        return Some(file.clone());
    }
    let mut text = String::new();
    for certificate in rustls_native_certs::load_native_certs().certs {
        // One that cannot be used would have all of them refused.
        if RootCertStore::empty().add(certificate.clone()).is_ok() {
            let body = STANDARD.encode(&certificate);
            text.push_str("-----BEGIN CERTIFICATE-----\n");
            text.push_str(&body);
            text.push_str("\n-----END CERTIFICATE-----\n");
        }
    }
    (!text.is_empty()).then(|| text.into_bytes())
}
