//! What a client asks of a bookie.

use std::fmt;
use std::str::FromStr;

use crate::generated::bookie_capnp::{Role as WireRole, hello, request};
use crate::ids::{EntryId, Incarnation, LedgerId, Term};
use crate::mirrored::mirrored;
use crate::segment::{self, HeaderError, halves, text, whole};

/// A request and whom it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookieRequest {
    /// The incarnation it is for.
    pub to: Incarnation,
    /// How long the client will wait for the reply, in milliseconds.
    pub wait_ms: u32,
    /// What is asked.
    pub ask: Ask,
}

/// What is asked of a bookie; the bytes of an `Add` travel in the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// The first request of a connection.
    Hello(Hello),
    /// Creates a ledger.
    Create {
        /// The ledger.
        ledger: LedgerId,
        /// The creator's term.
        term: Term,
        /// Whether readers are bounded by a published position.
        transactional: bool,
        /// Whether other bookies have copies.
        replicated: bool,
    },
    /// Stores the entry in the payload.
    Add {
        /// The ledger.
        ledger: LedgerId,
        /// The entry's number.
        entry: EntryId,
        /// The writer's term.
        term: Term,
        /// What readers may see.
        lac: Option<EntryId>,
        /// CRC32C over ledger, entry and payload.
        crc: u32,
        /// Whether a recovery or a repair sends it.
        copy: bool,
    },
    /// Reads an entry.
    Read {
        /// The ledger.
        ledger: LedgerId,
        /// The entry's number.
        entry: EntryId,
        /// The term to raise first.
        fence: Option<Term>,
    },
    /// Reads entries in a row.
    ReadRange {
        /// The ledger.
        ledger: LedgerId,
        /// The first entry.
        from: EntryId,
        /// How many at most.
        entries_max: u32,
        /// Bytes at most, but for the first.
        bytes_max: u32,
    },
    /// Ends a ledger's limbo.
    ClearLimbo {
        /// The ledger.
        ledger: LedgerId,
        /// Its term.
        term: Term,
    },
    /// Tells which ledgers had not been created when the bookie lost something.
    LimboBound {
        /// The lowest of them.
        below: LedgerId,
    },
    /// Raises the ledger's term.
    Fence {
        /// The ledger.
        ledger: LedgerId,
        /// The new term.
        term: Term,
    },
    /// Tells what readers may see.
    WriteLac {
        /// The ledger.
        ledger: LedgerId,
        /// The writer's term.
        term: Term,
        /// The last entry readers may see.
        lac: EntryId,
    },
    /// Asks what readers may see.
    ReadLac {
        /// The ledger.
        ledger: LedgerId,
    },
    /// Forgets a ledger.
    Delete {
        /// The ledger.
        ledger: LedgerId,
    },
    /// Waits until readers may see more, or the time is over.
    WatchLac {
        /// The ledger.
        ledger: LedgerId,
        /// What the client knows already.
        beyond: Option<EntryId>,
    },
}

/// Who comes, and whom it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// What the client speaks.
    pub version: u16,
    /// The cluster it belongs to.
    pub cluster: String,
    /// The incarnation it means; `None` is whoever answers.
    pub incarnation: Option<Incarnation>,
    /// What it is.
    pub role: Role,
    /// Which of many processes this is, for logs.
    pub process: u64,
    /// A bit for each optional thing it understands.
    pub features: u64,
}

mirrored! {
    /// What a process is to a bookie, which decides what it may ask.
    Role = WireRole {
        /// Writes and reads ledgers.
        Client,
        /// Copies entries to mend.
        Bookie,
        /// Looks, fences and deletes.
        Admin,
        /// As a client, and takes a place among the worker processes of a topology.
        Worker,
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Client => "client",
            Role::Bookie => "bookie",
            Role::Admin => "admin",
            Role::Worker => "worker",
        })
    }
}

/// A text that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no role: write `client`, `bookie`, `admin` or `worker`")]
pub struct NoRole(pub String);

impl FromStr for Role {
    type Err = NoRole;

    fn from_str(text: &str) -> Result<Role, NoRole> {
        Role::ALL
            .iter()
            .copied()
            .find(|role| role.to_string() == text)
            .ok_or_else(|| NoRole(text.to_owned()))
    }
}

impl BookieRequest {
    /// One segment of Cap'n Proto.
    pub fn encode(&self) -> Vec<u8> {
        segment::encode::<request::Owned>(|root| self.fill(root))
    }

    /// From one segment of Cap'n Proto.
    pub fn decode(bytes: &[u8]) -> Result<BookieRequest, HeaderError> {
        segment::decode::<request::Owned, _>(bytes, BookieRequest::take)
    }

