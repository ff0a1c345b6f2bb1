#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test_subproject.sh ROOT HERE: libfattr as a subproject of another meson project, shared and static, without its tests, examples and bindings.
set -eu
root=$1 here=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
quiet() { "$@" >"$folder/log" 2>&1 || { tail -40 "$folder/log"; exit 1; }; }
mkdir -p "$folder/host/subprojects/fattr"
cp "$here/subproject/meson.build" "$here/host.c" "$folder/host"
cp -r "$root/meson.build" "$root/meson_options.txt" "$root/include" "$root/lib" "$folder/host/subprojects/fattr"
quiet meson setup "$folder/build" "$folder/host" --wrap-mode=forcefallback
quiet ninja -C "$folder/build"
for kind in shared static; do "$folder/build/$kind" "$root/examples/models/mlp.onnx"; done
if ldd "$folder/build/static" | grep -q libfattr; then echo "the static host needs libfattr.so"; exit 1; fi
ldd "$folder/build/shared" | grep -q 'libfattr.so.0'
if find "$folder/build" -name 'cpp-fattr' -o -name 'unit-*' | grep -q .; then echo "the subproject built its tests"; exit 1; fi
