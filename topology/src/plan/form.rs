//! The forms in which a plan can be had.

use std::str::FromStr;

use super::dot::dot;
use super::explained::Explained;
use super::svg::svg;
use super::{LogicalPlan, PhysicalPlan, explain};

/// How a plan is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// For people: stable text.
    #[default]
    Text,
    /// For programs: an [`Explained`] as JSON.
    Json,
    /// For Graphviz: a graph in the DOT language.
    Dot,
    /// A picture.
    Svg,
}

/// A text that names no form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no form of a plan: write text, json, dot or svg")]
pub struct ParseFormError(pub String);

impl Form {
    /// All of them.
    pub const ALL: [Form; 4] = [Form::Text, Form::Json, Form::Dot, Form::Svg];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Form::Text => "text",
            Form::Json => "json",
            Form::Dot => "dot",
            Form::Svg => "svg",
        }
    }

    /// A plan in this form, with a newline at its end.
    pub fn write(self, plan: &LogicalPlan, physical: &PhysicalPlan) -> String {
        match self {
            Form::Text => explain(plan, physical),
            Form::Json => {
                let explained = Explained::new(plan, physical);
                let json = serde_json::to_string_pretty(&explained);
                json.expect("a plan is plain data, under names that are text") + "\n"
            }
            Form::Dot => dot(&Explained::new(plan, physical)),
            Form::Svg => svg(&Explained::new(plan, physical)),
        }
    }

    /// Whether a text begins as a plan in this form does: what tells a topology's answer from that of a program that
    /// is none.
    pub fn begins(self, text: &str) -> bool {
        match self {
            Form::Text => text.starts_with("topology ") && text.contains(" key groups, "),
            Form::Json => text.starts_with("{\n  \"version\": ") && text.contains("\"topology\": "),
            Form::Dot => text.starts_with("digraph \""),
            Form::Svg => text.starts_with("<svg "),
        }
    }
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Form {
    type Err = ParseFormError;

    fn from_str(text: &str) -> Result<Form, ParseFormError> {
        let form = Form::ALL.into_iter().find(|form| form.name() == text);
        form.ok_or_else(|| ParseFormError(text.to_owned()))
    }
}
