//! The certificate: loaded at start, read again when its files change.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use tracing::{error, info};

use crate::Tls;

/// Why a certificate can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can't be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {problem}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The key is not the certificate's.
    #[error("certificate and key: {0}")]
    Pair(#[from] rustls::Error),
}

/// A certificate in use, and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    files: Tls,
    current: Arc<Current>,
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// Both files as read, to tell whether they changed.
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Certificate {
    /// Loads the certificate; the server doesn't start without.
    pub(super) fn load(files: Tls) -> Result<Certificate, Error> {
        let key = Files::read(&files)?.parse(&files)?;
        Ok(Certificate {
            files,
            current: Arc::new(Current(ArcSwap::from_pointee(key))),
        })
    }

    /// What does handshakes with the certificate of the moment.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, Error> {
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Looks at the files every `interval`, for ever. A pair that can't be used is logged once,
    /// and the one in use stays: a renewal writes two files, and is seen in between.
    pub(super) async fn reload(self, interval: Duration) {
        let mut seen = None;
        loop {
            tokio::time::sleep(interval).await;
            let files = self.files.clone();
            // The digest stands in for the times of the files, which can be the same for two
            // writes in a row, and for symbolic links that are turned around.
            let read = tokio::task::spawn_blocking(move || Files::read(&files)).await;
            let Ok(read) = read else { continue };
            let digest = read
                .as_ref()
                .map(Files::digest)
                .map_err(|error| error.to_string());
            if seen.as_ref() == Some(&digest) {
                continue;
            }
            seen = Some(digest);
            match read.and_then(|files| files.parse(&self.files)) {
                Ok(key) if key.cert == self.current.0.load().cert => {}
                Ok(key) => {
                    self.current.0.store(Arc::new(key));
                    info!(cert = %self.files.cert.display(), "certificate reloaded");
                }
                Err(problem) => error!(%problem, "certificate not reloaded; the old one stays"),
            }
        }
    }
}

impl Files {
    fn read(files: &Tls) -> Result<Files, Error> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|source| Error::Read {
                path: path.clone(),
                source,
            })
        };
        Ok(Files {
            cert: read(&files.cert)?,
            key: read(&files.key)?,
        })
    }

    fn digest(&self) -> [[u8; 32]; 2] {
        [
            Sha256::digest(&self.cert).into(),
            Sha256::digest(&self.key).into(),
        ]
    }

    fn parse(&self, files: &Tls) -> Result<CertifiedKey, Error> {
        let content = |path: &PathBuf, problem: String| {
            let path = path.clone();
            Error::Content { path, problem }
        };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<_, _>>()
            .map_err(|problem| content(&files.cert, problem.to_string()))?;
        if chain.is_empty() {
            return Err(content(&files.cert, "has no PEM certificate".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|problem| content(&files.key, format!("no PEM private key: {problem}")))?;
        Ok(CertifiedKey::from_der(
            chain,
            key,
            &ring::default_provider(),
        )?)
    }
}
