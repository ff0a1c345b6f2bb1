#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test_install.sh BUILD HOST.c MODEL.onnx: installs into a fresh folder, then compiles and runs a host against it through pkg-config, shared and static.
set -eu
build=$1 host=$2 model=$3
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
DESTDIR="$root" meson install -C "$build" --no-rebuild >"$root/install.log" 2>&1 || { cat "$root/install.log"; exit 1; }
pc=$(find "$root" -name fattr.pc)
libdir=$(dirname "$(dirname "$pc")")
export PKG_CONFIG_SYSROOT_DIR="$root" PKG_CONFIG_PATH="$(dirname "$pc")"
# The sysroot is for our own package; what the system provides lies where it lies.
own() { pkg-config "$@" | tr ' ' '\n' | sed "s|$root/usr/lib|/usr/lib|; s|$root/usr/include|/usr/include|" | tr '\n' ' '; }
version=$(pkg-config --modversion fattr)
echo "shared: $(own --cflags --libs fattr)"
# shellcheck disable=SC2046 # lists of flags
cc -std=c11 -Wall -Werror "$host" $(own --cflags fattr) $(own --libs fattr) -o "$root/host-shared"
LD_LIBRARY_PATH="$libdir" "$root/host-shared" "$model" | grep "libfattr $version"
ldd "$root/host-shared" | grep -q 'libfattr.so.0' || LD_LIBRARY_PATH="$libdir" ldd "$root/host-shared" | grep -q 'libfattr.so.0'
echo "static: $(own --static --libs fattr)"
# shellcheck disable=SC2046
cc -std=c11 -Wall -Werror "$host" $(own --cflags fattr) "$libdir/libfattr.a" $(own --static --libs fattr | sed 's/-lfattr//') -o "$root/host-static"
"$root/host-static" "$model" | grep "libfattr $version"
if ldd "$root/host-static" | grep -q libfattr; then echo "the static host needs libfattr.so"; exit 1; fi
bin=$(find "$root" -name fattr -path '*bin*')
LD_LIBRARY_PATH="$libdir" "$bin" --version | grep "$version"
