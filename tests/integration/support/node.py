"""A daemon with a data directory that dies and comes back: at the same address (a Unix socket), on
the same directory, with any number of shards."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile

from support import daemon

FAULTY = os.path.join(daemon.BUILD, "bin", "tests", "paramd-faulty")


class Node:
    """Use it in a with statement. data: the directory, if not one of its own; server: the Daemon
    that runs now."""

    def __init__(self, data=None):
        self.folder = tempfile.mkdtemp(prefix="paramd-test-")
        self.data = data or os.path.join(self.folder, "data")
        self.address = f"unix:{self.folder}/socket"
        self.server = None
        self._logs = []

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.server:
            self.end(signal.SIGKILL)
        if kind is not None:
            print("--- the daemons' logs:", *self._logs, "---", sep="\n", file=sys.stderr)
        shutil.rmtree(self.folder)

    def start(self, shards=2, *options, **more):
        os.makedirs(self.data, exist_ok=True)
        try:
            self.server = daemon.Daemon("--shards", str(shards), "--data-dir", self.data, *options,
                                        unix=True, folder=self.folder, **more)
        except FileNotFoundError as no_address:
            raise RuntimeError("the daemon did not start") from no_address
        return self.server

    def end(self, number):
        """Its exit status; after SIGKILL whatever moment it was at."""
        server, self.server = self.server, None
        status = server.stop(number)
        self._logs.append(server.log())
        return status

    def stop(self):
        """In order."""
        status = self.end(signal.SIGTERM)
        if status != 0:
            raise AssertionError(f"the daemon ended with status {status}")

    def kill(self):
        status = self.end(signal.SIGKILL)
        if status != -signal.SIGKILL:
            raise AssertionError(f"the daemon had ended with status {status} before it was killed")

    def kill_at_start(self, seconds, shards=2, before=None):
        """Starts one and kills it so much later, in its recovery or soon after; before is called
        with its process before that."""
        command = [daemon.PROGRAM, "--listen", "127.0.0.1:0", "--unix", self.address[5:],
                   "--shards", str(shards), "--data-dir", self.data]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
            if before:
                before(process)
            process.kill()
            log = process.stderr.read()
        self._logs.append(log)
        if process.returncode != -signal.SIGKILL:
            raise AssertionError(f"the daemon did not start: {process.returncode}")

    def log(self):
        return "".join([*self._logs, self.server.log() if self.server else ""])
