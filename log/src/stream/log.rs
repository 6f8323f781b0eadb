//! [`Log`]: the streams of one data directory, or of any bookie and metadata store.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use egret_schemas::{EntryId, LedgerId, Position, SegmentId, Term};

use super::catalog::{
    Closed, Format, Owner, PartitionRecord, StreamConfig, StreamInfo, StreamState, decode_stream,
};
use super::create;
use super::error::{
    CatalogError, CreateStreamError, OpenWriterError, ReadError, TruncateError, UseError,
};
use super::follow::Follower;
use super::pages::while_pages_go;
use super::partition::{Below, Catalog, EndOf, Partition};
use super::reader::{PartitionReader, ReadFrom};
use super::transactional::{Committed, TransactionalWriter};
use super::truncate;
use super::users::{self, User, Users};
use super::writer::PartitionWriter;
use crate::caps;
use crate::client::{LedgerEnd, Ledgers};
use crate::clock::Wall;
use crate::directory::LogCloseError;
use crate::message::Transport;
use crate::metadata::MetaStore;

/// One segment, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentDescription {
    /// Its number in the partition.
    pub id: SegmentId,
    /// The ledger that holds it.
    pub ledger: LedgerId,
    /// The number of its first record.
    pub first_number: u64,
    /// How far it may be read, and whether it is closed.
    pub end: LedgerEnd,
    /// When it was begun, in milliseconds since 1970.
    pub created_ms: u64,
    /// When the last of it was appended, and how much it holds, once the next was begun.
    pub closed: Option<Closed>,
}

/// One partition, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its number.
    pub number: u32,
    /// Raised by each takeover.
    pub term: Term,
    /// Who writes it, when it is transactional and was opened.
    pub owner: Option<Owner>,
    /// Its segments, in order.
    pub segments: Vec<SegmentDescription>,
    /// Where it starts.
    pub first: Position,
    /// The position after the last visible record.
    pub end: Position,
    /// The number of the record at `first`, there or not yet.
    pub first_number: u64,
    /// Visible records.
    pub records: u64,
}

/// A stream, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamDescription {
    /// What it was created with.
    pub info: StreamInfo,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionDescription>,
    /// The components of topologies that read and write it.
    pub users: Users,
}

/// The position after the last visible record, by partition.
pub type Ends = BTreeMap<u32, Position>;

type Writers = BTreeMap<(String, u32), PartitionWriter>;

/// What shows a log to other processes while there are handles to it in this one.
pub(crate) trait Shown: Debug + Send + Sync {
    /// The data directory.
    fn dir(&self) -> &Path;

    /// Lets requests of other processes finish, and takes no more.
    fn stop(&self);
}

/// The streams of one log. Cheap to clone; all clones are one log.
#[derive(Debug, Clone)]
pub struct Log {
    inner: Arc<Inner>,
    /// `None` when the log is [over](Log::over) something else than a directory, and in the handles
    /// that answer other processes: they end when the last handle outside does.
    shown: Option<Arc<dyn Shown>>,
}

#[derive(Debug)]
struct Inner {
    /// Where others write as well.
    _follower: Option<Follower>,
    catalog: Arc<Catalog>,
    /// Nobody else can be writing: this process holds the directory and does not share it.
    alone: bool,
    /// One writer for each partition of this process.
    writers: Mutex<Writers>,
}

impl Log {
    /// A log over a way to a bookie and a metadata store. What a crash left half deleted is finished.
    pub fn over(
        transport: Arc<dyn Transport>,
        meta: Arc<dyn MetaStore>,
    ) -> Result<Log, TruncateError> {
        Log::over_by(transport, meta, Wall::default())
    }

    /// As [`over`](Log::over), by another clock.
    pub fn over_by(
        transport: Arc<dyn Transport>,
        meta: Arc<dyn MetaStore>,
        wall: Wall,
    ) -> Result<Log, TruncateError> {
        Log::assemble(Ledgers::on_one(transport, meta), None, wall)
    }

