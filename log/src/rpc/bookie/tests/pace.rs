//! What the network adds, by hand: `cargo test --release -p egret-log pace -- --ignored --nocapture`.

use super::*;
use crate::clock;

const ROUNDS: u64 = 2_000;

fn median_us(mut round: impl FnMut(u64)) -> u128 {
    let mut took: Vec<_> = (0..ROUNDS)
        .map(|n| {
            let began = clock::now();
            round(n);
            (clock::now() - began).as_micros()
        })
        .collect();
    took.sort_unstable();
    took[took.len() / 2]
}

#[test]
#[ignore = "a measurement: alone on its machine, and in release"]
fn pace_of_one_request_after_the_other_and_of_many_at_once() {
    let served = Served::plain();
    let client = served.writer();
    let own = client.incarnation();
    let look = |transport: &dyn Transport| {
        let reply = transport.call(own, Request::ReadLac { ledger: LEDGER });
        assert!(matches!(reply, Reply::Lac { .. }));
    };
    let put = |transport: &dyn Transport, n| {
        assert!(matches!(transport.call(own, add(n, &[1; 1024])), Reply::Done));
    };
    let near = median_us(|_| look(&served.bookie));
    let far = median_us(|_| look(&client));
    println!("read LAC: {near} µs in the process, {far} µs over loopback");
    let near = median_us(|n| put(&served.bookie, n));
    let far = median_us(|n| put(&client, ROUNDS + n));
    println!("add 1 KiB: {near} µs in the process, {far} µs over loopback");
    for (count, bytes) in [(100_000, 100), (2_000, 256 << 10)] {
        let payload = vec![1; bytes];
        let window = 64;
        let (to, replies) = answers(window);
        let began = clock::now();
        let first = 10 * ROUNDS + u64::try_from(bytes).expect("it is small") * 1_000_000;
        for n in 0..count {
            if n >= u64::try_from(window).expect("it is small") {
                let (_, reply) = replies.recv().unwrap();
                assert!(matches!(reply, Reply::Done), "{reply:?}");
            }
            client.send(own, add(first + n, &payload), to(n));
        }
        let took = (clock::now() - began).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let (rate, bytes_rate) =
            (count as f64 / took, count as f64 * bytes as f64 / took / f64::from(1 << 20));
        println!("adds of {bytes} bytes: {rate:.0} a second, {bytes_rate:.0} MiB/s");
    }
}
