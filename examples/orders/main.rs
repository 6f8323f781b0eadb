//! What customers ordered so far: CSV files in, lines of JSON out.
//!
//! ```text
//! printf 'customer,item,cents\nann,tea,300\nbob,cake,450\nann,jam,250\n' > orders-1.csv
//! cargo run --release --example orders -- 'orders-*.csv' sums
//! cat sums/part-*                      # {"customer":"ann","cents":550} …
//! ```
//! Run it again with more files, or with more in the same ones: it goes on where it stopped, with the sums as they were,
//! and the new sums are in the next part. Kill it at any moment: each order counts once, and a part that can be
//! seen is whole. `follow` as a third word goes on with what is appended, and with files that come.

use egret::{
    Args, ComponentResult, Context, Emitter, Error, FileSink, FileSpout, KeyedBolt, TopologyBuilder,
};
use serde::{Deserialize, Serialize};

/// A row of the files; other fields of them are passed over.
#[derive(Clone, Serialize, Deserialize)]
struct Order {
    customer: String,
    cents: u64,
}

impl egret::Tuple for Order {}

/// What a customer ordered so far.
#[derive(Clone, Serialize, Deserialize)]
struct Sum {
    customer: String,
    cents: u64,
}

impl egret::Tuple for Sum {}

struct Sums;

impl KeyedBolt<str, Order, Sum> for Sums {
    type State = u64;

    fn execute(
        &mut self,
        _: &str,
        cents: &mut u64,
        order: Order,
        _: &mut Emitter<Sum>,
        _: &Context,
    ) -> ComponentResult {
        *cents = cents.checked_add(order.cents).ok_or("more cents than can be counted")?;
        Ok(())
    }

    /// Once a commit for each customer who ordered in it.
    fn flush(
        &mut self,
        customer: &str,
        cents: &mut u64,
        out: &mut Emitter<Sum>,
        _: &Context,
    ) -> ComponentResult {
        out.emit(Sum { customer: customer.to_owned(), cents: *cents });
        Ok(())
    }
}

/// Also what the test builds.
pub(crate) fn build(t: &mut TopologyBuilder, args: &Args) -> egret::Result<()> {
    let words: Vec<&str> = args.rest.iter().map(String::as_str).collect();
    let (from, to, follows) = match words[..] {
        [from, to] => (from, to, false),
        [from, to, "follow"] => (from, to, true),
        _ => {
            return Err(Error::usage(
                "which files, and to which directory? `orders 'orders-*.csv' sums`",
            ));
        }
    };
    let orders = FileSpout::<Order>::csv(from);
    let orders = t.spout("orders", 2, if follows { orders.follow() } else { orders })?;
    let sums = orders.fields(|order| order.customer.as_str()).keyed("sum", 2, || Sums)?;
    sums.sink("sums", FileSink::json_lines(to))
}

fn main() -> std::process::ExitCode {
    egret::main(build)
}
