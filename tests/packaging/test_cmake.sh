#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test_cmake.sh BUILD HERE ROOT: find_package(fattr) against an installed tree that was moved; shared, static, npz and C++.
set -eu
build=$1 here=$2 root=$3
command -v cmake >/dev/null 2>&1 || { echo "skipped: no cmake here"; exit 77; }
command -v c++ >/dev/null 2>&1 || { echo "skipped: no C++ compiler here"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
DESTDIR="$folder/first" meson install -C "$build" --no-rebuild >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
mv "$folder/first" "$folder/moved"
prefix=$(dirname "$(dirname "$(find "$folder/moved" -path '*/include/fattr')")")
version=$(sed -n 's/^set(PACKAGE_VERSION "\([0-9.]*\)")/\1/p' "$(find "$prefix" -name fattr-config-version.cmake)")
cmake -S "$here/cmake" -B "$folder/build" -DCMAKE_PREFIX_PATH="$prefix" -DFATTR_VERSION="$version" -DHOST="$here/host.c" -DHOST_CPP="$root/tests/cpp/test_noexcept.cpp" \
  >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
cmake --build "$folder/build" >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
model="$root/examples/models/mlp.onnx"
"$folder/build/shared" "$model" | grep "libfattr $version"
ldd "$folder/build/shared" | grep -q "$folder/moved.*/libfattr.so.0"
"$folder/build/static" "$model" | grep "libfattr $version"
if ldd "$folder/build/static" | grep -q libfattr; then echo "the static host needs libfattr.so"; exit 1; fi
"$folder/build/npz" | grep "$version"
"$folder/build/noexcept" "$model"