    fn fill(&self, mut root: request::Builder<'_>) {
        let (low, high) = halves(self.to);
        root.set_to_low(low);
        root.set_to_high(high);
        root.set_wait_ms(self.wait_ms);
        match &self.ask {
            Ask::Hello(hello) => fill_hello(hello, root.init_hello()),
            Ask::Create { ledger, term, transactional, replicated } => {
                let mut to = root.init_create();
                to.set_replicated(*replicated);
                to.set_ledger(ledger.0);
                to.set_term(term.0);
                to.set_transactional(*transactional);
            }
            Ask::Add { ledger, entry, term, lac, crc, copy } => {
                let mut to = root.init_add();
                to.set_copy(*copy);
                to.set_ledger(ledger.0);
                to.set_entry(entry.0);
                to.set_term(term.0);
                to.set_lac(lac.unwrap_or_default().0);
                to.set_has_lac(lac.is_some());
                to.set_crc(*crc);
            }
            Ask::Read { ledger, entry, fence } => {
                let mut to = root.init_read();
                to.set_ledger(ledger.0);
                to.set_entry(entry.0);
                to.set_fence(fence.unwrap_or_default().0);
                to.set_has_fence(fence.is_some());
            }
            Ask::ReadRange { ledger, from, entries_max, bytes_max } => {
                let mut to = root.init_read_range();
                to.set_ledger(ledger.0);
                to.set_from(from.0);
                to.set_entries_max(*entries_max);
                to.set_bytes_max(*bytes_max);
            }
            Ask::ClearLimbo { ledger, term } => {
                let mut to = root.init_clear_limbo();
                to.set_ledger(ledger.0);
                to.set_term(term.0);
            }
            Ask::LimboBound { below } => root.init_limbo_bound().set_ledger(below.0),
            Ask::Fence { ledger, term } => {
                let mut to = root.init_fence();
                to.set_ledger(ledger.0);
                to.set_term(term.0);
            }
            Ask::WriteLac { ledger, term, lac } => {
                let mut to = root.init_write_lac();
                to.set_ledger(ledger.0);
                to.set_term(term.0);
                to.set_lac(lac.0);
            }
            Ask::ReadLac { ledger } => root.init_read_lac().set_ledger(ledger.0),
            Ask::Delete { ledger } => root.init_delete().set_ledger(ledger.0),
            Ask::WatchLac { ledger, beyond } => {
                let mut to = root.init_watch_lac();
                to.set_ledger(ledger.0);
                to.set_beyond(beyond.unwrap_or_default().0);
                to.set_has_beyond(beyond.is_some());
            }
        }
    }

    fn take(root: request::Reader<'_>) -> Result<BookieRequest, HeaderError> {
        let ask = match root.which()? {
            request::Hello(from) => Ask::Hello(take_hello(from?)?),
            request::Create(from) => {
                let from = from?;
                Ask::Create {
                    ledger: LedgerId(from.get_ledger()),
                    term: Term(from.get_term()),
                    transactional: from.get_transactional(),
                    replicated: from.get_replicated(),
                }
            }
            request::Add(from) => {
                let from = from?;
                Ask::Add {
                    ledger: LedgerId(from.get_ledger()),
                    entry: EntryId(from.get_entry()),
                    term: Term(from.get_term()),
                    lac: from.get_has_lac().then(|| EntryId(from.get_lac())),
                    crc: from.get_crc(),
                    copy: from.get_copy(),
                }
            }
            request::Read(from) => {
                let from = from?;
                Ask::Read {
                    ledger: LedgerId(from.get_ledger()),
                    entry: EntryId(from.get_entry()),
                    fence: from.get_has_fence().then(|| Term(from.get_fence())),
                }
            }
            request::ReadRange(from) => {
                let from = from?;
                Ask::ReadRange {
                    ledger: LedgerId(from.get_ledger()),
                    from: EntryId(from.get_from()),
                    entries_max: from.get_entries_max(),
                    bytes_max: from.get_bytes_max(),
                }
            }
            request::ClearLimbo(from) => {
                let from = from?;
                Ask::ClearLimbo { ledger: LedgerId(from.get_ledger()), term: Term(from.get_term()) }
            }
            request::LimboBound(from) => Ask::LimboBound { below: LedgerId(from?.get_ledger()) },
            request::Fence(from) => {
                let from = from?;
                Ask::Fence { ledger: LedgerId(from.get_ledger()), term: Term(from.get_term()) }
            }
            request::WriteLac(from) => {
                let from = from?;
                Ask::WriteLac {
                    ledger: LedgerId(from.get_ledger()),
                    term: Term(from.get_term()),
                    lac: EntryId(from.get_lac()),
                }
            }
            request::ReadLac(from) => Ask::ReadLac { ledger: LedgerId(from?.get_ledger()) },
            request::Delete(from) => Ask::Delete { ledger: LedgerId(from?.get_ledger()) },
            request::WatchLac(from) => {
                let from = from?;
                Ask::WatchLac {
                    ledger: LedgerId(from.get_ledger()),
                    beyond: from.get_has_beyond().then(|| EntryId(from.get_beyond())),
                }
            }
        };
        let to = whole(root.get_to_low(), root.get_to_high());
        Ok(BookieRequest { to, wait_ms: root.get_wait_ms(), ask })
    }
}

