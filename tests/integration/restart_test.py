"""A daemon that is killed under its workers, and comes back empty or not at all: their calls end
with a clear status within their deadlines, nothing hangs, and they can begin anew."""

import signal
import time
import unittest

from support import daemon, workers

TIMEOUT_MS = 500
# Above the deadline, on a busy machine and under a sanitizer.
SLACK_MS = 5000
# Less than the 10 s to a client's next ping, which would wake up one that had missed its cue.
ANEW_SECONDS = 9
CREW = 3


class Restart(unittest.TestCase):
    def start(self, server):
        crew = [workers.Worker("survive", "unix:" + server.unix_path, "m", TIMEOUT_MS)
                for _ in range(CREW)]
        for worker in crew:
            self.addCleanup(worker.__exit__)
        for worker in crew:
            worker.wait_lines("working", 5)
        return crew

    def kill(self, server):
        """At whatever they are doing, in the middle of their pushes."""
        server.process.send_signal(signal.SIGKILL)
        self.assertEqual(server.wait(), -signal.SIGKILL)
        server.process.returncode = 0  # as wanted

    def endings(self, worker):
        """(call, status, ms) of everything that came after the kill."""
        worker.wait_lines("tried")
        lines = [line.split() for line in worker.lines if line not in ("working", "tried")]
        for call, status, ms in lines:
            self.assertLess(int(ms), TIMEOUT_MS + SLACK_MS, (call, status))
        return [(call, status) for call, status, _ in lines]

    def begin_anew(self, crew):
        begin = time.monotonic()
        for worker in crew:
            worker.tell()
        values = [float(worker.finish()[-1].split()[-1]) for worker in crew]
        self.assertLess(time.monotonic() - begin, ANEW_SECONDS)
        # The new model has had the pushes of this crew and no older ones.
        self.assertLessEqual(max(values), CREW)
        self.assertGreaterEqual(min(values), 1)

    def test_a_daemon_that_comes_back_empty_says_that_the_model_is_gone(self):
        with daemon.Daemon("--shards", "2", unix=True) as first:
            crew = self.start(first)
            self.kill(first)
            with daemon.Daemon("--shards", "2", unix=True, folder=first.folder):
                for worker in crew:
                    endings = self.endings(worker)
                    self.assertEqual({call for call, _ in endings} - {"wait", "push", "cancel"},
                                     {"push_wait", "pull_wait", "push_pull_wait", "report", "set"})
                    for call, status in endings:
                        self.assertEqual(status, "NOT_FOUND", (call, endings))
                self.begin_anew(crew)

    def test_without_a_daemon_each_call_ends_at_its_deadline(self):
        with daemon.Daemon("--shards", "2", unix=True) as first:
            crew = self.start(first)
            self.kill(first)
            for worker in crew:
                for call, status in self.endings(worker):
                    allowed = {"CANCELLED", "UNKNOWN"} if call == "cancel" else \
                        {"TIMEOUT", "UNREACHABLE"}
                    self.assertIn(status, allowed, call)
            with daemon.Daemon("--shards", "2", unix=True, folder=first.folder):
                self.begin_anew(crew)


if __name__ == "__main__":
    unittest.main()
