#!/usr/bin/env python3
"""paramd-sim as a program: many seeds show nothing, the same seed is the same run, old findings
stay away, each planted bug is found and needs faults to show, and the daemon holds none of them.
Arguments: paramd-sim, paramd, the number of runs, then unittest's own.
"""

import json
import os
import subprocess
import sys
import unittest
from concurrent.futures import ThreadPoolExecutor

SIM, PARAMD, RUNS = sys.argv[1], sys.argv[2], int(sys.argv[3])
REGRESSIONS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "regressions")
PLANT_SEEDS = 20000  # a plant is found within so many
SHRUNK_FAULTS = 5    # at most
ALL_REACHED = 2000   # so many runs have every status and every kind of record
# README.md says why.
NOT_REACHED = {"VERSION", "MOVED", "TIMEOUT", "UNREACHABLE", "FORKED"}


def sim(*arguments):
    """The finished process."""
    return subprocess.run([SIM, *map(str, arguments)], capture_output=True, text=True, check=False)


def summaries(runs):
    """Those of so many runs, in as many processes as there are processors."""
    count = max(1, min(os.cpu_count(), runs // 100))
    starts = [runs * i // count for i in range(count + 1)]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda i: summary("--runs", starts[i + 1] - starts[i],
                                               "--seed", starts[i] + 1), range(count)))


def summary(*arguments):
    """The summary of runs that must show nothing."""
    done = sim(*arguments, "--json")
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)


def plants():
    """The names of all known bugs."""
    return [line.split()[0] for line in sim("--list-plants").stdout.splitlines()]


class Runs(unittest.TestCase):
    """Seeds."""

    def test_many_seeds_show_no_violation_and_hold_what_they_should(self):
        found = summaries(RUNS)
        self.assertEqual(sum(part["runs"] for part in found), RUNS)
        self.assertEqual(sum(part["violations"] for part in found), 0)

        def mean(kind, of="means"):
            return sum(part[of][kind] * part["runs"] for part in found) / RUNS

        self.assertGreaterEqual(mean("pushes"), 200)
        self.assertGreaterEqual(min(mean("clients"), mean("shards")), 2)
        self.assertGreaterEqual(mean("recoveries", "runs_with"), 0.75)
        self.assertGreaterEqual(mean("reshardings", "runs_with"), 0.33)
        for kind in ("pulls", "cancels", "creates", "attaches", "pings", "sets", "reports",
                     "lists", "stats", "deletes", "goodbyes", "resent", "refused", "unknown",
                     "lost", "cuts", "snapshots", "commanded",
                     "no_space", "stops", "clean_stops", "failed_starts", "refused_starts",
                     "failed_allocations"):
            self.assertGreater(mean(kind), 0, kind)
        for name in found[0]["means"]:
            if name.startswith("fault "):
                self.assertGreater(mean(name), 0, name)
        if RUNS >= ALL_REACHED:
            for kind in ("statuses", "records"):
                none = {name for name in found[0][kind] if not any(p[kind][name] for p in found)}
                self.assertLessEqual(none, NOT_REACHED, kind)

    def test_the_same_seeds_are_the_same_runs(self):
        first = summary("--runs", 20, "--seed", 5)
        second = summary("--runs", 20, "--seed", 5)
        other = summary("--runs", 20, "--seed", 6)
        self.assertEqual(first["trace_hash"], second["trace_hash"])
        self.assertNotEqual(first["trace_hash"], other["trace_hash"])

    def test_what_was_found_once_stays_away(self):
        for name in sorted(os.listdir(REGRESSIONS)):
            with open(os.path.join(REGRESSIONS, name), encoding="utf-8") as lines:
                words = [line for line in lines if not line.startswith("#")][0].split()
            with self.subTest(name):
                summary("--runs", 1, *words)

    def test_a_replay_prints_its_events(self):
        replay = sim("--seed", 3)
        self.assertEqual(replay.returncode, 0, replay.stderr)
        self.assertIn("daemon starts", replay.stdout)

    def test_what_makes_no_sense_is_refused(self):
        for words in ([], ["--runs", "0"], ["--runs", "x"], ["--plant", "no-such-bug"],
                      ["--faults", "99"], ["--no-such-option"], ["more"]):
            with self.subTest(words):
                self.assertEqual(sim(*words).returncode, 2)


class Plants(unittest.TestCase):
    """Known bugs."""

    def test_each_is_found_and_shrinks(self):
        def find(plant):
            """Replays of the first seeds that show it, until one needs few faults only."""
            replays, seed = [], 1
            while seed <= PLANT_SEEDS and (not replays or needs(replays[-1]) > SHRUNK_FAULTS):
                found = sim("--runs", PLANT_SEEDS - seed + 1, "--seed", seed, "--plant", plant,
                            "--shrink")
                if found.returncode == 0:
                    break
                replays.append(found.stderr.splitlines()[-1].split()[2:])
                seed = int(replays[-1][1]) + 1
            return plant, replays

        def needs(replay):
            return len(replay[replay.index("--faults") + 1].split(","))

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for plant, replays in pool.map(find, plants()):
                with self.subTest(plant):
                    self.assertTrue(replays)
                    self.assertLessEqual(needs(replays[-1]), SHRUNK_FAULTS, replays)
                    self.assertNotIn(replays[-1][3], ("all", "none"))
                    self.assertEqual(sim(*replays[-1]).returncode, 1, replays)

    def test_none_shows_without_faults(self):
        for plant in plants():
            with self.subTest(plant):
                summary("--runs", 100, "--plant", plant, "--faults", "none")

    def test_the_daemon_has_none(self):
        with open(PARAMD, "rb") as file:
            daemon = file.read()
        for word in plants() + ["sim_plant", "pd_plant"]:
            self.assertNotIn(word.encode(), daemon)
        with open(SIM, "rb") as file:
            self.assertIn(b"no-dedupe", file.read())


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
