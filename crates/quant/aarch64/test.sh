#!/usr/bin/env bash
# Runs this crate's tests as 64-bit Arm runs them, at every level that it has: natively there, elsewhere under qemu's user-mode
# emulation, with a compiler and libraries from Debian's packages, which are installed where they are missing.
#
# Exits with 3 where that is not possible, and says why. Arguments are the test binaries', such as the name of a test.
set -euo pipefail
cd "$(dirname "$0")/.."

unable() {
    printf 'aarch64/test.sh: cannot run here: %s\n' "$*" >&2
    exit 3
}

if [ "$(uname -m)" = aarch64 ]; then
    exec cargo test --release --lib --tests -- "$@"
fi
[ "$(uname -m)" = x86_64 ] || unable "the packages are those of x86-64, this is $(uname -m)"

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
    unable "this is not Debian, whose packages it takes: ${packages[*]}"
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
# A directory of its own, so that another compiler's work elsewhere is not redone.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../../target/aarch64}
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
# Without -L: the packages of the standard library bring Arm's C library and its loader, both where they belong. With -L the loader
# would be another package's, of another patch level, and threads would hang as they start.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64-static
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS='-D warnings'
# In release, since an emulator is slow: two minutes of processor time, after four of compiling where nothing was. Doctests are left
# out: they would need a rustdoc of the same compiler.
exec cargo test --release --lib --tests --target "$target" -- "$@"
