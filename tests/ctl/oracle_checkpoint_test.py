#!/usr/bin/env python3
"""A Fashion-MNIST model in PyTorch: its export loads as it is, its Adam goes on there for 100
steps, what was trained there goes back by import, and from then on both go the same way: over the
next 100 steps the weights differ by at most 1e-6.
"""

import gzip
import os
import sys
import unittest

import numpy as np
import torch

import tensors
from checkpoint_test import Checkpoint

DIFFERENCE_MAX = 1e-6
STATE = ("exp_avg", "exp_avg_sq", "step")
DATA = "/usr/share/datasets/fashion-mnist/t10k-"


def read_idx(name, head_bytes):
    with gzip.open(DATA + name, "rb") as file:
        return np.frombuffer(file.read(), np.uint8, offset=head_bytes)


IMAGES = read_idx("images-idx3-ubyte.gz", 16).reshape(-1, 784).astype(np.float32) / 255
LABELS = read_idx("labels-idx1-ubyte.gz", 8).astype(np.int64)


def network():
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(784, 128), torch.nn.ReLU(),
                               torch.nn.Linear(128, 10))


class Trainer:
    """A network with torch's Adam on batches of images that a seed chooses."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.network = network()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-3)

    def step(self):
        """One step; the pushes that do the same in the daemon."""
        batch = self.random.integers(0, len(LABELS), 64)
        self.optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(self.network(torch.from_numpy(IMAGES[batch])),
                                                 torch.from_numpy(LABELS[batch]))
        loss.backward()
        pushes = [tensors.record(i, parameter.grad.numpy())
                  for i, parameter in enumerate(self.network.parameters())]
        self.optimizer.step()
        return pushes

    def steps(self, count):
        return [push for _ in range(count) for push in self.step()]

    def weights(self):
        return {name: array.detach().numpy() for name, array in self.network.named_parameters()}

    def load(self, folder):
        """What a user of an export writes."""
        weights = tensors.read_arrays(folder, "model")
        state = tensors.read_arrays(folder, "optimizer")
        self.network.load_state_dict(
            {name: torch.from_numpy(array.copy()) for name, array in weights.items()})
        document = self.optimizer.state_dict()
        document["state"] = {
            i: {key: torch.from_numpy(state[f"state.{name}.{key}"].copy()) for key in STATE}
            for i, name in enumerate(weights)}
        self.optimizer.load_state_dict(document)

    def save(self, folder):
        state = {f"state.{name}.{key}": self.optimizer.state[parameter][key].numpy()
                 for name, parameter in self.network.named_parameters() for key in STATE}
        tensors.write_file(os.path.join(folder, "model.safetensors"), self.weights())
        tensors.write_file(os.path.join(folder, "optimizer.safetensors"), state)


class InTorch(Checkpoint):
    def difference(self, model, trainer):
        self.export(model, model + ".now", "--force")
        held = tensors.read_arrays(self.path(model + ".now"), "model")
        return max(abs(held[name] - array).max() for name, array in trainer.weights().items())

    def test_adam_goes_on_in_torch_and_back_in_the_daemon(self):
        elsewhere = Trainer(1)
        self.import_plain("mlp", elsewhere.weights(), "--optimizer", "adam", "--set", "lr=1e-3")
        tensors.push(self.daemon.address, "mlp", elsewhere.steps(60))
        self.assertLessEqual(self.difference("mlp", elsewhere), DIFFERENCE_MAX)

        self.export("mlp", "out")
        trainer = Trainer(2)
        trainer.load(self.path("out"))
        here = trainer.steps(100)
        trainer.save(self.path("out"))
        self.result("import", self.path("out"), "mlp-back")
        self.assertEqual(self.difference("mlp-back", trainer), 0)
        self.export("mlp-back", "back")
        back = tensors.read_arrays(self.path("back"), "optimizer")
        self.assertEqual({float(back[name]) for name in back if name.endswith(".step")}, {160})

        further = trainer.steps(100)
        tensors.push(self.daemon.address, "mlp-back", further)
        self.assertLessEqual(self.difference("mlp-back", trainer), DIFFERENCE_MAX)
        # As if it had never left: the daemon's own model, given the same gradients.
        tensors.push(self.daemon.address, "mlp", here + further)
        self.assertLessEqual(self.difference("mlp", trainer), DIFFERENCE_MAX)

        moved = Trainer(2)
        moved.load(self.path("back"))
        distance = max(abs(moved.weights()[name] - array).max()
                       for name, array in trainer.weights().items())
        self.assertGreater(distance, 1000 * DIFFERENCE_MAX)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
