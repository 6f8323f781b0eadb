//! Plans as a graph for Graphviz: `dot -Tsvg`.

use std::fmt::Write;

use super::explained::Explained;

/// The graph, in the DOT language. What keeps state has two borders; what is encoded on its way, a bold arrow.
pub(super) fn dot(plan: &Explained) -> String {
    let mut dot = String::new();
    let mut line = |l: std::fmt::Arguments<'_>| {
        writeln!(dot, "{l}").expect("writing to a string does not fail");
    };
    line(format_args!("digraph {} {{", quoted(std::slice::from_ref(&plan.topology))));
    line(format_args!("  rankdir=LR;"));
    line(format_args!("  label={};", quoted(&[plan.title()])));
    line(format_args!("  node [shape=box];"));
    for (index, component) in plan.components.iter().enumerate() {
        let borders = if component.state.is_some() { ", peripheries=2" } else { "" };
        line(format_args!("  c{index} [label={}{borders}];", quoted(&component.lines())));
    }
    for (from, to, input) in plan.edges() {
        let style = if input.exchange.encoded { ", style=bold" } else { "" };
        line(format_args!("  c{from} -> c{to} [label={}{style}];", quoted(&input.lines())));
    }
    for (from, to) in plan.feedbacks() {
        line(format_args!("  c{from} -> c{to} [label=\"back\", style=dashed, constraint=false];"));
    }
    line(format_args!("}}"));
    dot
}

/// Lines as one quoted string of DOT.
fn quoted(lines: &[String]) -> String {
    let escaped = |line: &String| line.replace('\\', "\\\\").replace('"', "\\\"");
    let lines: Vec<String> = lines.iter().map(escaped).collect();
    format!("\"{}\"", lines.join("\\n"))
}
