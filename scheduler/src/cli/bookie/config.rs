//! The configuration file of a bookie: TOML, where a key nobody knows is an error.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use egret_log::bookie::identity::{Identity, IdentityError};
use egret_log::caps;
use egret_log::client::RepairerConfig;
use egret_log::client::repair::Pace;
use egret_log::disk::RealDisk;
use egret_log::rpc::bookie::server::{check_place, is_cluster_name};
use egret_log::rpc::bookie::{ServeError, ServerLimits, ServerTls};
use egret_log_cluster::metadata_url::metadata_of;
use egret_log_cluster::{TlsFiles, check_metadata};
use egret_schemas::BookieId;
use serde::{Deserialize, Serialize};

use super::super::exit::Exit;

/// Bytes of one journal file on a bookie: an hour of a busy one is a few hundred of them.
const JOURNAL_FILE_BYTES: u64 = 256 << 20;

/// A journal file smaller than this is all header and padding.
const JOURNAL_FILE_BYTES_MIN: u64 = 64 << 10;

/// How long a bookie that ends may take to answer what it accepted.
const DRAIN_WAIT_MS: u64 = 30_000;

/// The whole file. Relative paths begin at its directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct BookieFile {
    /// Its number in the cluster, for ever.
    pub(super) id: u64,
    /// The cluster's name.
    pub(super) cluster: String,
    /// Where it keeps journal and extents.
    pub(super) directory: PathBuf,
    /// Where it listens.
    pub(super) listen: SocketAddr,
    /// Where others reach it; where it listens, if that is an address.
    #[serde(default)]
    pub(super) advertise: String,
    /// What fails together with it; empty is a rack of its own.
    #[serde(default)]
    pub(super) rack: String,
    /// The cluster's metadata store.
    pub(super) metadata: String,
    /// Parts of its directory that sync side by side, each with a journal and threads of its own; for ever.
    #[serde(default = "shards")]
    pub(super) shards: u16,
    /// Bytes of one journal file.
    #[serde(default = "journal_file_bytes")]
    pub(super) journal_file_bytes: u64,
    /// Of a read thread's time, what readers of history get while appends come in, in percent.
    #[serde(default = "catch_up_percent")]
    pub(super) catch_up_percent: u8,
    /// How long it may take to answer what it accepted, when it ends.
    #[serde(default = "drain_wait_ms")]
    pub(super) drain_wait_ms: u64,
    /// How much it takes.
    #[serde(default)]
    limits: LimitsTable,
    /// How it mends the cluster.
    #[serde(default)]
    pub(in crate::cli) repair: RepairTable,
    /// Its certificate; may be absent on a loopback address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tls: Option<TlsFiles>,
}

/// Copies that are lacking are made by the bookies' own processes, one of them at a time.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::cli) struct RepairTable {
    /// Whether this process takes part.
    pub(super) enabled: bool,
    /// How fast entries are copied.
    mb_per_second: u64,
    /// Between two looks over all ledgers.
    every_ms: u64,
    /// How long a bookie may be away before its copies are made elsewhere.
    pub(super) lost_after_ms: u64,
    /// How long nobody may have written a ledger that lacks one of its last bookies, before it is taken for
    /// abandoned.
    grace_ms: u64,
}

impl Default for RepairTable {
    fn default() -> RepairTable {
        RepairTable {
            enabled: true,
            mb_per_second: caps::REPAIR_BYTES_PER_SECOND >> 20,
            every_ms: caps::REPAIR_SWEEP_MS,
            lost_after_ms: caps::BOOKIE_LOST_MS,
            grace_ms: caps::LEDGER_QUIET_MS,
        }
    }
}

