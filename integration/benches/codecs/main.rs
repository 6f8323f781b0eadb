//! How batches may cross workers, against each other: what it costs to encode and to decode a tuple.
//!
//! ```text
//! cargo bench -p egret-integration --bench codecs -- [--rounds 9] [--batches 32]
//! cargo bench -p egret-integration --features abomonation --bench codecs
//! ```
//! Every round has every codec encode and decode the same batches of 1,024 tuples, one after the other; figures are
//! medians over rounds, of CPU time. *memcpy*, the limit, copies what Egret's encoding of the batch is, once each way.
//! *columnar* builds its columns of tuples, as an operator does that has tuples, and makes tuples of them again; *in
//! place* only reads them. *bytemuck* is there for what has no padding and no pointers. *abomonation*, with
//! that feature, casts a batch where it lies, pointers and all, and clones it; *abomonated!* is what a user may choose
//! of it. Tuples with padding are left out of both: it would be read. Not measured is what allocating
//! and freeing tuples costs who makes and uses them.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

#[cfg(feature = "abomonation")]
mod cast;
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
    let numbers = tuples::numbers(batches);
    of("u64").all(&numbers).fixed(&numbers).cast(&numbers).print();
    let pairs = tuples::pairs(batches);
    of("(u64, u64)").all(&pairs).cast(&pairs).print();
    let fixed = tuples::fixed(batches);
    of("struct of 32 bytes").all(&fixed).fixed(&fixed).cast(&fixed).abomonated(&fixed).print();
    of("Blob, a word").all_but_columnar(&tuples::blobs(batches)).hashes(batches).print();
    let words = tuples::words(batches);
    of("String, a word").all(&words).cast(&words).print();
    let counts = tuples::counts(batches);
    of("(String, u64)").all(&counts).cast(&counts).print();
    of("struct of 8 fields").all(&tuples::wide(batches)).print();
}
