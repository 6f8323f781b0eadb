//! The component graph.

use egret_state::Guarantee;

use crate::component::EventTime;
use crate::grouping::Grouping;

/// What a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Where tuples enter.
    Spout,
    /// A bolt without state.
    Bolt,
    /// A bolt with state per key.
    KeyedBolt,
    /// A bolt with state per task.
    StatefulBolt,
    /// Where tuples come back that went round a cycle.
    Feedback,
    /// Where they leave for there.
    FeedbackEnd,
    /// Where tuples leave.
    Sink,
}

impl Kind {
    /// Whether its tasks keep state.
    pub fn keeps_state(self) -> bool {
        matches!(self, Kind::KeyedBolt | Kind::StatefulBolt | Kind::FeedbackEnd)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Spout => "spout",
            Kind::Bolt => "bolt",
            Kind::KeyedBolt => "keyed bolt",
            Kind::StatefulBolt => "stateful bolt",
            Kind::Feedback => "feedback",
            Kind::FeedbackEnd => "feedback end",
            Kind::Sink => "sink",
        })
    }
}

/// One input of a component.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct InputPlan {
    /// Index of the component it comes from.
    pub from: usize,
    /// Which named output of that component it is; none for its first one.
    pub output: Option<String>,
    /// Which of that component's edges this is, counted in the order they were attached.
    pub edge: usize,
    /// How its tuples find their task.
    pub grouping: Grouping,
    /// Which of the component's inputs it is part of: those of one type are one, and a bolt that joins has
    /// several.
    pub side: u32,
}

/// A named output of a component.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct OutputPlan {
    /// Its name.
    pub name: String,
    /// The type of its tuples.
    pub of: String,
}

/// One component.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ComponentPlan {
    /// Its name: its identity across runs and upgrades.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// How many tasks it runs as.
    pub parallelism: u32,
    /// Where its tuples come from; none for a spout, and where tuples come back.
    pub inputs: Vec<InputPlan>,
    /// Where the tuples it takes come back, as an index of a component, for the end of a feedback.
    pub feeds: Option<usize>,
    /// The type it emits.
    pub emits: Option<String>,
    /// Its named outputs beside that.
    pub outputs: Vec<OutputPlan>,
    /// The types of key and state, for a bolt that keeps any.
    pub state: Option<String>,
    /// How event time is followed, for a spout that says that of its tuples.
    pub event_time: Option<EventTime>,
    /// What it reads or writes outside, in words.
    pub detail: String,
}

/// A topology as it was wired. Components stand in the order they were added, so an input always
/// comes from an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LogicalPlan {
    /// The topology's name.
    pub name: String,
    /// What it promises.
    #[serde(serialize_with = "as_text")]
    pub guarantee: Guarantee,
    /// Units of state placement, fixed for the topology's life.
    pub key_groups: u32,
    /// Whether bolts that feed each other task by task may be one operator. It changes nothing that is kept: a commit
    /// that was made so can be restored otherwise.
    pub fuses: bool,
    /// The components.
    pub components: Vec<ComponentPlan>,
}

fn as_text<S: serde::Serializer>(guarantee: &Guarantee, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(guarantee)
}

impl LogicalPlan {
    /// How many edges leave a component.
    pub fn edges_of(&self, component: usize) -> usize {
        self.consumers_of(component).count()
    }

    /// The components fed by `component`, with their input, in the order of its edges.
    pub fn consumers_of(&self, component: usize) -> impl Iterator<Item = (usize, &InputPlan)> {
        let mut found: Vec<(usize, &InputPlan)> = self
            .components
            .iter()
            .enumerate()
            .flat_map(|(to, c)| c.inputs.iter().map(move |input| (to, input)))
            .filter(|(_, input)| input.from == component)
            .collect();
        found.sort_by_key(|(_, input)| input.edge);
        found.into_iter()
    }

    /// Which components reach `component`, by whatever way but that of a feedback; it reaches itself.
    pub(crate) fn reaching(&self, component: usize) -> Vec<bool> {
        let mut reaches = vec![false; self.components.len()];
        reaches[component] = true;
        // Inputs come from earlier components.
        for index in (0..=component).rev() {
            if reaches[index] {
                self.components[index].inputs.iter().for_each(|input| reaches[input.from] = true);
            }
        }
        reaches
    }

    /// The spouts that say event times and reach `component`, by whatever way; a spout reaches itself.
    pub fn timed_spouts_of(&self, component: usize) -> Vec<usize> {
        let reaches = self.reaching(component);
        let timed = |index: &usize| reaches[*index] && self.components[*index].event_time.is_some();
        (0..=component).filter(timed).collect()
    }

    /// Where tuples come back that reach `component`, if there are such.
    pub fn feedback_of(&self, component: usize) -> Option<usize> {
        let reaches = self.reaching(component);
        (0..=component).find(|&c| reaches[c] && self.components[c].kind == Kind::Feedback)
    }

    /// The end of the feedback that begins at `component`, if one does.
    pub fn end_of(&self, component: usize) -> Option<usize> {
        self.components.iter().position(|c| c.feeds == Some(component))
    }

    /// Has both ends of each feedback run as equally many tasks, after that of the first was changed.
    pub(crate) fn even_out(&mut self) {
        for index in 0..self.components.len() {
            if let Some(feeds) = self.components[index].feeds {
                self.components[index].parallelism = self.components[feeds].parallelism;
            }
        }
    }

    /// Where an input comes from, as `parse`, or `parse:late` for a named output.
    pub fn source(&self, input: &InputPlan) -> String {
        let from = &self.components[input.from].name;
        input.output.as_ref().map_or_else(|| from.clone(), |output| format!("{from}:{output}"))
    }

    /// What must stay the same for a commit of this topology to be restored: names, kinds, wiring and who has
    /// state, as `name kind <- sources; state kept` per component, with `|` between the inputs of one that
    /// joins. Parallelism may change, and so may event time; what state looks like is told from its format, not
    /// from the names of types.
    pub fn graph(&self) -> Vec<String> {
        self.components
            .iter()
            .map(|c| {
                let mut sources = String::new();
                let mut side = 0;
                for input in &c.inputs {
                    match (sources.is_empty(), input.side == side) {
                        (true, _) => {}
                        (false, true) => sources.push_str(", "),
                        (false, false) => sources.push_str(" | "),
                    }
                    side = input.side;
                    let from = self.source(input);
                    sources.push_str(&format!("{from} by {}", input.grouping));
                }
                let state = if c.state.is_some() { "kept" } else { "none" };
                format!("{} {} <- [{sources}]; state {state}", c.name, c.kind)
            })
            .collect()
    }

    /// [`graph`](LogicalPlan::graph) and the key groups as one number.
    pub fn fingerprint(&self) -> u64 {
        let text = format!("{}\n{}", self.key_groups, self.graph().join("\n"));
        egret_schemas::key::hash(text.as_bytes())
    }
}
