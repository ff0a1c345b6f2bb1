#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# skip_without.sh PYTHON MODULE SCRIPT [ARGUMENT...]: runs a Python script that needs a module, or says that it is not there.
set -eu
python=$1 module=$2
shift 2
"$python" -c "import $module" 2>/dev/null || { echo "skipped: no $module here"; exit 77; }
exec "$python" "$@"
