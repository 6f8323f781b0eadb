//! Certificates: who gets in, and as what.

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
    date_time_ymd,
};

use super::*;
use crate::message::Refusal;
use crate::rpc::bookie::accepted::{NotAccepted, Shown, is_accepted};
use crate::rpc::bookie::role::Method;
use crate::rpc::bookie::tls::Pem;
use egret_schemas::bookie::Ask;

/// An authority of its own.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    /// Certificate and key for whoever is named.
    fn issue(&self, uri: Option<&str>) -> (String, String) {
        self.issue_valid(uri, (1975, 4096))
    }

    /// The same, from the beginning of one year to that of another.
    fn issue_valid(&self, uri: Option<&str>, years: (i32, i32)) -> (String, String) {
        self.issue_for(uri, years, &[])
    }

    /// The same, for these uses alone.
    fn issue_for(
        &self,
        uri: Option<&str>,
        years: (i32, i32),
        uses: &[ExtendedKeyUsagePurpose],
    ) -> (String, String) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        params.subject_alt_names.extend(uri.map(|uri| SanType::URI(uri.try_into().unwrap())));
        (params.not_before, params.not_after) =
            (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        params.extended_key_usages = uses.to_vec();
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (cert.pem(), key.serialize_pem())
    }

    fn server(&self, uri: &str) -> ServerTls {
        let (cert, key) = self.issue(Some(uri));
        ServerTls::new(pem(&cert, &key, &self.pem)).unwrap()
    }

    fn client(&self, uri: &str) -> ClientTls {
        let (cert, key) = self.issue(Some(uri));
        ClientTls::new(pem(&cert, &key, &self.pem)).unwrap()
    }
}

fn pem<'a>(cert: &'a str, key: &'a str, ca: &'a str) -> Pem<'a> {
    Pem { cert: cert.as_bytes(), key: key.as_bytes(), ca: ca.as_bytes() }
}

static BLUE: LazyLock<Authority> = LazyLock::new(Authority::new);

fn served() -> Served {
    Served::with(ServerLimits::default(), Some(BLUE.server("egret://blue/bookie/b3")))
}

fn client(served: &Served, role: Role, tls: Option<ClientTls>) -> TcpTransport {
    TcpTransport::new(Arc::clone(&IO), ClientConfig { role, tls, ..served.config() })
}

fn why_not(client: &TcpTransport) -> String {
    match unknown(ask(client, read(0))) {
        Unknown::TurnedAway { why, .. } => why,
        other => panic!("it does not get in: {other:?}"),
    }
}

#[test]
fn large_and_small_entries_pass_through_tls() {
    let served = served();
    let tls = BLUE.client("egret://blue/client/c1");
    let client = client(&served, Role::Client, Some(tls));
    let create =
        Request::Create { ledger: LEDGER, term: TERM, transactional: false, replicated: true };
    assert!(matches!(ask(&client, create), Reply::Done));
    for (entry, bytes) in [(0, 0), (1, 100), (2, 70_000), (3, (3 << 20) + 1)] {
        let payload = vec![9; bytes];
        assert!(matches!(ask(&client, add(entry, &payload)), Reply::Done), "{bytes} bytes");
        let Reply::Entry { payload: held, .. } = ask(&client, read(entry)) else { panic!() };
        assert!(held == payload, "{bytes} bytes did not come back");
    }
}

#[test]
fn another_authority_no_certificate_and_another_name_do_not_get_in() {
    let served = served();
    let red = Authority::new();
    let foreign = red.client("egret://blue/client/c1");
    why_not(&client(&served, Role::Client, Some(foreign)));
    // Once: "the connection was closed inside a message".
    let why = why_not(&client(&served, Role::Client, None));
    assert!(why.contains("it may speak TLS: give this process a certificate"), "{why}");
    // The right authority, and a role or cluster that is not the certificate's.
    let admin = BLUE.client("egret://blue/admin/a1");
    let why = why_not(&client(&served, Role::Client, Some(admin)));
    assert!(why.contains("the certificate names egret://blue/admin/a1"), "{why}");
    let other = BLUE.client("egret://red/client/c1");
    let why = why_not(&client(&served, Role::Client, Some(other)));
    assert!(why.contains("the certificate names egret://red/client/c1"), "{why}");
}

#[test]
fn a_bookie_that_shows_a_clients_certificate_is_not_believed() {
    let (cert, key) = BLUE.issue(Some("egret://blue/client/c1"));
    let tls = ServerTls::new(pem(&cert, &key, &BLUE.pem)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let bookie = Bookie::open(Arc::new(RealDisk), dir.path(), BookieConfig::default()).unwrap();
    let config = ServerConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        cluster: "blue".to_owned(),
        bookie: BookieId(3),
        tls: Some(tls),
        limits: ServerLimits::default(),
    };
    let error = BookieServer::start(bookie, config).unwrap_err();
    assert!(matches!(error, ServeError::Certificate { .. }), "{error}");
}

#[test]
fn a_certificate_that_names_nobody_and_a_key_of_another_are_refused() {
    let (cert, key) = BLUE.issue(None);
    let error = ClientTls::new(pem(&cert, &key, &BLUE.pem)).unwrap_err();
    assert!(matches!(error, TlsError::Nameless), "{error}");
    let (named, _) = BLUE.issue(Some("egret://blue/client/c1"));
    let error = ClientTls::new(pem(&named, &key, &BLUE.pem)).unwrap_err();
    assert!(matches!(error, TlsError::Refused(_)), "{error}");
    let error = ClientTls::new(pem("nothing", &key, &BLUE.pem)).unwrap_err();
    assert!(matches!(error, TlsError::Pem { what: "certificate", .. }), "{error}");
}

