#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what is needed, builds, runs every test but the suite "long", and ends with one line: N passed, N failed, N skipped.
#   FATTR_BUILD=DIR   where the builds go (default: build-tests)
set -u
cd "$(dirname "$0")/.."
build=${FATTR_BUILD:-build-tests}
sh examples/deps.sh tests || exit 1

failed=0
# configure FOLDER OPTIONS...: a build of this tree, anew when its options are not what they were
configure() {
  folder=$1
  shift
  if [ "$(cat "$folder/options.txt" 2>/dev/null)" != "$*" ]; then
    rm -rf "$folder"
    meson setup "$folder" "$@" >"$folder.log" 2>&1 || { cat "$folder.log"; failed=1; return 1; }
    echo "$*" >"$folder/options.txt"
  fi
  ninja -C "$folder" >"$folder.log" 2>&1 || { grep -E -A12 'FAILED|error:|warning:' "$folder.log" | head -80; failed=1; return 1; }
}

mkdir -p "$build"
echo "== release build, all kernels"
configure "$build/release" -Dwerror=true && meson test -C "$build/release" --no-suite long --print-errorlogs
# Warnings are errors above alone: under sanitizers gcc warns of what cannot happen.
echo "== reference kernels, address and undefined behaviour sanitizers"
configure "$build/address" -Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false -Dkernels=disabled -Ddefault_library=shared &&
  meson test -C "$build/address" --suite unit --suite gradients --suite api --suite fuzz --suite cli --print-errorlogs
echo "== reference kernels, thread sanitizer"
configure "$build/thread" -Dbuildtype=debugoptimized -Db_sanitize=thread -Db_lundef=false -Dkernels=disabled -Ddefault_library=shared &&
  meson test -C "$build/thread" --suite threads --print-errorlogs

/usr/bin/python3 tests/tools/summary.py "$failed" "$build"/release "$build"/address "$build"/thread
