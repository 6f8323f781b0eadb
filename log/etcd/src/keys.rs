//! Egret's keys below `/egret/<cluster>/`.
//!
//! `/streams/a` is `/egret/<cluster>/streams/a`; the empty prefix is everything of this cluster, and
//! nothing of one whose name begins alike.

use egret_log::metadata::MetaError;

/// Where one cluster's keys are.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    /// With a slash at its end.
    root: String,
}

impl Keys {
    pub(crate) fn of(cluster: &str) -> Keys {
        Keys { root: format!("/egret/{cluster}/") }
    }

    /// A key as etcd has it.
    pub(crate) fn outer(&self, key: &str) -> Result<String, MetaError> {
        match key.strip_prefix('/') {
            Some(rest) => Ok(format!("{}{rest}", self.root)),
            None => Err(MetaError::Refused { why: format!("`{key}` is no key: begin it with /") }),
        }
    }

    /// A prefix as etcd has it; it may be empty.
    pub(crate) fn outer_prefix(&self, prefix: &str) -> Result<String, MetaError> {
        if prefix.is_empty() { Ok(self.root.clone()) } else { self.outer(prefix) }
    }

    /// A key as Egret has it.
    pub(crate) fn inner(&self, key: &[u8]) -> Result<String, MetaError> {
        let text = std::str::from_utf8(key).ok();
        let rest = text.and_then(|text| text.strip_prefix(&self.root));
        rest.map(|rest| format!("/{rest}")).ok_or_else(|| MetaError::Refused {
            why: format!(
                "the key {:?} is not Egret's: something else writes below {}; remove it",
                String::from_utf8_lossy(key),
                self.root
            ),
        })
    }
}

/// The first key behind all that begin with `prefix`.
pub(crate) fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    let last = end.last_mut().expect("every prefix here begins with /egret/");
    // UTF-8 has no byte 0xff.
    *last += 1;
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_below_their_cluster_and_come_back() {
        let keys = Keys::of("a");
        assert_eq!(keys.outer("/s/x").unwrap(), "/egret/a/s/x");
        assert_eq!(keys.inner(b"/egret/a/s/x").unwrap(), "/s/x");
        assert_eq!(keys.outer_prefix("").unwrap(), "/egret/a/");
        assert_eq!(end_of("/egret/a/"), b"/egret/a0");
        for error in [keys.outer("x"), keys.inner(b"/egret/ab/x"), keys.inner(b"/egret/a/\xff")] {
            assert!(matches!(error, Err(MetaError::Refused { .. })), "{error:?}");
        }
    }
}
