//! `egret ledger repair`: makes the copies that are lacking, now, instead of waiting for the bookies to.
//! Of a ledger that is named every copy is looked at, too.

use clap::Args;
use egret_log::client::loss;
use egret_log::client::repair::{self, Endless, Pace, Sweep};
use egret_log::client::verify::{self, Verified};
use egret_log::ledger::repair::{Lack, lacks};
use egret_schemas::{BookieId, LedgerId};
use serde_json::{Value, json};

use super::super::exit::{Done, Exit};
use super::super::output::{self, Form};
use super::verified;
use egret_log_cluster::Cluster;

#[derive(Debug, Args)]
#[command(
    after_help = "Without a name, what is lacking is what the ledgers' records say. Of a ledger that is \
named every entry is read on every bookie that should have it, and copies that rotted or are missing are \
made anew.

Examples:
  egret ledger repair --cluster blue.toml
  egret ledger repair L42 --mb-per-second 200"
)]
pub(super) struct Repair {
    /// One ledger: L42, or 42. Every one of the cluster when none is given.
    ledger: Option<String>,
    /// How fast entries are copied.
    #[arg(long, default_value_t = 40, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    mb_per_second: u64,
    /// Say what is lacking, and copy nothing.
    #[arg(long)]
    dry_run: bool,
    /// How to answer.
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

impl Repair {
    pub(super) fn run(self, cluster: &Cluster) -> Done {
        let pace = Pace { bytes_per_second: self.mb_per_second.saturating_mul(1 << 20) };
        let named = self.ledger.as_deref().map(super::parse).transpose()?;
        let (found, mut sweep) = match named {
            None => repair::survey(&cluster.ledgers)?,
            Some(id) => self.lacking(cluster, id)?,
        };
        if !self.dry_run {
            make(cluster, found, pace, &mut sweep);
        }
        let verified = match named {
            None => None,
            Some(id) => Some((id, self.verify(cluster, id, pace)?)),
        };
        let left = sweep.lacking - sweep.made.len() as u64;
        self.answer(&sweep, verified.as_ref())?;
        if self.dry_run {
            return Ok(());
        }
        if left > 0 {
            let why =
                format!("{left} copies are still lacking: see above what to do, then try again");
            return Err(Exit::Failed(why));
        }
        let hopeless = sweep.unrecoverable.len() + sweep.endless.len();
        if hopeless > 0 {
            let why = format!("{hopeless} ledgers cannot be repaired: see above what to do");
            return Err(Exit::Failed(why));
        }
        match verified {
            Some((id, verified)) if !verified.is_whole() => Err(Exit::Failed(format!(
                "{id} is not whole: see above what is missing and what to do"
            ))),
            _ => Ok(()),
        }
    }

    /// What the record of one ledger says.
    fn lacking(
        &self,
        cluster: &Cluster,
        id: LedgerId,
    ) -> Result<(Vec<(LedgerId, Lack)>, Sweep), Exit> {
        let record = super::record(cluster, id)?;
        let standing = |member| cluster.ledgers.bookies().standing(member);
        let found: Vec<_> = lacks(&record, standing).into_iter().map(|lack| (id, lack)).collect();
        let lacking = found.len() as u64;
        if !self.dry_run {
            // Asked for by name: it is tried whatever an earlier repair came to.
            loss::forget(&cluster.ledgers, id)?;
        }
        let endless = repair::endless(&cluster.ledgers, &record);
        let endless = endless.map(|why| (id, why)).into_iter().collect();
        Ok((found, Sweep { ledgers: 1, lacking, endless, ..Sweep::default() }))
    }

    fn verify(&self, cluster: &Cluster, id: LedgerId, pace: Pace) -> Result<Verified, Exit> {
        let entries = super::last(&super::record(cluster, id)?).map_or(0, |last| last + 1);
        let bar = output::progress(entries, "entries");
        bar.set_message(id.to_string());
        let mend = (!self.dry_run).then_some(pace);
        let verified = verify::verify(&cluster.ledgers, id, mend, |_| bar.inc(1));
        bar.finish_and_clear();
        Ok(verified?)
    }