    /// A log over several bookies and a metadata store that others use as well: nothing is tidied up
    /// that might be theirs.
    ///
    /// # Errors
    /// When the system gives no thread to follow with what others append.
    pub fn on(ledgers: Ledgers) -> io::Result<Log> {
        let catalog = Catalog::new(ledgers, None, Wall::default());
        let quiet = Duration::from_millis(caps::PARTITIONS_QUIET_MS);
        let _follower = Some(Follower::start(&catalog, quiet)?);
        let inner = Inner { _follower, catalog, alone: false, writers: Mutex::default() };
        Ok(Log { inner: Arc::new(inner), shown: None })
    }

    /// A log that others write, for who looks at it: it follows nothing, and tidies nothing up.
    pub(crate) fn looking(ledgers: Ledgers) -> Log {
        let catalog = Catalog::new(ledgers, None, Wall::default());
        let inner = Inner { _follower: None, catalog, alone: false, writers: Mutex::default() };
        Log { inner: Arc::new(inner), shown: None }
    }

    /// A log with what lies below it. Whoever opened that for this log lets nobody else write to it.
    pub(crate) fn assemble(
        ledgers: Ledgers,
        below: Option<Box<dyn Below>>,
        wall: Wall,
    ) -> Result<Log, TruncateError> {
        let alone = below.is_some();
        let catalog = Catalog::new(ledgers, below, wall);
        truncate::finish(&catalog)?;
        let inner = Arc::new(Inner { _follower: None, catalog, alone, writers: Mutex::default() });
        Ok(Log { inner, shown: None })
    }

    /// The same log where others are about to write as well: it follows what they do, and leaves what may be
    /// theirs alone. Whatever a crash left without an end is given one before, while nobody else can write.
    ///
    /// # Errors
    /// When the system gives no thread to follow with what others append.
    pub(crate) fn with_others(self) -> io::Result<Log> {
        self.settle_all();
        let catalog = Arc::clone(self.catalog());
        let quiet = Duration::from_millis(caps::PARTITIONS_QUIET_MS);
        let _follower = Some(Follower::start(&catalog, quiet)?);
        let inner = Inner { _follower, catalog, alone: false, writers: Mutex::default() };
        Ok(Log { inner: Arc::new(inner), shown: self.shown })
    }

    /// This log, shown for as long as there are handles to it.
    pub(crate) fn shown_by(self, shown: Arc<dyn Shown>) -> Log {
        Log { shown: Some(shown), ..self }
    }

    /// Readers of this log look again: others, who have a log of their own over the same bookie, changed streams.
    /// For simulations, in which nobody follows what others do.
    #[doc(hidden)]
    pub fn changed_by_others(&self) {
        self.catalog().notify_all();
    }

    /// The data directory, when it is one that this process holds.
    pub fn dir(&self) -> Option<&Path> {
        self.shown.as_deref().map(Shown::dir)
    }

    /// Creates a stream.
    pub fn create_stream(
        &self,
        name: &str,
        config: StreamConfig,
    ) -> Result<StreamInfo, CreateStreamError> {
        create::create(self.catalog(), name, config)
    }

    /// A stream.
    pub fn stream(&self, name: &str) -> Result<StreamInfo, CatalogError> {
        self.catalog().stream(name)
    }

    /// All streams, by name.
    pub fn streams(&self) -> Result<Vec<StreamInfo>, CatalogError> {
        self.catalog().check_open()?;
        let mut streams = Vec::new();
        for (key, held) in self.metadata().list("/stream/")? {
            let name = key["/stream/".len()..].to_owned();
            let record =
                decode_stream(&held.value).map_err(|why| CatalogError::Decode { key, why })?;
            if record.state == StreamState::There {
                streams.push(StreamInfo { name, config: record.config });
            }
        }
        Ok(streams)
    }

