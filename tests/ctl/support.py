"""What the tests of paramctl share: a real daemon on a free port, the workers started on it, and
paramctl run as a program. The programs are the arguments of the test's script.
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest

PARAMD, PARAMCTL, WORKER, PUSHER, DATA_DIR = sys.argv[1:6]
LINE_COLUMNS_MAX = 80


def sanitized():
    """Whether paramctl was built with a sanitizer, which needs the address space."""
    with open(PARAMCTL, "rb") as file:
        data = file.read()
    return b"__asan_init" in data or b"__tsan_init" in data


class Daemon:
    """A daemon on a free port, and the workers that were started on it."""

    def __init__(self, shards=2, data_dir=None):
        self.folder = tempfile.TemporaryDirectory()
        address_file = os.path.join(self.folder.name, "address")
        self.unix = "unix:" + os.path.join(self.folder.name, "socket")
        self.process = subprocess.Popen(
            [PARAMD, "--listen", "127.0.0.1:0", "--unix", self.unix[5:], "--shards",
             str(shards), "--address-file", address_file,
             *(("--data-dir", data_dir) if data_dir else ())], stderr=subprocess.PIPE, text=True)
        self.workers = []
        # The address file is there before the daemon says so.
        if not any("msg=ready" in line for line in self.process.stderr):
            raise RuntimeError("the daemon did not start")
        with open(address_file, encoding="ascii") as lines:
            self.address = dict(line.split() for line in lines)["tcp"]

    def start_worker(self, model):
        worker = subprocess.Popen([WORKER, self.address, model], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        self.workers.append(worker)
        if worker.stdout.readline() != "ready\n":
            raise RuntimeError("the worker did not get ready")

    def stop_workers(self):
        for worker in self.workers:
            worker.communicate()
        self.workers.clear()

    def stop(self):
        self.stop_workers()
        self.process.terminate()
        errors = self.process.communicate()[1]
        self.folder.cleanup()
        if self.process.returncode != 0:
            raise RuntimeError(f"the daemon ended with {self.process.returncode}: {errors}")


def environment(address):
    return {**os.environ, "PARAMD_ADDRESS": address}


class Paramctl(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()
        cls.addClassCleanup(cls.daemon.stop)

    def run_ctl(self, *words, address=None, **more):
        return subprocess.run([PARAMCTL, *words], text=True, stdin=subprocess.DEVNULL,
                              stdout=more.pop("stdout", subprocess.PIPE), stderr=subprocess.PIPE,
                              env=environment(address or self.daemon.address), check=False)

    def result(self, *words, **more):
        """What a command that must succeed prints."""
        run = self.run_ctl(*words, **more)
        self.assertEqual((run.returncode, run.stderr), (0, ""), words)
        self.assertTrue(run.stdout.endswith("\n"), words)
        return run.stdout

    def document(self, *words, **more):
        return json.loads(self.result(*words, "--json", **more))

    def fails(self, code, sentence, *words, **more):
        """It ends with code, nothing on stdout, and one sentence on stderr that has these words."""
        for json_too in ((), ("--json",)):
            run = self.run_ctl(*words, *json_too, **more)
            self.assertEqual((run.returncode, run.stdout), (code, ""), (words, run.stderr))
            self.assertRegex(run.stderr, r"\Aparamctl: [^\n]*\n\Z")
            self.assertIn(sentence, run.stderr)

    def lines(self, *words):
        lines = self.result(*words).splitlines()
        for line in lines:
            self.assertLessEqual(len(line), LINE_COLUMNS_MAX, line)
            self.assertEqual(line, line.rstrip())
        return lines
