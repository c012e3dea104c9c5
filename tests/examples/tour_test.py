"""Every claim the pictures of the tour make, as numbers: each part runs once, through a daemon."""

import csv
import os
import subprocess
import tempfile
import unittest

from daemon import Daemon

HERE = os.path.dirname(os.path.abspath(__file__))
TOUR = os.path.join(HERE, "../../client/examples/tour")


class TourTest(unittest.TestCase):
    """One daemon and one folder of results for all claims."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()
        cls.addClassCleanup(lambda: cls.daemon.stop())
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.fashion = cls.part("fashion", "2000", "3")
        cls.ravine = cls.part("ravine")
        cls.rare = cls.part("rare")

    @classmethod
    def part(cls, name, *arguments):
        """Runs one part: its table as {optimizer: {column: number}}."""
        done = cls.daemon.run("tour-" + name, cls.folder.name, *arguments)
        if done.returncode != 0:
            raise AssertionError(f"tour-{name} failed: {done.stderr}")
        with open(os.path.join(cls.folder.name, name + ".tsv"), encoding="utf-8") as file:
            return {row.pop("name"): {key: float(value) for key, value in row.items()}
                    for row in csv.DictReader(file, delimiter="\t")}

    # Fashion-MNIST

    def test_all_optimizers_take_part_with_the_same_number_of_examples(self):
        updates = {name: row["updates"] for name, row in self.fashion.items()}
        self.assertEqual(updates.pop("bgd"), 3)
        self.assertEqual(updates.pop("sgd"), 6000)
        self.assertEqual(set(updates), {"mbgd", "momentum", "nag", "adagrad", "adadelta",
                                        "rmsprop", "adam", "adamw", "amsgrad", "nadam", "lion",
                                        "ftrl"})
        self.assertEqual(set(updates.values()), {6000 // 64})

    def test_full_batches_learn_least_from_the_same_examples(self):
        losses = {name: row["loss"] for name, row in self.fashion.items()}
        bgd = losses.pop("bgd")
        self.assertGreater(bgd, 1.5 * max(losses.values()))

    def test_every_other_optimizer_learns(self):
        for name, row in self.fashion.items():
            if name != "bgd":
                self.assertLess(row["loss"], 0.8, name)
                self.assertGreater(row["accuracy"], 65.0, name)

    def test_adam_gets_further_than_plain_mini_batches(self):
        self.assertLess(self.fashion["adam"]["loss"], 0.95 * self.fashion["mbgd"]["loss"])

    # The ravine

    def test_sgd_is_thrown_from_wall_to_wall_at_every_step(self):
        self.assertEqual(self.ravine["sgd"]["sign_changes"], 100)

    def test_the_first_moment_cancels_the_oscillation_at_the_same_rate(self):
        sgd, averaged = self.ravine["sgd"], self.ravine["averaged"]
        self.assertLess(averaged["sign_changes"], 0.5 * sgd["sign_changes"])
        self.assertLess(averaged["across"], 0.33 * sgd["across"])
        self.assertAlmostEqual(averaged["remaining"], sgd["remaining"],
                               delta=0.1 * sgd["remaining"])

    def test_momentum_gets_further_along_the_floor(self):
        self.assertLess(self.ravine["momentum"]["remaining"], 0.1 * self.ravine["sgd"]["remaining"])
        self.assertLess(self.ravine["nag"]["height"], 0.1 * self.ravine["momentum"]["height"])

    def test_adam_crosses_less_often_than_rmsprop_which_lacks_the_first_moment(self):
        self.assertLess(self.ravine["adam"]["sign_changes"],
                        0.25 * self.ravine["rmsprop"]["sign_changes"])
        self.assertLess(self.ravine["adam"]["height"], 0.1 * self.ravine["sgd"]["height"])

    # Rare features

    def test_all_learn_the_weights_of_frequent_features(self):
        for name, row in self.rare.items():
            self.assertLess(row["50%"], 0.05, name)

    def test_sgd_is_slow_on_rare_features_and_adam_is_not(self):
        sgd, adam = self.rare["sgd"], self.rare["adam"]
        self.assertGreater(sgd["2%"], 5 * sgd["50%"])
        self.assertLess(adam["2%"], 0.25 * sgd["2%"])
        self.assertLess(adam["0.2%"], 0.5 * sgd["0.2%"])

    def test_momentum_alone_does_not_help_rare_features(self):
        self.assertGreater(self.rare["momentum"]["0.2%"], 0.9 * self.rare["sgd"]["0.2%"])

    def test_rare_weights_get_larger_steps_from_the_second_moment(self):
        for name in ("adagrad", "rmsprop", "adam"):
            row = self.rare[name]
            steps = [row["step " + share] for share in ("50%", "10%", "2%", "0.2%")]
            self.assertEqual(steps, sorted(steps), name)
            self.assertGreater(steps[3], 8 * steps[0], name)
        self.assertEqual(self.rare["sgd"]["step 0.2%"], 1)

    # The pictures

    def test_gnuplot_draws_every_picture(self):
        for name in ("fashion", "ravine", "rare"):
            done = subprocess.run(["gnuplot", "-e", f"dir='{self.folder.name}'",
                                   os.path.join(TOUR, name + ".gp")],
                                  capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""), name)
            picture = os.path.join(self.folder.name, name + ".svg")
            with open(picture, encoding="utf-8") as file:
                self.assertTrue(file.read().rstrip().endswith("</svg>"), name)


if __name__ == "__main__":
    unittest.main()
