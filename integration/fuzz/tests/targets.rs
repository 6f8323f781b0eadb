//! Every decoder keeps its promises on its corpus and on some thousand changes to it, in every build.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use egret_fuzz::counting::Counting;
use egret_fuzz::search::{HELD_BYTES_BASE, Patience, search, try_one};
use egret_fuzz::{Target, corpus, target, targets};

#[global_allocator]
static COUNTED: Counting = Counting;

/// The search every build makes. `EGRET_SEED` makes another.
const SEED: u64 = 1;

/// For each target: together a few seconds, unoptimised.
const PATIENCE: Patience = Patience { executions: 3000, time: Duration::from_millis(300) };

/// The targets, once the corpus is as `UPDATE` wants it.
fn all() -> &'static [Target] {
    static ALL: LazyLock<Vec<Target>> = LazyLock::new(|| {
        let all = targets();
        if std::env::var_os("UPDATE").is_some() {
            all.iter()
                .for_each(|target| corpus::update(target).expect("the corpus can be written"));
        }
        all
    });
    &ALL
}

#[test]
fn the_corpus_is_what_the_encoders_write() {
    let drift: Vec<String> = all().iter().flat_map(corpus::drift).collect();
    assert!(
        drift.is_empty(),
        "a format changed:\n{}\nWhere that is meant, keep the old bytes as former-… if they are still \
         read, and run UPDATE=1 cargo test -p egret-fuzz",
        drift.join("\n")
    );
}

#[test]
fn every_sample_is_taken_and_no_kept_input_breaks_a_promise() {
    for target in all() {
        let samples = (target.samples)();
        for (name, input) in corpus::inputs(target).unwrap() {
            let tried = try_one(target, &input);
            let tried = tried.unwrap_or_else(|why| panic!("{}/{name}: {why}", target.name));
            let is_sample = samples.iter().any(|(sample, _)| *sample == name);
            assert!(tried.0 || !is_sample, "{}/{name} is refused", target.name);
        }
    }
}

#[test]
fn no_changed_input_breaks_a_promise() {
    let seed = std::env::var("EGRET_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(SEED);
    for target in all() {
        let inputs: Vec<Vec<u8>> =
            corpus::inputs(target).unwrap().into_iter().map(|(_, bytes)| bytes).collect();
        if let Err(found) = search(target, &inputs, seed, PATIENCE) {
            let name = target.name;
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("found-{name}-{seed}"));
            fs::write(&file, &found.input).unwrap();
            panic!(
                "{name}, seed {seed}: {}\ntry it again: just fuzz --target {name} {}",
                found.why,
                file.display()
            );
        }
    }
}

#[test]
fn every_target_has_a_name_of_its_own_and_a_harness() {
    let names: Vec<&str> = targets().iter().map(|target| target.name).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
    assert!(target("manifest").is_some() && target("nothing").is_none());
    let manifest = include_str!("../libfuzzer/Cargo.toml").parse::<toml::Table>().unwrap();
    let bins = manifest["bin"].as_array().unwrap();
    let harnesses: Vec<&str> = bins.iter().map(|bin| bin["name"].as_str().unwrap()).collect();
    assert_eq!(harnesses, names, "libfuzzer/Cargo.toml lists every target, in order");
}

/// What the search is for must be found by it.
mod found {
    use super::*;

    fn broken(run: fn(&[u8]) -> bool) -> String {
        let target = Target { name: "broken", run, samples: Vec::new };
        let corpus = [b"EGRT\x05\0\0\0heron".to_vec()];
        let patience = Patience { executions: 200_000, time: Duration::from_secs(20) };
        let found = search(&target, &corpus, SEED, patience).expect_err("it keeps no promise");
        assert!(try_one(&target, &found.input).is_err(), "it breaks it again");
        found.why
    }

    fn len(bytes: &[u8]) -> Option<usize> {
        let len = bytes.strip_prefix(b"EGRT")?.first_chunk::<4>()?;
        usize::try_from(u32::from_le_bytes(*len)).ok()
    }

    #[test]
    fn a_length_that_is_believed_is_found_by_its_panic() {
        let why = broken(|bytes| len(bytes).is_some_and(|len| bytes[8..8 + len].is_ascii()));
        assert!(why.contains("out of range"), "{why}");
    }

    #[test]
    fn a_length_that_sizes_memory_is_found_by_what_it_takes() {
        // As much as the length says, wherever the bytes end.
        let why = broken(|bytes| {
            let asked = len(bytes).unwrap_or(0).min(4 * HELD_BYTES_BASE);
            Vec::<u8>::with_capacity(asked).capacity() > 0
        });
        assert!(why.contains("bytes of memory"), "{why}");
    }

    #[test]
    fn a_value_that_does_not_come_back_is_found() {
        use egret_log::fuzzing::comes_back;
        let why = broken(|bytes| {
            // A sign that decoding knows and encoding forgets.
            let decode = |bytes: &[u8]| {
                let number = bytes.get(4..6).ok_or(())?;
                Ok::<_, ()>(i16::from_le_bytes([number[0], number[1]]))
            };
            let encode = |n: &i16| [&b"EGRT"[..], &n.unsigned_abs().to_le_bytes()].concat();
            comes_back(bytes, decode, encode)
        });
        assert!(why.contains("which comes back as"), "{why}");
    }
}
