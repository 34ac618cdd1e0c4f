#!/bin/sh
# Fuzzes every target for a number of seconds (default 600), with one job per core, and prints each target's number of
# executions and of findings. JOBS=1 runs one target at a time. Further arguments name the targets to run; the default
# is all.
#
#     crates/fuzz/run.sh [SECONDS [TARGET...]]
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-600}
[ $# -eq 0 ] || shift
fuzz=crates/fuzz/libfuzzer
# A fixed target directory, whatever the environment says, because cargo-fuzz looks for the binaries there.
out=$PWD/target/fuzz
export CARGO_TARGET_DIR="$out"
command -v cargo-fuzz >/dev/null || { echo "cargo-fuzz is missing: cargo install cargo-fuzz" >&2; exit 2; }
# No sanitizer: the code under test is safe Rust, and stable compilers have no sanitizers.
cargo fuzz build -s none --fuzz-dir "$fuzz"
bins=$out/$(rustc -vV | sed -n 's/^host: //p')/release
targets=${*:-$(sed -n 's/^name = "\([a-z_]*\)"$/\1/p' "$fuzz/Cargo.toml")}

one() {
    found=$out/found/$1
    mkdir -p "$out/corpus/$1" "$found"
    # Removes the findings of earlier runs, so that this run reports only its own.
    find "$found" -type f -delete
    # A fork that stops at a finding starts again until the time is over. The inputs are small, because most parsers
    # read text. The seeds of the blob reader are the longest.
    "$bins/$1" -fork=1 -ignore_crashes=1 -ignore_timeouts=1 -ignore_ooms=1 -max_total_time="$seconds" -timeout=10 \
        -rss_limit_mb=4096 -max_len=8192 -artifact_prefix="$found/" \
        "$out/corpus/$1" "crates/fuzz/corpus/$1" >"$out/$1.log" 2>&1 || true
    runs=$(sed -n 's/^#\([0-9]*\): cov: .*/\1/p' "$out/$1.log" | tail -n 1)
    finds=$(find "$found" -type f | wc -l)
    printf '%-14s %14s executions %6s findings\n' "$1" "${runs:-0}" "$finds"
    [ "$finds" -eq 0 ] || find "$found" -type f
}

running=0
for target in $targets; do
    one "$target" &
    running=$((running + 1))
    if [ "$running" -ge "${JOBS:-$(nproc)}" ]; then
        wait
        running=0
    fi
done
wait
[ -z "$(find "$out"/found -type f)" ]
