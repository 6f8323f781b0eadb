//! State is read by the code that wrote it, or one whose format reads it, and refused by any other, in words.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use egret::{
    Blob, ComponentResult, Context, Emitter, KeyedBolt, LogSink, LogSpout, MapState, RunOptions,
    TopologyBuilder, Value,
};
use egret_log::stream::{ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig};
use egret_state::keyed::State;
use egret_state::keyed::format::Schema;
use serde::{Deserialize, Serialize};

/// A state that counts.
trait Counts: State {
    fn count(&mut self) -> u64;
}

#[derive(Default, Serialize, Deserialize)]
struct Old {
    seen: u64,
}

/// With another field.
#[derive(Default, Serialize, Deserialize)]
struct New {
    seen: u64,
    at: Option<u32>,
}

egret::state! {
    struct Parts {
        seen: Value<u64>,
    }
}

egret::state! {
    struct MoreParts {
        seen: Value<u64>,
        by: MapState<u32, u64>,
    }
}

impl Counts for Old {
    fn count(&mut self) -> u64 {
        self.seen += 1;
        self.seen
    }
}

impl Counts for New {
    fn count(&mut self) -> u64 {
        self.at = Some(7);
        self.seen += 1;
        self.seen
    }
}

impl Counts for Parts {
    fn count(&mut self) -> u64 {
        *self.seen += 1;
        *self.seen
    }
}

impl Counts for MoreParts {
    fn count(&mut self) -> u64 {
        *self.by.or_default(7) += 1;
        *self.seen += 1;
        *self.seen
    }
}

/// Counts, under a label, and reads what these texts say.
struct Count<S>(&'static str, Vec<String>, PhantomData<fn() -> S>);

impl<S: Counts> KeyedBolt<[u8], Blob, (Blob, String)> for Count<S> {
    type State = S;

    fn schema_label(&self) -> String {
        self.0.to_owned()
    }

    fn accepts(&self) -> Vec<String> {
        self.1.clone()
    }

    fn execute(
        &mut self,
        word: &[u8],
        state: &mut S,
        _: Blob,
        out: &mut Emitter<(Blob, String)>,
        _: &Context,
    ) -> ComponentResult {
        out.emit((Blob::from(word), state.count().to_string()));
        Ok(())
    }
}

struct Place {
    _dir: tempfile::TempDir,
    log: Log,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path(), LogConfig::default()).unwrap();
        log.create_stream("in", StreamConfig::default()).unwrap();
        Place { _dir: dir, log }
    }

    /// Counts one more word with this code.
    fn run<S: Counts>(&self, label: &'static str, accepts: &[String]) -> Result<(), String> {
        self.log.writer("in", 0).unwrap().append_wait(&[Record::of("word")]).unwrap();
        let mut builder = TopologyBuilder::new("counts");
        let spout = LogSpout::<Blob>::from_stream("in").bounded();
        let words = builder.spout("in", 1, spout).unwrap();
        let accepts = accepts.to_vec();
        let make = move || Count::<S>(label, accepts.clone(), PhantomData);
        let counts = words.fields(|word: &Blob| &word[..]).keyed("count", 1, make).unwrap();
        counts.sink("out", LogSink::to_stream("out").partitions(1)).unwrap();
        let topology = builder.finish().unwrap();
        let run = topology.run(&self.log, &RunOptions::default(), &Arc::default());
        run.map(|_| ()).map_err(|error| egret::chain(&error))
    }

    fn out(&self) -> Vec<String> {
        let mut reader = self.log.reader("out", 0, ReadFrom::Earliest).unwrap();
        let mut said = Vec::new();
        while let Some(batch) = reader.next_wait(Duration::from_millis(100)).unwrap() {
            let texts = batch.records.iter().map(|r| String::from_utf8(r.value.to_vec()).unwrap());
            said.extend(texts);
        }
        said
    }

    fn texts(&self) -> Vec<String> {
        let listed = self.log.metadata().list("/topologies/counts/schemas/").unwrap();
        let mut texts: Vec<_> = listed
            .into_iter()
            .map(|(key, held)| {
                let text = String::from_utf8(held.value.to_vec()).unwrap();
                let id = text.parse::<Schema>().unwrap().id();
                assert!(key.ends_with(&format!("/{id:016x}")), "{key}");
                text
            })
            .collect();
        texts.sort();
        texts
    }
}

#[test]
fn another_field_is_refused_in_words_and_the_old_code_goes_on() {
    let place = Place::new();
    place.run::<Old>("", &[]).unwrap();
    let old = "key bytes\nstate { seen: u64 }\n";
    assert_eq!(place.texts(), [old]);
    let why = place.run::<New>("", &[]).unwrap_err();
    let id = |text: &str| format!("{:016x}", text.parse::<Schema>().unwrap().id());
    assert!(why.contains("component `count`, key group "), "{why}");
    assert!(why.contains(&id(old)), "{why}");
    assert!(why.contains(&id("key bytes\nstate { seen: u64, at: option<u32> }\n")), "{why}");
    assert!(why.contains("state: field `at: option<u32>` is new. Run the old code"), "{why}");
    assert_eq!(place.out(), ["1"], "nothing was written");
    place.run::<Old>("", &[]).unwrap();
    assert_eq!(place.out(), ["1", "2", "3"]);
}

#[test]
fn another_part_is_read_and_one_that_is_gone_is_refused() {
    let place = Place::new();
    place.run::<Parts>("", &[]).unwrap();
    place.run::<MoreParts>("", &[]).unwrap();
    place.run::<MoreParts>("", &[]).unwrap();
    assert_eq!(place.out(), ["1", "2", "3"]);
    let why = place.run::<Parts>("", &[]).unwrap_err();
    assert!(why.contains("part `by` is gone"), "{why}");
}

#[test]
fn another_label_is_refused_unless_the_code_says_that_it_reads_the_old_one() {
    let place = Place::new();
    place.run::<Old>("counts since Monday", &[]).unwrap();
    let old = place.texts();
    let why = place.run::<Old>("counts since Tuesday", &[]).unwrap_err();
    assert!(why.contains("was \"counts since Monday\", is \"counts since Tuesday\""), "{why}");
    place.run::<Old>("counts since Tuesday", &old).unwrap();
    assert_eq!(place.out(), ["1", "2", "3"]);
}
