//! Certificates made for a test: good ones, and bad ones by changing one thing.

use crate::sandbox::Sandbox;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate, those that go with it, and its key, in PEM form.
pub struct Identity {
    pub chain: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        Authority(CertifiedIssuer::self_signed(named(name), key).unwrap())
    }

    /// An authority below this one, which may be made a bad one.
    pub fn below(&self, change: impl FnOnce(&mut CertificateParams)) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = named("below");
        change(&mut params);
        Authority(CertifiedIssuer::signed_by(params, key, &self.0).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn key(&self) -> String {
        self.0.key().serialize_pem()
    }

    /// A certificate for `localhost`, changed where a bad one is wanted.
    pub fn sign(&self, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = leaf();
        change(&mut params);
        Identity {
            chain: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// A sandbox with a certificate for the server, and the authority that signed it.
pub fn certified_sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let authority = Authority::new("private");
    sandbox.file("ca.pem", authority.pem());
    authority.sign(|_| {}).install(&sandbox);
    sandbox
}

impl Identity {
    /// Makes it the server's.
    pub fn install(&self, sandbox: &Sandbox) {
        sandbox.file("server.pem", &self.chain);
        sandbox.file("server.key", &self.key);
    }

    pub fn self_signed() -> Identity {
        let key = KeyPair::generate().unwrap();
        Identity {
            chain: leaf().self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn leaf() -> CertificateParams {
    CertificateParams::new(["localhost".to_owned()]).unwrap()
}