#[test]
fn what_nobody_would_accept_is_known_before_it_is_shown() {
    // The first of January 2020.
    const NOW_MS: u64 = 1_577_836_800_000;
    let uri = Some("egret://blue/bookie/b3");
    let judged = |(cert, key): &(String, String), ca: &str, shown| {
        is_accepted(pem(cert, key, ca), shown, NOW_MS).unwrap()
    };
    let good = BLUE.issue(uri);
    for address in ["localhost:7400", "127.0.0.1:7400"] {
        assert_eq!(judged(&good, &BLUE.pem, Shown::At(address)), Ok(()), "{address}");
    }
    assert_eq!(judged(&good, &BLUE.pem, Shown::AsClient), Ok(()));
    for address in ["elsewhere:7400", "[::1]:7400", "10.0.0.1:7400"] {
        let why = judged(&good, &BLUE.pem, Shown::At(address)).unwrap_err();
        assert!(matches!(&why, NotAccepted::Host { host, .. } if address.contains(host)), "{why}");
        assert!(why.to_string().contains("localhost"), "what it does name: {why}");
    }
    let why = judged(&good, &BLUE.pem, Shown::At("a b:1")).unwrap_err();
    assert!(why.to_string().contains("`a b` is no host"), "{why}");
    let why = judged(&good, &Authority::new().pem, Shown::AsClient).unwrap_err();
    assert_eq!(why, NotAccepted::OtherAuthority);
    let old = BLUE.issue_valid(uri, (2018, 2019));
    let why = judged(&old, &BLUE.pem, Shown::AsClient).unwrap_err();
    assert_eq!(why.to_string(), "it expired 365 days ago");
    let early = BLUE.issue_valid(uri, (2021, 2022));
    let why = judged(&early, &BLUE.pem, Shown::At("localhost:1")).unwrap_err();
    assert!(why.to_string().contains("in 366 days"), "{why}");
    let clients = BLUE.issue_for(uri, (1975, 4096), &[ExtendedKeyUsagePurpose::ClientAuth]);
    assert_eq!(judged(&clients, &BLUE.pem, Shown::AsClient), Ok(()));
    let why = judged(&clients, &BLUE.pem, Shown::At("localhost:1")).unwrap_err();
    assert_eq!(why.to_string(), "it is not issued for a server");
    assert_eq!(judged(&good, &BLUE.pem, Shown::AsServer), Ok(()), "wherever it is");
    let why = judged(&clients, &BLUE.pem, Shown::AsServer).unwrap_err();
    assert_eq!(why.to_string(), "it is not issued for a server");
}

#[test]
fn without_certificates_only_loopback_is_served_and_spoken_to() {
    let dir = tempfile::tempdir().unwrap();
    let bookie = Bookie::open(Arc::new(RealDisk), dir.path(), BookieConfig::default()).unwrap();
    let config = ServerConfig {
        listen: SocketAddr::from(([0, 0, 0, 0], 0)),
        cluster: "blue".to_owned(),
        bookie: BookieId(3),
        tls: None,
        limits: ServerLimits::default(),
    };
    let error = BookieServer::start(bookie, config).unwrap_err();
    assert!(matches!(error, ServeError::Plain { .. }), "{error}");
    let away = config_of("192.0.2.1:1");
    let why = why_not(&TcpTransport::new(Arc::clone(&IO), away));
    assert!(why.contains("loopback"), "{why}");
}

fn config_of(address: &str) -> ClientConfig {
    config(address.to_owned(), Incarnation(1))
}

/// The table once more, by hand, and each cell of it over the wire.
#[test]
fn every_role_may_do_what_the_table_says_and_nothing_else() {
    let served = served();
    let asks = |ledger| {
        let (entry, term) = (EntryId(0), Term(9));
        [
            Ask::Create { ledger, term, transactional: false, replicated: true },
            Ask::Add { ledger, entry, term, lac: None, crc: 0, copy: false },
            Ask::Read { ledger, entry, fence: None },
            Ask::Read { ledger, entry, fence: Some(term) },
            Ask::Fence { ledger, term },
            Ask::WriteLac { ledger, term, lac: entry },
            Ask::ReadLac { ledger },
            Ask::ReadRange { ledger, from: entry, entries_max: 1, bytes_max: 1 },
            Ask::ClearLimbo { ledger, term },
            Ask::LimboBound { below: LedgerId(1) },
            Ask::Delete { ledger },
        ]
    };
    let table = [
        (Role::Client, [true; 11]),
        (Role::Bookie, [true; 11]),
        (Role::Worker, [true; 11]),
        (Role::Admin, [false, false, true, true, true, false, true, true, false, false, true]),
    ];
    for (role, may) in table {
        let tls = BLUE.client(&format!("egret://blue/{role}/x"));
        let client = client(&served, role, Some(tls));
        for (ask, may) in asks(LedgerId(50)).into_iter().zip(may) {
            let method = Method::of(&ask).unwrap();
            assert_eq!(method.is_allowed(role), may, "{role}: {method}");
            let request = convert::request(ask, Bytes::new()).unwrap();
            let reply = super::ask(&client, request);
            let denied = matches!(reply, Reply::Refused(Refusal::NotAllowed { .. }));
            assert_eq!(denied, !may, "{role}: {method}: {reply:?}");
        }
        assert!(Method::WatchLac.is_allowed(role));
    }
}
