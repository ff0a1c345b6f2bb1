#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test_install.sh BUILD HERE ROOT: installs below a fresh DESTDIR, compiles and runs hosts through pkg-config, shared and static, C and C++; uninstalling leaves nothing.
set -eu
build=$1 here=$2 source=$3
model="$source/examples/models/mlp.onnx"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir "$root/out"
DESTDIR="$root/to" meson install -C "$build" --no-rebuild >"$root/log" 2>&1 || { cat "$root/log"; exit 1; }
pc=$(find "$root/to" -name fattr.pc)
libdir=$(dirname "$(dirname "$pc")")
PKG_CONFIG_SYSROOT_DIR="$root/to" PKG_CONFIG_PATH="$(dirname "$pc")"
export PKG_CONFIG_SYSROOT_DIR PKG_CONFIG_PATH
# The sysroot is for our own package; what the system provides lies where it lies.
own() { pkg-config "$@" | tr ' ' '\n' | sed "s|$root/to/usr/lib|/usr/lib|; s|$root/to/usr/include|/usr/include|" | tr '\n' ' '; }
version=$(pkg-config --modversion fattr)
echo "shared: $(own --cflags --libs fattr)"
# shellcheck disable=SC2046 # lists of flags
cc -std=c11 -Wall -Werror "$here/host.c" $(own --cflags fattr) $(own --libs fattr) -o "$root/out/shared"
LD_LIBRARY_PATH="$libdir" "$root/out/shared" "$model" | grep "libfattr $version"
LD_LIBRARY_PATH="$libdir" ldd "$root/out/shared" | grep -q 'libfattr.so.0'
echo "static: $(own --static --libs fattr)"
# shellcheck disable=SC2046
cc -std=c11 -Wall -Werror "$here/host.c" $(own --cflags fattr) "$libdir/libfattr.a" $(own --static --libs fattr | sed 's/-lfattr//') -o "$root/out/static"
"$root/out/static" "$model" | grep "libfattr $version"
if ldd "$root/out/static" | grep -q libfattr; then echo "the static host needs libfattr.so"; exit 1; fi
if command -v c++ >/dev/null 2>&1; then
  # shellcheck disable=SC2046
  c++ -std=c++17 -Wall -Werror -fno-exceptions "$source/tests/cpp/test_noexcept.cpp" $(own --cflags --libs fattr) -o "$root/out/cpp"
  LD_LIBRARY_PATH="$libdir" "$root/out/cpp" "$model"
fi
# shellcheck disable=SC2046
cc -std=c11 -Wall -Werror "$here/cmake/npz.c" $(own --cflags --libs fattr-npz) -Wl,-rpath-link,"$libdir" -o "$root/out/npz"
LD_LIBRARY_PATH="$libdir" "$root/out/npz" | grep "$version"
bin=$(find "$root/to" -name fattr -path '*bin*')
LD_LIBRARY_PATH="$libdir" "$bin" --version | grep "$version"

echo "files: $(find "$root/to" ! -type d | wc -l)"
DESTDIR="$root/to" ninja -C "$build" uninstall >"$root/log" 2>&1 || { cat "$root/log"; exit 1; }
left=$([ ! -d "$root/to" ] || find "$root/to" ! -type d)
[ -z "$left" ] || { echo "uninstalling left:"; echo "$left"; exit 1; }
