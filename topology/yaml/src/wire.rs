//! From what was checked to the builder: the same wiring as one in Rust.

use std::collections::BTreeMap;

use egret::TopologyBuilder;

use crate::any::AnyStream;
use crate::check::{Checked, CheckedInput, Taken};
use crate::entry::{At, Attach, Inputs, Wired};
use crate::fault::Fault;
use crate::registry::Registry;

/// Wires everything; gives what the builder refuses, by component, and leaves out what takes from that.
pub(crate) fn wire(
    components: Vec<(usize, Checked<'_>)>,
    registry: &Registry,
    t: &mut TopologyBuilder,
) -> Vec<(String, Fault)> {
    let mut faults = Vec::new();
    let mut streams: BTreeMap<usize, Box<dyn AnyStream>> = BTreeMap::new();
    let mut by_index = BTreeMap::new();
    for (index, checked) in &components {
        by_index.insert(*index, checked);
    }
    for (index, checked) in &components {
        let lost = checked.inputs.iter().any(|input| !streams.contains_key(&input.from));
        // What was wrong with the other inputs was said when they were checked.
        if lost || checked.inputs.len() < checked.component.inputs.len() {
            continue;
        }
        let inputs: egret::Result<Vec<Wired<'_>>> = checked
            .inputs
            .iter()
            .map(|input| take(input, by_index[&input.from], &*streams[&input.from]))
            .collect();
        let attached = inputs.and_then(|inputs| attach(checked, Inputs { registry, inputs }, t));
        match attached {
            Ok(Some(stream)) => {
                streams.insert(*index, stream);
            }
            Ok(None) => {}
            Err(error) => {
                let id = &checked.component.id;
                let text = error.to_string();
                let message = match text.contains(&format!("`{}`", id.text)) {
                    true => text,
                    false => format!("{} `{}`: {text}", checked.component.role, id.text),
                };
                faults.push((id.text.clone(), Fault::new(id.at, message)));
            }
        }
    }
    faults
}

fn take<'a>(
    input: &CheckedInput<'a>,
    from: &Checked<'_>,
    stream: &dyn AnyStream,
) -> egret::Result<Wired<'a>> {
    let lost = || egret::Error::Usage("an output is not there".to_owned());
    let stream = match input.output {
        Taken::First => stream.boxed(),
        Taken::Letters => {
            let letters = from.entry.letters.as_ref().ok_or_else(lost)?;
            (letters.take)(stream)?
        }
        Taken::Named(name) => {
            let output = from.entry.outputs.iter().find(|output| output.name == name);
            (output.ok_or_else(lost)?.take)(stream)?
        }
    };
    Ok(Wired { side: input.side, stream, of: input.of, by: input.by, with: input.with })
}

fn attach(
    checked: &Checked<'_>,
    inputs: Inputs<'_>,
    t: &mut TopologyBuilder,
) -> egret::Result<Option<Box<dyn AnyStream>>> {
    let Checked { component, entry, .. } = checked;
    let args = (entry.read)(&component.args).map_err(|e| egret::Error::Usage(e.to_string()))?;
    let at = At { name: &component.id.text, parallelism: component.parallelism.unwrap_or(1) };
    let stream = match &entry.attach {
        Attach::Spout(attach) => attach(t, at, args)?,
        Attach::Bolt(attach) => attach(&inputs, at, args)?,
        Attach::Sink(attach) => return attach(&inputs, at, args).map(|()| None),
    };
    for output in &entry.outputs {
        (output.declare)(&*stream)?;
    }
    for (key, setting) in &component.settings {
        stream.setting(&key.text, setting)?;
    }
    if let Some(on_error) = component.on_error {
        stream.on_error(on_error)?;
    }
    if let Some(every) = component.tick {
        stream.tick_every(every)?;
    }
    if let Some((_, rate)) = component.rate {
        stream.rate(rate)?;
    }
    if let (Some((of, config)), Some(emits), Some(say)) =
        (&component.event_time, entry.emits, entry.say_time)
    {
        let by = Registry::function_of(&inputs.registry.times, emits, &of.text);
        let by = by.ok_or_else(|| egret::Error::Usage(format!("`{}` is no time", of.text)))?;
        say(by, &*stream, *config)?;
    }
    Ok(Some(stream))
}
