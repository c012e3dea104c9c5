#!/usr/bin/python3
"""Compares every optimizer with torch.optim over 1,000 steps. What must hold:

1. against the same optimizer in double precision, our RMS error over the elements of tensors of at
   least 1,024 is at most 1.25 times that of torch's own f32 result, for each optimizer and set of
   hyper-parameters;
2. at every size our result and torch's f32 result differ by at most 5e-6 * max(1, |p|).

What torch lacks (lion, ftrl) is compared with the papers' formulas in numpy: in f64 as the
reference, and in f32 in torch's place for the first criterion; the second is torch's only. All
sizes go through torch as one tensor, since these optimizers work element by element; the driver
gets them as separate blocks.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch

STEPS = 1000
# The gradients repeat after that many steps, to save memory: a prime, so that no period fits STEPS.
ROUNDS = 61
SIZES = list(range(1, 71)) + [127, 128, 129, 255, 511, 1000, 1023,
                              1024, 1025, 2047, 4097, 10000, 70000]
RATIO_MAX = 1.25
DIFFERENCE_MAX = 5e-6


def sgd(p, **options):
    return torch.optim.SGD([p], **options)


def nag(p, **options):
    return torch.optim.SGD([p], nesterov=True, **options)


def adam(p, **options):
    return torch.optim.Adam([p], **options)


def adamw(p, **options):
    return torch.optim.AdamW([p], **options)


def adagrad(p, **options):
    return torch.optim.Adagrad([p], **options)


def rmsprop(p, **options):
    return torch.optim.RMSprop([p], **options)


def adadelta(p, **options):
    return torch.optim.Adadelta([p], **options)


def amsgrad(p, **options):
    return torch.optim.Adam([p], amsgrad=True, **options)


def nadam(p, **options):
    # Without foreach torch 1.13 has a factor too many in a product (pytorch/pytorch#92699).
    return torch.optim.NAdam([p], foreach=True, **options)


class Lion:
    """Chen et al. 2023, algorithm 2."""

    def __init__(self, p, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, real=np.float64):
        self.p, self.m = p, np.zeros_like(p)
        self.lr, self.decay = real(lr), real(1 - lr * weight_decay)
        self.keep = [real(b) for b in betas]
        self.gain = [real(1 - b) for b in betas]
        self.least = np.inf

    def step(self, g):
        c = self.keep[0] * self.m + self.gain[0] * g
        self.least = min(self.least, np.abs(c / g).min())
        self.p = self.p * self.decay - self.lr * np.sign(c)
        self.m = self.keep[1] * self.m + self.gain[1] * g


class Ftrl:
    """McMahan et al. 2013, algorithm 1; z begins as what has the first weights for its solution."""

    def __init__(self, p, lr=0.1, beta=1.0, l1=0.0, l2=0.0, initial_accumulator_value=0.0,
                 real=np.float64):
        self.p, self.n = p, np.full_like(p, initial_accumulator_value)
        self.lr, self.beta, self.l1, self.l2 = real(lr), real(beta), real(l1), real(l2)
        self.z = -((self.beta + np.sqrt(self.n)) / self.lr + self.l2) * p - self.l1 * np.sign(p)

    def step(self, g):
        n = self.n + g * g
        sigma = (np.sqrt(n) - np.sqrt(self.n)) / self.lr
        self.z = self.z + g - sigma * self.p
        self.n = n
        bound = (self.beta + np.sqrt(n)) / self.lr + self.l2
        shrunk = self.z - np.sign(self.z) * self.l1
        self.p = np.where(np.abs(self.z) <= self.l1, type(self.l1)(0), -shrunk / bound)


# (optimizer, what makes the oracle, its options). They are ours too; betas become beta1, beta2.
SETS = [
    ("sgd", sgd, dict(lr=0.1)),
    ("sgd", sgd, dict(lr=0.01, weight_decay=0.01)),
    ("sgd", sgd, dict(lr=1e-3, weight_decay=0.5, maximize=True)),
    ("momentum", sgd, dict(lr=0.1, momentum=0.9)),
    ("momentum", sgd, dict(lr=0.01, momentum=0.5, dampening=0.3, weight_decay=0.01)),
    ("momentum", sgd, dict(lr=1e-3, momentum=0.99, maximize=True)),
    ("nag", nag, dict(lr=0.1, momentum=0.9)),
    ("nag", nag, dict(lr=0.01, momentum=0.5, weight_decay=0.01)),
    ("nag", nag, dict(lr=1e-3, momentum=0.99, maximize=True)),
    ("adagrad", adagrad, dict()),
    ("adagrad", adagrad,
     dict(lr=0.1, lr_decay=0.01, weight_decay=0.01, initial_accumulator_value=0.5)),
    ("adagrad", adagrad, dict(lr=1.0, eps=1e-3, maximize=True)),
    ("rmsprop", rmsprop, dict(lr=1e-3)),
    ("rmsprop", rmsprop, dict(lr=1e-3, momentum=0.9, alpha=0.9)),
    ("rmsprop", rmsprop, dict(lr=1e-3, centered=True, weight_decay=0.01)),
    ("rmsprop", rmsprop,
     dict(lr=1e-3, centered=True, momentum=0.5, eps=1e-3, maximize=True)),
    ("adadelta", adadelta, dict()),
    ("adadelta", adadelta, dict(lr=0.5, rho=0.95, weight_decay=0.01)),
    ("adadelta", adadelta, dict(lr=2.0, eps=1e-4, maximize=True)),
    ("adam", adam, dict()),
    ("adam", adam, dict(lr=0.01, betas=(0.8, 0.99), weight_decay=0.01)),
    ("adam", adam, dict(lr=1e-4, betas=(0.0, 0.9999), eps=1e-4, maximize=True)),
    ("adamw", adamw, dict()),
    ("adamw", adamw, dict(lr=0.01, betas=(0.8, 0.99), weight_decay=0.1)),
    ("adamw", adamw, dict(lr=3e-4, betas=(0.9, 0.95), maximize=True)),
    ("amsgrad", amsgrad, dict()),
    ("amsgrad", amsgrad, dict(lr=0.01, betas=(0.8, 0.9), weight_decay=0.01)),
    ("nadam", nadam, dict()),
    ("nadam", nadam, dict(lr=0.01, betas=(0.8, 0.99), momentum_decay=0.02, weight_decay=0.01)),
    ("lion", Lion, dict()),
    ("lion", Lion, dict(lr=1e-3, betas=(0.95, 0.98), weight_decay=0.1)),
    ("ftrl", Ftrl, dict()),
    ("ftrl", Ftrl, dict(lr=0.5, beta=0.5, l1=0.05, l2=0.1, initial_accumulator_value=0.1)),
]


def as_arguments(options):
    pairs = dict(options)
    if "betas" in pairs:
        pairs["beta1"], pairs["beta2"] = pairs.pop("betas")
    return [f"{name}={float(value)!r}" for name, value in pairs.items()]


def make_gradients(total, steady):
    """Rounds of gradients of very different sizes. Steady ones keep lion's sign argument away from
    0: each element has its own size and sign, all follow one course."""
    random = np.random.default_rng(20240117)
    size = np.exp2(random.uniform(-8, 0, total))
    if steady:
        course = np.where(np.arange(ROUNDS) % 31 < 19, 1.0, -0.9) + 0.07 * np.sin(np.arange(ROUNDS))
        sign = np.where(random.random(total) < 0.5, -1.0, 1.0)
        return (course[:, None] * (size * sign)[None, :]).astype(np.float32)
    g = random.standard_normal((ROUNDS, total), dtype=np.float32)
    g += 0.1 * random.standard_normal(total, dtype=np.float32)
    return g * size.astype(np.float32)


def run_torch(make, options, weights, gradients, dtype):
    torch.set_default_dtype(dtype)  # NAdam keeps its product in the default type
    p = torch.nn.Parameter(torch.from_numpy(weights).to(dtype))
    optimizer = make(p, **options)
    rounds = [torch.from_numpy(g) for g in gradients]
    p.grad = torch.empty_like(p)
    for t in range(STEPS):
        p.grad.copy_(rounds[t % ROUNDS])
        optimizer.step()
    torch.set_default_dtype(torch.float32)
    return p.detach().numpy()


def run_paper(make, options, weights, gradients, real):
    optimizer = make(weights.astype(real), real=real, **options)
    for t in range(STEPS):
        optimizer.step(gradients[t % ROUNDS].astype(real))
    # Where the argument comes near 0 compared with the gradient, its sign is a matter of rounding.
    assert getattr(optimizer, "least", 1.0) > 1e-5, "lion's sign argument comes too near 0"
    return optimizer.p


def compare(ours, theirs, exact):
    starts = np.cumsum([0] + SIZES)
    large = np.concatenate([np.arange(a, a + n) for a, n in zip(starts, SIZES) if n >= 1024])
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    rms = [np.sqrt(np.mean(np.square(x[large] - exact[large]))) for x in (ours, theirs)]
    difference = np.abs(ours - theirs) / np.maximum(1.0, np.abs(theirs))
    return rms[0], rms[1], difference.max()


def run_set(driver_path, folder, weights, gradients, name, make, options):
    """One row of the table: our RMS error, torch's, and the largest difference."""
    steady = name == "lion"
    command = [driver_path, name, str(STEPS), ",".join(map(str, SIZES)),
               os.path.join(folder, str(steady)), str(ROUNDS)] + as_arguments(options)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as driver:
        driver.stdin.write(weights.tobytes())
        driver.stdin.flush()
        if make in (Lion, Ftrl):
            exact, theirs = (run_paper(make, options, weights, gradients[steady], real)
                             for real in (np.float64, np.float32))
        else:
            exact, theirs = (run_torch(make, options, weights.copy(), gradients[steady], dtype)
                             for dtype in (torch.float64, torch.float32))
        ours = np.frombuffer(driver.communicate()[0], np.float32)
    assert driver.returncode == 0 and ours.size == weights.size, f"failed: {' '.join(command)}"
    assert np.mean(ours != weights) > 0.99, "not everything was trained"
    return compare(ours, theirs, exact)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("driver", help="the oracle_driver program")
    parser.add_argument("--only", help="one optimizer")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    total = sum(SIZES)
    weights = np.random.default_rng(7).standard_normal(total).astype(np.float32)
    sets = [s for s in SETS if arguments.only in (None, s[0])]
    assert sets, f"no optimizer {arguments.only}"
    failed = 0
    begin = time.monotonic()
    print(f"{total} elements in {len(SIZES)} sizes from 1 to {max(SIZES)}, {STEPS} steps")
    print(f"{'optimizer':<10}{'our RMS':>10}{'torch RMS':>10}{'ratio':>7}{'difference':>12}",
          "options")
    with tempfile.TemporaryDirectory() as folder:
        gradients = {steady: make_gradients(total, steady) for steady in (False, True)}
        for steady, rounds in gradients.items():
            rounds.tofile(os.path.join(folder, str(steady)))
        for name, make, options in sets:
            ours, theirs, difference = run_set(arguments.driver, folder, weights, gradients, name,
                                               make, options)
            good = ours <= RATIO_MAX * theirs
            good = good and (make in (Lion, Ftrl) or difference <= DIFFERENCE_MAX)
            failed += not good
            print(f"{name:<10}{ours:>10.3g}{theirs:>10.3g}{ours / theirs:>7.3f}{difference:>12.3g}",
                  " ".join(as_arguments(options)) or "(defaults)", "" if good else "FAILED",
                  flush=True)
    print(f"{failed} failed; {time.monotonic() - begin:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
