#!/bin/sh
# Fuzzes every target for so many seconds (600 if not given), as many at a time as there are cores, and prints the number of
# executions and of finds of each. JOBS=1 runs one at a time. Further arguments name the targets; all if there are none.
#
#     crates/fuzz/run.sh [SECONDS [TARGET...]]
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-600}
[ $# -eq 0 ] || shift
fuzz=crates/fuzz/libfuzzer
# The same place whatever the surroundings say: cargo-fuzz looks for the binaries there.
out=$PWD/target/fuzz
export CARGO_TARGET_DIR="$out"
command -v cargo-fuzz >/dev/null || { echo "cargo-fuzz is missing: cargo install cargo-fuzz" >&2; exit 2; }
# No sanitizer: the code under test is safe Rust, and stable compilers have none.
cargo fuzz build -s none --fuzz-dir "$fuzz"
bins=$out/$(rustc -vV | sed -n 's/^host: //p')/release
targets=${*:-$(sed -n 's/^name = "\([a-z_]*\)"$/\1/p' "$fuzz/Cargo.toml")}

one() {
    found=$out/found/$1
    mkdir -p "$out/corpus/$1" "$found"
    # What an earlier run has found is for it to tell.
    find "$found" -type f -delete
    # A fork that stops at a find begins again, until the time is over. Inputs are small: these are parsers of text. The seeds of the
    # blob reader are the longest.
    "$bins/$1" -fork=1 -ignore_crashes=1 -ignore_timeouts=1 -ignore_ooms=1 -max_total_time="$seconds" -timeout=10 \
        -rss_limit_mb=4096 -max_len=8192 -artifact_prefix="$found/" \
        "$out/corpus/$1" "crates/fuzz/corpus/$1" >"$out/$1.log" 2>&1 || true
    runs=$(sed -n 's/^#\([0-9]*\): cov: .*/\1/p' "$out/$1.log" | tail -n 1)
    finds=$(find "$found" -type f | wc -l)
    printf '%-14s %14s executions %6s finds\n' "$1" "${runs:-0}" "$finds"
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
