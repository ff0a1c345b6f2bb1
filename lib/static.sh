#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# static.sh OUTPUT.a FOLDER OBJCOPY [KERNEL_ARCHIVE...] -- ARCHIVE...: one relocatable object of the archives and what they use of the kernel
# archives, with every symbol but the public ones made local.
set -eu
output=$1 folder=$2 objcopy=$3
shift 3
kernels=""
while [ "$1" != -- ]; do kernels="$kernels $1"; shift; done
shift
mkdir -p "$folder"
object="$folder/fattr.o"
# shellcheck disable=SC2086 # a list of archives
ld -r -o "$object" --whole-archive "$@" --no-whole-archive $kernels
"$objcopy" --localize-hidden --wildcard --keep-global-symbol='fa_*' "$object"
rm -f "$output"
ar rcs "$output" "$object"
