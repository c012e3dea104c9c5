"""README.md's worker, built as that page says against what `cmake --install` puts somewhere."""

import json
import os
import re
import subprocess
import tempfile
import unittest

from daemon import Daemon

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
GRADIENT = """
void compute_gradient(const float *weights, float *gradient);
void compute_gradient(const float *weights, float *gradient)
{
    for (int i = 0; i < 7840; i++) {
        gradient[i] = weights[i] - 1;
    }
}
"""


def run(*command, **environment):
    """Its output; a failure shows what it said."""
    done = subprocess.run(command, env={**os.environ, **environment}, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


class InstallTest(unittest.TestCase):
    """One installation, for a worker with each of the two libraries."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        cls.prefix = os.path.join(cls.folder, "prefix")
        run("cmake", "--install", os.environ["PARAMD_BUILD"], "--prefix", cls.prefix)
        cls.libraries = os.path.join(cls.prefix, os.environ["PARAMD_LIBDIR"])
        with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
            sample = re.search(r"```c\n(.*?)```", file.read(), re.S)
        for name, text in (("worker.c", sample[1]), ("gradient.c", GRADIENT)):
            with open(os.path.join(cls.folder, name), "w", encoding="utf-8") as file:
                file.write(text)
        cls.daemon = Daemon()
        cls.addClassCleanup(lambda: cls.daemon.stop())

    def flags(self, *arguments):
        """What pkg-config says when it looks into the installation first."""
        return run("pkg-config", *arguments,
                   PKG_CONFIG_PATH=os.path.join(self.libraries, "pkgconfig")).split()

    def trained(self, *libraries):
        """Builds the worker and runs it; how many pushes the daemon has applied since."""
        worker = os.path.join(self.folder, "worker")
        run("cc", "-Wall", "-Wextra", "-Werror", os.path.join(self.folder, "worker.c"),
            os.path.join(self.folder, "gradient.c"), *self.flags("--cflags", "paramd"),
            *libraries, "-o", worker)
        run(worker, PARAMD_ADDRESS=self.daemon.address, LD_LIBRARY_PATH=self.libraries)
        paramctl = os.path.join(self.prefix, "bin", "paramctl")
        told = json.loads(run(paramctl, "tensors", "demo", "--json",
                              PARAMD_ADDRESS=self.daemon.address))
        run(paramctl, "delete", "demo", "--yes", PARAMD_ADDRESS=self.daemon.address)
        return told["counters"]["pushes_applied"]

    def test_the_worker_of_the_readme_trains(self):
        self.assertEqual(self.trained(*self.flags("--libs", "paramd")), 1000)

    def test_it_trains_with_the_static_library_too(self):
        self.assertEqual(self.trained("-Wl,-Bstatic", *self.flags("--libs", "paramd"),
                                      "-Wl,-Bdynamic",
                                      *self.flags("--libs", "libuv", "libprotobuf-c", "libxxhash"),
                                      "-lm"), 1000)

    def test_the_daemon_is_installed(self):
        said = run(os.path.join(self.prefix, "bin", "paramd"), "--version")
        self.assertRegex(said, r"^paramd \d+\.\d+\.\d+")


if __name__ == "__main__":
    unittest.main()
