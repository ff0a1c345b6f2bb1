#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test_cargo.sh ROOT BUILD FATTR_PROGRAM: tests, doc tests, clippy and rustdoc without warnings; linked shared and static; the example; and as docs.rs
# builds, which has no libfattr. Needs cargo with clippy, libclang and crates.io.
set -eu
root=$1 build=$2 program=$3
command -v cargo >/dev/null 2>&1 || { echo "skipped: no cargo here"; exit 77; }
cargo clippy --version >/dev/null 2>&1 || { echo "skipped: no cargo clippy here"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
quiet() { "$@" >"$folder/log" 2>&1 || { tail -80 "$folder/log"; exit 1; }; }
# A copy: the lock file and what is built stay out of the source tree.
mkdir -p "$folder/copy/bindings"
cp -r "$root/bindings/rust" "$folder/copy/bindings/rust"
ln -s "$root/include" "$folder/copy/include"
ln -s "$root/examples" "$folder/copy/examples"
cd "$folder/copy/bindings/rust"
rm -rf Cargo.lock target
PKG_CONFIG_PATH="$build/meson-uninstalled" LD_LIBRARY_PATH="$build/lib" CARGO_TARGET_DIR="$folder/target" RUSTDOCFLAGS="-D warnings"
export PKG_CONFIG_PATH LD_LIBRARY_PATH CARGO_TARGET_DIR RUSTDOCFLAGS
cargo --version
quiet cargo test --features ndarray
grep 'test result' "$folder/log"
quiet cargo clippy --all-targets --features ndarray -- -D warnings
quiet cargo doc --no-deps --features ndarray

model="$root/examples/models/mlp.onnx"
/usr/bin/python3 - "$folder" <<'PYTHON'
import sys
import numpy as np
rng = np.random.default_rng(0)
for name, n in (("r", 60), ("c", 40)):
    np.savez(f"{sys.argv[1]}/{name}.npz", x=rng.random((n, 1, 28, 28), np.float32))
rng.random((7, 784), np.float32).tofile(f"{sys.argv[1]}/x.f32")
PYTHON
quiet "$program" build "$model" --references "$folder/r.npz" --calibration "$folder/c.npz" -o "$folder/s.fattr"
quiet cargo build --example score
"$folder/target/debug/examples/score" "$model" "$folder/s.fattr" "$folder/x.f32" 3 >"$folder/shared.txt"
ldd "$folder/target/debug/examples/score" | grep -q libfattr.so.0
quiet cargo build --example score --features static
"$folder/target/debug/examples/score" "$model" "$folder/s.fattr" "$folder/x.f32" 1 >"$folder/static.txt"
if ldd "$folder/target/debug/examples/score" | grep -q libfattr; then echo "the static example needs libfattr.so"; exit 1; fi
cat "$folder/static.txt"
[ "$(wc -l <"$folder/static.txt")" = 7 ]
cmp "$folder/shared.txt" "$folder/static.txt"

DOCS_RS=1 PKG_CONFIG_PATH=/nowhere CARGO_TARGET_DIR="$folder/docs" quiet cargo doc --no-deps -p fattr
quiet cargo package --list -p fattr-sys --allow-dirty
grep -q '^headers/fattr/fattr.h' "$folder/log" || { echo "the crate does not ship the headers"; cat "$folder/log"; exit 1; }
