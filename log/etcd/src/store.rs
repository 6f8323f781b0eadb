//! The store: reads, transactions and leases, each with a deadline.

use std::fmt;
use std::future::Future;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use egret_log::clock;
use egret_log::metadata::{
    Compare, LeaseId, Listing, MetaError, MetaStore, Op, TxnOutcome, Versioned, Watch, check_txn,
};
use etcd_client::{
    Certificate, Client, CompareOp, ConnectOptions, Error, GetOptions, GetResponse, Identity,
    KvClient, LeaseClient, PutOptions, TlsOptions, Txn, TxnOp, WatchClient,
};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::{sleep, timeout};

use crate::answer::Answer;
use crate::config::EtcdConfig;
use crate::keys::{Keys, end_of};
use crate::watch;

/// Keys of one page of a list: few enough that they fit an answer though each has the largest value.
const PAGE: i64 = 256;

/// The largest answer: a page of the largest values, or the watched changes etcd sends at once.
const ANSWER_BYTES_MAX: usize = 320 << 20;

/// How often a list is begun again because its revision was compacted meanwhile.
const LIST_TRIES: usize = 3;

/// Attempts that a read's deadline is divided into: a member that hangs leaves time to ask another.
const READ_ATTEMPTS: u32 = 3;

/// Between attempts, so that a member that is down is not asked in a busy loop.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// etcd closes a connection that is probed more often than every five seconds.
const PROBE_EVERY: Duration = Duration::from_secs(10);

/// How long a probe may be unanswered before the connection counts as broken.
const PROBE_WAIT: Duration = Duration::from_secs(5);

/// Threads of the runtime: they only wait for sockets.
const THREADS: usize = 2;

/// See the [module](self).
pub struct EtcdMeta {
    asker: Asker,
    watches: WatchClient,
    /// `None` once closed.
    runtime: Mutex<Option<Runtime>>,
}

impl fmt::Debug for EtcdMeta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdMeta").field("at", &self.asker.at).finish_non_exhaustive()
    }
}

/// Asks etcd; cheap to clone into a task.
#[derive(Clone)]
struct Asker {
    kv: KvClient,
    leases: LeaseClient,
    keys: Keys,
    at: Arc<str>,
    deadline: Duration,
}

/// When a request may be sent again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    /// Until the deadline: it changes nothing, or nothing that matters.
    Always,
    /// Only if it surely was not sent.
    NotSent,
}

impl EtcdMeta {
    /// Connects, and sees that etcd answers.
    pub fn open(config: &EtcdConfig) -> Result<EtcdMeta, MetaError> {
        config.check().map_err(|why| MetaError::Refused { why: why.to_string() })?;
        let at: Arc<str> = config.endpoints.join(",").into();
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("egret-etcd")
            .enable_all()
            .build()
            .map_err(|why| MetaError::Unreachable { at: at.to_string(), why: why.to_string() })?;
        let opened = connect(runtime.handle(), config, &at);
        let client = match opened {
            Ok(client) => client,
            Err(why) => {
                runtime.shutdown_background();
                return Err(why);
            }
        };
        let asker = Asker {
            kv: client.kv_client().max_decoding_message_size(ANSWER_BYTES_MAX),
            leases: client.lease_client(),
            keys: Keys::of(&config.cluster),
            at,
            deadline: config.deadline,
        };
        let watches = client.watch_client().max_decoding_message_size(ANSWER_BYTES_MAX);
        let store = EtcdMeta { asker, watches, runtime: Mutex::new(Some(runtime)) };
        store.get("/")?;
        Ok(store)
    }

    fn handle(&self) -> Result<Handle, MetaError> {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        runtime.as_ref().map(|runtime| runtime.handle().clone()).ok_or(MetaError::Closed)
    }

    /// Carries out a request on the runtime, and waits for it here; `None` when the store was closed in the
    /// middle of it.
    fn wait<T, F>(&self, request: impl FnOnce(Asker) -> F) -> Result<Option<T>, MetaError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, MetaError>> + Send + 'static,
    {
        wait_on(&self.handle()?, request(self.asker.clone())).transpose()
    }

