#!/usr/bin/env python3
"""paramctl export --data-dir: what comes from the directory is what the daemon would have given,
and however it ends, no daemon and no file is left behind.
"""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import unittest

import numpy as np

import support
import tensors
from support import PARAMCTL

RANDOM = np.random.default_rng(11)

# Says when it runs and when it is told to end; never gets ready.
PARAMD_STAND_IN = """#!/usr/bin/python3 -B
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
with open({pipe!r}, "w") as pipe:
    print("started", file=pipe, flush=True)
    signal.sigwait([signal.SIGTERM])
    print("told to end", file=pipe)
"""


def noise(*shape):
    return RANDOM.standard_normal(shape, dtype=np.float32)


def content(folder):
    files = {}
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            files[name] = file.read()
    return files


class ExportDataDir(support.Paramctl):
    @classmethod
    def setUpClass(cls):
        pass

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.data = self.path("data")
        self.private = self.path("private")
        os.mkdir(self.private)

    def path(self, name):
        return os.path.join(self.folder, name)

    def environment(self):
        """No daemon listens there; what is private is made where it can be looked at."""
        return {**os.environ, "PARAMD_ADDRESS": "127.0.0.1:1", "TMPDIR": self.private}

    def run_ctl(self, *words, **more):
        run = subprocess.run([PARAMCTL, *words], text=True, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, check=False, env=self.environment(), **more)
        self.assertEqual(os.listdir(self.private), [])
        return run

    def refuses(self, sentence, code=1):
        self.fails(code, sentence, "export", "demo", self.path("out"), "--data-dir", self.data)
        self.assertFalse(os.path.exists(self.path("out")))

    def train(self, daemon):
        """A model with moments, and blocks of different versions."""
        plain = self.path("plain")
        os.mkdir(plain)
        tensors.write_file(os.path.join(plain, "model.safetensors"),
                           {"w": noise(3, 50000), "b": noise(10)})
        self.result("--address", daemon.address, "import", plain, "demo", "--optimizer", "adam",
                    "--ack-level", "logged")
        tensors.push(daemon.address, "demo",
                     [tensors.record(0, noise(150000)), tensors.record(0, noise(65536), 1, 1),
                      tensors.record(1, noise(10))])

    def test_the_directory_gives_what_the_daemon_gave(self):
        daemon = support.Daemon(shards=3, data_dir=self.data)
        self.train(daemon)
        live = self.document("--address", daemon.address, "export", "demo", self.path("live"))
        daemon.stop()
        for name in ("once", "again"):
            self.assertEqual(
                self.document("export", "demo", self.path(name), "--data-dir", self.data),
                {**live, "directory": self.path(name)})
            self.assertEqual(content(self.path(name)), content(self.path("live")))
        self.assertEqual(self.document("verify", self.data)["damaged"], 0)
        self.fails(1, 'no model is named "nobody"', "export", "nobody", self.path("out"),
                   "--data-dir", self.data)

    def test_a_directory_in_use_is_refused(self):
        daemon = support.Daemon(data_dir=self.data)
        self.addCleanup(daemon.stop)
        self.refuses("another process uses this data directory")

    def test_a_damaged_directory_is_refused_with_the_sentence_of_the_daemon(self):
        support.Daemon(data_dir=self.data).stop()
        with open(os.path.join(self.data, "MANIFEST"), "ab") as file:
            file.write(b"x")
        self.refuses("MANIFEST at offset 0: its sum is wrong")

    def test_a_directory_without_data_is_left_as_it_is(self):
        self.refuses("there is no such directory")
        self.assertFalse(os.path.exists(self.data))
        os.mkdir(self.data)
        self.refuses("it has no MANIFEST")
        self.assertEqual(os.listdir(self.data), [])
        self.fails(2, "--data-dir is for export", "models", "--data-dir", self.data)

    def start_with_stand_in(self, path):
        """paramctl that waits for a daemon which does not get ready, and what that one says."""
        support.Daemon(data_dir=self.data).stop()
        pipe = self.path("pipe")
        os.mkfifo(pipe)
        os.mkdir(self.path("bin"))
        stand_in = self.path("bin/paramd")
        with open(stand_in, "w", encoding="ascii") as file:
            file.write(PARAMD_STAND_IN.format(pipe=pipe))
        os.chmod(stand_in, stat.S_IRWXU)
        paramctl = shutil.copy(PARAMCTL, self.path("bin" if path is None else ""))
        process = subprocess.Popen(
            [paramctl, "export", "demo", self.path("out"), "--data-dir", self.data],
            env={**self.environment(), **({"PATH": path} if path else {})})
        self.addCleanup(process.wait)
        says = open(pipe, encoding="ascii")  # when the other end is open
        self.addCleanup(says.close)
        self.assertEqual(says.readline(), "started\n")
        return process, says

    def test_a_signal_ends_the_daemon_too(self):
        process, says = self.start_with_stand_in(path=None)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(says.read(), "told to end\n")
        self.assertEqual(process.wait(), -signal.SIGTERM)
        self.assertEqual(os.listdir(self.private), [])

    def test_a_kill_ends_the_daemon_too(self):
        process, says = self.start_with_stand_in(path=self.path("bin"))
        process.kill()
        self.assertEqual(says.read(), "told to end\n")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
