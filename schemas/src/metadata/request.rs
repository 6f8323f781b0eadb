//! What is asked of the metadata.

use crate::generated::metadata_capnp::{compare, op, request, txn};
use crate::ids::Incarnation;
use crate::segment::{self, HeaderError, collect, count, halves, text, whole};

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetaRequest {
    /// The first request of a connection.
    Hello {
        /// The version the client speaks.
        version: u16,
        /// The life it is attached to, if it is.
        life: Option<Incarnation>,
    },
    /// The value of a key.
    Get {
        /// The key.
        key: String,
    },
    /// Everything under a prefix.
    List {
        /// The prefix.
        prefix: String,
    },
    /// The next page of it.
    More,
    /// A transaction.
    Txn {
        /// What must hold.
        compare: Vec<MetaCompare>,
        /// What is written then.
        ops: Vec<MetaOp>,
    },
    /// A new lease.
    Grant {
        /// How long it lives.
        ttl_ms: u64,
    },
    /// Lets a lease live on.
    KeepAlive {
        /// The lease.
        lease: u64,
    },
    /// Ends a lease.
    Revoke {
        /// The lease.
        lease: u64,
    },
    /// Makes the connection a watch.
    Watch {
        /// Of keys that start so.
        prefix: String,
        /// From this revision on.
        from: u64,
    },
    /// The watch's next events.
    Next {
        /// How long they are waited for.
        wait_ms: u32,
    },
}

/// What a transaction requires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetaCompare {
    /// The key is not there.
    Absent {
        /// The key.
        key: String,
    },
    /// The key was last written at this revision.
    Revision {
        /// The key.
        key: String,
        /// The revision.
        revision: u64,
    },
}

/// What a transaction writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetaOp {
    /// A value that stays.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: Vec<u8>,
    },
    /// A value that goes with a lease.
    PutLeased {
        /// The key.
        key: String,
        /// The value.
        value: Vec<u8>,
        /// The lease.
        lease: u64,
    },
    /// Nothing any more.
    Delete {
        /// The key.
        key: String,
    },
}

impl MetaRequest {
    /// The header of a frame.
    pub fn encode(&self) -> Vec<u8> {
        segment::encode::<request::Owned>(|root| self.fill(root))
    }

    /// Reads the header of a frame.
    pub fn decode(bytes: &[u8]) -> Result<MetaRequest, HeaderError> {
        segment::decode::<request::Owned, _>(bytes, MetaRequest::take)
    }

    fn fill(&self, mut root: request::Builder<'_>) {
        match self {
            MetaRequest::Hello { version, life } => {
                let (low, high) = halves(life.unwrap_or_default());
                let mut to = root.init_hello();
                to.set_version(*version);
                to.set_life_low(low);
                to.set_life_high(high);
            }
            MetaRequest::Get { key } => root.set_get(key),
            MetaRequest::List { prefix } => root.set_list(prefix),
            MetaRequest::More => root.set_more(()),
            MetaRequest::Txn { compare, ops } => fill_txn(compare, ops, root.init_txn()),
            MetaRequest::Grant { ttl_ms } => root.set_grant(*ttl_ms),
            MetaRequest::KeepAlive { lease } => root.set_keep_alive(*lease),
            MetaRequest::Revoke { lease } => root.set_revoke(*lease),
            MetaRequest::Watch { prefix, from } => {
                let mut to = root.init_watch();
                to.set_prefix(prefix);
                to.set_from(*from);
            }
            MetaRequest::Next { wait_ms } => root.set_next(*wait_ms),
        }
    }

    fn take(root: request::Reader<'_>) -> Result<MetaRequest, HeaderError> {
        Ok(match root.which()? {
            request::Hello(from) => {
                let from = from?;
                let life = whole(from.get_life_low(), from.get_life_high());
                let life = (life != Incarnation::default()).then_some(life);
                MetaRequest::Hello { version: from.get_version(), life }
            }
            request::Get(key) => MetaRequest::Get { key: text(key?)? },
            request::List(prefix) => MetaRequest::List { prefix: text(prefix?)? },
            request::More(()) => MetaRequest::More,
            request::Txn(from) => {
                let from = from?;
                let compare = collect(from.get_compare()?.iter().map(take_compare))?;
                MetaRequest::Txn { compare, ops: collect(from.get_ops()?.iter().map(take_op))? }
            }
            request::Grant(ttl_ms) => MetaRequest::Grant { ttl_ms },
            request::KeepAlive(lease) => MetaRequest::KeepAlive { lease },
            request::Revoke(lease) => MetaRequest::Revoke { lease },
            request::Watch(from) => {
                let from = from?;
                MetaRequest::Watch { prefix: text(from.get_prefix()?)?, from: from.get_from() }
            }
            request::Next(wait_ms) => MetaRequest::Next { wait_ms },
        })
    }
}

