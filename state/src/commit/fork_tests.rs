//! What a fork keeps, and when it has come away from where it began.

use egret_schemas::{EntryId, Epoch};

use super::super::guarantee::Guarantee;
use super::super::record::RecordKind;
use super::super::restore_set::{LedgerRange, RestoreSet, Slice};
use super::super::topology_record::Graph;
use super::*;

fn by(operation: u64) -> Claimant {
    Claimant { process: 9, operation }
}

fn graph() -> Graph {
    Graph { components: [("count".to_owned(), 1)].into() }
}

fn commit(generation: u32, ledgers: &[u64]) -> CommitRecord {
    let generation = Generation(generation);
    let mut record = CommitRecord::genesis(generation, graph().fingerprint());
    record.kind = RecordKind::Commit;
    record.last = Epoch::first(generation).commit_end();
    let range = |id: &u64| LedgerRange { ledger: LedgerId(*id), last: Some(EntryId(1)) };
    let ledgers = ledgers.iter().map(range).collect();
    let slices = vec![Slice { first_group: 0, end_group: 16, ledgers }];
    record.state.insert("count".into(), RestoreSet { tasks: 1, slices });
    record
}

/// Has named a commit that is in ledgers 1 and 2.
fn parent() -> TopologyRecord {
    let me = |operation| Claimant { process: 7, operation };
    let first = TopologyRecord::first(me(1), Guarantee::EffectivelyOnce, 16, graph());
    let listed = first.list(me(2), None, [1, 2].map(LedgerId)).unwrap().begin(me(3)).unwrap();
    listed.name_commit(by(1), "noon", 5, commit(1, &[1, 2])).unwrap()
}

fn origin() -> Origin {
    Origin { topology: "words".into(), name: "noon".into() }
}

/// It has begun, and changes its state in a ledger of its own.
fn fork() -> TopologyRecord {
    let first = parent().forked(by(1), origin()).unwrap();
    first.list(by(2), None, [LedgerId(7)]).unwrap().begin(by(3)).unwrap()
}

#[test]
fn records_of_forks_and_of_what_is_kept_for_them_come_back() {
    let kept = parent().keep_for(by(2), "noon", "what-if").unwrap();
    let fresh = parent().forked(by(1), origin()).unwrap();
    let apart = fork().on_its_own(by(4)).unwrap();
    for record in [&kept, &fresh, &fork(), &apart] {
        let bytes = record.encode();
        assert_eq!(TopologyRecord::decode(&bytes).as_ref(), Ok(record));
        for cut in 0..bytes.len() {
            assert!(TopologyRecord::decode(&bytes[..cut]).is_err());
        }
    }
    let before = parent().encode();
    let after = kept.let_go_for(by(3), "noon", "what-if").unwrap().encode();
    assert_eq!((before.len(), before[4]), (after.len(), after[4]), "as before there were forks");
}

#[test]
fn a_name_is_not_taken_away_under_a_fork() {
    let kept = parent().keep_for(by(2), "noon", "what-if").unwrap();
    let kept = kept.keep_for(by(3), "noon", "other").unwrap();
    let said = kept.forget_name(by(4), "noon").unwrap_err().to_string();
    assert!(
        said.starts_with("`noon` is kept for what was forked from it, `other`, `what-if`"),
        "{said}"
    );
    let one = kept.let_go_for(by(4), "noon", "other").unwrap();
    assert!(matches!(one.forget_name(by(5), "noon"), Err(NameError::Forked { .. })));
    assert_eq!(one.let_go_for(by(5), "noon", "other"), None, "it is not kept for that");
    let none = one.let_go_for(by(5), "noon", "what-if").unwrap();
    none.forget_name(by(6), "noon").unwrap();
    let many = (0..=caps::COMMIT_FORKS_MAX).try_fold(parent(), |record, n| {
        record.keep_for(by(n as u64 + 2), "noon", &format!("fork-{n}"))
    });
    assert!(matches!(many, Err(NameError::TooManyForks { .. })));
}

#[test]
fn a_fork_needs_its_origin_until_none_of_its_commits_reads_from_there() {
    let fork = fork();
    let held = fork.fork.as_ref().unwrap();
    assert!(held.held && held.commit.is_none(), "the commit goes once there is one of its own");
    assert!(
        fork.may_read(LedgerId(1)) && fork.may_read(LedgerId(7)) && !fork.may_read(LedgerId(3))
    );
    assert!(!fork.state_ledgers.contains(&LedgerId(1)), "it is none of its own");
    let (both, own) = (commit(2, &[1, 2, 7]), commit(2, &[7]));
    assert!(!fork.outgrew_origin([&both, &own]) && !fork.outgrew_origin([&own, &both]));
    assert!(fork.outgrew_origin([&own, &own]));
    let named = fork.name_commit(by(1), "before", 5, both.clone()).unwrap();
    assert!(!named.outgrew_origin([&own, &own]), "a name of it reads from there");
    let apart = fork.on_its_own(by(4)).unwrap();
    assert!(!apart.outgrew_origin([&own, &own]), "once is enough");
    let late = apart.name_commit(by(2), "late", 5, both);
    assert!(matches!(late, Err(NameError::Trimmed { .. })), "what it read before is gone by then");
    // And one that never read anything of it.
    let first = parent().forked(by(1), origin()).unwrap();
    assert!(!first.outgrew_origin([&own]), "it has not begun");
}