    /// A request that changes nothing: closed in the middle of it is closed before.
    fn read<T, F>(&self, request: impl FnOnce(Asker) -> F) -> Result<T, MetaError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, MetaError>> + Send + 'static,
    {
        self.wait(request)?.ok_or(MetaError::Closed)
    }

    /// One that may have been carried out all the same.
    fn write<T, F>(&self, request: impl FnOnce(Asker) -> F) -> Result<T, MetaError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, MetaError>> + Send + 'static,
    {
        self.wait(request)?.ok_or_else(|| MetaError::Unreachable {
            at: self.asker.at.to_string(),
            why: "this side was closed before the answer came".to_owned(),
        })
    }

    fn end(&self) {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }
}

impl Drop for EtcdMeta {
    fn drop(&mut self) {
        self.end();
    }
}

/// Not `block_on`: the caller may be a thread of another runtime, where that is forbidden.
fn wait_on<T: Send + 'static>(
    handle: &Handle,
    future: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let (tell, told) = mpsc::sync_channel(1);
    handle.spawn(async move {
        // Nobody is left to be told when the caller's thread is gone.
        drop(tell.send(future.await));
    });
    told.recv().ok()
}

fn connect(handle: &Handle, config: &EtcdConfig, at: &Arc<str>) -> Result<Client, MetaError> {
    let mut options = ConnectOptions::new()
        .with_connect_timeout(config.deadline / READ_ATTEMPTS)
        .with_keep_alive(PROBE_EVERY, PROBE_WAIT)
        .with_require_leader(true);
    if let Some((user, password)) = &config.user {
        options = options.with_user(user, password).with_auto_token_refresh(true);
    }
    if let Some(tls) = &config.tls {
        let mut certificates =
            TlsOptions::new().ca_certificate(Certificate::from_pem(tls.ca.clone()));
        if let Some((certificate, key)) = &tls.identity {
            certificates = certificates.identity(Identity::from_pem(certificate, key));
        }
        options = options.with_tls(certificates);
    }
    let (urls, deadline) = (config.urls(), config.deadline);
    let connecting = async move { timeout(deadline, Client::connect(urls, Some(options))).await };
    match wait_on(handle, connecting) {
        Some(Ok(Ok(client))) => Ok(client),
        Some(Ok(Err(error))) => Err(Answer::of(&error).into_error(at, None)),
        Some(Err(_)) | None => Err(late(at, deadline)),
    }
}

fn late(at: &str, deadline: Duration) -> MetaError {
    let waited_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
    MetaError::Timeout { at: at.to_owned(), waited_ms }
}

