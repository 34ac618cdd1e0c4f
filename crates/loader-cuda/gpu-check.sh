#!/usr/bin/env bash
# Everything that needs a device, in one go: tests, sanitizer, kernels, and loads beside the peers.
#
#   crates/loader-cuda/gpu-check.sh prepare KIT     here, with a network and no device: fills the directory KIT
#   crates/loader-cuda/gpu-check.sh run KIT [OUT]   there, with a device and no network: uses KIT, writes CSV and logs to OUT
#
# KIT is what a bare machine lacks: the test and example binaries, the peers' wheels, and the scripts beside this one. The machine has to have a
# driver; PyTorch and the sanitizer are used where they are. The second step keeps to eight minutes (GPU_CHECK_SECONDS): a step that would go
# past is left out, and summary.csv says so. It ends with status 1 if a step that ran failed, and with 2 if there is no device.
# What is written to disk, about four times GPU_CHECK_GIB, is as much as the disk takes in a minute, of a model of 16 GiB at most.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

prepare() {
    local kit=$1 root
    root=$(cd "$here/../.." && pwd)
    mkdir -p "$kit/wheels"
    kit=$(cd "$kit" && pwd)
    # Binaries by what cargo says of them; their names carry hashes.
    (cd "$root" && cargo build --release -p longshore -p longshore-benches --bins --examples)
    (cd "$root" && cargo build --release -p longshore-loader-cuda --examples)
    (cd "$root" && cargo test --release -p longshore-loader-cuda --test device --no-run --message-format json) |
        python3 "$here/gpu-check/executable.py" device > "$kit/device-test.path"
    cp "$(cat "$kit/device-test.path")" "$kit/device-test"
    rm "$kit/device-test.path"
    cp "$root/target/release/longshore" "$root/target/release/examples/checkpoint" \
        "$root/target/release/examples/dequantize_bandwidth" "$root/target/release/examples/decode_model" \
        "$root/target/release/examples/compare_loads" "$root/target/release/examples/ring" "$kit/"
    # What is carried is small; lines of code are of no use there.
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
    # Where a toolkit is, with the sanitizer in it.
    PATH=$PATH:/usr/local/cuda/bin
    kit=$(cd "$kit" && pwd)
    mkdir -p "$out"
    out=$(cd "$out" && pwd)
    local work
    work=$(mktemp -d "${TMPDIR:-/tmp}/longshore-gpu.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    export LONGSHORE_STORE=$work/store
    echo "step,status,seconds" > "$out/summary.csv"

    # step NAME LIMIT COMMAND…: runs it with its output in NAME.log, unless the time is up.
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

    # Correctness first.
    step device-tests 60 env LONGSHORE_TEST_DEVICE=1 "$kit/device-test" --nocapture
    if command -v compute-sanitizer > /dev/null; then
        step sanitizer 60 env LONGSHORE_TEST_DEVICE=1 compute-sanitizer --error-exitcode 9 --leak-check full \
            "$kit/device-test" --nocapture vectors_of_mlx
    else
        echo "sanitizer,left out: not installed,0" >> "$out/summary.csv"
    fi
    step kernels 60 "$kit/dequantize_bandwidth"
    grep -h , "$out/kernels.log" > "$out/kernels.csv" 2> /dev/null || true

    # Models: one of few large tensors, the same quantized, and one of many experts, which are packed. As large as the disk allows.
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
    # The reading half alone, and past the page cache.
    mkdir "$work/ring" "$work/ring-cold"
    step ring 40 "$kit/ring" "$work/ring" --rounds 5
    step ring-cold 40 "$kit/ring" "$work/ring-cold" --rounds 3 --cold

    # Peers on the same bytes, each in a process of its own; a peer that cannot be installed or run is a row with the reason.
    if python3 -c 'import torch' 2> /dev/null; then
        # One by one: what does not suit the machine leaves the others.
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
        # What the kernels decode, against PyTorch.
        step torch 60 python3 "$kit/gpu-check/compare_torch.py" "$kit" "$kit/demo" "$work"
    else
        echo "peers,left out: no PyTorch,0" >> "$out/summary.csv"
    fi
    python3 "$kit/gpu-check/table.py" "$out" > "$out/loads.csv"
    cat "$out/summary.csv" "$out/loads.csv"
    exit "$failed"
}

# The GiB of a model of which four can be written to the directory in a minute, 16 at most, 1 at least.
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

# A load under the sanitizer, of one tensor kind, as every call costs a thousand times what it does.
sanitized() {
    command -v compute-sanitizer > /dev/null || { echo "not installed"; return 0; }
    compute-sanitizer --error-exitcode 9 --leak-check full "$1/longshore" load "$2" --device cuda:0 --select '*norm*' --json
}

# A command after the store's blobs were dropped from the page cache.
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
    # The steps of `run` that are more than one command.
    sanitized | cold) "$@" ;;
    *) sed -n 2,11p "$0" >&2; exit 2 ;;
esac
