#!/usr/bin/env python3
"""paramctl export and import: what is written is what other programs read, what comes back is the
same model bit for bit, and what does not fit is refused with a sentence.
"""

import fcntl
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

import numpy as np

import support
import tensors
from support import PARAMCTL, PUSHER, environment

BLOCK = 65536
LARGE_ELEMENTS = 24 << 20
MEMORY_BYTES = 64 << 20  # less than one part of a model with so many
RANDOM = np.random.default_rng(7)


def noise(*shape):
    return RANDOM.standard_normal(shape, dtype=np.float32)


def content(folder):
    """Name -> bytes of every file."""
    files = {}
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            files[name] = file.read()
    return files


class Checkpoint(support.Paramctl):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def models(self):
        return [model["name"] for model in self.document("models")["models"]]

    def import_plain(self, model, weights, *words, dtypes=None):
        folder = self.path(model + ".plain")
        os.mkdir(folder)
        tensors.write_file(os.path.join(folder, "model.safetensors"), weights, dtypes)
        return self.document("import", folder, model, *words)

    def export(self, model, name, *words):
        self.document("export", model, self.path(name), *words)
        return content(self.path(name))


class RoundTrip(Checkpoint):
    def test_a_checkpoint_without_paramd_json_becomes_a_model_of_one_group(self):
        weights = {"layer.0/w": noise(300, 700), "b": noise(3), "half": noise(1000),
                   "brain": noise(5, 2)}
        brain = weights["brain"].view(np.uint32) >> 16
        self.assertEqual(
            self.import_plain("plain", {**weights, "brain": brain}, "--optimizer", "adamw", "--set",
                              "lr=0.5", "--set", "schedule=cosine", "--set", "total=9",
                              dtypes={"half": "F16", "brain": "BF16"}),
            {"model": "plain", "directory": self.path("plain.plain"), "tensors": 4,
             "elements": 211013, "optimizer_state": False})
        (group,) = self.document("tensors", "plain")["groups"]
        self.assertEqual((group["name"], group["optimizer"], group["hypers"]["lr"],
                          group["hypers"]["schedule"]), ("all", "adamw", 0.5, "cosine"))
        self.assertEqual(self.export("plain", "out").keys(),
                         {"model.safetensors", "optimizer.safetensors", "paramd.json"})
        weights["half"] = weights["half"].astype(np.float16).astype(np.float32)
        weights["brain"] = (brain.astype(np.uint32) << 16).view(np.float32)
        out = tensors.read_file(self.path("out/model.safetensors"))
        self.assertEqual(list(out), list(weights))
        for name, array in weights.items():
            self.assertEqual(out[name][0], "F32")
            self.assertEqual(out[name][1].tobytes(), array.tobytes(), name)
            self.assertEqual(out[name][1].shape, array.shape)
        state = tensors.read_file(self.path("out/optimizer.safetensors"))
        self.assertEqual(len(state), 12)
        self.assertEqual(state["state.b.exp_avg_sq"][1].tolist(), [0, 0, 0])
        self.assertEqual((state["state.b.step"][1].shape, state["state.b.step"][1]), ((), 0))

    def test_a_trained_model_comes_back_bit_for_bit_and_goes_on_as_before(self):
        for optimizer, *hypers in (("adam",), ("sgd",), ("amsgrad",), ("nadam",),
                                   ("rmsprop", "momentum=0.5", "centered=1")):
            sets = [word for hyper in hypers for word in ("--set", hyper)]
            self.import_plain(optimizer, {"w": noise(3, 50000), "b": noise(10)}, "--optimizer",
                              optimizer, *sets)
            # Of the wide tensor's three blocks the middle one has twice the updates.
            first = [tensors.record(0, noise(150000)), tensors.record(0, noise(BLOCK), 1, 1),
                     tensors.record(1, noise(10))]
            then = [tensors.record(0, noise(150000)), tensors.record(1, noise(10))]
            tensors.push(self.daemon.address, optimizer, first)
            before = self.export(optimizer, optimizer + ".1")
            self.result("import", self.path(optimizer + ".1"), optimizer + "-again")
            after = self.export(optimizer + "-again", optimizer + ".2")
            description = json.loads(before.pop("paramd.json"))
            self.assertEqual([one["step"] for one in description["tensors"]], [[1, 2, 1], 1])
            self.assertEqual(json.loads(after.pop("paramd.json")),
                             {**description, "model": optimizer + "-again"})
            self.assertEqual(before, after)
            for model in (optimizer, optimizer + "-again"):
                tensors.push(self.daemon.address, model, then)
            later = self.export(optimizer, optimizer + ".3")
            self.assertNotEqual(later["model.safetensors"], before["model.safetensors"])
            again = self.export(optimizer + "-again", optimizer + ".4")
            for name in before:
                self.assertEqual(later[name], again[name], (optimizer, name))
            state = tensors.read_arrays(self.path(optimizer + ".3"), "optimizer")
            self.assertEqual((state["state.w.step"], state["state.b.step"]), (3, 2))

    def test_what_set_changed_comes_back_and_its_program_may_join_again(self):
        self.daemon.start_worker("demo")
        self.result("set", "demo", "weights", "lr=0.125", "warmup=7")
        before = self.document("tensors", "demo")["groups"]
        self.export("demo", "out")
        with open(self.path("out/paramd.json"), encoding="utf-8") as file:
            groups = json.load(file)["groups"]
        self.assertEqual([group["changed"] for group in groups], [{"lr": 0.125, "warmup": 7}, {}])
        self.daemon.stop_workers()
        self.result("delete", "demo", "--yes")
        self.result("import", self.path("out"))
        self.assertEqual(self.document("tensors", "demo")["groups"], before)
        self.daemon.start_worker("demo")  # with the definition it was created with

    def test_models_larger_than_a_piece_and_of_many_tensors_come_back(self):
        weights = {"large": noise(37, 80000), **{f"small.{i}": noise(1 + i) for i in range(2500)},
                   "last": noise(2 * 1024 * 1024)}
        self.import_plain("large", weights, "--optimizer", "lion")
        self.export("large", "out", "--file-size", "9M")
        self.assertEqual(sorted(name for name in os.listdir(self.path("out")) if "model" in name),
                         [*(f"model-{i:05}-of-00004.safetensors" for i in range(1, 5)),
                          "model.safetensors.index.json"])
        with open(self.path("out/model.safetensors.index.json"), encoding="utf-8") as file:
            index = json.load(file)
        self.assertEqual(index["metadata"],
                         {"total_size": sum(array.nbytes for array in weights.values())})
        self.assertEqual(index["weight_map"],
                         {name: file for file in sorted(set(index["weight_map"].values()))
                          for name in tensors.read_file(self.path("out/" + file))})
        self.result("import", self.path("out"), "large-again")
        one = self.export("large-again", "one")
        out = tensors.read_arrays(self.path("one"), "model")
        self.assertEqual(list(out), list(weights))
        for name, array in weights.items():
            self.assertEqual(out[name].tobytes(), array.tobytes(), name)
        # The parts of the earlier checkpoint go.
        self.assertEqual(self.export("large", "out", "--force").keys(), one.keys())

    @unittest.skipIf(support.sanitized(), "a sanitizer needs the address space")
    def test_memory_does_not_grow_with_the_model(self):
        folder = self.path("plain")
        os.mkdir(folder)
        weights = np.zeros(LARGE_ELEMENTS, np.float32)
        weights[::BLOCK] = noise(LARGE_ELEMENTS // BLOCK)
        tensors.write_file(os.path.join(folder, "model.safetensors"), {"w": weights})
        for words in (("import", folder, "huge", "--optimizer", "momentum"),
                      ("export", "huge", self.path("out")),
                      ("import", self.path("out"), "huge-again")):
            run = subprocess.run(
                [PARAMCTL, *words, "--timeout", "60"], text=True, capture_output=True, check=False,
                env=environment(self.daemon.address), preexec_fn=lambda: resource.setrlimit(
                    resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES)))
            self.assertEqual((run.returncode, run.stderr), (0, ""), words)
        self.assertEqual(*(self.result("hash", name, "--timeout", "60").split()[0]
                           for name in ("huge", "huge-again")))

    def test_state_without_paramd_json_is_taken(self):
        folder = self.path("state")
        os.mkdir(folder)
        state = {"state.w.exp_avg": noise(20), "state.w.exp_avg_sq": abs(noise(20)),
                 "state.w.step": np.array([41])}
        tensors.write_file(folder + "/model.safetensors", {"w": noise(20), "new": noise(4)})
        tensors.write_file(folder + "/optimizer.safetensors", state, {"state.w.step": "I64"})
        self.assertTrue(self.document("import", folder, "state", "--optimizer",
                                      "adam")["optimizer_state"])
        self.export("state", "out")
        out = tensors.read_arrays(self.path("out"), "optimizer")
        self.assertEqual(out["state.w.exp_avg"].tobytes(), state["state.w.exp_avg"].tobytes())
        self.assertEqual(out["state.w.exp_avg_sq"].tobytes(), state["state.w.exp_avg_sq"].tobytes())
        self.assertEqual((out["state.w.step"], out["state.new.step"]), (41, 0))

    def test_while_workers_push_each_block_is_of_one_version(self):
        # One group that adds the gradient: every element of a block is the number of its updates.
        self.import_plain("busy", {"w": np.zeros(40 * BLOCK)}, "--optimizer", "sgd", "--set",
                          "lr=1", "--set", "maximize=1")
        ones = [tensors.record(0, np.ones(BLOCK), block, 1) for block in range(40)]
        with subprocess.Popen([PUSHER, self.daemon.address, "busy"],
                              stdin=subprocess.PIPE) as pusher:
            pushing = threading.Event()
            enough = threading.Event()

            def feed():
                while not enough.is_set():
                    for one in ones:
                        pusher.stdin.write(one)
                    pushing.set()
                pusher.stdin.close()
            feeder = threading.Thread(target=feed)
            feeder.start()
            pushing.wait()
            self.export("busy", "out")
            enough.set()
            feeder.join()
        self.assertEqual(pusher.returncode, 0)
        blocks = tensors.read_arrays(self.path("out"), "model")["w"].reshape(40, BLOCK)
        with open(self.path("out/paramd.json"), encoding="utf-8") as file:
            steps = json.load(file)["tensors"][0]["step"]
        steps = steps if isinstance(steps, list) else [steps] * 40
        for block, step in zip(blocks, steps):
            self.assertEqual((block.min(), block.max()), (step, step))
        self.assertGreater(max(steps), 0)