    /// What a stream consists of.
    ///
    /// # Errors
    /// Also when so few bookies answer that there may be more of it.
    pub fn describe(&self, name: &str) -> Result<StreamDescription, ReadError> {
        let info = self.stream(name)?;
        let describe = |number| {
            let partition = self.catalog().partition_of(name, number);
            self.settle(&partition, &info, number)?;
            while_pages_go(ReadError::is_gone, || describe(&partition, number, Reach::Whole))
        };
        let partitions: Result<_, _> = (0..info.config.partitions).map(describe).collect();
        let users = self.users(name)?;
        Ok(StreamDescription { info, partitions: partitions?, users })
    }

    /// What one partition consists of, as far as the bookies that answer know.
    pub fn describe_partition(
        &self,
        name: &str,
        partition: u32,
    ) -> Result<PartitionDescription, ReadError> {
        let (found, info) = self.catalog().partition(name, partition)?;
        self.settle(&found, &info, partition)?;
        while_pages_go(ReadError::is_gone, || describe(&found, partition, Reach::AtLeast))
    }

    /// The position after the last visible record of each partition.
    ///
    /// # Errors
    /// When there is no such stream, or where it ends cannot be found.
    pub fn ends(&self, name: &str) -> Result<Ends, ReadError> {
        let described = self.describe(name)?;
        Ok(described.partitions.into_iter().map(|p| (p.number, p.end)).collect())
    }

    /// Deletes a stream, shutting out its writers.
    ///
    /// # Errors
    /// [`TruncateError::Used`] when a topology uses it, unless `force`: that topology cannot go on then.
    pub fn delete_stream(&self, name: &str, force: bool) -> Result<(), TruncateError> {
        truncate::mark_deleted(self.catalog(), name, force)?;
        let gone: Vec<PartitionWriter> = {
            let mut writers = self.writers();
            let keys: Vec<_> = writers.keys().filter(|(n, _)| n == name).cloned().collect();
            keys.iter().filter_map(|key| writers.remove(key)).collect()
        };
        gone.iter().for_each(PartitionWriter::close);
        truncate::delete_marked(self.catalog(), name)
    }

    /// Forgets everything before `before` in one partition.
    ///
    /// # Errors
    /// [`TruncateError::Needed`] when a topology may yet read some of it, unless `force`.
    pub fn truncate(
        &self,
        name: &str,
        partition: u32,
        before: Position,
        force: bool,
    ) -> Result<(), TruncateError> {
        truncate::truncate(&self.catalog().partition(name, partition)?.0, before, force)
    }

    /// Who uses a stream.
    pub fn users(&self, name: &str) -> Result<Users, CatalogError> {
        self.stream(name)?;
        Ok(users::load(self.catalog(), name)?.0)
    }

    /// Notes that a consumer may yet read what is `needed` of each partition and what comes after it.
    /// What was noted before only moves forward.
    pub fn consume(
        &self,
        name: &str,
        user: &User,
        needed: &BTreeMap<u32, Position>,
    ) -> Result<(), UseError> {
        users::change(self.catalog(), name, |users| {
            let held = users.consumers.entry(user.clone()).or_default();
            for (partition, position) in needed {
                let at = held.entry(*partition).or_insert(*position);
                *at = (*at).max(*position);
            }
        })
    }

    /// Notes that a producer keeps state that belongs to this very stream.
    pub fn produce(&self, name: &str, user: &User) -> Result<(), UseError> {
        users::change(self.catalog(), name, |users| {
            users.producers.insert(user.clone());
        })
    }

    /// The writer of a plain partition of [`Format::Bytes`]: one for each in this process, shared.
    ///
    /// # Errors
    /// When the stream is of another format, somebody's own, not there, or cannot be opened.
    pub fn writer(&self, name: &str, partition: u32) -> Result<PartitionWriter, OpenWriterError> {
        self.writer_of(name, partition, &Format::Bytes)
    }

    /// As [`writer`](Log::writer), for who writes `format`.
    ///
    /// # Errors
    /// As [`writer`](Log::writer).
    pub fn writer_of(
        &self,
        name: &str,
        partition: u32,
        format: &Format,
    ) -> Result<PartitionWriter, OpenWriterError> {
        self.stream(name)?.expect_format(format)?;
        self.writer_of_any(name, partition)
    }

