//! Whether others would accept a certificate: found out before it is shown to anybody, so that a process
//! says at its start what would otherwise be a word about TLS in the logs of all others.

use std::fmt;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::tls::{Pem, TlsError, refused};

/// What a certificate is shown for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown<'a> {
    /// By whoever connects.
    AsClient,
    /// By whoever is reached at this address: `host:port`.
    At(&'a str),
    /// By whoever is reached, wherever that is.
    AsServer,
}

/// Why nobody would accept it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// Its time is over.
    #[error("it expired {} ago", Span(*.ago))]
    Expired {
        /// Since when.
        ago: Duration,
    },
    /// Its time has not come.
    #[error("it is not valid yet, and will be in {}: is the clock right?", Span(*.wait))]
    NotYet {
        /// Until when.
        wait: Duration,
    },
    /// Somebody else signed it.
    #[error("the configured authority did not sign it")]
    OtherAuthority,
    /// It does not say where its holder is reached.
    #[error("it does not name {host}, where others look for its holder; it names {}", names(.named))]
    Host {
        /// Where.
        host: String,
        /// What it names.
        named: Vec<String>,
    },
    /// It is for another use.
    #[error("it is not issued for {0}")]
    Use(&'static str),
    /// Something else is wrong.
    #[error("{0}")]
    Other(String),
}

fn names(named: &[String]) -> String {
    if named.is_empty() { "no host".to_owned() } else { named.join(", ") }
}

/// A span of time as people say it.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            seconds @ 0..120 => write!(f, "{seconds} s"),
            seconds @ 120..7_200 => write!(f, "{} minutes", seconds / 60),
            seconds @ 7_200..172_800 => write!(f, "{} hours", seconds / 3_600),
            seconds => write!(f, "{} days", seconds / 86_400),
        }
    }
}

/// The host of an address, as a certificate names it.
pub fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Whether a certificate can name it: a host name, or an address without a port.
pub fn is_host(host: &str) -> bool {
    ServerName::try_from(host.strip_prefix("*.").unwrap_or(host)).is_ok()
}

/// Whether those who trust `pem.ca` would accept `pem.cert` at a time, in milliseconds since 1970.
///
/// # Errors
/// When the files hold something else. The inner result says why it would not be accepted.
pub fn is_accepted(
    pem: Pem<'_>,
    shown: Shown<'_>,
    now_ms: u64,
) -> Result<Result<(), NotAccepted>, TlsError> {
    let (chain, roots) = (pem.chain()?, pem.roots()?);
    let [own, between @ ..] = &chain[..] else { return Err(TlsError::Nameless) };
    let parsed = EndEntityCert::try_from(own).map_err(refused)?;
    let now = Duration::from_millis(now_ms);
    let usage = match shown {
        Shown::AsClient => KeyUsage::client_auth(),
        Shown::At(_) | Shown::AsServer => KeyUsage::server_auth(),
    };
    let between: &[CertificateDer<'_>] = between;
    let verified = parsed.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &roots.roots,
        between,
        UnixTime::since_unix_epoch(now),
        usage,
        None,
        None,
    );
    let verified = verified.map(drop).and_then(|()| match shown {
        Shown::AsClient | Shown::AsServer => Ok(()),
        Shown::At(address) => match ServerName::try_from(host_of(address)) {
            Ok(name) => parsed.verify_is_valid_for_subject_name(&name),
            Err(_) => Err(webpki::Error::MalformedDnsIdentifier),
        },
    });
    Ok(verified.map_err(|why| told(why, shown, now)))
}

fn told(why: webpki::Error, shown: Shown<'_>, now: Duration) -> NotAccepted {
    let since = |time: UnixTime| Duration::from_secs(time.as_secs());
    match why {
        webpki::Error::CertExpired { not_after, .. } => {
            NotAccepted::Expired { ago: now.saturating_sub(since(not_after)) }
        }
        webpki::Error::CertNotValidYet { not_before, .. } => {
            NotAccepted::NotYet { wait: since(not_before).saturating_sub(now) }
        }
        // One of the same name may have signed it, with another key.
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
            NotAccepted::OtherAuthority
        }
        webpki::Error::CertNotValidForName(context) => NotAccepted::Host {
            host: context.expected.to_str().into_owned(),
            named: context.presented,
        },
        webpki::Error::RequiredEkuNotFoundContext(_) => NotAccepted::Use(match shown {
            Shown::AsClient => "whoever connects",
            Shown::At(_) | Shown::AsServer => "a server",
        }),
        webpki::Error::MalformedDnsIdentifier => match shown {
            Shown::At(address) => NotAccepted::Other(format!(
                "`{}` is no host that a certificate can name",
                host_of(address)
            )),
            Shown::AsClient | Shown::AsServer => {
                NotAccepted::Other("a name in it is none".to_owned())
            }
        },
        other => NotAccepted::Other(other.to_string()),
    }
}
