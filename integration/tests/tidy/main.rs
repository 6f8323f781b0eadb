//! The tidy test: reads the sources and refuses what breaks an architecture invariant.
//!
//! A failure prints one line per finding: file and line, the rule, and what to do instead. Every rule
//! has, beside it, a test on a bad snippet: a rule that cannot be seen to fail proves nothing. When a
//! rule is wrong, change it here, in the commit that breaks it, and say why.
//!
//! | file | rules |
//! |---|---|
//! | `arrows.rs` | the one-way arrow between packages |
//! | `fences.rs` | who may use what: pure rooms, timely, files, processes, clocks, channels |
//! | `texts.rs` | module heads, file endings, sizes, markers of unfinished work |
//! | `names.rs` | file names that say nothing, files that must not exist |
//! | `manifests.rs` | lints inherited, engine pinned |
//! | `messages.rs` | the wording of errors |
//! | `ordinals.rs` | Cap'n Proto ordinals are for ever: `ordinals.txt` |
//! | `blank.rs`, `paths.rs`, `tree.rs`, `finding.rs` | reading sources, and what is found |

mod arrows;
mod blank;
mod fences;
mod finding;
mod manifests;
mod messages;
mod names;
mod ordinals;
mod paths;
mod texts;
mod tree;

use std::sync::LazyLock;

use finding::assert_none;
use tree::Tree;

static TREE: LazyLock<Tree> = LazyLock::new(Tree::load);

#[test]
fn packages_point_one_way() {
    assert_none(arrows::check(&arrows::workspace()));
}

#[test]
fn nobody_crosses_a_fence() {
    assert_none(TREE.rust().flat_map(fences::check).collect());
}

#[test]
fn texts_are_whole() {
    assert_none(TREE.files.iter().flat_map(texts::check).collect());
}

#[test]
fn files_are_named_for_what_they_hold() {
    assert_none(names::check(&TREE));
}

#[test]
fn manifests_inherit_and_pin() {
    assert_none(TREE.files.iter().flat_map(manifests::check).collect());
}

#[test]
fn errors_are_worded_for_people() {
    assert_none(TREE.rust().flat_map(messages::check).collect());
}

#[test]
fn ordinals_are_for_ever() {
    assert_none(ordinals::check_or_update(&TREE));
}
