#!/usr/bin/env python3
"""paramctl verify as a program: a good data directory is said to be good, each kind of damage is
named with file and offset, and a directory that a daemon uses is left alone.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import support
from support import DATA_DIR

LOGS = ("control", "shard-000", "shard-001")
NAMES = {f"snapshot-0000000{n}.00{s}" for n in (1, 2) for s in (0, 1)} | {
    f"{log}.0000000{epoch}" for log in LOGS for epoch in (1, 2)}


class Verify(support.Paramctl):
    """No daemon is asked, so any address will do."""

    @classmethod
    def setUpClass(cls):
        pass

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        subprocess.run([DATA_DIR, self.folder], check=True)

    def run_ctl(self, *words, **more):
        return super().run_ctl(*words, address="127.0.0.1:1", **more)

    def path(self, name):
        return os.path.join(self.folder, name)

    def flip(self, name, offset):
        with open(self.path(name), "r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 1]))

    def damaged(self):
        """The one file that is not good; exit status, text and document say the same."""
        text = self.run_ctl("verify", self.folder)
        self.assertEqual(text.returncode, 1)
        self.assertRegex(text.stderr, r"\Aparamctl: [^\n]*\n\Z")
        run = self.run_ctl("verify", self.folder, "--json")
        self.assertEqual((run.returncode, run.stderr), (1, text.stderr))
        document = json.loads(run.stdout)
        self.assertEqual(document["damaged"], 1)
        (file,) = [file for file in document["files"] if file["state"] != "good"]
        error = file["error"]
        self.assertIn(f"{error['file']} is damaged at byte {error['offset']}: {error['text']}",
                      text.stderr)
        self.assertRegex(text.stdout, rf"(?m)^{file['name']} +damaged +-$")
        self.assertEqual({file["name"] for file in document["files"]}, NAMES)
        return file

    def test_a_good_directory_is_said_to_be_good(self):
        before = sorted(os.listdir(self.folder))
        lines = self.lines("verify", self.folder)
        self.assertEqual(lines[0].split(), ["FILE", "STATE", "CHECKED"])
        self.assertEqual({line.split()[0] for line in lines[1:]}, NAMES)
        for line in lines[1:]:
            self.assertRegex(line, r" good +\d+\.\d KiB$")
        document = self.document("verify", self.folder)
        self.assertEqual(set(document), {"directory", "bytes", "damaged", "files"})
        self.assertEqual((document["directory"], document["damaged"]), (self.folder, 0))
        self.assertEqual(document["bytes"], sum(file["bytes"] for file in document["files"]))
        for file in document["files"]:
            self.assertEqual((file["state"], file["error"], file["cut"]), ("good", None, None))
        self.assertEqual(sorted(os.listdir(self.folder)), sorted(before + ["paramd.lock"]))

    def test_progress_is_shown_on_stderr(self):
        run = self.run_ctl("verify", self.folder, "--progress")
        self.assertEqual(run.returncode, 0)
        self.assertRegex(run.stderr.splitlines()[-1], r"^verify: 100%  ")

    def test_a_damaged_snapshot_is_named(self):
        self.flip("snapshot-00000002.001", 5000)
        file = self.damaged()
        self.assertEqual(file["name"], "snapshot-00000002.001")
        self.assertEqual(file["error"]["file"], "snapshot-00000002.001")
        self.assertLessEqual(file["error"]["offset"], 5000)

    def test_a_damaged_segment_is_named(self):
        self.flip("shard-001.00000001.00001", 9000)
        file = self.damaged()
        self.assertEqual(file["name"], "shard-001.00000001")
        self.assertEqual(file["error"]["file"], "shard-001.00000001.00001")

    def test_a_lost_file_is_named(self):
        os.unlink(self.path("snapshot-00000001.000"))
        self.assertIn("missing", self.damaged()["error"]["text"])

    def test_a_torn_end_is_told_and_is_no_damage(self):
        name = "control.00000002.00002"
        with open(self.path(name), "rb") as file:
            end = len(file.read().rstrip(b"\0"))
        self.flip(name, end - 1)
        text = self.result("verify", self.folder)
        self.assertRegex(text, rf"a crash left \d+ bytes in {name}\nat byte \d+ that nobody")
        (cut,) = [file["cut"] for file in self.document("verify", self.folder)["files"]
                  if file["cut"]]
        self.assertEqual(cut["file"], name)

    def test_a_damaged_manifest_is_refused(self):
        self.flip("MANIFEST", 40)
        self.fails(1, "MANIFEST is damaged at byte 0: ", "verify", self.folder)

    def test_an_old_or_a_missing_manifest_is_refused(self):
        with open(self.path("shard-000.00000003.00000"), "w", encoding="ascii"):
            pass
        self.fails(1, "old copy", "verify", self.folder)
        os.unlink(self.path("MANIFEST"))
        self.fails(1, "MANIFEST is missing", "verify", self.folder)

    def test_a_directory_in_use_is_left_alone(self):
        with open(self.path("paramd.lock"), "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.fails(1, "a daemon uses", "verify", self.folder)
        self.lines("verify", self.folder)

    def test_what_is_no_data_directory_is_refused_and_left_as_it_is(self):
        with tempfile.TemporaryDirectory() as empty:
            self.fails(1, "has no MANIFEST", "verify", empty)
            self.assertEqual(os.listdir(empty), [])
        self.fails(1, "there is no such directory", "verify", empty)
        self.fails(2, "verify takes DIR", "verify")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
