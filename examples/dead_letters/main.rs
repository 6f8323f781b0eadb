//! Sums of payments by account; lines that are no payment are set aside, with why.
//!
//! ```text
//! egret stream --data egret-data create payments --format utf8
//! printf '%s\n' 'ann 250' 'bob 5o' 'ann 50' | egret stream --data egret-data append payments
//! cargo run --release --example dead_letters -- --workers 2 &
//! egret stream --data egret-data tail sums
//! egret stream --data egret-data tail rejected
//! ```
//! A line that does not read would else stop the program at each start. What is set aside is part of the same commit as
//! what is counted: each line is in one of the two, once, whatever ends the program. An account that would have more than
//! `--set sum.most=…` cents refuses a payment after it has added it: the state it changed is as it was before.

use egret::{
    Args, Blob, Bolt, ComponentResult, Context, DeadLetter, Emitter, KeyedBolt, LogSink, LogSpout,
    OnError, Stream, TopologyBuilder,
};

/// An account, and cents.
type Payment = (String, u64);

struct Parse;

impl Bolt<String, Payment> for Parse {
    fn execute(
        &mut self,
        line: String,
        out: &mut Emitter<Payment>,
        _: &Context,
    ) -> ComponentResult {
        let (account, cents) = line.split_once(' ').ok_or("a payment is an account and cents")?;
        out.emit((account.to_owned(), cents.trim().parse()?));
        Ok(())
    }
}

/// Adds payments up, to so many cents.
#[derive(Default)]
struct Sum {
    most: u64,
}

impl KeyedBolt<str, Payment, (Blob, u64)> for Sum {
    type State = u64;

    fn open(&mut self, cx: &Context) -> ComponentResult {
        self.most = cx.config().get("most")?;
        Ok(())
    }

    fn execute(
        &mut self,
        account: &str,
        sum: &mut u64,
        (_, cents): Payment,
        out: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        *sum = sum.saturating_add(cents);
        out.emit((Blob::from(account), *sum));
        match *sum > self.most {
            true => Err(format!("more than {} cents", self.most).into()),
            false => Ok(()),
        }
    }
}

fn wire(t: &mut TopologyBuilder, args: &Args) -> egret::Result<()> {
    let tasks = args.run.tasks();
    let lines = t.spout("payments", tasks, LogSpout::<String>::from_stream("payments"))?;
    let payments = lines.shuffle().bolt("parse", tasks, || Parse)?.on_error(OnError::DeadLetter)?;
    let sums =
        payments.fields(|(account, _)| account.as_str()).keyed("sum", tasks, Sum::default)?;
    let sums = sums.on_error(OnError::DeadLetter)?.config("most", 1_000_000u64)?;
    sums.sink("sums", LogSink::to_stream("sums"))?;

    let unread: Stream<DeadLetter<String>> = payments.dead_letters()?;
    let refused: Stream<DeadLetter<Payment>> = sums.dead_letters()?;
    // One stream has one type: what was refused is written as the line it was.
    let refused = refused.shuffle().bolt("lines", tasks, || {
        |letter: DeadLetter<Payment>, out: &mut Emitter<DeadLetter<String>>| {
            let DeadLetter { component, task, tries, error, tuple: (account, cents) } = letter;
            let tuple = format!("{account} {cents}");
            out.emit(DeadLetter { component, task, tries, error, tuple });
        }
    })?;
    unread.union(&refused)?.sink("rejected", LogSink::to_stream("rejected"))
}

fn main() -> std::process::ExitCode {
    egret::main(wire)
}
