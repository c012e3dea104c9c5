#!/usr/bin/python3
"""torch.optim.Adam at work for paramd-bench: its argument is the number of parameters. For each
number of threads on stdin it makes one step and prints how many Gparam/s that was.
"""

import sys
import time

import torch

parameters = int(sys.argv[1])
weights = torch.zeros(parameters, requires_grad=True)
weights.grad = torch.empty(parameters).uniform_(-1e-3, 1e-3)
optimizer = torch.optim.Adam([weights])
optimizer.step()  # the first one makes the moments
print("ready", flush=True)
for line in sys.stdin:
    torch.set_num_threads(int(line))
    begin = time.monotonic()
    optimizer.step()
    print(parameters / 1e9 / (time.monotonic() - begin), flush=True)
