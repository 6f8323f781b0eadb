//! Plans as stable text: the same topology prints the same lines on every run.

use std::fmt::Write;

use super::{LogicalPlan, PhysicalPlan};

/// The logical and the physical plan, for people.
pub fn explain(plan: &LogicalPlan, physical: &PhysicalPlan) -> String {
    let mut text = String::new();
    let mut line = |l: std::fmt::Arguments<'_>| {
        writeln!(text, "{l}").expect("writing to a string does not fail");
    };
    let plural = if physical.workers == 1 { "" } else { "s" };
    let processes = match physical.workers / physical.threads {
        1 => String::new(),
        n => format!(" in {n} processes"),
    };
    line(format_args!(
        "topology {} ({}, {} key groups, {} worker{}{processes})",
        plan.name, plan.guarantee, plan.key_groups, physical.workers, plural
    ));
    for (index, component) in plan.components.iter().enumerate() {
        let mut emits = component.emits.as_deref().map(|t| format!(" -> {t}")).unwrap_or_default();
        for output in &component.outputs {
            emits.push_str(&format!(", {}: {}", output.name, output.of));
        }
        line(format_args!(
            "  {} {} x{}{}",
            component.kind, component.name, component.parallelism, emits
        ));
        let fused = physical.is_fused(plan, index);
        for input in &component.inputs {
            let from = plan.source(input);
            // Inputs of several types are told apart where there are several.
            let side = match component.inputs.last().is_some_and(|last| last.side > 0) {
                true => format!("input {} ", input.side + 1),
                false => String::new(),
            };
            // Where there is one worker, all is on it.
            let reach = match physical.workers {
                _ if fused => ", fused".to_owned(),
                1 => String::new(),
                _ => format!(", {}", physical.exchange(input.from, index, input.grouping).reach),
            };
            line(format_args!("    {side}from {from} by {}{reach}", input.grouping));
        }
        if let Some(feeds) = component.feeds {
            line(format_args!("    back to {}, task by task", plan.components[feeds].name));
        }
        if let Some(event_time) = &component.event_time {
            line(format_args!("    event time {event_time}"));
        }
        if let Some(state) = &component.state {
            let kept = match plan.guarantee.commits() {
                true => "checkpointed per commit",
                false => "not checkpointed: nothing is committed",
            };
            line(format_args!("    state {state}, {kept}"));
        }
        if !component.detail.is_empty() {
            line(format_args!("    {}", component.detail));
        }
        for worker in 0..physical.workers {
            let tasks = physical.tasks_on(index, worker);
            if !tasks.is_empty() {
                let tasks: Vec<String> = tasks.iter().map(u32::to_string).collect();
                line(format_args!("    worker {worker}: task {}", tasks.join(", ")));
            }
        }
    }
    text
}