    /// For who passes records on without looking into them.
    pub(crate) fn writer_of_any(
        &self,
        name: &str,
        partition: u32,
    ) -> Result<PartitionWriter, OpenWriterError> {
        let (opened, info) = self.catalog().partition(name, partition)?;
        if let Some(by) = info.config.transactional {
            return Err(OpenWriterError::Owned { stream: name.to_owned(), by });
        }
        // Held while it is opened: two takeovers in one process would only shut each other out.
        let mut writers = self.writers();
        self.catalog().check_open()?;
        let key = (name.to_owned(), partition);
        if let Some(writer) = writers.get(&key) {
            return Ok(writer.clone());
        }
        let writer = PartitionWriter::open(opened, info.config)?;
        writers.insert(key, writer.clone());
        Ok(writer)
    }

    /// A reader of one partition of [`Format::Bytes`].
    ///
    /// # Errors
    /// When the stream is of another format or not there, or `from` is nowhere in it.
    pub fn reader(
        &self,
        name: &str,
        partition: u32,
        from: ReadFrom,
    ) -> Result<PartitionReader, ReadError> {
        self.reader_of(name, partition, from, &Format::Bytes)
    }

    /// As [`reader`](Log::reader), for who reads `format`.
    ///
    /// # Errors
    /// As [`reader`](Log::reader).
    pub fn reader_of(
        &self,
        name: &str,
        partition: u32,
        from: ReadFrom,
        format: &Format,
    ) -> Result<PartitionReader, ReadError> {
        self.stream(name)?.expect_format(format)?;
        self.reader_of_any(name, partition, from)
    }

    /// For who passes records on without looking into them.
    pub(crate) fn reader_of_any(
        &self,
        name: &str,
        partition: u32,
        from: ReadFrom,
    ) -> Result<PartitionReader, ReadError> {
        let (found, info) = self.catalog().partition(name, partition)?;
        self.settle(&found, &info, partition)?;
        PartitionReader::open(found, from)
    }

    /// Makes everything acknowledged visible in a partition whose writer died. What a bookie remembers
    /// of how far readers may see lags behind what was acknowledged; only a takeover finds the end. A
    /// transactional partition is left to its owner, and one that may have a writer elsewhere to that.
    fn settle(
        &self,
        partition: &Partition,
        info: &StreamInfo,
        number: u32,
    ) -> Result<(), ReadError> {
        let key = (info.name.clone(), number);
        let nothing_to_do = !self.inner.alone
            || info.config.transactional.is_some()
            || self.writers().contains_key(&key);
        if nothing_to_do {
            return Ok(());
        }
        let record = partition.load()?;
        let Some(last) = record.segments.last() else { return Ok(()) };
        if let LedgerEnd::Open { .. } = partition.end_of(last)? {
            // When it cannot be taken over, on a full disk say, what is known to be visible still is.
            if let Err(error) = self.writer_of_any(&info.name, number) {
                tracing::warn!(stream = info.name, number, %error, "the end was not found");
            }
        }
        Ok(())
    }

    /// The same for every plain partition, none of which is left with a writer.
    fn settle_all(&self) {
        let streams = self.streams().unwrap_or_else(|error| {
            tracing::warn!(%error, "the ends of what was written last were not looked for");
            Vec::new()
        });
        for info in streams {
            for number in 0..info.config.partitions {
                let partition = self.catalog().partition_of(&info.name, number);
                if let Err(error) = self.settle(&partition, &info, number) {
                    tracing::warn!(stream = info.name, number, %error, "the end was not found");
                }
            }
        }
        let writers = std::mem::take(&mut *self.writers());
        writers.values().for_each(PartitionWriter::close);
    }

    /// Takes a transactional partition over for `owner`: whoever wrote before is shut out, what lies
    /// beyond `committed` is dropped, and a new segment is begun. `None`: nothing was committed here.
    pub fn transactional_writer(
        &self,
        name: &str,
        partition: u32,
        owner: &Owner,
        committed: Option<Committed>,
    ) -> Result<TransactionalWriter, OpenWriterError> {
        let (opened, info) = self.catalog().partition(name, partition)?;
        TransactionalWriter::open(opened, &info, owner, committed)
    }

