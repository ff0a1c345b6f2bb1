#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# with_packages.sh FOLDER "PACKAGES" SCRIPT ARGUMENTS...: runs a script in a virtual environment with packages from PyPI.
set -eu
folder=$1 packages=$2
shift 2
[ -x "$folder/bin/python" ] || python3 -m venv "$folder"
# shellcheck disable=SC2086 # a list
"$folder/bin/pip" install --quiet --disable-pip-version-check $packages
exec "$folder/bin/python" "$@"
