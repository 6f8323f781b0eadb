//! A table of contenders: medians over rounds, and ratios within each round.

use super::latencies::Row;
use crate::measure::median;

/// Contenders in the order they first ran.
#[derive(Debug, Default)]
pub struct Rows {
    contenders: Vec<Contender>,
}

#[derive(Debug)]
struct Contender {
    name: String,
    /// Whose runs of the same rounds it is held against.
    limit: Option<String>,
    peer: Option<String>,
    runs: Vec<Row>,
}

/// A figure of a run.
type Figure = fn(&Row) -> f64;

impl Rows {
    /// No runs yet.
    pub fn new() -> Rows {
        Rows::default()
    }

    /// Adds a run that is held against nobody: a limit, a peer.
    pub fn add(&mut self, name: &str, row: Row) {
        self.add_against(name, row, None, None);
    }

    /// Adds a run that is held against a limit and a peer, by their names.
    pub fn add_against(&mut self, name: &str, row: Row, limit: Option<&str>, peer: Option<&str>) {
        let known = self.contenders.iter_mut().find(|contender| contender.name == name);
        match known {
            Some(contender) => contender.runs.push(row),
            None => self.contenders.push(Contender {
                name: name.to_owned(),
                limit: limit.map(str::to_owned),
                peer: peer.map(str::to_owned),
                runs: vec![row],
            }),
        }
    }

    /// The median of a figure of a contender.
    pub fn median(&self, name: &str, figure: Figure) -> f64 {
        self.runs(name).map_or(f64::NAN, |runs| median(runs.iter().map(figure).collect()))
    }

    fn runs(&self, name: &str) -> Option<&[Row]> {
        let contender = self.contenders.iter().find(|contender| contender.name == name)?;
        Some(&contender.runs)
    }

    /// The median over the rounds of how a figure of `runs` stands to that of `base`.
    fn ratio(&self, runs: &[Row], base: Option<&String>, figure: Figure) -> f64 {
        let base = base.and_then(|name| self.runs(name)).unwrap_or_default();
        let ratios = runs.iter().zip(base).map(|(run, base)| figure(run) / figure(base));
        median(ratios.collect())
    }

    /// Prints them all.
    pub fn print(&self) {
        println!(
            "| what | p50 µs | p99 µs | p99.9 µs | a second | MB/s | CPU µs each | p50 ÷ limit \
             | p99 ÷ limit | rate ÷ limit | rate ÷ Redis |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|");
        for contender in &self.contenders {
            let of = |figure: Figure| median(contender.runs.iter().map(figure).collect());
            let to = |base: &Option<String>, figure: Figure| {
                number(self.ratio(&contender.runs, base.as_ref(), figure), 2)
            };
            println!(
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                contender.name,
                number(of(|row| row.p50_us), 0),
                number(of(|row| row.p99_us), 0),
                number(of(|row| row.p999_us), 0),
                number(of(|row| row.rate), 0),
                number(of(|row| row.mb), 1),
                number(of(|row| row.cpu_us), 1),
                to(&contender.limit, |row| row.p50_us),
                to(&contender.limit, |row| row.p99_us),
                to(&contender.limit, |row| row.rate),
                to(&contender.peer, |row| row.rate),
            );
        }
    }
}

/// A figure, or nothing where there is none.
pub fn number(figure: f64, digits: usize) -> String {
    if figure.is_nan() { String::new() } else { format!("{figure:.digits$}") }
}
