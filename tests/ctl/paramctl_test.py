#!/usr/bin/env python3
"""paramctl as a program: what it prints, as text and as JSON, and how it ends, against a real
daemon whose model a real worker has made.
"""

import os
import pty
import re
import select
import subprocess
import sys
import unittest

import support
from support import PARAMCTL, environment


class Paramctl(support.Paramctl):
    """On a daemon that has a worker's model."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.daemon.start_worker("demo")


class Looking(Paramctl):
    def test_status_shows_what_the_daemon_counts(self):
        lines = self.lines("status")
        self.assertRegex(lines[0], rf"^daemon +paramd/\d+\.\d+\.\d+ at {self.daemon.address}$")
        self.assertIn("shards              2", lines)
        self.assertIn("models              1", lines)
        self.assertIn("protocol errors     0", lines)
        text = "\n".join(lines)
        self.assertRegex(text, r"(?m)^uptime +\d+ s$")
        self.assertRegex(text, r"(?m)^memory +9\d\.\d KiB of \d+\.\d [MGT]iB \(0\.0%\)$")
        self.assertRegex(text, r"(?m)^sessions +1 now, 0 expired$")

    def test_status_as_json_has_the_counters_by_name(self):
        document = self.document("status")
        self.assertEqual(set(document), {"address", "server", "counters"})
        counters = document["counters"]
        self.assertEqual((counters["shards"], counters["models"], counters["sessions"]), (2, 1, 1))
        self.assertGreater(counters["uptime_seconds"], 0)
        self.assertGreater(counters["memory_bytes_max"], counters["memory_bytes"])
        self.assertIsInstance(counters["frames_in"], int)

    def test_models_are_a_line_each(self):
        lines = self.lines("models")
        self.assertEqual(lines[0], "MODEL  READY  LEVEL    TENSORS  ELEMENTS    MEMORY  SESSIONS")
        self.assertRegex(lines[1],
                         r"^demo   yes    applied        2     7,850  9\d\.\d KiB         1$")
        self.assertEqual(len(lines), 2)

    def test_models_as_json(self):
        (model,) = self.document("models")["models"]
        self.assertEqual(set(model), {"name", "number", "generation", "ready", "ack_level",
                                      "tensors", "blocks", "elements", "memory_bytes",
                                      "sessions"})
        self.assertEqual((model["name"], model["ready"], model["tensors"], model["blocks"],
                          model["elements"], model["ack_level"]),
                         ("demo", True, 2, 9, 7850, "applied"))
        # Weights, and Adam's two moments of the wide tensor.
        self.assertGreaterEqual(model["memory_bytes"], 4 * (7850 + 2 * 7840))

    def test_tensors_shows_versions_groups_and_counters(self):
        lines = self.lines("tensors", "demo")
        self.assertRegex(lines[0], "^model demo: ready; 2 tensors, 9 blocks, 7,850 elements; ")
        self.assertEqual(lines[1], "pushes are acknowledged when applied")
        self.assertIn("TENSOR    SHAPE  GROUP    BLOCKS  VERSIONS", lines)
        self.assertIn("layer.w  10x784  weights       8      4..4", lines)
        self.assertIn("layer.b      10  biases        1      4..4", lines)
        text = "\n".join(lines)
        self.assertRegex(text, r"(?m)^group weights: adam\n    (.*\n)*?.*\bbeta2=0\.999\b")
        self.assertRegex(text, r"(?m)^group biases: sgd\n    lr=0\.25 ")
        self.assertIn("schedule=inverse_sqrt", text)
        self.assertRegex(text, r"(?m)^    pushes_applied +27$")
        self.assertRegex(text, r"(?m)^    pushes_refused_not_finite +1$")
        self.assertRegex(text, r"(?m)^    staleness_mean +0$")

    def test_tensors_as_json(self):
        document = self.document("tensors", "demo")
        self.assertEqual(set(document), {"model", "tensors", "groups", "counters"})
        self.assertEqual(document["tensors"][0], {
            "name": "layer.w", "shape": [10, 784], "group": "weights", "blocks": 8,
            "version_min": 4, "version_max": 4, "version_sum": 32})
        weights, biases = document["groups"]
        self.assertEqual((weights["name"], weights["optimizer"]), ("weights", "adam"))
        self.assertEqual((biases["name"], biases["optimizer"]), ("biases", "sgd"))
        self.assertEqual(weights["hypers"]["schedule"], "inverse_sqrt")
        self.assertEqual((biases["hypers"]["lr"], biases["hypers"]["schedule"]),
                         (0.25, "constant"))
        self.assertEqual(document["counters"]["pushes_applied"], 27)
        self.assertEqual(document["counters"]["staleness_0"], 27)
        self.assertEqual(document["counters"]["bytes_pushed"], 4 * (3 * 7850 + 10))

    def test_a_hash_is_the_same_on_any_number_of_shards(self):
        self.assertRegex(self.result("hash", "demo"), r"\A[0-9a-f]{16}  demo\n\Z")
        document = self.document("hash", "demo")
        for shards in (1, 3):
            other = support.Daemon(shards)
            self.addCleanup(other.stop)
            other.start_worker("demo")
            self.assertEqual(self.document("hash", "demo", address=other.address), document)
            other.start_worker("demo")  # three more pushes
            self.assertNotEqual(self.document("hash", "demo", address=other.address), document)

    def test_looking_makes_no_session(self):
        self.result("tensors", "demo")
        self.assertEqual(self.document("models")["models"][0]["sessions"], 1)

    def test_ping_measures_as_often_as_asked(self):
        self.assertRegex(self.result("ping"),
                         rf"\A{re.escape(self.daemon.address)} answered in \d+ us\n\Z")
        self.assertRegex(self.result("ping", "--count", "20"), "answered 20 pings: min ")
        document = self.document("ping", "--count", "20")
        self.assertEqual(document["count"], 20)
        self.assertLessEqual(document["min_us"], document["mean_us"])
        self.assertLessEqual(document["mean_us"], document["max_us"])

    def test_the_option_wins_over_the_environment(self):
        document = self.document("--address", self.daemon.unix, "status", address="unix:/nowhere")
        self.assertEqual(document["address"], self.daemon.unix)
        self.assertEqual(document["counters"]["models"], 1)


class Steering(Paramctl):
    def hypers(self, group):
        groups = self.document("tensors", "demo")["groups"]
        return next(one["hypers"] for one in groups if one["name"] == group)

    def test_set_changes_what_it_names_and_nothing_else(self):
        before = self.hypers("weights")
        self.assertEqual(self.result("set", "demo", "weights", "lr=5e-4", "schedule=step"),
                         "set in model demo, group weights: lr=5e-4 schedule=step\n")
        self.assertEqual(self.hypers("weights"), {**before, "lr": 0.0005, "schedule": "step"})
        self.assertEqual(self.document("set", "demo", "weights", "lr=0.5", "schedule=constant"), {
            "model": "demo", "group": "weights", "hypers": {"lr": 0.5, "schedule": "constant"}})
        self.assertEqual(self.hypers("weights")["lr"], 0.5)

    def test_a_bad_value_changes_nothing(self):
        before = self.hypers("biases")
        for words, sentence in {
                ("biases", "lr=0.5", "beta3=1"): "beta3",
                ("biases", "lr=-1"): "lr=-1 is not allowed",
                ("biases", "lr=quick"): "lr=quick is not allowed",
                ("biases", "schedule=sinus"): "schedule=sinus is not allowed",
                ("other", "lr=0.1"): 'no group named "other"'}.items():
            self.fails(1, sentence, "set", "demo", *words)
        for pair in ("lr", "=1", "lr="):
            self.fails(2, "is not KEY=VALUE", "set", "demo", "biases", pair)
        self.assertEqual(self.hypers("biases"), before)

    def test_delete_needs_yes_where_nobody_can_be_asked(self):
        self.daemon.start_worker("doomed")
        self.fails(2, "give --yes", "delete", "doomed")
        self.assertIn("doomed", self.result("models"))
        self.assertEqual(self.result("delete", "doomed", "--yes"), "deleted model doomed\n")
        self.assertNotIn("doomed", self.result("models"))
        self.fails(1, 'no model is named "doomed"; paramctl models lists', "delete", "doomed",
                   "--yes")

    def test_delete_as_json(self):
        self.daemon.start_worker("doomed_too")
        document = self.document("delete", "doomed_too", "--yes")
        self.assertEqual((set(document), document["deleted"]), ({"deleted", "number"},
                                                                "doomed_too"))

    def delete_on_terminal(self, model, answer):
        """Exit status, stdout, and what the terminal showed up to the question."""
        ours, theirs = pty.openpty()
        with subprocess.Popen([PARAMCTL, "delete", model], stdin=theirs, stderr=theirs, text=True,
                              stdout=subprocess.PIPE,
                              env=environment(self.daemon.address)) as run:
            shown = b""
            while not shown.endswith(b"[y/N] "):
                self.assertTrue(select.select([ours], [], [], 30)[0], shown)
                shown += os.read(ours, 1024)
            os.write(ours, answer)
            stdout = run.communicate()[0]
        os.close(ours)
        os.close(theirs)
        return run.returncode, stdout, shown.decode()

    def test_delete_asks_on_a_terminal(self):
        self.daemon.start_worker("asked")
        for answer in (b"n\n", b"\n", b"yessir\n", b"\x04"):
            code, stdout, shown = self.delete_on_terminal("asked", answer)
            self.assertEqual((code, stdout), (1, ""), answer)
            self.assertIn("Delete model asked with all its state (2 tensors, 7,850 elements", shown)
            self.assertIn("asked", self.result("models"))
        code, stdout, _ = self.delete_on_terminal("asked", b"y\n")
        self.assertEqual((code, stdout), (0, "deleted model asked\n"))
        self.assertNotIn("asked", self.result("models"))


class Refusing(Paramctl):
    def test_no_daemon_is_a_failure_that_names_the_address(self):
        nowhere = os.path.join(self.daemon.folder.name, "nobody")
        for words in (("status",), ("models",), ("tensors", "demo"), ("ping",),
                      ("hash", "demo"), ("set", "demo", "biases", "lr=1"),
                      ("delete", "demo", "--yes"), ("snapshot",)):
            self.fails(1, f"see that paramd runs and listens on unix:{nowhere}", "--timeout",
                       "0.05", *words, address="unix:" + nowhere)

    def test_no_model_is_a_failure_that_says_where_to_look(self):
        for words in (("tensors", "nobody"), ("hash", "nobody"), ("set", "nobody", "all", "lr=1"),
                      ("delete", "nobody", "--yes")):
            self.fails(1, 'no model is named "nobody"; paramctl models lists', *words)

    def test_a_snapshot_of_a_daemon_that_keeps_nothing_is_a_failure_that_says_what_to_do(self):
        for words in (("snapshot",), ("snapshot", "--pause", "--json")):
            self.fails(1, "start it with --data-dir", *words)

    def test_a_wrong_command_line_is_told_from_a_failure(self):
        for words, sentence in {
                (): "paramctl --help lists them",
                ("stats",): '"stats" is no command',
                ("status", "demo"): "status takes no arguments",
                ("tensors",): "tensors takes MODEL",
                ("set", "demo", "all"): "set takes MODEL GROUP KEY=VALUE...",
                ("status", "--yes"): "--yes is for delete",
                ("status", "--count", "2"): "--count is for ping",
                ("import", "x", "--force"): "--force is for export",
                ("status", "--progress"): ("--progress is for export, import, "
                                           "snapshot and verify"),
                ("hash", "demo", "--pause"): "--pause is for snapshot",
                ("export", "demo"): "export takes MODEL DIR",
                ("export", "demo", "x", "--file-size", "5T"): '--file-size "5T" is not allowed',
                ("export", "demo", "x", "--file-size", "0"): '--file-size "0" is not allowed',
                ("import", "x", "--ack-level", "often"): '--ack-level "often" is not allowed',
                ("export", "demo", "x", "--ack-level", "applied"): "--ack-level is for import",
                ("import", "x", "--set", "lr"): "is not KEY=VALUE",
                ("ping", "--count", "0"): '--count "0" is not allowed',
                ("status", "--timeout", "soon"): '--timeout "soon" is not allowed',
                ("status", "--timeout", "nan"): '--timeout "nan" is not allowed',
                ("status", "--wide"): "--wide is no option",
                ("status", "-v"): "-v is no option",
                ("--address", "nonsense", "status"): "nonsense",
                ("help", "stats"): '"stats" is no command'}.items():
            self.fails(2, sentence, *words)
        run = self.run_ctl("status", "--address")
        self.assertEqual((run.returncode, run.stdout), (2, ""))
        self.assertIn("--address needs a value", run.stderr)

    def test_a_result_that_cannot_be_written_is_a_failure(self):
        for words in (("models",), ("models", "--json")):
            with open("/dev/full", "w", encoding="ascii") as full:
                run = self.run_ctl(*words, stdout=full)
            self.assertEqual(run.returncode, 1, words)
            self.assertIn("could not be written", run.stderr)


class Help(Paramctl):
    def test_help_names_every_command_and_the_exit_statuses(self):
        text = "\n".join(self.lines("--help"))
        for command in ("status", "models", "tensors MODEL", "set MODEL GROUP KEY=VALUE...",
                        "delete MODEL", "export MODEL DIR", "import DIR [MODEL]", "hash MODEL",
                        "snapshot", "ping", "help [COMMAND]"):
            self.assertIn(f"\n  {command} ", text)
        self.assertIn("PARAMD_ADDRESS", text)
        self.assertIn("Exit status: 0 done, 1 failed, 2 the command line is wrong.", text)
        self.assertEqual(text, "\n".join(self.lines("help")))

    def test_each_command_has_its_help_with_an_example(self):
        for command in ("status", "models", "tensors", "set", "delete", "export", "import",
                        "hash", "snapshot", "ping"):
            text = "\n".join(self.lines("help", command))
            self.assertIn(f"usage: paramctl [OPTION]... {command}", text)
            self.assertIn(f"    paramctl {command}", text.split("Examples:")[1])
            self.assertEqual(text, "\n".join(self.lines(command, "--help")))

    def test_version(self):
        self.assertRegex(self.result("--version"), r"\Aparamctl \d+\.\d+\.\d+\n\Z")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
