//! How batches may cross workers, against each other: what it costs to encode and to decode a tuple.
//!
//! ```text
//! cargo bench -p egret-integration --bench codecs -- [--rounds 9] [--batches 32]
//! ```
//! Every round has every codec encode and decode the same batches of 1,024 tuples, one after the other; figures are
//! medians over rounds, of CPU time. *memcpy*, the limit, copies what Egret's encoding of the batch is, once each way.
//! *columnar* builds its columns of tuples, as an operator does that has tuples, and makes tuples of them again; *in
//! place* only reads them. *bytemuck* is there for what has no padding and no pointers. Not measured is what allocating
//! and freeing tuples costs who makes and uses them.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

mod run;
mod tuples;

use clap::Parser;

use run::Run;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Batches of 1,024 tuples in one run
    #[arg(long, default_value_t = 32)]
    batches: usize,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let Options { rounds, batches, .. } = Options::parse();
    println!(
        "| tuples | codec | bytes | encode ns | decode ns | both ÷ memcpy | MB/s encoded | MB/s decoded |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let of = |name| Run::new(name, rounds);
    of("u64").all(&tuples::numbers(batches)).fixed(&tuples::numbers(batches)).print();
    of("(u64, u64)").all(&tuples::pairs(batches)).print();
    of("struct of 32 bytes").all(&tuples::fixed(batches)).fixed(&tuples::fixed(batches)).print();
    of("Blob, a word").all_but_columnar(&tuples::blobs(batches)).hashes(batches).print();
    of("String, a word").all(&tuples::words(batches)).print();
    of("(String, u64)").all(&tuples::counts(batches)).print();
    of("struct of 8 fields").all(&tuples::wide(batches)).print();
}
