# SPDX-License-Identifier: Apache-2.0
"""The declarations against the compiler's view of the headers, and finding the library. Run by meson, which sets the FATTR_... variables."""
import ctypes
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import fattr
from fattr import _interface, _native, errors
from support import ROOT, run_python


class Interface(unittest.TestCase):
    """_native.py against the compiler's view of the headers."""

    @classmethod
    def setUpClass(cls):
        cls.layout = json.loads(subprocess.run([os.environ["FATTR_LAYOUT"]], check=True, capture_output=True).stdout)

    def test_structs(self):
        kinds = {ctypes.c_double: "d", ctypes.c_float: "f", ctypes.c_uint8: "u1", ctypes.c_int32: "i4", ctypes.c_int64: "i8", ctypes.c_uint64: "u8"}
        self.assertEqual(set(self.layout["structs"]), set(_native.STRUCTS))
        for name, (size, fields) in self.layout["structs"].items():
            struct = _native.STRUCTS[name]
            self.assertEqual(ctypes.sizeof(struct), size, name)
            ours = []
            for field, kind in struct._fields_:
                place = getattr(struct, field)
                ours.append([field, place.offset, place.size, kinds.get(getattr(kind, "_type_", None) if issubclass(kind, ctypes.Array) else kind, "p")])
            self.assertEqual(ours, fields, name)

    def test_generated(self):
        """The committed declarations are what generate.py makes of the headers."""
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "out.py"
            subprocess.run([sys.executable, ROOT / "bindings" / "python" / "generate.py", ROOT / "include" / "fattr", out], check=True)
            self.assertEqual(out.read_text(), pathlib.Path(_interface.__file__).read_text(), "ninja -C build python-interface writes it anew")

    def test_functions(self):
        self.assertGreater(len(_native.FUNCTIONS), 50)
        self.assertIs(_native.lib.fa_score_batch.argtypes[4], ctypes.c_int64)
        self.assertIs(_native.lib.fa_context_kernels.restype, ctypes.c_char_p)
        self.assertIs(_native.lib.fa_context_release.restype, None)

    def test_sizes(self):
        for name, (size, _) in self.layout["structs"].items():
            self.assertEqual(_native.lib.fa_struct_size(name.encode()), size, name)
        self.assertEqual((_native.lib.fa_struct_size(b"fa_nothing"), _native.lib.fa_struct_size(None)), (0, 0))

    def test_another_interface_is_refused_at_import(self):
        for before, after, says in (("float *residual; int64_t reference_count;", "float *residual; int64_t more; int64_t reference_count;", "bytes in a fa_result"),
                                    ("void fa_tensor_release(", "void fa_tensor_release_all(", r"has no fa_tensor_release_all\(\)")):
            with tempfile.TemporaryDirectory() as folder:
                package = pathlib.Path(folder) / "fattr"
                shutil.copytree(pathlib.Path(fattr.__file__).parent, package)
                text = (package / "_interface.py").read_text()
                self.assertIn(before, text)
                (package / "_interface.py").write_text(text.replace(before, after))
                self.assertRegex(run_python("import fattr", PYTHONPATH=folder).stderr, "ImportError: .*" + says)

    def test_constants(self):
        self.assertEqual({n: v for n, v in self.layout["constants"].items() if not n.startswith("FA_VERSION_")}, _interface.CONSTANTS)
        self.assertEqual(errors.NUMBERS, {n: v for n, v in _interface.CONSTANTS.items() if n.startswith("FA_ERR_")})
        self.assertEqual(list(_native.SCORES), ["cone", "span", "topk", "class", "mean", "mean_ccc", "class_ccc"])
        self.assertEqual(list(_native.BLOCKS), ["both", "plain", "layer-unit"])
        for name, number in errors.NUMBERS.items():
            self.assertEqual(_native.lib.fa_status_name(number).decode(), name)
        for name, number in _native.SCORES.items():
            self.assertEqual(_native.lib.fa_score_name(number).decode(), name)

    def test_version(self):
        c = self.layout["constants"]
        self.assertEqual(fattr.__version__, f"{c['FA_VERSION_MAJOR']}.{c['FA_VERSION_MINOR']}.{c['FA_VERSION_PATCH']}")
        self.assertTrue(fattr.build_info())


class Loading(unittest.TestCase):
    def test_a_wrong_path_is_said(self):
        p = subprocess.run([sys.executable, "-c", "import fattr"], env={**os.environ, "FATTR_LIBRARY": "/nowhere/libfattr.so.0"}, capture_output=True, text=True)
        self.assertIn("ImportError: libfattr was not found", p.stderr)
        self.assertIn("/nowhere/libfattr.so.0", p.stderr)

    def test_beside_the_package(self):
        environment = {k: v for k, v in os.environ.items() if k != "FATTR_LIBRARY"}
        with tempfile.TemporaryDirectory() as folder:
            package = pathlib.Path(folder) / "fattr"
            package.mkdir()
            for source in pathlib.Path(fattr.__file__).parent.glob("*.py"):
                (package / source.name).write_bytes(source.read_bytes())
            (package / _native.SONAME).symlink_to(os.path.abspath(os.environ["FATTR_LIBRARY"]))
            p = subprocess.run([sys.executable, "-c", "import fattr; print(fattr.__version__)"], env={**environment, "PYTHONPATH": folder}, cwd=folder,
                               capture_output=True, text=True)
        self.assertEqual(p.stdout.strip(), fattr.__version__, p.stderr)


if __name__ == "__main__":
    unittest.main()
