#!/usr/bin/env bash
# Puts MLX's CPU backend where cargo finds it, so that every later `cargo build` and `cargo test` of this workspace includes the
# MLX loader. For Linux; on macOS cargo builds MLX with Metal by itself. Everything lands in target/mlx-linux, so that `cargo clean`
# undoes it; run it again after that, and after an update of mlx-rs. A second run does nothing.
#
# usage: crates/loader-mlx/linux/setup.sh
# needs: g++ 12 or newer, python3 with pip, cargo 1.94 or newer, bindgen and libclang (installed where apt-get and root are at hand)
#
# MLX itself is the published wheel, unpacked and not installed: no Python runs later. The C interface, mlx-c, is compiled from the
# sources in the mlx-sys crate. mlx-sys's build script, which would build MLX for Apple, is replaced through cargo's `links` override, so
# that Cargo.lock and the crates stay as published.
set -euo pipefail

fail() { echo "setup.sh: $*" >&2; exit 1; }

here=$(cd "$(dirname "$0")" && pwd)
workspace=$(cd "$here/../../.." && pwd)
[ "$(uname -s)" = Linux ] || { echo "nothing to do: cargo builds MLX by itself on $(uname -s)"; exit 0; }
cd "$workspace"
mkdir -p target/mlx-linux
out=$workspace/target/mlx-linux
triple=$(rustc -vV | sed -n 's/^host: //p')

# 1. Where cargo keeps mlx-sys, and the MLX version that its C interface is written for.
cargo fetch --locked --quiet
sys=$(cargo metadata --locked --format-version 1 | python3 -c '
import json, os, sys
packages = json.load(sys.stdin)["packages"]
print(*(os.path.dirname(found["manifest_path"]) for found in packages if found["name"] == "mlx-sys"))')
[ -n "$sys" ] || fail "Cargo.lock has no mlx-sys"
mlxc=$sys/src/mlx-c
version=$(sed -n 's/.*GIT_TAG v\([0-9.]*\).*/\1/p' "$mlxc/CMakeLists.txt")
[ -n "$version" ] || fail "$mlxc/CMakeLists.txt names no MLX version"

# What was built says what it was built from: nothing to do where that has not changed.
stamp="$triple $workspace $sys $version $(cat "$here"/setup.sh "$here"/support/* | cksum)"
if [ -e "$out/config.toml" ] && [ "$(cat "$out/stamp" 2>/dev/null)" = "$stamp" ]; then
  echo "MLX $version is ready"
  exit 0
fi
rm -f "$out/config.toml" "$out/stamp"

# 2. bindgen and libclang, which describe the C interface to Rust.
if ! command -v bindgen >/dev/null || ! bindgen --version >/dev/null 2>&1; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    clang=$(apt-cache depends libclang1 | sed -n 's/.*Depends: libclang1-\([0-9]*\).*/\1/p' | head -n 1)
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
      bindgen "libclang1-${clang:-14}" "libclang-common-${clang:-14}-dev" >/dev/null 2>&1
  else
    fail "bindgen is missing: install it with libclang (Debian: apt-get install bindgen libclang1-14 libclang-common-14-dev)"
  fi
fi

# 3. libmlx.so and its headers, from the wheel.
wheel=$out/mlx-cpu-$version
if [ ! -e "$wheel/mlx/lib/libmlx.so" ]; then
  rm -rf "$out/download" "$wheel" "$wheel.part"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$out/download" "mlx-cpu==$version"
  python3 -m zipfile -e "$out"/download/*.whl "$wheel.part"
  mv "$wheel.part" "$wheel"
  rm -rf "$out/download"
fi
mlx=$wheel/mlx

# 4. libmlxc.so: every source of mlx-c and what we add to it, in one translation unit, which takes a tenth of the time. With an absolute soname, what links it
#    finds it without an rpath or LD_LIBRARY_PATH.
{
  for source in "$mlxc"/mlx/c/*.cpp; do echo "#include \"mlx/c/$(basename "$source")\""; done
  cat "$here"/support/*.cpp
} > "$out/mlxc.cpp"
"${CXX:-g++}" -std=c++20 -O1 -fPIC -shared -include "$here/support/compat.h" -I"$mlxc" -isystem "$mlx/include" \
  -o "$out/libmlxc.so" "$out/mlxc.cpp" -L"$mlx/lib" -lmlx \
  -Wl,-soname,"$out/libmlxc.so" -Wl,-rpath,"$mlx/lib" -Wl,--no-undefined -Wl,--allow-shlib-undefined

# 5. bindings.rs, as mlx-sys's build script makes it. The half types are C's own only on Arm.
{
  echo '#include <stdint.h>'
  if [ "$(uname -m)" != aarch64 ]; then
    echo 'typedef struct { uint16_t bits; } float16_t;'
    echo 'typedef uint16_t bfloat16_t;'
    echo '#define HAS_FLOAT16'
    echo '#define HAS_BFLOAT16'
  fi
  for header in "$mlxc"/mlx/c/*.h; do echo "#include \"mlx/c/$(basename "$header")\""; done
} > "$out/wrapper.h"
sizes=()
# Newer releases do this always, and have dropped the flag.
if bindgen --help | grep -q -- --size_t-is-usize; then sizes=(--size_t-is-usize); fi
bindgen "$out/wrapper.h" --blocklist-function malloc --blocklist-function realloc "${sizes[@]}" --blocklist-type float16_t \
  --raw-line '#[repr(transparent)] #[derive(Debug, Default, Copy, Clone)] pub struct float16_t(pub u16);' \
  -o "$out/bindings.rs" -- -I"$mlxc"

# 6. What cargo includes (.cargo/config.toml): the override of mlx-sys's build script, and the switch for the loader. Written last.
cat > "$out/config.part" <<TOML
[target.$triple]
rustflags = ["--cfg", "longshore_mlx"]

[target.$triple.mlx]
rustc-link-lib = ["dylib=mlxc"]
rustc-link-search = ["native=$out"]
rustc-env = { OUT_DIR = "$out" }
TOML
mv "$out/config.part" "$out/config.toml"
echo "$stamp" > "$out/stamp"
echo "MLX $version is ready: cargo build and cargo test now include the MLX loader"
if [ -n "${RUSTFLAGS+set}${CARGO_ENCODED_RUSTFLAGS+set}" ]; then
  echo "RUSTFLAGS is set, and overrides the configuration: add --cfg longshore_mlx to it, or the loader stays out" >&2
fi