impl Asker {
    /// Sends a request until it is answered, may not be sent again, or the deadline has come.
    async fn ask<T, F>(
        &self,
        again: Again,
        request: impl Fn(KvClient, LeaseClient) -> F,
    ) -> Result<T, Answer>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let start = clock::now();
        let mut last = None;
        loop {
            let left = self.deadline.saturating_sub(clock::now().saturating_duration_since(start));
            if left.is_zero() {
                return Err(last.unwrap_or_else(|| Answer::No(late(&self.at, self.deadline))));
            }
            let patience = match again {
                Again::Always => left.min(self.deadline / READ_ATTEMPTS),
                Again::NotSent => left,
            };
            let sent = timeout(patience, request(self.kv.clone(), self.leases.clone())).await;
            match sent.map(|answer| answer.map_err(|error| Answer::of(&error))) {
                Ok(Ok(answer)) => return Ok(answer),
                // `late` leaves the outcome open, as it must.
                Err(_) if again == Again::NotSent => {
                    return Err(Answer::No(late(&self.at, self.deadline)));
                }
                // What an attempt before was told says more than that this one was not.
                Err(_) => {
                    last.get_or_insert_with(|| Answer::No(late(&self.at, self.deadline)));
                }
                Ok(Err(answer @ Answer::NotSent(_))) => last = Some(answer),
                Ok(Err(answer @ Answer::Lost(_))) if again == Again::Always => last = Some(answer),
                Ok(Err(answer)) => return Err(answer),
            }
            sleep(RETRY_AFTER.min(left)).await;
        }
    }

    fn error(&self, answer: Answer, lease: Option<LeaseId>) -> MetaError {
        answer.into_error(&self.at, lease)
    }

    async fn get(self, key: String) -> Result<Option<Versioned>, MetaError> {
        let request = |mut kv: KvClient, _| {
            let key = key.clone();
            async move { kv.get(key, None).await }
        };
        let found = self.ask(Again::Always, request).await.map_err(|a| self.error(a, None))?;
        Ok(found.kvs().first().map(versioned))
    }

    async fn list(self, prefix: String) -> Result<Listing, MetaError> {
        for _ in 0..LIST_TRIES {
            match self.list_once(&prefix).await {
                Err(Answer::Compacted) => {}
                Err(answer) => return Err(self.error(answer, None)),
                Ok(listing) => return Ok(listing),
            }
        }
        let why =
            format!("it was compacted {LIST_TRIES} times while it was listed: compact less often");
        Err(MetaError::Refused { why })
    }

    /// All pages at the revision of the first.
    async fn list_once(&self, prefix: &str) -> Result<Listing, Answer> {
        let end = end_of(prefix);
        let mut from = prefix.as_bytes().to_vec();
        let mut listing = Listing { entries: Vec::new(), revision: 0 };
        loop {
            let at = i64::try_from(listing.revision).unwrap_or(i64::MAX);
            let options =
                GetOptions::new().with_range(end.clone()).with_limit(PAGE).with_revision(at);
            let request = |mut kv: KvClient, _| {
                let (from, options) = (from.clone(), options.clone());
                async move { kv.get(from, Some(options)).await }
            };
            let page = self.ask(Again::Always, request).await?;
            if listing.revision == 0 {
                listing.revision = revision_of(&page);
            }
            for found in page.kvs() {
                let key = self.keys.inner(found.key()).map_err(Answer::No)?;
                listing.entries.push((key, versioned(found)));
            }
            match page.kvs().last().filter(|_| page.more()) {
                Some(last) => {
                    from.clear();
                    from.extend_from_slice(last.key());
                    from.push(0);
                }
                None => return Ok(listing),
            }
        }
    }

    async fn txn(self, txn: Txn, lease: Option<LeaseId>) -> Result<TxnOutcome, MetaError> {
        let request = |mut kv: KvClient, _| {
            let txn = txn.clone();
            async move { kv.txn(txn).await }
        };
        let done = self.ask(Again::NotSent, request).await.map_err(|a| self.error(a, lease))?;
        let revision = done.header().map_or(0, |header| unsigned(header.revision()));
        Ok(match done.succeeded() {
            true => TxnOutcome::Committed { revision },
            false => TxnOutcome::Conflict,
        })
    }

    async fn grant(self, seconds: i64) -> Result<LeaseId, MetaError> {
        // One whose answer is lost ends by itself.
        let request = |_, mut leases: LeaseClient| async move { leases.grant(seconds, None).await };
        let granted = self.ask(Again::Always, request).await.map_err(|a| self.error(a, None))?;
        Ok(LeaseId(unsigned(granted.id())))
    }

    async fn keep_alive(self, lease: LeaseId) -> Result<u64, MetaError> {
        let id = signed(lease);
        let request = |_, mut leases: LeaseClient| async move {
            // The first answer of its stream is taken in here, and says only that there is a lease.
            let (mut keeper, mut answers) = leases.keep_alive(id).await?;
            keeper.keep_alive().await?;
            let answer = answers.message().await?;
            Ok(answer.map_or(0, |answer| answer.ttl()))
        };
        let ttl = self.ask(Again::Always, request).await;
        match ttl.map_err(|a| self.error(a, Some(lease)))? {
            ..=0 => Err(MetaError::NoLease { lease }),
            seconds => Ok(unsigned(seconds) * 1000),
        }
    }

    async fn revoke(self, lease: LeaseId) -> Result<(), MetaError> {
        let id = signed(lease);
        let request = |_, mut leases: LeaseClient| async move { leases.revoke(id).await };
        match self.ask(Again::Always, request).await {
            Ok(_) | Err(Answer::NoLease) => Ok(()),
            Err(answer) => Err(self.error(answer, Some(lease))),
        }
    }

    /// The transaction as etcd knows it; `None` when it requires what can never hold.
    fn etcd_txn(&self, compare: &[Compare], ops: &[Op]) -> Result<Option<Txn>, MetaError> {
        let mut conditions = Vec::with_capacity(compare.len());
        for compare in compare {
            conditions.push(match compare {
                Compare::Absent(key) => {
                    let key = self.keys.outer(key)?;
                    etcd_client::Compare::create_revision(key, CompareOp::Equal, 0)
                }
                // To etcd, revision 0 is a key that is not there.
                Compare::Revision(_, 0) => return Ok(None),
                Compare::Revision(key, revision) => {
                    let Ok(revision) = i64::try_from(*revision) else { return Ok(None) };
                    let key = self.keys.outer(key)?;
                    etcd_client::Compare::mod_revision(key, CompareOp::Equal, revision)
                }
            });
        }
        let mut writes = Vec::with_capacity(ops.len());
        for op in ops {
            let key = self.keys.outer(op.key())?;
            writes.push(match op {
                Op::Put(_, value) => TxnOp::put(key, value.clone(), None),
                Op::PutLeased { value, lease, .. } => {
                    let options = PutOptions::new().with_lease(signed(*lease));
                    TxnOp::put(key, value.clone(), Some(options))
                }
                Op::Delete(_) => TxnOp::delete(key, None),
            });
        }
        Ok(Some(Txn::new().when(conditions).and_then(writes)))
    }
}