class Writing(Checkpoint):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.daemon.start_worker("demo")

    def test_a_checkpoint_is_replaced_only_if_forced(self):
        before = self.export("demo", "out")
        self.fails(1, "give --force to replace it", "export", "demo", self.path("out"))
        self.assertEqual(content(self.path("out")), before)
        self.result("set", "demo", "biases", "lr=0.5")
        self.assertNotEqual(self.export("demo", "out", "--force"), before)
        self.result("set", "demo", "biases", "lr=0.25")

    def test_other_files_of_the_directory_stay(self):
        os.mkdir(self.path("out"))
        for name in ("config.json", "model-card.md", "model-00001-of-00002.safetensors.bak"):
            with open(self.path("out/" + name), "w", encoding="ascii") as file:
                file.write(name)
        files = self.export("demo", "out", "--force")
        self.assertEqual(files["config.json"], b"config.json")
        self.assertEqual(len(files), 6)

    def test_an_export_that_fails_leaves_what_was_there(self):
        before = self.export("demo", "out")
        # Python ignores SIGXFSZ, and so does its child: a write beyond the limit is an error.
        for limit in (40000, 0):
            run = subprocess.run(
                [PARAMCTL, "export", "demo", self.path("out"), "--force"], text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, restore_signals=False, check=False,
                env=environment(self.daemon.address),
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
            self.assertEqual((run.returncode, run.stdout), (1, ""))
            self.assertRegex(run.stderr, r"\Aparamctl: .*safetensors\.part could not be .*\n\Z")
            self.assertEqual(content(self.path("out")), before)

    def test_two_exports_do_not_write_into_one_directory(self):
        os.mkdir(self.path("out"))
        held = os.open(self.path("out"), os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_EX)
        self.fails(1, "another export writes there", "export", "demo", self.path("out"))
        os.close(held)
        self.export("demo", "out")

    def test_what_cannot_be_exported_is_said(self):
        self.fails(1, 'no model is named "nobody"', "export", "nobody", self.path("out"))
        self.fails(1, "could not be made: No such file", "export", "demo", self.path("no/where"))
        self.import_plain("many", {f"t{i}": noise(1) for i in range(401)}, "--optimizer", "sgd")
        self.fails(1, "give a larger --file-size", "export", "many", self.path("many"),
                   "--file-size", "1")
        self.assertEqual(os.listdir(self.path("many")), [])

    def test_progress_is_shown_where_it_is_asked_for(self):
        run = self.run_ctl("export", "demo", self.path("out"), "--progress")
        self.assertEqual(run.returncode, 0)
        self.assertRegex(run.stderr, r"\Aexport:   0%  0 B of 91\.9 KiB\n(.*\n)*"
                                     r"export: 100%  91\.9 KiB of 91\.9 KiB.*\n\Z")
        self.assertRegex(run.stdout, r"\Aexported model demo to .*: 2 tensors, 7,850 elements, "
                                     r"91\.9 KiB in 2 files\n\Z")
        run = self.run_ctl("import", self.path("out"), "shown", "--progress")
        self.assertRegex(run.stderr, r"import: 100%  91\.9 KiB of 91\.9 KiB.*\n\Z")
        self.assertRegex(run.stdout, r"\Aimported model shown from .*: 2 tensors, 7,850 elements, "
                                     r"with optimizer state\n\Z")

    def test_nobody_keeps_a_session(self):
        self.export("demo", "out")
        self.result("import", self.path("out"), "alone")
        sessions = {model["name"]: model["sessions"] for model in self.document("models")["models"]}
        self.assertEqual((sessions["demo"], sessions["alone"]), (1, 0))


class Refusing(Checkpoint):
    """Each case is a good checkpoint with one thing spoilt."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.good = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.good)
        cls.daemon.start_worker("demo")
        subprocess.run([PARAMCTL, "export", "demo", cls.good + "/out"], check=True,
                       stdout=subprocess.DEVNULL, env=environment(cls.daemon.address))

    def setUp(self):
        super().setUp()
        shutil.copytree(self.good + "/out", self.path("bad"))

    def refuses(self, sentence, *words, code=1):
        before = self.models()
        self.fails(code, sentence, "import", self.path("bad"), "bad", *words)
        self.assertEqual(self.models(), before)

    def change(self, stem, changed, without=()):
        """Writes a file again with these tensors added or replaced."""
        path = self.path(f"bad/{stem}.safetensors")
        kept = {name: array for name, (_, array) in tensors.read_file(path).items()
                if name not in without}
        tensors.write_file(path, {**kept, **changed})

    def describe(self, change):
        with open(self.path("bad/paramd.json"), "r+", encoding="utf-8") as file:
            document = json.load(file)
            change(document)
            file.seek(0)
            file.truncate()
            json.dump(document, file)

    def test_what_does_not_fit_the_model(self):
        for stem, changed, without, sentence in (
                ("model", {"layer.w": noise(784, 10)}, (), "layer.w has another shape than 10x784"),
                ("model", {}, ("layer.b",), "tensor layer.b is missing"),
                ("model", {"more": noise(3)}, (), "1 tensors of model.safetensors are none"),
                ("optimizer", {}, ("state.layer.w.exp_avg_sq",),
                 "state.layer.w.exp_avg_sq is missing, which adam keeps"),
                ("optimizer", {}, ("state.layer.b.step",), "state.layer.b.step is missing"),
                ("optimizer", {"state.layer.b.exp_avg": noise(10)}, (),
                 "1 tensors of optimizer.safetensors are none"),
                ("optimizer", {"state.layer.w.exp_avg": noise(7840)}, (), "has another shape"),
                ("optimizer", {"state.layer.w.step": np.array(2.5)}, (), "is not a whole number"),
                ("optimizer", {"state.layer.w.step": np.array(-1)}, (), "is not a whole number"),
                ("optimizer", {"state.layer.w.step": noise(2)}, (), "is not a whole number"),
                ("model", {"layer.b": np.full(10, np.nan)}, (), "not finite"),
                ("optimizer", {"state.layer.w.exp_avg": np.full((10, 784), np.inf)}, (),
                 "not finite")):
            with self.subTest(sentence):
                shutil.rmtree(self.path("bad"))
                shutil.copytree(self.good + "/out", self.path("bad"))
                self.change(stem, changed, without)
                self.refuses(sentence)

    def test_what_cannot_be_trained(self):
        os.remove(self.path("bad/paramd.json"))
        os.remove(self.path("bad/optimizer.safetensors"))
        words = ("--optimizer", "adam")
        path = self.path("bad/model.safetensors")
        for arrays, dtypes, sentence in (
                ({"count": np.array([7])}, {"count": "I64"}, "count is I64: only F32"),
                ({"one": np.array(7)}, {}, "tensor one has no elements or no dimension"),
                ({"none": np.zeros((3, 0))}, {}, "tensor none has no elements"),
                ({"w w": noise(3)}, {}, "w w"), ({}, {}, "bad")):
            with self.subTest(sentence):
                tensors.write_file(path, arrays, dtypes)
                self.refuses(sentence, *words)

    def test_what_paramd_json_must_say(self):
        for change, sentence in (
                (lambda one: one.update(version=2), "take a newer one"),
                (lambda one: one.update(block_elements=1000), "does not describe a model"),
                (lambda one: one.pop("groups"), "does not describe"),
                (lambda one: one["groups"][0].update(optimizer="adum"), 'no optimizer "adum"'),
                (lambda one: one["groups"][0]["hypers"].update(lr=-1), "lr=-1 is not allowed"),
                (lambda one: one["groups"][0]["changed"].update(lr=-1), "lr=-1 is not allowed"),
                (lambda one: one["groups"][1].update(changed=[]), "does not describe"),
                (lambda one: one["tensors"][0].update(group="none"), "does not describe"),
                (lambda one: one["tensors"][0].update(step=[3, 3]), "does not describe"),
                (lambda one: one["tensors"][0].update(step=2 ** 53 + 1), "does not describe"),
                (lambda one: one["tensors"][0].update(shape=[2 ** 40, 2 ** 40]), "not describe"),
                (lambda one: one.update(block_elements=1025), "block_elements")):
            with self.subTest(sentence):
                shutil.copy(self.good + "/out/paramd.json", self.path("bad/paramd.json"))
                self.describe(change)
                self.refuses(sentence)
        with open(self.path("bad/paramd.json"), "w", encoding="ascii") as file:
            file.write("{")
        self.refuses("paramd.json cannot be read")

    def test_files_that_are_broken_or_missing(self):
        path = self.path("bad/model.safetensors")
        good = content(self.path("bad"))["model.safetensors"]
        for broken in (b"", good[:7], good[:100], good[:-1], good + b"\0", b"\xff" * 8 + good[8:],
                       good[:8] + b"[" + good[9:]):
            with open(path, "wb") as file:
                file.write(broken)
            self.refuses("model.safetensors is no sound safetensors file")
        os.remove(path)
        for make, remove in ((os.mkfifo, os.remove), (os.mkdir, os.rmdir)):
            make(path)
            self.refuses("model.safetensors is no file")
            remove(path)
        self.refuses("holds no model.safetensors and no model.safetensors.index.json")
        os.remove(self.path("bad/optimizer.safetensors"))
        with open(path, "wb") as file:
            file.write(good)
        self.refuses("is missing, which adam keeps")
        self.fails(1, "could not be opened", "import", self.path("nowhere"), "bad")

    def test_an_index_that_does_not_agree(self):
        os.rename(self.path("bad/model.safetensors"), self.path("bad/a.safetensors"))
        for index, sentence in (
                ({"layer.w": "a.safetensors", "layer.b": "b.safetensors"}, "could not be opened"),
                ({"layer.w": "a.safetensors"}, "does not agree"),
                ({"layer.w": "a.safetensors", "layer.c": "a.safetensors"}, "does not agree"),
                ({"layer.w": "../out/a.safetensors"}, "has a slash"),
                ({"layer.w": 7}, "names no file for tensor layer.w"), ({}, "does not agree")):
            with open(self.path("bad/model.safetensors.index.json"), "w", encoding="ascii") as file:
                json.dump({"metadata": {}, "weight_map": index}, file)
            self.refuses(sentence)

    def test_a_command_line_that_does_not_fit(self):
        self.refuses("leave --optimizer and --set out", "--optimizer", "adam", code=2)
        self.refuses("leave --optimizer and --set out", "--set", "lr=1", code=2)
        os.remove(self.path("bad/paramd.json"))
        self.refuses("has no paramd.json: say which model", code=2)
        self.fails(2, "has no paramd.json: say which model", "import", self.path("bad"),
                   "--optimizer", "adam")

    def test_a_name_that_is_taken(self):
        before = content(self.path("bad"))
        self.fails(1, "model demo exists", "import", self.path("bad"))
        self.result("import", self.path("bad"), "taken")
        self.fails(1, "model taken: it exists and has values: delete it first", "import",
                   self.path("bad"), "taken")
        self.assertEqual(content(self.path("bad")), before)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
