//! Every harness: the target named as the program is.

#![no_main]

use std::sync::LazyLock;

use egret_fuzz::Target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    egret_fuzz::target(env!("CARGO_BIN_NAME")).expect("a harness is named as its target")
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (TARGET.run)(bytes);
});