impl RepairTable {
    /// How the repairer works.
    pub(in crate::cli) fn config(&self) -> RepairerConfig {
        RepairerConfig {
            pace: Pace { bytes_per_second: self.mb_per_second.max(1).saturating_mul(1 << 20) },
            every: Duration::from_millis(self.every_ms.max(100)),
            grace: Duration::from_millis(self.grace_ms),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsTable {
    connections: usize,
    unauthenticated_connections: usize,
    requests_per_connection: usize,
    request_bytes_per_connection: usize,
    request_bytes: usize,
    reply_bytes_per_connection: usize,
    hello_wait_ms: u64,
    frame_wait_ms: u64,
    slow_reader_wait_ms: u64,
}

impl Default for LimitsTable {
    fn default() -> LimitsTable {
        LimitsTable {
            connections: caps::BOOKIE_CONNECTIONS_MAX,
            unauthenticated_connections: caps::BOOKIE_STRANGERS_MAX,
            requests_per_connection: caps::BOOKIE_REQUESTS_MAX,
            request_bytes_per_connection: caps::BOOKIE_REQUEST_BYTES_MAX,
            request_bytes: caps::BOOKIE_REQUEST_BYTES_TOTAL_MAX,
            reply_bytes_per_connection: caps::BOOKIE_REPLY_BYTES_MAX,
            hello_wait_ms: caps::HELLO_WAIT_MS,
            frame_wait_ms: caps::FRAME_WAIT_MS,
            slow_reader_wait_ms: caps::SLOW_READER_WAIT_MS,
        }
    }
}

fn shards() -> u16 {
    1
}

fn journal_file_bytes() -> u64 {
    JOURNAL_FILE_BYTES
}

fn catch_up_percent() -> u8 {
    caps::CATCH_UP_PERCENT
}

fn drain_wait_ms() -> u64 {
    DRAIN_WAIT_MS
}

impl BookieFile {
    /// Reads and checks a file.
    pub(super) fn load(path: &Path) -> Result<BookieFile, Exit> {
        let told = |why: String| Exit::Usage(format!("{}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|e| told(e.to_string()))?;
        BookieFile::parse(&text).map_err(told)
    }

    pub(in crate::cli) fn parse(text: &str) -> Result<BookieFile, String> {
        let file: BookieFile =
            toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        file.check_names()?;
        file.check_figures()?;
        Ok(file)
    }

    fn check_names(&self) -> Result<(), String> {
        if self.id == 0 {
            return Err("id is 0, which is nobody's: give 1 or more".to_owned());
        }
        if !is_cluster_name(&self.cluster) {
            let name = self.cluster.clone();
            return Err(ServeError::ClusterName { name }.to_string());
        }
        if self.directory.as_os_str().is_empty() {
            return Err("directory is empty: name one of the bookie's own".to_owned());
        }
        if self.advertise.is_empty() && self.listen.ip().is_unspecified() {
            return Err(format!(
                "listen is {}, where nobody can be sent: give advertise = \"HOST:PORT\"",
                self.listen
            ));
        }
        let port = self.advertise.rsplit_once(':').and_then(|(host, port)| {
            (!host.is_empty()).then(|| port.parse::<u16>().ok()).flatten()
        });
        if !self.advertise.is_empty() && port.is_none_or(|port| port == 0) {
            return Err(format!(
                "advertise is `{}`, which nobody can reach: give \"HOST:PORT\"",
                self.advertise
            ));
        }
        metadata_of(&self.cluster, &self.metadata).map_err(|error| error.to_string())?;
        Ok(())
    }

    fn check_figures(&self) -> Result<(), String> {
        if self.journal_file_bytes < JOURNAL_FILE_BYTES_MIN {
            return Err(format!(
                "journal_file_bytes is {}: give {JOURNAL_FILE_BYTES_MIN} or more",
                self.journal_file_bytes
            ));
        }
        if !(1..=caps::SHARDS_MAX).contains(&self.shards) {
            let (shards, max) = (self.shards, caps::SHARDS_MAX);
            return Err(format!("shards is {shards}: give 1 to {max}"));
        }
        if !(1..=100).contains(&self.catch_up_percent) {
            return Err(format!(
                "catch_up_percent is {}: give 1 to 100, which is no rest",
                self.catch_up_percent
            ));
        }
        let (grace, min, max) =
            (self.repair.grace_ms, caps::LEDGER_QUIET_MS_MIN, caps::LEDGER_QUIET_MS_MAX);
        if !(min..=max).contains(&grace) {
            return Err(format!("repair.grace_ms is {grace}: give {min} to {max}"));
        }
        let limits = &self.limits;
        let counts = [
            ("connections", limits.connections),
            ("unauthenticated_connections", limits.unauthenticated_connections),
            ("requests_per_connection", limits.requests_per_connection),
        ];
        match counts.iter().find(|(_, count)| *count == 0) {
            Some((name, _)) => Err(format!("limits.{name} is 0, and nobody gets in: give more")),
            None => Ok(()),
        }
    }

    /// Looks at everything that a start looks at, but for what asks a running system, and changes nothing;
    /// the certificate. Relative paths begin at `base`.
    pub(super) fn check(&self, base: &Path) -> Result<Option<ServerTls>, Exit> {
        let address = self.reached_at();
        let server = |tls: &TlsFiles| tls.server(base, &self.cluster, &address);
        let tls = self.tls.as_ref().map(server).transpose()?;
        check_place(self.listen, tls.is_some())?;
        check_metadata(&self.cluster, &self.metadata, base)?;
        let (dir, id) = (base.join(&self.directory), BookieId(self.id));
        if let Some(identity) = Identity::load(&RealDisk, &dir).map_err(IdentityError::from)? {
            identity.check(&dir, &self.cluster, id, self.shards)?;
        }
        Ok(tls)
    }

    /// Where others reach it; of a port that is taken as it comes, not yet which.
    pub(super) fn reached_at(&self) -> String {
        if self.advertise.is_empty() { self.listen.to_string() } else { self.advertise.clone() }
    }

    /// The file with every default.
    pub(in crate::cli) fn print(&self) -> Result<String, Exit> {
        toml::to_string(self).map_err(|error| Exit::Failed(error.to_string()))
    }

    /// How much it takes.
    pub(in crate::cli) fn limits(&self) -> ServerLimits {
        let limits = &self.limits;
        ServerLimits {
            connections_max: limits.connections,
            strangers_max: limits.unauthenticated_connections,
            requests_max: limits.requests_per_connection,
            request_bytes_max: limits.request_bytes_per_connection,
            request_bytes_total_max: limits.request_bytes,
            reply_bytes_max: limits.reply_bytes_per_connection,
            hello_wait: Duration::from_millis(limits.hello_wait_ms),
            frame_wait: Duration::from_millis(limits.frame_wait_ms),
            slow_reader_wait: Duration::from_millis(limits.slow_reader_wait_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "id = 1\ncluster = \"blue\"\ndirectory = \"b1\"\nlisten = \"127.0.0.1:0\"\nmetadata = \"redb:meta/cluster.redb\"\n";

    #[test]
    fn what_is_printed_says_the_same_with_every_default() {
        let file = BookieFile::parse(LEAST).unwrap();
        assert_eq!(file.limits(), ServerLimits::default());
        let printed = file.print().unwrap();
        assert!(printed.contains("journal_file_bytes = 268435456"), "{printed}");
        let again = BookieFile::parse(&printed).unwrap();
        assert_eq!(again.print().unwrap(), printed);
    }

    #[test]
    fn a_key_nobody_knows_is_refused_with_its_line() {
        let error = BookieFile::parse(&format!("{LEAST}jurnal_file_bytes = 1\n")).unwrap_err();
        assert!(error.contains("line 6") && error.contains("jurnal_file_bytes"), "{error}");
        let error = BookieFile::parse(&format!("{LEAST}[limits]\nconections = 1\n")).unwrap_err();
        assert!(error.contains("line 7") && error.contains("conections"), "{error}");
    }

    #[test]
    fn a_pace_beyond_all_numbers_is_the_highest_there_is_and_not_none() {
        // Its highest bits were shifted out, and nothing was left.
        let file = format!("{LEAST}[repair]\nmb_per_second = {}\n", 1u64 << 44);
        let pace = BookieFile::parse(&file).unwrap().repair.config().pace;
        assert_eq!(pace.bytes_per_second, u64::MAX);
    }

    #[test]
    fn the_grace_of_abandoned_ledgers_is_as_the_file_says() {
        let grace = |file: &str| BookieFile::parse(file).unwrap().repair.config().grace;
        assert_eq!(grace(LEAST), RepairerConfig::default().grace);
        let file = format!("{LEAST}[repair]\ngrace_ms = 20000\n");
        assert_eq!(grace(&file), Duration::from_secs(20));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (line, why) in [
            ("journal_file_bytes = 1", "give 65536 or more"),
            ("shards = 0", "shards is 0: give 1 to 64"),
            ("shards = 65", "shards is 65: give 1 to 64"),
            ("catch_up_percent = 0", "catch_up_percent is 0: give 1 to 100"),
            ("[limits]\nconnections = 0", "limits.connections is 0"),
            ("[repair]\ngrace_ms = 19999", "repair.grace_ms is 19999: give 20000 to 86400000"),
            ("[repair]\ngrace_ms = 86400001", "repair.grace_ms is 86400001: give 20000"),
            ("advertise = \"b1\"", "advertise is `b1`, which nobody can reach"),
            ("advertise = \":7400\"", "advertise is `:7400`, which nobody can reach"),
            ("advertise = \"b1:0\"", "advertise is `b1:0`, which nobody can reach"),
        ] {
            let error = BookieFile::parse(&format!("{LEAST}{line}\n")).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        for (key, value, why) in [
            ("id = 1", "id = 0", "id is 0, which is nobody's"),
            ("\"blue\"", "\"b l\"", "a cluster's name has 1 to 64 letters"),
            ("\"b1\"", "\"\"", "directory is empty: name one"),
            ("redb:meta/cluster.redb", "zk://a:1", "write redb:PATH or etcd://"),
            (
                "redb:meta/cluster.redb",
                "etcd://a:1/green",
                "cluster `green`, and this is of cluster `blue`",
            ),
        ] {
            let error = BookieFile::parse(&LEAST.replace(key, value)).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let anywhere = LEAST.replace("127.0.0.1:0", "0.0.0.0:7400");
        let error = BookieFile::parse(&anywhere).unwrap_err();
        assert!(error.contains("give advertise"), "{error}");
    }
}
