//! What the example of streamlets tells of what was shown and clicked, wherever it is killed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "its `main` is the program's")]
#[path = "../ad_clicks/main.rs"]
mod ad_clicks;

use egret::testing::TopologyTest;

fn sorted(t: &mut TopologyTest, stream: &str) -> Vec<String> {
    let mut all = t.output::<String>(stream).unwrap();
    all.sort_unstable();
    all
}

#[test]
fn the_rates_are_those_of_what_was_shown_and_clicked_wherever_it_is_killed() {
    for seed in 0..12 {
        let mut t = TopologyTest::with_args(ad_clicks::build, &[]).unwrap().seed(seed);
        t.partitions("shown", 1).partitions("clicked", 1);
        if seed % 3 > 0 {
            t.kill_anywhere();
        }
        // The first is clicked twice, before anybody knows that it was shown.
        t.send("clicked", ["s1 9000", "s1 9500", "s8 1000"]).unwrap();
        t.run_until_idle().unwrap();
        let shown =
            ["s2 heron 4000", "s1 heron 1000", "nothing", "s3 egret 2000", "s4 heron 61000"];
        t.send("shown", shown).unwrap();
        t.run_until_idle().unwrap();
        if seed % 3 == 2 {
            t.tasks("met", 3).tasks("once", 4).tasks("rates", 1).workers(3).restore().unwrap();
        }
        // One in time, and one a ms after.
        t.send("clicked", ["s3 302000", "s4 361001"]).unwrap();
        t.run_until_idle().unwrap();
        assert_eq!(sorted(&mut t, "rates"), [""; 0], "seed {seed}: nobody knows yet");
        t.send("shown", ["s9 heron 2000000"]).unwrap();
        t.send("clicked", ["s9 2000001"]).unwrap();
        t.run_until_idle().unwrap();
        t.send("shown", ["s10 heron 1000"]).unwrap();
        t.run_until_idle().unwrap();
        let rates = ["egret 0: 1 of 1", "heron 0: 1 of 2", "heron 60000: 0 of 1"];
        assert_eq!(sorted(&mut t, "rates"), rates, "seed {seed}");
        let others = ["s10 is shown too late", "s4 was never shown", "s8 was never shown"];
        assert_eq!(sorted(&mut t, "others"), others, "seed {seed}");
    }
}
