#!/usr/bin/env bash
# Runs everything that needs a device: tests, sanitizer, kernels, and loads beside other projects' loaders.
#
#   gpu-check.sh prepare KIT    with a network and no device: fills the directory KIT
#   gpu-check.sh run KIT [OUT]  with a device and no network: uses KIT, writes CSV and logs to OUT
#
# `benches/compare/run.py cuda` does both where there is a network and a device. OUT/record is a record of the device: `run.py cuda --out OUT
# --record` takes it into benches/record.
#
# KIT holds what a bare machine lacks: test and example binaries, the wheels of other loaders, and these scripts. The
# machine needs a driver; PyTorch and the sanitizer are used where installed. `run` keeps to eight minutes
# (GPU_CHECK_SECONDS): it leaves out steps that would take longer, and says so in summary.csv. It exits with 1 if a step
# failed, and with 2 if there is no device. It writes about four times GPU_CHECK_GIB to disk; the default is a model of
# at most 16 GiB of which the disk takes four copies in a minute.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

prepare() {
    local kit=$1 root
    root=$(cd "$here/../.." && pwd)
    mkdir -p "$kit/wheels"
    kit=$(cd "$kit" && pwd)
    # Finds binaries through cargo's messages, because their names contain hashes.
    (cd "$root" && cargo build --release -p longshore -p longshore-benches --bins --examples)
    (cd "$root" && cargo build --release -p longshore-loader-cuda --examples)
    (cd "$root" && cargo test --release -p longshore-loader-cuda --test device --no-run --message-format json) |
        python3 "$here/gpu-check/executable.py" device > "$kit/device-test.path"
    cp "$(cat "$kit/device-test.path")" "$kit/device-test"
    rm "$kit/device-test.path"
    cp "$root/target/release/longshore" "$root/target/release/examples/checkpoint" \
        "$root/target/release/examples/dequantize_bandwidth" "$root/target/release/examples/decode_model" \
        "$root/target/release/examples/compare_loads" "$root/target/release/examples/ring" "$kit/"
    # Debug information is stripped to keep the kit small.
    (cd "$kit" && strip --strip-debug device-test longshore checkpoint dequantize_bandwidth decode_model compare_loads ring) || true
    rm -rf "$kit/demo" "$kit/gpu-check"
    cp -r "$root/crates/cli/demo/qwen3-moe" "$kit/demo"
    cp "$here/gpu-check.sh" "$kit/"
    cp -r "$here/gpu-check" "$kit/"
    python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
        --platform manylinux_2_30_x86_64 --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
        --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
        -r "$here/gpu-check/peers.txt" -d "$kit/wheels"
    du -sh "$kit"
}