    fn answer(&self, sweep: &Sweep, verified: Option<&(LedgerId, Verified)>) -> Done {
        match self.output {
            Form::Json => {
                let made: Vec<Value> = sweep
                    .made
                    .iter()
                    .map(|(id, lack, made)| {
                        json!({
                            "ledger": id.to_string(),
                            "first": lack.first.0,
                            "last": lack.last.0,
                            "from": lack.member.bookie.0,
                            "at": made.at.bookie.0,
                            "entries": made.entries,
                            "bytes": made.bytes,
                        })
                    })
                    .collect();
                let failed: Vec<Value> = sweep
                    .failed
                    .iter()
                    .map(|(id, lack, why)| {
                        json!({
                            "ledger": id.to_string(),
                            "bookie": lack.member.bookie.0,
                            "why": why.to_string(),
                            "lost": why.is_loss(),
                        })
                    })
                    .collect();
                output::json(&json!({
                    "ledgers": sweep.ledgers,
                    "lacking": sweep.lacking,
                    "made": made,
                    "failed": failed,
                    "unrecoverable": sweep.unrecoverable.keys().map(|id| id.to_string()).collect::<Vec<_>>(),
                    "endless": sweep.endless.keys().map(|id| id.to_string()).collect::<Vec<_>>(),
                    "mended": verified.map_or(0, |(_, verified)| verified.mended()),
                    "verified": verified.map(|(id, verified)| verified::json(*id, verified)),
                }))?;
            }
            Form::Table => {
                for (id, lack, made) in &sweep.made {
                    output::line(&format!(
                        "{id} from entry {}: {} entries, {} bytes, for {} to {}",
                        lack.first, made.entries, made.bytes, lack.member.bookie, made.at.bookie
                    ))?;
                }
                for (_, _, why) in &sweep.failed {
                    output::line(&format!("not repaired: {why}"))?;
                }
                for (id, note) in &sweep.unrecoverable {
                    output::line(&super::loss::nothing_left(*id, note))?;
                }
                for (id, why) in &sweep.endless {
                    output::line(&endless(*id, why))?;
                }
                for why in &sweep.unread {
                    output::line(&format!("not looked at: {why}"))?;
                }
                if let Some((id, verified)) = verified {
                    verified::say(*id, verified)?;
                }
                output::line(&summary(sweep, verified))?;
            }
        }
        Ok(())
    }
}

/// A ledger that nobody can close, and what to do about it.
fn endless(id: LedgerId, Endless { bookies, owner }: &Endless) -> String {
    let names: Vec<String> = bookies.iter().map(BookieId::to_string).collect();
    let names = names.join(", ");
    let what = format!(
        "{id} was not closed, and where it ends cannot be found without the former directories of {names}: put \
         one back"
    );
    match owner {
        None => {
            format!("{what}, or go on with what the others have: `egret ledger accept-loss {id}`")
        }
        Some(owner) => format!("{what}; only its topology, `{owner}`, closes it then"),
    }
}

/// A copy that lacks by a record is a bookie's share of many entries; looking finds copies of single ones.
fn summary(sweep: &Sweep, verified: Option<&(LedgerId, Verified)>) -> String {
    let (ledgers, lacking, made) = (sweep.ledgers, sweep.lacking, sweep.made.len());
    match verified {
        None => format!("{ledgers} ledgers, {lacking} copies lacking, {made} made"),
        Some((id, verified)) => format!(
            "{id}: by its record {lacking} copies lacking, {made} made; by looking {} copies of entries \
             damaged or missing, {} made anew",
            verified.bad(),
            verified.mended()
        ),
    }
}

/// Makes what is lacking, one copy after the other.
fn make(cluster: &Cluster, found: Vec<(LedgerId, Lack)>, pace: Pace, sweep: &mut Sweep) {
    let bar = output::progress(found.len() as u64, "copies");
    for (id, lack) in found {
        bar.set_message(id.to_string());
        match repair::make(&cluster.ledgers, id, &lack, pace) {
            Ok(made) => sweep.made.push((id, lack, made)),
            Err(why) if why.is_settled() => sweep.lacking -= 1,
            Err(why) => sweep.failed.push((id, lack, why)),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_log::client::verify::Share;
    use egret_log::ledger::Member;
    use egret_schemas::Incarnation;

    #[test]
    fn a_ledger_nobody_can_close_is_said_with_the_command_that_does() {
        let bookies = vec![BookieId(1), BookieId(3)];
        let said = endless(LedgerId(7), &Endless { bookies: bookies.clone(), owner: None });
        assert!(said.contains("without the former directories of B1, B3: put one back"), "{said}");
        assert!(said.ends_with("`egret ledger accept-loss L7`"), "{said}");
        let owner = Some("words".to_owned());
        let said = endless(LedgerId(7), &Endless { bookies, owner });
        assert!(
            said.ends_with("put one back; only its topology, `words`, closes it then"),
            "{said}"
        );
    }

    /// Once it said that nothing had been made.
    #[test]
    fn what_was_mended_by_looking_is_counted() {
        let sweep = Sweep { ledgers: 1, ..Sweep::default() };
        assert_eq!(summary(&sweep, None), "1 ledgers, 0 copies lacking, 0 made");
        let share =
            |damaged, missing, mended| Share { damaged, missing, mended, ..Share::default() };
        let member = |n| Member { bookie: BookieId(n), incarnation: Incarnation(1) };
        let bookies = [(member(1), share(2, 1, 3)), (member(2), share(0, 1, 0))].into();
        let verified = (LedgerId(7), Verified { bookies, ..Verified::default() });
        let said = summary(&sweep, Some(&verified));
        assert!(
            said.starts_with("L7: by its record 0 copies lacking, 0 made; by looking "),
            "{said}"
        );
        assert!(said.ends_with("4 copies of entries damaged or missing, 3 made anew"), "{said}");
    }
}
