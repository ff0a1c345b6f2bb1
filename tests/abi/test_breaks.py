# SPDX-License-Identifier: Apache-2.0
"""The two ABI checks find what they are there for: copies of the headers are changed, kindly and unkindly. test_breaks.py SOURCE_ROOT"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(sys.argv.pop())
HERE = ROOT / "tests" / "abi"
HEADERS = re.findall(r"^#include <fattr/(\w+\.h)>", (ROOT / "include" / "fattr" / "fattr.h").read_text(), flags=re.M)
SCORER_END = "} fa_scorer_options;"
SCORER_FIELD = "    uint64_t draw_cache_bytes;"


class Breaks(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="fattr-abi-"))
        self.addCleanup(shutil.rmtree, self.folder)
        shutil.copytree(ROOT / "include", self.folder / "include")
        self.baseline = self.folder / "baseline"
        self.baseline.mkdir()

    def change(self, header, before, after):
        path = self.folder / "include" / "fattr" / header
        text = path.read_text()
        self.assertIn(before, text)
        path.write_text(text.replace(before, after, 1))

    def build(self):
        include = self.folder / "include"
        subprocess.run([sys.executable, HERE / "layout.py", self.folder / "layout.c", *(include / "fattr" / h for h in HEADERS)], check=True)
        subprocess.run(["cc", "-w", "-I", include, self.folder / "layout.c", "-o", self.folder / "layout"], check=True)
        subprocess.run([sys.executable, HERE / "interface.py", self.folder / "i.c", include / "fattr", *HEADERS], check=True)
        subprocess.run(["cc", "-w", "-g", "-shared", "-fPIC", "-Wl,--version-script=" + str(ROOT / "lib" / "fattr.map"), "-I", include, self.folder / "i.c",
                        "-o", self.folder / "i.so"], check=True)

    def run_checks(self, *update):
        """What they said, and their exit codes."""
        interface = self.folder / "i.so"
        layout = subprocess.run([sys.executable, HERE / "test_abi.py", self.baseline, self.folder / "layout", interface, interface, *update], capture_output=True, text=True)
        diff = subprocess.run(["sh", HERE / "test_abidiff.sh", HERE, interface, self.baseline / "i.abi", *update], capture_output=True, text=True)
        return layout.stdout + layout.stderr + diff.stdout + diff.stderr, layout.returncode, diff.returncode

    def check(self, changes, layout_finds, diff_finds, says=""):
        self.build()
        _, *codes = self.run_checks("--update")
        self.assertTrue(codes in ([0, 0], [0, 77]), codes)
        for change in changes:
            self.change(*change)
        self.build()
        said, layout, diff = self.run_checks()
        self.assertEqual(bool(layout), layout_finds, said)
        if diff != 77:
            self.assertEqual(bool(diff), diff_finds, said)
        self.assertIn(says, said)

    def test_nothing(self):
        self.check([], False, False)

    def test_growth_is_allowed(self):
        self.check([("score.h", SCORER_END, "    double more;\n" + SCORER_END), ("score.h", "/** Destroys the scorer", "FA_API fa_status fa_scorer_new_thing(fa_scorer *scorer);\n/** Destroys the scorer"),
                    ("status.h", "#define FA_OK 0", "#define FA_OK 0\n#define FA_NEW 3")], False, False, "fa_scorer_new_thing")

    def test_insertion(self):
        self.check([("score.h", SCORER_FIELD, "    double more;\n" + SCORER_FIELD)], True, True, "fa_scorer_options.draw_cache_bytes was at offset")

    def test_insertion_into_a_fixed_struct(self):
        self.check([("score.h", "    int64_t draws;", "    double more;\n    int64_t draws;")], True, True, "fa_result.draws was at offset")

    def test_fixed_struct_grows_at_its_end(self):
        self.check([("array.h", "} fa_array;", "    double more;\n} fa_array;")], True, True, "fa_array has no struct_size")

    def test_type_of_a_field(self):
        self.check([("score.h", "double alpha;", "float alpha; float pad;")], True, True, "alpha")

    def test_function_is_gone(self):
        self.check([("score.h", "FA_API void fa_scorer_destroy", "FA_API void fa_scorer_free")], True, True, "no longer exported: fa_scorer_destroy@FATTR_0")

    def test_parameter(self):
        self.check([("score.h", "fa_result *results, int64_t n)", "fa_result *results, int32_t n)")], False, True)

    def test_constant(self):
        self.check([("status.h", "#define FA_ERR_SHAPE (-8)", "#define FA_ERR_SHAPE (-88)")], True, False, "FA_ERR_SHAPE was -8, now -88")


if __name__ == "__main__":
    unittest.main()