fn fill_txn(compare: &[MetaCompare], ops: &[MetaOp], mut to: txn::Builder<'_>) {
    let mut all = to.reborrow().init_compare(count(compare));
    for (at, one) in (0..).zip(compare) {
        let mut to = all.reborrow().get(at);
        match one {
            MetaCompare::Absent { key } => {
                to.set_key(key);
                to.set_absent(());
            }
            MetaCompare::Revision { key, revision } => {
                to.set_key(key);
                to.set_revision(*revision);
            }
        }
    }
    let mut all = to.init_ops(count(ops));
    for (at, one) in (0..).zip(ops) {
        let mut to = all.reborrow().get(at);
        match one {
            MetaOp::Put { key, value } => {
                to.set_key(key);
                to.set_put(value);
            }
            MetaOp::PutLeased { key, value, lease } => {
                to.set_key(key);
                let mut to = to.init_put_leased();
                to.set_value(value);
                to.set_lease(*lease);
            }
            MetaOp::Delete { key } => {
                to.set_key(key);
                to.set_delete(());
            }
        }
    }
}

fn take_compare(from: compare::Reader<'_>) -> Result<MetaCompare, HeaderError> {
    let key = text(from.get_key()?)?;
    Ok(match from.which()? {
        compare::Absent(()) => MetaCompare::Absent { key },
        compare::Revision(revision) => MetaCompare::Revision { key, revision },
    })
}

fn take_op(from: op::Reader<'_>) -> Result<MetaOp, HeaderError> {
    let key = text(from.get_key()?)?;
    Ok(match from.which()? {
        op::Put(value) => MetaOp::Put { key, value: value?.to_vec() },
        op::PutLeased(from) => {
            let from = from?;
            let value = from.get_value()?.to_vec();
            MetaOp::PutLeased { key, value, lease: from.get_lease() }
        }
        op::Delete(()) => MetaOp::Delete { key },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::option::of;
    use proptest::prelude::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>(), 0..60)
    }

    fn compare() -> impl Strategy<Value = MetaCompare> {
        prop_oneof![
            ".{0,40}".prop_map(|key| MetaCompare::Absent { key }),
            (".{0,40}", any::<u64>())
                .prop_map(|(key, revision)| MetaCompare::Revision { key, revision }),
        ]
    }

    fn op() -> impl Strategy<Value = MetaOp> {
        prop_oneof![
            (".{0,40}", bytes()).prop_map(|(key, value)| MetaOp::Put { key, value }),
            (".{0,40}", bytes(), any::<u64>()).prop_map(|(key, value, lease)| MetaOp::PutLeased {
                key,
                value,
                lease
            }),
            ".{0,40}".prop_map(|key| MetaOp::Delete { key }),
        ]
    }

    fn request() -> impl Strategy<Value = MetaRequest> {
        prop_oneof![
            (any::<u16>(), of(1u128..)).prop_map(|(version, life)| MetaRequest::Hello {
                version,
                life: life.map(Incarnation)
            }),
            ".{0,40}".prop_map(|key| MetaRequest::Get { key }),
            ".{0,40}".prop_map(|prefix| MetaRequest::List { prefix }),
            Just(MetaRequest::More),
            (vec(compare(), 0..9), vec(op(), 0..9))
                .prop_map(|(compare, ops)| MetaRequest::Txn { compare, ops }),
            any::<u64>().prop_map(|ttl_ms| MetaRequest::Grant { ttl_ms }),
            any::<u64>().prop_map(|lease| MetaRequest::KeepAlive { lease }),
            any::<u64>().prop_map(|lease| MetaRequest::Revoke { lease }),
            (".{0,40}", any::<u64>())
                .prop_map(|(prefix, from)| MetaRequest::Watch { prefix, from }),
            any::<u32>().prop_map(|wait_ms| MetaRequest::Next { wait_ms }),
        ]
    }

    proptest! {
        #[test]
        fn a_request_comes_back(request in request()) {
            prop_assert_eq!(MetaRequest::decode(&request.encode()), Ok(request));
        }

        #[test]
        fn arbitrary_bytes_decode_or_fail_without_panic(words: Vec<u64>) {
            let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
            let _ = MetaRequest::decode(&bytes);
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
            let _ = MetaRequest::decode(&bytes);
            let _ = MetaRequest::decode(&bytes[..at / 8 * 8]);
        }
    }
}
