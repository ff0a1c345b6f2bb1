#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test_debian.sh ROOT LIBRARY: both crates and their tests by bindgen and rustc alone, without cargo and without crates.io; the compiler is
# Debian's where it is installed, which is the oldest that is promised.
set -eu
root=$1 library=$2
rustc=/usr/bin/rustc
[ -x "$rustc" ] || rustc=$(command -v rustc) || { echo "skipped: no rustc here (Debian: rustc)"; exit 77; }
command -v bindgen >/dev/null 2>&1 || { echo "skipped: no bindgen here (Debian: bindgen)"; exit 77; }
rust="$root/bindings/rust"
OUT_DIR=$(mktemp -d)
trap 'rm -rf "$OUT_DIR"' EXIT
libdir=$(dirname "$library")
FATTR_SOURCE_ROOT=$root LD_LIBRARY_PATH=$libdir
export OUT_DIR FATTR_SOURCE_ROOT LD_LIBRARY_PATH
echo "$("$rustc" --version), $(bindgen --version)"
bindgen "$root/include/fattr/fattr.h" --allowlist-function 'fa_.*' --allowlist-type 'fa_.*' --allowlist-var 'FA_.*' --default-macro-constant-type signed --size_t-is-usize \
  -o "$OUT_DIR/bindings.rs" -- -I"$root/include"
compile() { "$rustc" --edition 2021 -D warnings -L "dependency=$OUT_DIR" -L "native=$libdir" --out-dir "$OUT_DIR" "$@"; }
compile --crate-name fattr_sys --crate-type rlib "$rust/fattr-sys/src/lib.rs" -l dylib=fattr
compile --crate-name fattr --crate-type rlib "$rust/fattr/src/lib.rs" --extern "fattr_sys=$OUT_DIR/libfattr_sys.rlib"
compile --crate-name layout --test "$rust/fattr-sys/src/lib.rs" -l dylib=fattr
"$OUT_DIR/layout" --quiet
for test in life misuse; do
  compile --crate-name "$test" --test "$rust/fattr/tests/$test.rs" --extern "fattr=$OUT_DIR/libfattr.rlib"
  "$OUT_DIR/$test" --quiet
done
compile --crate-name score "$rust/fattr/examples/score.rs" --extern "fattr=$OUT_DIR/libfattr.rlib"
