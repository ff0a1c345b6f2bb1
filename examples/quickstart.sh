#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The main job on real data: installs what is needed, builds libfattr, takes the backdoored networks of examples/models and Fashion-MNIST images,
# builds a sketch of each from 500 trusted inputs, scores clean and triggered inputs, prints figures and writes a report.
#   FATTR_BUILD=DIR   where the build and the results go (default: build-quickstart)
set -eu
cd "$(dirname "$0")/.."
build=${FATTR_BUILD:-build-quickstart}
sh examples/deps.sh
echo "building in $build"
[ -f "$build/build.ninja" ] || meson setup "$build" -Dtests=disabled -Dbindings=disabled >"$build.log" 2>&1 || { cat "$build.log"; exit 1; }
ninja -C "$build" >"$build.log" 2>&1 || { cat "$build.log"; exit 1; }
rm -f "$build.log"
exec /usr/bin/python3 examples/quickstart/run.py "$build/examples/cli/fattr" "$build/quickstart"
