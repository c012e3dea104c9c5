"""One worker and one daemon give, through the wire and on several shards, bit for bit what the
optimizer gives when it is called directly."""

import os
import random
import unittest

from support import daemon, workers

STEPS = 200


class WireOracle(unittest.TestCase):
    def check(self, optimizer, isa=None):
        seed = int(os.environ.get("PARAMD_SEED", random.randrange(1 << 32)))
        print(f"{self.id()}: PARAMD_SEED={seed}", flush=True)
        environment = {"PARAMD_ISA": isa} if isa else None
        with daemon.Daemon("--shards", "3", environment=environment) as server:
            with workers.Worker("oracle", f"127.0.0.1:{server.port}", optimizer, STEPS,
                                seed) as worker:
                self.assertEqual(worker.finish()[-1], f"equal after {STEPS} steps")

    def test_adam_in_f32(self):
        self.check("adam")

    def test_adam_in_f32_by_a_daemon_of_another_vector_form(self):
        self.check("adam", isa="baseline")

    def test_adamw_with_a_schedule_and_scaled_bf16_gradients(self):
        self.check("adamw")

    def test_clipped_momentum_with_scaled_f16_gradients(self):
        self.check("momentum")


if __name__ == "__main__":
    unittest.main()
