# SPDX-License-Identifier: Apache-2.0
"""Adds up the test logs of several meson builds: summary.py BUILDS_FAILED FOLDER... ; exits 1 unless everything passed."""
import json
import pathlib
import sys

passed, failed, skipped = 0, int(sys.argv[1]), 0
for folder in map(pathlib.Path, sys.argv[2:]):
    log = folder / "meson-logs" / "testlog.json"
    if not log.exists():
        failed += 1
        print(f"{folder}: no test ran")
        continue
    for line in log.read_text().splitlines():
        test = json.loads(line)
        if test["result"] in ("OK", "EXPECTEDFAIL"):
            passed += 1
        elif test["result"] == "SKIP":
            skipped += 1
        else:
            failed += 1
            print(f"{folder.name}: {test['name']}: {test['result']}")
print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(1 if failed or not passed else 0)