fn fill_hello(hello: &Hello, mut to: hello::Builder<'_>) {
    let (low, high) = halves(hello.incarnation.unwrap_or_default());
    to.set_version(hello.version);
    to.set_cluster(&hello.cluster);
    to.set_incarnation_low(low);
    to.set_incarnation_high(high);
    to.set_role(hello.role.into());
    to.set_process(hello.process);
    to.set_features(hello.features);
}

fn take_hello(from: hello::Reader<'_>) -> Result<Hello, HeaderError> {
    let incarnation = whole(from.get_incarnation_low(), from.get_incarnation_high());
    Ok(Hello {
        version: from.get_version(),
        cluster: text(from.get_cluster()?)?,
        incarnation: (incarnation != Incarnation::default()).then_some(incarnation),
        role: from.get_role()?.into(),
        process: from.get_process(),
        features: from.get_features(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::option::of;
    use proptest::prelude::*;
    use proptest::sample::select;

    fn ask() -> impl Strategy<Value = Ask> {
        let ledger = || any::<u64>().prop_map(LedgerId);
        let entry = || any::<u64>().prop_map(EntryId);
        let term = || any::<u64>().prop_map(Term);
        let roles = select(Role::ALL.to_vec());
        prop_oneof![
            (any::<(u16, u64, u64)>(), ".{0,80}", 0u128.., roles).prop_map(
                |((version, process, features), cluster, id, role)| {
                    let incarnation = (id != 0).then_some(Incarnation(id));
                    Ask::Hello(Hello { version, cluster, incarnation, role, process, features })
                }
            ),
            (ledger(), term(), any::<(bool, bool)>()).prop_map(
                |(ledger, term, (transactional, replicated))| {
                    Ask::Create { ledger, term, transactional, replicated }
                }
            ),
            (ledger(), entry(), term(), of(entry()), any::<(u32, bool)>()).prop_map(
                |(ledger, entry, term, lac, (crc, copy))| {
                    Ask::Add { ledger, entry, term, lac, crc, copy }
                }
            ),
            (ledger(), entry(), any::<(u32, u32)>()).prop_map(
                |(ledger, from, (entries_max, bytes_max))| {
                    Ask::ReadRange { ledger, from, entries_max, bytes_max }
                }
            ),
            (ledger(), term()).prop_map(|(ledger, term)| Ask::ClearLimbo { ledger, term }),
            ledger().prop_map(|below| Ask::LimboBound { below }),
            (ledger(), entry(), of(term())).prop_map(|(ledger, entry, fence)| Ask::Read {
                ledger,
                entry,
                fence
            }),
            (ledger(), term()).prop_map(|(ledger, term)| Ask::Fence { ledger, term }),
            (ledger(), term(), entry()).prop_map(|(ledger, term, lac)| Ask::WriteLac {
                ledger,
                term,
                lac
            }),
            ledger().prop_map(|ledger| Ask::ReadLac { ledger }),
            ledger().prop_map(|ledger| Ask::Delete { ledger }),
            (ledger(), of(entry())).prop_map(|(ledger, beyond)| Ask::WatchLac { ledger, beyond }),
        ]
    }

    fn request() -> impl Strategy<Value = BookieRequest> {
        (any::<u128>(), any::<u32>(), ask()).prop_map(|(to, wait_ms, ask)| BookieRequest {
            to: Incarnation(to),
            wait_ms,
            ask,
        })
    }

    proptest! {
        #[test]
        fn a_request_comes_back(request in request()) {
            prop_assert_eq!(BookieRequest::decode(&request.encode()), Ok(request));
        }

        #[test]
        fn arbitrary_bytes_decode_or_fail_without_panic(words: Vec<u64>) {
            let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
            let _ = BookieRequest::decode(&bytes);
        }

        #[test]
        fn a_damaged_request_decodes_or_fails_without_panic(
            request in request(),
            at: proptest::sample::Index,
            with: u8,
        ) {
            let mut bytes = request.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= with;
            let _ = BookieRequest::decode(&bytes);
            let _ = BookieRequest::decode(&bytes[..at / 8 * 8]);
        }
    }

    #[test]
    fn a_role_parses_back_from_what_it_prints() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(*role));
        }
        let error = "root".parse::<Role>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`root` is no role: write `client`, `bookie`, `admin` or `worker`"
        );
    }
}
