#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test_abidiff.sh HERE INTERFACE.so BASELINE.abi [--update]: the interface against the recorded one, with libabigail; additions are allowed.
set -eu
here=$1 interface=$2 baseline=$3
command -v abidiff >/dev/null 2>&1 || { echo "skipped: no abidiff here (Debian: abigail-tools)"; exit 77; }
dump() { abidw --no-corpus-path --no-comp-dir-path --no-show-locs --no-elf-needed --type-id-style hash "$1"; }
if [ "${4:-}" = --update ]; then
  dump "$interface" >"$baseline"
  exit 0
fi
[ "$(grep -c '<elf-symbol' "$baseline")" -gt 5 ] || { echo "the baseline is empty"; exit 1; }
abidiff --no-added-syms --suppressions "$here/abidiff.suppr" "$baseline" "$interface" && echo "as recorded"
