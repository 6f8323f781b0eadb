# Every recipe is plain cargo: whoever lacks `just` copies the line. CI runs the same lines from .ci/run.

export RUSTDOCFLAGS := "-D warnings"

# Shows the recipes.
default:
    @just --list

# Formatting, lints and documentation; writes nothing.
check:
    cargo fmt --all --check
    cargo clippy --all-targets -- -D warnings
    cargo doc --no-deps

# Every test that runs in minutes.
test:
    cargo test

# The metadata store on a real etcd; needs protoc, etcd and etcdctl.
etcd:
    cargo clippy -p egret-log-etcd -p egret-scheduler --features egret-scheduler/etcd --all-targets -- -D warnings
    cargo clippy -p egret-integration --features etcd --all-targets -- -D warnings
    EGRET_REQUIRE_ETCD=1 cargo test -p egret-log-etcd -p egret-scheduler --features egret-scheduler/etcd

# Formats, and applies what the compiler and clippy can mend.
fix:
    cargo clippy --all-targets --fix --allow-dirty --allow-staged
    cargo fmt --all

# Replays one schedule of crashes: `just sim seed=7`.
sim seed="seed=1":
    cargo build --release --bins --examples
    target/release/crash_and_kill --{{ seed }} --kills 10

# The log on several bookies under faults, from seeds: `just log-sim minutes=60`. One seed again:
# `cargo run -p egret-integration --bin log_sim -- --seed 7 --steps 1500`.
log-sim minutes="minutes=10":
    cargo run --release -p egret-integration --bin log_sim -- --minutes {{ trim_start_match(minutes, 'minutes=') }}

# Topologies in one thread under kills, from seeds: `just topology-sim kills=10000`. One seed again:
# `cargo run -p egret-integration --bin topology_sim -- --seed 7 --trace`.
topology-sim kills="kills=10000":
    cargo run --release -p egret-integration --bin topology_sim -- --kills {{ trim_start_match(kills, 'kills=') }}

# Kills and restarts for as long as wanted: `just soak minutes=30`; then 200 kills of bookies.
soak minutes="minutes=10": && bookie-kill
    cargo build --release --bins --examples
    target/release/crash_and_kill --seconds "$(( {{ trim_start_match(minutes, 'minutes=') }} * 60 ))"

# A slow bolt under a fast spout: memory flat, nothing lost: `just slow-bolt minutes=10`.
slow-bolt minutes="minutes=10":
    cargo run --release -p egret-integration --bin slow_bolt -- --minutes {{ trim_start_match(minutes, 'minutes=') }}

# Three bookies and etcd under kills, stops, cuts, full and damaged disks: `just bookie-kill kills=200`. Needs
# protoc and etcd; root for cuts and full disks, which are left out with a word where it is not.
bookie-kill kills="kills=200":
    cargo build --release -p egret-integration --features etcd --bin bookie_kill
    target/release/bookie_kill --kills {{ trim_start_match(kills, 'kills=') }} --etcd --cuts --full-disk
    target/release/bookie_kill --control disks
    target/release/bookie_kill --control flips
    target/release/bookie_kill --control cut

# A word count on three bookies and etcd, in one process and in three, all of which are killed:
# `just topology-kill kills=200`. Needs protoc and etcd.
topology-kill kills="kills=100":
    cargo build --release -p egret-examples --features etcd --example word_count
    cargo build --release -p egret-integration --features etcd --bin topology_kill --bin joined_windows
    target/release/topology_kill --kills {{ trim_start_match(kills, 'kills=') }}
    target/release/topology_kill --program joined_windows --processes 4 --kills {{ trim_start_match(kills, 'kills=') }}
    target/release/topology_kill --program joined_windows --processes 2 --state-kb 64 --kills 20

# Hands every decoder bytes that nobody wrote: `just fuzz --seconds 600 --seed 7 --target manifest`.
fuzz *options="--seconds 60":
    cargo run --profile fuzz -p egret-fuzz --bin fuzz -- {{ options }}

# Every schedule of a scope: `just model --appends 3 --recoverers 2`; integration/docs/model.md has the counts.
model *scope="--appends 2":
    cargo build --release -p egret-model
    target/release/ledger_model {{ scope }}

# The same of the commit protocol: `just commit-model --numbers 1,1 --takeovers 1 --zombie-steps 4`.
commit-model *scope="--zombie-steps 4":
    cargo build --release -p egret-model
    target/release/commit_model {{ scope }}

# Switches each known bug in and looks for it; prints a table of what was found.
mutants seconds="600":
    cargo run --release -p egret-model --features mutants --bin find_mutants -- --seconds {{ seconds }}

# One benchmark: `just bench append`; the rows are in integration/docs/figures.md.
bench row:
    cargo bench -p egret-integration --bench {{ row }}

# Makes schemas/src/generated again and shows what changed; needs the `capnp` compiler.
schemas:
    cargo run -p egret-schemas-generate
    git diff --exit-code -- schemas/src/generated

# Licences, bans and sources of everything linked in; the advisory database too where it can be reached.
deny:
    cargo deny check bans licenses sources
    cargo deny check advisories
