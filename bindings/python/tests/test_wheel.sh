#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test_wheel.sh ROOT PYTHON: from a clean clone, sdist and wheel, and `pip install .`; each runs the package's tests in a fresh virtual environment, away
# from any build tree, with what PyPI has now. Then the types.
set -eu
root=$1 python=$2
[ -e "$root/.git" ] || { echo "skipped: no clone of a repository here"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset FATTR_LIBRARY PYTHONPATH 2>/dev/null || true
quiet() { "$@" >"$folder/log" 2>&1 || { tail -60 "$folder/log"; exit 1; }; }
quiet git clone "$root" "$folder/clone"
quiet "$python" -m venv "$folder/tools"
quiet "$folder/tools/bin/pip" install build mypy numpy
quiet "$folder/tools/bin/python" -m build --outdir "$folder/dist" "$folder/clone"
ls "$folder/dist"

# What the tests read: networks and, for the example, triggers; no library.
mkdir "$folder/away"
cp -r "$folder/clone/examples" "$folder/away/examples"
cp -r "$folder/clone/bindings/python/tests" "$folder/away/tests"
mkdir -p "$folder/away/tests/fuzz/corpus"
cp -r "$folder/clone/tests/fuzz/corpus/onnx" "$folder/away/tests/fuzz/corpus/onnx"
cd "$folder/away"
export FATTR_SOURCE_ROOT="$folder/away"
check() {
  name=$1
  shift
  quiet "$python" -m venv "$folder/$name"
  quiet "$folder/$name/bin/pip" install "$@" scikit-learn matplotlib tqdm pandas scipy 'dask[array]' distributed
  for test in life cancel errors misuse detector plot distributed; do
    quiet "$folder/$name/bin/python" "tests/test_$test.py"
  done
  quiet "$folder/$name/bin/python" examples/python/backdoor.py "$folder/$name/example"
  "$folder/$name/bin/python" -c "import fattr, sklearn, numpy; print('$name: numpy', numpy.__version__, 'scikit-learn', sklearn.__version__, '-', fattr.build_info())"
  ldd "$folder/$name"/lib/python*/site-packages/fattr/libfattr.so.0 >"$folder/needs"
  if grep -q protobuf "$folder/needs"; then echo "the wheel's library needs protobuf-c"; exit 1; fi
}
check wheel "$folder"/dist/*.whl
check direct "$folder/clone"

# The same wheel on CPUs without AVX, and with AVX2 alone.
if command -v qemu-x86_64 >/dev/null 2>&1; then
  "$folder/wheel/bin/python" tests/other_cpu.py "$folder/cpu.fattr"
  for cpu in Nehalem Haswell-noTSX; do
    env -u OPENBLAS_CORETYPE qemu-x86_64 -cpu "$cpu" "$folder/wheel/bin/python" tests/other_cpu.py "$folder/cpu.fattr" 2>"$folder/log" || { tail -20 "$folder/log"; exit 1; }
  done
else
  echo "not run: other classes of CPU; no qemu-x86_64 here (Debian: qemu-user)"
fi
cd "$folder/clone"
"$folder/tools/bin/mypy" --config-file pyproject.toml --python-executable "$folder/tools/bin/python"
