#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# with_packages.sh [--system] FOLDER "PACKAGES" SCRIPT ARGUMENTS...: runs a script in a virtual environment with packages from PyPI; --system: and Debian's.
set -eu
make="python3 -m venv"
if [ "$1" = --system ]; then
  make="/usr/bin/python3 -m venv --system-site-packages"
  shift
fi
folder=$1 packages=$2
shift 2
[ -x "$folder/bin/python" ] || $make "$folder"
# shellcheck disable=SC2086 # a list
"$folder/bin/pip" install --quiet --disable-pip-version-check $packages
exec "$folder/bin/python" "$@"
