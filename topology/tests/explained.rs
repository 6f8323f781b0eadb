//! Plans in every form, as they are kept in `explained/`; `UPDATE=1 cargo test -p egret --test explained` writes them
//! again. What a program reads, or a person looks at, changes only when that is meant.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use egret::plan::{Explained, Form, PhysicalPlan, Reach};
use egret::{
    Blob, ComponentResult, Context, Emitter, EventTime, Guarantee, KeyedBolt, LogSink, LogSpout,
    Output, Topology, TopologyBuilder,
};

const BAD: Output<String> = Output::new("bad");

struct Count;

impl KeyedBolt<str, String, (Blob, u64)> for Count {
    type State = u64;
    fn execute(
        &mut self,
        _: &str,
        _: &mut u64,
        _: String,
        _: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        Ok(())
    }
}

/// Words counted, with what a drawing could trip over in names of types.
fn words(guarantee: Guarantee) -> Topology {
    let mut t = TopologyBuilder::new("words");
    t.guarantee(guarantee);
    let lines = t.spout("lines", 2, LogSpout::<String>::from_stream("lines")).unwrap();
    let time = EventTime { out_of_order_ms: 500, ..EventTime::default() };
    let lines = lines.event_time_with(time, |line| line.len() as i64).unwrap();
    let split = || {
        |line: String, out: &mut Emitter<String>| match line.is_ascii() {
            true => line.split(' ').for_each(|word| out.emit(word.to_owned())),
            false => out.emit_to(&BAD, line),
        }
    };
    let split =
        lines.local_or_shuffle().bolt("split", 4, split).unwrap().with_output(&BAD).unwrap();
    let counts = split.fields(|word| word.as_str()).keyed("count", 3, || Count).unwrap();
    counts.sink("counts", LogSink::to_stream("counts").partitions(2)).unwrap();
    let seen = || |line: String, out: &mut Emitter<Vec<String>>| out.emit(vec![line]);
    let seen = split.output(&BAD).unwrap().global().bolt("gather", 1, seen).unwrap();
    let told = || {
        |lines: Vec<String>, out: &mut Emitter<String>| lines.into_iter().for_each(|l| out.emit(l))
    };
    let told = seen.local_or_shuffle().bolt("tell", 1, told).unwrap();
    told.sink("bad", LogSink::to_stream("bad").partitions(1)).unwrap();
    t.finish().unwrap()
}

#[test]
fn plans_are_written_as_they_are_kept() {
    let topology = words(Guarantee::EffectivelyOnce);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explained");
    for form in Form::ALL {
        let plan = topology.explain_as(form, 2, 2);
        assert!(form.begins(&plan), "{form}: {plan}");
        let others = Form::ALL.into_iter().filter(|other| *other != form);
        assert!(others.into_iter().all(|other| !other.begins(&plan)), "{form}: {plan}");
        let path = dir.join(format!("words.{form}"));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &plan).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(plan, kept, "if that is meant: UPDATE=1 cargo test -p egret --test explained");
    }
}

/// What an input costs depends on where tasks are, and what is checkpointed on the guarantee.
#[test]
fn the_same_topology_costs_what_its_places_and_guarantee_make_it() {
    let explained = |guarantee, processes, threads| {
        let topology = words(guarantee);
        let physical = PhysicalPlan::place_in(topology.plan(), processes, threads);
        Explained::new(topology.plan(), &physical)
    };
    let reaches = |plan: &Explained| -> Vec<(Reach, bool)> {
        let inputs = plan.components.iter().flat_map(|component| &component.inputs);
        inputs.map(|input| (input.exchange.reach, input.exchange.encoded)).collect()
    };
    let one = explained(Guarantee::EffectivelyOnce, 1, 1);
    assert_eq!(reaches(&one), [(Reach::Local, false); 6], "nothing leaves a worker that is alone");
    let two = reaches(&explained(Guarantee::EffectivelyOnce, 1, 2));
    assert_eq!(two[0], (Reach::Local, false), "by its grouping");
    assert_eq!(two[1], (Reach::BetweenWorkers, true));
    assert_eq!(two[4], (Reach::Local, false), "both are one operator");
    // From one task to one: both are on worker 0, but not every worker has a task, so that is not known to the edge.
    assert_eq!(two[5], (Reach::Local, true));
    let many = reaches(&explained(Guarantee::EffectivelyOnce, 2, 2));
    assert_eq!(many[1], (Reach::BetweenProcesses, true));

    let text = words(Guarantee::AtMostOnce).explain(1);
    assert!(text.contains("state u64 per str, not checkpointed: nothing is committed"), "{text}");
    let kept = |guarantee| -> Vec<String> {
        let plan = explained(guarantee, 1, 1);
        let kept =
            plan.components.iter().filter_map(|c| Some(format!("{} {}", c.name, c.checkpointed?)));
        kept.collect()
    };
    let positions_and_state = ["lines positions", "count state"];
    assert_eq!(kept(Guarantee::AtMostOnce), Vec::<String>::new());
    assert_eq!(kept(Guarantee::AtLeastOnce), positions_and_state);
    let all = [&positions_and_state[..], &["counts output", "bad output"]].concat();
    assert_eq!(kept(Guarantee::EffectivelyOnce), all);
}

/// Every box is beside the others, and every mark of the document that opens is closed.
#[test]
fn a_picture_is_a_whole_document_and_no_box_covers_another() {
    let svg = words(Guarantee::EffectivelyOnce).explain_as(Form::Svg, 1, 16);
    let number = |of: &str, name: &str| -> Option<usize> {
        of.split_once(&format!(" {name}=\""))?.1.split_once('"')?.0.parse().ok()
    };
    let rect = |mark: &str| {
        let [x, y, width, height] = ["x", "y", "width", "height"].map(|name| number(mark, name));
        Some((x?, y?, x? + width?, y? + height?))
    };
    let boxes: Vec<_> = svg.split("<rect").skip(1).filter_map(rect).collect();
    assert_eq!(boxes.len(), 7, "{svg}");
    for (n, a) in boxes.iter().enumerate() {
        for b in &boxes[..n] {
            let apart = a.2 <= b.0 || b.2 <= a.0 || a.3 <= b.1 || b.3 <= a.1;
            assert!(apart, "{a:?} and {b:?}");
        }
    }
    let (width, height) = (number(&svg, "width").unwrap(), number(&svg, "height").unwrap());
    assert!(boxes.iter().all(|b| b.2 <= width && b.3 <= height), "{width}x{height}: {boxes:?}");
    for mark in ["text", "svg", "defs", "marker"] {
        let count = |what: String| svg.matches(&what).count();
        assert_eq!(
            count(format!("<{mark} ")) + count(format!("<{mark}>")),
            count(format!("</{mark}>"))
        );
    }
    assert!(svg.contains("-&gt; Vec&lt;String&gt;") && !svg.contains("-> Vec"), "{svg}");
}
