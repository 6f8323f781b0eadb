//! Who may ask a bookie what: one table, and nobody may what it does not say.
//!
//! | method | client | worker | bookie | admin |
//! |---|---|---|---|---|
//! | create, add, write LAC, limbo's end | ✓ | ✓ | ✓ | |
//! | read, read LAC, watch LAC, fence, recovery read, delete | ✓ | ✓ | ✓ | ✓ |
//!
//! A bookie mends others: it copies entries, finds the end of what was abandoned, for which it shuts its
//! writer out, and finishes deletions. It never decides where a ledger ends: that is in the metadata, and
//! its owner's to write there. A person's tool looks, fences and deletes, and never writes. A worker is a client
//! here; what it may beyond is a place among the [worker processes](crate::rpc::worker) of a topology.

use std::fmt;

use egret_schemas::bookie::{Ask, Role};

/// What can be asked of a bookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Create a ledger.
    Create,
    /// Store an entry.
    Add,
    /// Read an entry.
    Read,
    /// Read an entry, shutting out lower terms.
    RecoveryRead,
    /// Shut out lower terms.
    Fence,
    /// Tell what readers may see.
    WriteLac,
    /// Ask what readers may see.
    ReadLac,
    /// Wait until readers may see more.
    WatchLac,
    /// End a limbo.
    ClearLimbo,
    /// Forget a ledger.
    Delete,
}

impl Method {
    /// Every one of them.
    pub const ALL: [Method; 10] = [
        Method::Create,
        Method::Add,
        Method::Read,
        Method::RecoveryRead,
        Method::Fence,
        Method::WriteLac,
        Method::ReadLac,
        Method::WatchLac,
        Method::ClearLimbo,
        Method::Delete,
    ];

    /// What a request asks; `None` for a hello, which anybody may say once.
    pub fn of(ask: &Ask) -> Option<Method> {
        Some(match ask {
            Ask::Hello(_) => return None,
            Ask::Create { .. } => Method::Create,
            Ask::Add { .. } => Method::Add,
            Ask::Read { fence: None, .. } | Ask::ReadRange { .. } => Method::Read,
            Ask::ClearLimbo { .. } | Ask::LimboBound { .. } => Method::ClearLimbo,
            Ask::Read { fence: Some(_), .. } => Method::RecoveryRead,
            Ask::Fence { .. } => Method::Fence,
            Ask::WriteLac { .. } => Method::WriteLac,
            Ask::ReadLac { .. } => Method::ReadLac,
            Ask::WatchLac { .. } => Method::WatchLac,
            Ask::Delete { .. } => Method::Delete,
        })
    }

    /// The roles that may: a method without a row does not compile.
    pub const fn allowed(self) -> &'static [Role] {
        match self {
            Method::Create | Method::Add | Method::WriteLac | Method::ClearLimbo => {
                &[Role::Client, Role::Worker, Role::Bookie]
            }
            Method::Read
            | Method::ReadLac
            | Method::WatchLac
            | Method::RecoveryRead
            | Method::Fence
            | Method::Delete => &[Role::Client, Role::Worker, Role::Bookie, Role::Admin],
        }
    }

    /// Whether this role may.
    pub fn is_allowed(self, role: Role) -> bool {
        self.allowed().contains(&role)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::Create => "create a ledger",
            Method::Add => "add an entry",
            Method::Read => "read an entry",
            Method::RecoveryRead => "read and fence",
            Method::Fence => "fence a ledger",
            Method::WriteLac => "tell what readers may see",
            Method::ReadLac => "say what readers may see",
            Method::WatchLac => "watch what readers may see",
            Method::ClearLimbo => "end a limbo",
            Method::Delete => "delete a ledger",
        })
    }
}
