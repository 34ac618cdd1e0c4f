#!/usr/bin/env bash
# Runs this crate's tests on 64-bit Arm at every level: natively on an Arm machine, elsewhere under qemu's user-mode
# emulation. The emulation needs a compiler and libraries from Debian's packages, which this script installs where they
# are missing.
#
# Exits with 3 and a reason where that is not possible. Arguments go to the test binaries, such as the name of a test.
set -euo pipefail
cd "$(dirname "$0")/.."

unable() {
    printf 'aarch64/test.sh: cannot run here: %s\n' "$*" >&2
    exit 3
}

if [ "$(uname -m)" = aarch64 ]; then
    exec cargo test --release --lib --tests -- "$@"
fi
[ "$(uname -m)" = x86_64 ] || unable "the packages need an x86-64 machine, this is $(uname -m)"

packages=(
    qemu-user-static:amd64
    gcc-aarch64-linux-gnu:amd64
    libc6-dev-arm64-cross:all
    rustc-web:amd64
    libstd-rust-web-dev:arm64
)
missing=()
if command -v dpkg-query apt-get >/dev/null; then
    for package in "${packages[@]}"; do
        status=$(dpkg-query -W -f '${db:Status-Status}' "${package%:all}" 2>/dev/null || true)
        [ "$status" = installed ] || missing+=("${package%:all}")
    done
else
    unable "this is not Debian, so these packages cannot be installed: ${packages[*]}"
fi
if [ "${#missing[@]}" -gt 0 ]; then
    [ "$(id -u)" = 0 ] || unable "only root can install ${missing[*]}"
    dpkg --add-architecture arm64
    apt-get update -qq || unable "the package lists cannot be read"
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" \
        || unable "these packages cannot be installed: ${missing[*]}"
fi

target=aarch64-unknown-linux-gnu
export RUSTC=/usr/bin/rustc
[ -d "$("$RUSTC" --print target-libdir --target "$target")" ] || unable "$RUSTC has no standard library for $target"
# A separate target directory keeps the builds of other compilers.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../../target/aarch64}
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
# No -L option: the packages of the standard library put Arm's C library and its loader in their usual places. With -L,
# the loader of another package and patch level would be used, and threads would hang on start.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64-static
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS='-D warnings'
# Release mode, because an emulator is slow: the tests take two minutes of processor time, and a first compilation takes
# four. Doctests are left out: they would need a rustdoc of the same compiler.
exec cargo test --release --lib --tests --target "$target" -- "$@"
