"""Starts the real daemon for a test, waits for it, looks at it from outside and stops it. Whatever
it logged is kept, and printed when a test fails."""

import contextlib
import ctypes
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time

BUILD = os.environ.get("PARAMD_BUILD", "build/debug")
PROGRAM = os.path.join(BUILD, "bin", "paramd")
SECONDS_MAX = 60
PR_SET_PDEATHSIG = 1


def _prepare(open_files):
    """In the daemon's process, before its program: a test that is killed takes daemons along."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if open_files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))


def wait_until(condition, what, seconds=SECONDS_MAX):
    """Looks at condition until it is true; for what gives no event to wait for."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s in vain: {what}")
        pause.wait(0.005)


def run(*arguments, environment=None, seconds=SECONDS_MAX):
    """The daemon's program to its end, for calls that do not start a daemon."""
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=seconds,
                          env={**os.environ, **(environment or {})}, check=False)


def sanitized():
    """Whether the program was built with a sanitizer, whose memory and time tell nothing."""
    with open(PROGRAM, "rb") as file:
        data = file.read()
    return b"__asan_init" in data or b"__tsan_init" in data


class Daemon:
    """One daemon on a free port, with a folder of its own. Use it in a with statement. open_files
    is the limit of descriptors it gets, program another one than paramd."""

    def __init__(self, *arguments, unix=False, listen="127.0.0.1:0", environment=None,
                 folder=None, open_files=None, program=PROGRAM):
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="paramd-test-")
        self.folder = folder or self._temporary.name
        self.address_file = os.path.join(self.folder, "address")
        self.unix_path = os.path.join(self.folder, "socket") if unix else None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.address_file)  # of one that was killed here
        command = [program, "--listen", listen, "--address-file", self.address_file, *arguments]
        if unix:
            command += ["--unix", self.unix_path]
        self._lines = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True,
                                        preexec_fn=lambda: _prepare(open_files),
                                        env={**os.environ, **(environment or {})})
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        try:
            wait_until(lambda: os.path.exists(self.address_file) or self.process.poll() is not None,
                       "the daemon's address file")
            with open(self.address_file, encoding="utf-8") as file:
                self.addresses = dict(line.split(" ", 1) for line in file.read().splitlines())
        except BaseException:
            self.kill()
            print(self.log(), file=sys.stderr)
            raise
        host, port = self.addresses["tcp"].rsplit(":", 1)
        self.host = host.strip("[]")
        self.port = int(port)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        status = None
        try:
            status = self.stop()
        finally:
            self.kill()
            if kind is not None or status != 0:
                print(f"--- the daemon's log (exit status {status}):\n{self.log()}---",
                      file=sys.stderr)
            if self._temporary:
                self._temporary.cleanup()
        if kind is None and status != 0:
            raise AssertionError(f"the daemon ended with status {status}")

    def _read_log(self):
        for line in self.process.stderr:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()

    def log(self):
        with self._changed:
            return "".join(self._lines)

    def wait_log(self, pattern, seconds=SECONDS_MAX):
        """The first log line, past or to come, that matches."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: next((line for line in self._lines if re.search(pattern, line)), None),
                seconds)
        if not found:
            raise TimeoutError(f"no log line matches {pattern}")
        return found

    def send_signal(self, number):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM):
        """Sends the signal unless it has ended already; returns the exit status."""
        if self.process.poll() is None:
            self.send_signal(number)
        return self.wait()

    def wait(self, seconds=SECONDS_MAX):
        status = self.process.wait(seconds)
        # The reader ends with the pipe.
        self._reader.join(seconds)
        self.process.stderr.close()
        return status

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.wait()

    def memory_bytes(self):
        """Resident memory."""
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as file:
            return int(re.search(r"VmRSS:\s*(\d+) kB", file.read()).group(1)) * 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))
