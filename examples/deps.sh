#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages that building libfattr and running its example needs; with "tests", what its tests need too.
# Does nothing where they are all there; otherwise needs root or sudo.
set -eu

packages="gcc libc6-dev meson ninja-build pkg-config protobuf-c-compiler libprotobuf-c-dev libonnx-dev libjansson-dev libxxhash-dev libzip-dev zlib1g-dev
  libblis-serial-dev binutils python3 python3-numpy python3-scipy python3-sklearn dataset-fashion-mnist"
[ "${1:-}" = tests ] && packages="$packages g++ check libsubunit-dev libonnx-testdata abigail-tools python3-distributed"

missing=""
for p in $packages; do
  dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ]; then root=""; elif command -v sudo >/dev/null 2>&1; then root="sudo"; else
  echo "deps.sh: these Debian packages are missing, and neither root nor sudo is at hand:$missing" >&2
  exit 1
fi
echo "installing:$missing"
$root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
# shellcheck disable=SC2086 # a list
$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
