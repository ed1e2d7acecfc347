//! Trusted authorities and client certificates: the keys shared by every kind that uses TLS.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::config::section::Section;
use crate::system::trusted::Trusted;

/// Trust settings of a section.
#[derive(Clone, PartialEq, Eq)]
pub struct Trust {
    pub validate_certs: bool,
    /// Authorities that replace the system's, in PEM form.
    pub ca_file: Option<Vec<u8>>,
}

/// A connection for which these keys matter only if it is encrypted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    Plain,
    Encrypted,
}

impl Channel {
    /// Returns the channel of a connection.
    pub fn encrypted_if(is_encrypted: bool) -> Channel {
        match is_encrypted {
            true => Channel::Encrypted,
            false => Channel::Plain,
        }
    }
}

impl Trust {
    /// Reads the keys.
    pub fn read(section: &Section, channel: Channel) -> Option<Trust> {
        let validate_certs = section.flag("validate_certs", true);
        if !validate_certs && channel == Channel::Encrypted {
            section.warning(
                "validate_certs",
                "certificates are not checked, so anyone on the path can impersonate the endpoint; for a private CA, set `ca_file`",
            );
        }
        let ca_file = section.file("ca_file").map(|file| file.bytes);
        if let Some(bundle) = &ca_file
            && certificates(bundle).is_empty()
        {
            section.problem("ca_file", "`ca_file` contains no certificate in PEM format");
            return None;
        }
        Some(Trust {
            validate_certs,
            ca_file,
        })
    }

    /// Builds the client's TLS configuration, with a client certificate if there is one.
    pub fn config(&self, identity: Option<&[u8]>) -> Result<ClientConfig, String> {
        let builder = ClientConfig::builder();
        let builder = match &self.ca_file {
            _ if !self.validate_certs => {
                let provider = builder.crypto_provider().clone();
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(Unchecked(provider)))
            }
            Some(bundle) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(certificates(bundle));
                builder.with_root_certificates(roots)
            }
            None => builder.with_platform_verifier().map_err(|error| {
                format!("TLS is not available ({error}); install the system's ca-certificates or set `ca_file`")
            })?,
        };
        let Some(identity) = identity else {
            return Ok(builder.with_no_client_auth());
        };
        let key = PrivateKeyDer::from_pem_slice(identity);
        key.ok()
            .and_then(|key| {
                builder
                    .with_client_auth_cert(certificates(identity), key)
                    .ok()
            })
            .ok_or_else(|| {
                "`client_cert` and `client_key` must be a certificate and its unencrypted key in PEM format"
                    .to_owned()
            })
    }
}

fn certificates(bundle: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(bundle).flatten().collect()
}

fn bytes(file: Trusted) -> Vec<u8> {
    file.bytes
}

/// Returns true if the file has a private key and everyone can read it.
fn is_open_key(file: &Trusted) -> bool {
    let mark = b"PRIVATE KEY-----";
    let holds_key = file.bytes.windows(mark.len()).any(|part| part == mark);
    holds_key && file.metadata.permissions().mode() & 0o004 != 0
}

/// Reads the client's certificate and key, concatenated; one file may hold both.
pub fn read_identity(section: &Section) -> Option<Vec<u8>> {
    for key in ["client_cert", "client_key"] {
        section.shows_who_sends(key);
    }
    let certificate = section.file("client_cert");
    let key = section.file("client_key");
    let read = [("client_key", &key), ("client_cert", &certificate)];
    for (name, file) in read {
        if file.as_ref().is_some_and(is_open_key) {
            section.warning(
                name,
                "it contains a key that everyone can read; chmod 600 it",
            );
        }
    }
    match (certificate.map(bytes), key.map(bytes)) {
        (Some(mut certificate), Some(key)) => {
            certificate.push(b'\n');
            certificate.extend(key);
            Some(certificate)
        }
        (None, Some(_)) => {
            section.needs("client_key", "client_cert");
            None
        }
        (certificate, _) => certificate,
    }
}

/// Accepts any certificate, for `validate_certs = false`; the handshake itself must still be valid.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
