#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test_prefix.sh ROOT HERE: a build of its own for a throw-away prefix: the installed program and a host run as they are, and uninstalling leaves nothing.
set -eu
root=$1 here=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
quiet() { "$@" >"$folder/log" 2>&1 || { tail -40 "$folder/log"; exit 1; }; }
quiet meson setup "$folder/build" "$root" --prefix="$folder/prefix" --libdir=lib -Dtests=disabled -Dbindings=disabled
quiet ninja -C "$folder/build" install
"$folder/prefix/bin/fattr" --version
PKG_CONFIG_PATH="$folder/prefix/lib/pkgconfig"
export PKG_CONFIG_PATH
# shellcheck disable=SC2046 # a list of flags
cc -std=c11 "$here/host.c" $(pkg-config --cflags --libs fattr) -Wl,-rpath,"$folder/prefix/lib" -o "$folder/host"
"$folder/host" "$root/examples/models/mlp.onnx"
quiet ninja -C "$folder/build" uninstall
left=$([ ! -d "$folder/prefix" ] || find "$folder/prefix" ! -type d)
[ -z "$left" ] || { echo "uninstalling left: $left"; exit 1; }