    /// Does what [`transactional_writer`](Log::transactional_writer) does with what was written before, and
    /// leaves the partition for `owner` to be opened elsewhere, at the same commit.
    pub fn cut_partition(
        &self,
        name: &str,
        partition: u32,
        owner: &Owner,
        committed: Option<Committed>,
    ) -> Result<(), OpenWriterError> {
        let (opened, info) = self.catalog().partition(name, partition)?;
        TransactionalWriter::cut_at(&opened, &info, owner, committed)
    }

    /// Raises a transactional partition's term for `owner`, so that whoever wrote before is shut out of
    /// its record; what it wrote is cut by [`transactional_writer`](Log::transactional_writer).
    pub fn claim_partition(
        &self,
        name: &str,
        partition: u32,
        owner: &Owner,
    ) -> Result<Term, OpenWriterError> {
        let (opened, info) = self.catalog().partition(name, partition)?;
        TransactionalWriter::claim(&opened, &info, owner)
    }

    /// The ledgers below, for those who keep their own.
    pub fn ledgers(&self) -> &Ledgers {
        &self.catalog().ledgers
    }

    /// The metadata store below.
    pub fn metadata(&self) -> &Arc<dyn MetaStore> {
        self.ledgers().metadata()
    }

    /// Closes every writer at its end, and lets go of the directory. Whatever is opened through any
    /// handle later is refused.
    ///
    /// # Errors
    /// When the last checkpoint could not be finished; nothing acknowledged is lost by that.
    pub fn close(self) -> Result<(), LogCloseError> {
        if let Some(shown) = &self.shown {
            shown.stop();
        }
        let writers = std::mem::take(&mut *self.writers());
        writers.values().for_each(PartitionWriter::close);
        self.catalog().close()
    }

    pub(super) fn catalog(&self) -> &Arc<Catalog> {
        &self.inner.catalog
    }

    fn writers(&self) -> MutexGuard<'_, Writers> {
        self.inner.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a partition is to be known to be described.
#[derive(Debug, Clone, Copy)]
enum Reach {
    /// Whatever bookies are away, as far as those that answer know.
    AtLeast,
    /// To its end.
    Whole,
}

fn describe(
    partition: &Partition,
    number: u32,
    reach: Reach,
) -> Result<PartitionDescription, ReadError> {
    let record = partition.load()?;
    let (end, end_of): (_, EndOf) = match reach {
        Reach::AtLeast => (partition.visible_end(&record)?, Partition::end_of),
        Reach::Whole => (partition.whole_end(&record)?, Partition::whole_end_of),
    };
    let (mut segments, mut oldest) = (Vec::new(), None);
    for segment in partition.segments(&record) {
        let segment = segment?;
        oldest.get_or_insert_with(|| segment.clone());
        segments.push(SegmentDescription {
            id: segment.id,
            ledger: segment.ledger,
            first_number: segment.first_number,
            end: end_of(partition, &segment)?,
            created_ms: segment.created_ms,
            closed: segment.closed,
        });
    }
    let PartitionRecord { first, .. } = record;
    let first_number = match oldest {
        // Up to there its segment was truncated.
        Some(oldest) if oldest.id == first.segment => {
            partition.number_after(&oldest, first.entry.before())? + u64::from(first.slot)
        }
        Some(oldest) => oldest.first_number,
        None => 0,
    };
    let records = match &end.segment {
        Some((newest, last)) => partition.number_after(newest, *last)?.saturating_sub(first_number),
        None => 0,
    };
    let PartitionRecord { term, owner, .. } = record;
    let end = end.position;
    Ok(PartitionDescription { number, term, owner, segments, first, end, first_number, records })
}

impl SegmentDescription {
    /// How many entries readers may see.
    pub fn entries(&self) -> u64 {
        EntryId::after(self.end.readable()).0
    }
}
