#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test_clang.sh SOURCE_ROOT LIBRARY WARNINGS...: fattr.hpp, its tests and the example server under clang++, where it is installed.
set -eu
root=$1 library=$2
shift 2
command -v clang++ >/dev/null 2>&1 || { echo "skipped: no clang++ here"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
compile() { clang++ -std=c++17 -O1 "$@" -I"$root/include" "$library" -pthread; }
LD_LIBRARY_PATH=$(dirname "$library")
export LD_LIBRARY_PATH
compile "$@" "$root/tests/cpp/test_fattr.cpp" -o "$folder/fattr"
"$folder/fattr" "$root/examples/models/mlp.onnx" "$root/examples/models/clean.onnx" "$folder/sketch.fattr"
compile "$@" -fno-exceptions "$root/tests/cpp/test_noexcept.cpp" -o "$folder/noexcept"
"$folder/noexcept" "$root/examples/models/mlp.onnx"
compile "$@" "$root/examples/hosts/server.cpp" -o "$folder/server"