run() {
    local kit=$1 out=${2:-$1/out} failed=0
    # Usual place of a toolkit, which contains the sanitizer.
    PATH=$PATH:/usr/local/cuda/bin
    kit=$(cd "$kit" && pwd)
    mkdir -p "$out"
    out=$(cd "$out" && pwd)
    local work
    work=$(mktemp -d "${TMPDIR:-/tmp}/longshore-gpu.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    export LONGSHORE_STORE=$work/store
    echo "step,status,seconds" > "$out/summary.csv"

    # step NAME LIMIT COMMAND…: runs COMMAND with its output in NAME.log, unless too little time is left.
    step() {
        local name=$1 limit=$2 status=0 started=$SECONDS
        shift 2
        if [ $((SECONDS + limit)) -gt "${GPU_CHECK_SECONDS:-480}" ]; then
            echo "$name,left out: no time,0" >> "$out/summary.csv"
            return 0
        fi
        printf '== %s\n' "$name"
        timeout "$limit" "$@" > "$out/$name.log" 2>&1 || status=$?
        echo "$name,$status,$((SECONDS - started))" >> "$out/summary.csv"
        [ "$status" -eq 0 ] || { failed=1; tail -n 20 "$out/$name.log"; }
    }

    {
        date -u +%FT%TZ
        uname -sr
        nproc
        nvidia-smi --query-gpu=name,driver_version,memory.total,pcie.link.gen.current,pcie.link.width.current --format=csv || true
        python3 -c 'import torch; print("torch", torch.__version__)' || true
        "$kit/longshore" --version || true
    } > "$out/machine.txt" 2>&1
    if ! nvidia-smi -L > /dev/null 2>&1 && [ ! -e /dev/nvidiactl ]; then
        echo "no device" >&2
        exit 2
    fi

    # Correctness comes first.
    step device-tests 60 env LONGSHORE_TEST_DEVICE=1 "$kit/device-test" --nocapture
    if command -v compute-sanitizer > /dev/null; then
        step sanitizer 60 env LONGSHORE_TEST_DEVICE=1 compute-sanitizer --error-exitcode 9 --leak-check full \
            "$kit/device-test" --nocapture vectors_of_mlx
    else
        echo "sanitizer,left out: not installed,0" >> "$out/summary.csv"
    fi
    step kernels 60 "$kit/dequantize_bandwidth"
    grep -h , "$out/kernels.log" > "$out/kernels.csv" 2> /dev/null || true

    # Models as large as the disk allows: one of few large tensors, the same one quantized, and one of many experts,
    # which are packed.
    local gib
    gib=${GPU_CHECK_GIB:-$(size "$work")}
    echo "models of $gib GiB" >> "$out/machine.txt"
    step make-dense 90 "$kit/checkpoint" "$work/dense" --bytes $((gib << 30))
    step import-dense 90 "$kit/longshore" import "$work/dense" dense --json
    step load-dense 60 "$kit/longshore" load dense --device cuda:0 --repeat 5 --json
    step load-dense-verified 40 "$kit/longshore" load dense --device cuda:0 --verify --json
    step disk 60 "$kit/ring" "$LONGSHORE_STORE/blobs" --disk
    step load-dense-cold 60 "$here/gpu-check.sh" cold "$kit/longshore" load dense --device cuda:0 --json
    step import-int4 60 "$kit/longshore" import "$work/dense" dense:int4 --quantize int4 --json
    step compare 60 "$kit/compare_loads" "$LONGSHORE_STORE" dense dense:int4
    grep -h , "$out/compare.log" > "$out/compare.csv" 2> /dev/null || true
    step sanitizer-load 40 "$here/gpu-check.sh" sanitized "$kit" dense
    step make-moe 60 "$kit/checkpoint" "$work/moe" --like moe --bytes $((gib << 29))
    step import-moe 60 "$kit/longshore" import "$work/moe" moe --json
    step load-moe 40 "$kit/longshore" load moe --device cuda:0 --repeat 5 --json
    # The reading half alone, from the page cache and past it.
    mkdir "$work/ring" "$work/ring-cold"
    step ring 40 "$kit/ring" "$work/ring" --rounds 5
    step ring-cold 40 "$kit/ring" "$work/ring-cold" --rounds 3 --cold

    # Other projects' loaders on the same bytes, each in its own process. A loader that cannot be installed or run gets
    # a row with the reason.
    if python3 -c 'import torch' 2> /dev/null; then
        # Wheels are installed one by one, so one that does not suit the machine does not prevent the others.
        local peer wheel
        for wheel in "$kit"/wheels/*.whl; do
            python3 -m pip install --quiet --no-index --no-deps --upgrade --target "$work/peers" "$wheel" >> "$out/pip.log" 2>&1 || true
        done
        echo "peer,version,first_seconds,steady_seconds,gb_per_s,note" > "$out/peers.csv"
        for peer in pinned safetensors safetensors-prefetch fastsafetensors instanttensor instanttensor-buffered \
            instanttensor-mmap runai; do
            step "peer-$peer" 40 env PYTHONPATH="$work/peers" python3 "$kit/gpu-check/peer.py" "$peer" "$work/dense"
            grep -h "^$peer," "$out/peer-$peer.log" >> "$out/peers.csv" || echo "$peer,,,,,failed" >> "$out/peers.csv"
        done
        # Compares the kernels' results with PyTorch's.
        step torch 60 python3 "$kit/gpu-check/compare_torch.py" "$kit" "$kit/demo" "$work"
    else
        echo "peers,left out: no PyTorch,0" >> "$out/summary.csv"
    fi
    python3 "$kit/gpu-check/table.py" "$out" > "$out/loads.csv"
    python3 "$kit/gpu-check/record.py" "$out" || { failed=1; echo "no record was written" >&2; }
    cat "$out/summary.csv" "$out/loads.csv"
    exit "$failed"
}

# Size in GiB, from 1 to 16, of a model of which four copies can be written to the directory in a minute.
size() {
    python3 - "$1" << 'PY'
import os, sys, time
path, block = os.path.join(sys.argv[1], "speed"), os.urandom(1 << 24)
with open(path, "wb", buffering=0) as file:
    started = time.monotonic()
    for _ in range(64):
        file.write(block)
    os.fsync(file.fileno())
    rate = (64 << 24) / (time.monotonic() - started)
os.unlink(path)
free = os.statvfs(sys.argv[1])
room = free.f_bavail * free.f_frsize / 5
print(max(1, min(16, int(rate * 15) >> 30, int(room) >> 30)))
PY
}

# Runs a load under the sanitizer. It selects one kind of tensor, because every call takes a thousand times as long.
sanitized() {
    command -v compute-sanitizer > /dev/null || { echo "not installed"; return 0; }
    compute-sanitizer --error-exitcode 9 --leak-check full "$1/longshore" load "$2" --device cuda:0 --select '*norm*' --json
}

# Runs a command after the store's blobs were dropped from the page cache.
cold() {
    python3 - "$LONGSHORE_STORE/blobs" << 'PY'
import os, sys
for entry in os.scandir(sys.argv[1]):
    with open(entry.path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
PY
    "$@"
}

case ${1:-} in
    prepare) prepare "${2:?KIT}" ;;
    run) run "${2:?KIT}" "${3:-}" ;;
    # Steps of `run` that are more than one command.
    sanitized | cold) "$@" ;;
    *) sed -n 2,14p "$0" >&2; exit 2 ;;
esac
