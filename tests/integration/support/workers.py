"""Starts the C programs of workers/ as processes and reads the lines they print."""

import os
import re
import subprocess
import tempfile
import threading

from support import daemon


class Worker:
    """A process of bin/tests/worker-NAME. Use it in a with statement, which kills what still
    runs."""

    def __init__(self, name, *arguments):
        program = os.path.join(daemon.BUILD, "bin", "tests", "worker-" + name)
        self.name = name
        self._errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([program, *map(str, arguments)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self._errors, text=True)
        self.lines = []
        self._ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        self.let_go()
        self.process.stdout.close()
        self._errors.close()

    def _read(self):
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def errors(self):
        self._errors.seek(0)
        return self._errors.read()

    def count(self, pattern):
        """How many lines match so far."""
        with self._changed:
            return sum(1 for line in self.lines if re.match(pattern, line))

    def wait_lines(self, pattern, count=1, seconds=daemon.SECONDS_MAX):
        """Waits until so many lines match; the last of them."""
        def found():
            return [line for line in self.lines if re.match(pattern, line)]

        with self._changed:
            self._changed.wait_for(lambda: len(found()) >= count or self._ended, seconds)
            if len(found()) < count:
                raise AssertionError(f"{self.name}: no {count} lines {pattern}: {self.lines[-3:]} "
                                     f"{self.errors()}")
            return found()[count - 1]

    def tell(self):
        """Gives the program the line that it waits for. Why one has ended, finish() tells."""
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def let_go(self):
        """It waits for nothing any more."""
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass

    def finish(self, seconds=2 * daemon.SECONDS_MAX):
        """Waits for its end, which must be a good one; all its lines."""
        status = self.process.wait(seconds)
        self._reader.join(seconds)
        if status != 0:
            raise AssertionError(f"{self.name} ended with {status}: {self.errors()}")
        return self.lines
