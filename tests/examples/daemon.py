"""A daemon for one test class, on a free port, and the programs that the tests start against it."""

import os
import subprocess
import tempfile
import threading

BIN = os.environ["PARAMD_BIN"]


class Daemon:
    """Starts paramd, waits for its own word that it is ready, and stops it on stop()."""

    def __init__(self, shards=2):
        self.folder = tempfile.TemporaryDirectory()
        address_file = os.path.join(self.folder.name, "address")
        self.process = subprocess.Popen(
            [os.path.join(BIN, "paramd"), "--listen", "127.0.0.1:0", "--shards", str(shards),
             "--address-file", address_file, "--log-format", "logfmt"],
            stderr=subprocess.PIPE, text=True)
        self.log = []
        for line in self.process.stderr:
            self.log.append(line)
            if "ready" in line:
                break
        else:
            raise RuntimeError("paramd did not start:\n" + "".join(self.log))
        # A pipe that nobody reads would stop the daemon one day.
        self.reader = threading.Thread(target=self._read_on, daemon=True)
        self.reader.start()
        with open(address_file, encoding="utf-8") as file:
            self.address = next(line.split()[1] for line in file if line.startswith("tcp "))

    def _read_on(self):
        for line in self.process.stderr:
            self.log.append(line)

    def start(self, program, *arguments, **options):
        """One of our programs, its daemon being this one."""
        return subprocess.Popen([os.path.join(BIN, program), *arguments], text=True,
                                env={**os.environ, "PARAMD_ADDRESS": self.address}, **options)

    def run(self, program, *arguments):
        """Runs it to its end: the finished process with stdout and stderr."""
        process = self.start(program, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        stdout, stderr = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def stop(self):
        """Ends the daemon; its exit code."""
        self.process.terminate()
        code = self.process.wait()
        self.reader.join()
        self.process.stderr.close()
        self.folder.cleanup()
        return code