impl MetaStore for EtcdMeta {
    fn get(&self, key: &str) -> Result<Option<Versioned>, MetaError> {
        let key = self.asker.keys.outer(key)?;
        self.read(|asker| asker.get(key))
    }

    fn list(&self, prefix: &str) -> Result<Listing, MetaError> {
        let prefix = self.asker.keys.outer_prefix(prefix)?;
        self.read(|asker| asker.list(prefix))
    }

    fn txn(&self, compare: &[Compare], ops: &[Op]) -> Result<TxnOutcome, MetaError> {
        check_txn(compare, ops)?;
        let Some(txn) = self.asker.etcd_txn(compare, ops)? else {
            return Ok(TxnOutcome::Conflict);
        };
        let lease = ops.iter().find_map(Op::lease);
        self.write(|asker| asker.txn(txn, lease))
    }

    fn grant(&self, ttl_ms: u64) -> Result<LeaseId, MetaError> {
        let seconds = i64::try_from(ttl_ms.div_ceil(1000)).unwrap_or(i64::MAX);
        self.write(|asker| asker.grant(seconds))
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<u64, MetaError> {
        self.read(|asker| asker.keep_alive(lease))
    }

    fn revoke(&self, lease: LeaseId) -> Result<(), MetaError> {
        self.write(|asker| asker.revoke(lease))
    }

    fn watch(&self, prefix: &str, from_revision: u64) -> Result<Watch, MetaError> {
        let prefix = self.asker.keys.outer_prefix(prefix)?;
        let from = from_revision.max(1);
        let keys = self.asker.keys.clone();
        Ok(watch::start(&self.handle()?, self.watches.clone(), keys, prefix, from))
    }

    fn close(&self) {
        self.end();
    }
}

fn versioned(found: &etcd_client::KeyValue) -> Versioned {
    Versioned { value: found.value().to_vec(), revision: unsigned(found.mod_revision()) }
}

fn revision_of(page: &GetResponse) -> u64 {
    page.header().map_or(0, |header| unsigned(header.revision()))
}

/// etcd counts in signed numbers and never below zero.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A lease etcd never granted is one that is not there.
fn signed(lease: LeaseId) -> i64 {
    i64::try_from(lease.0).unwrap_or(i64::MAX)
}
