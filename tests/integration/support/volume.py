"""A file system in an image file, whose power can be cut: the kernel's shutdown call drops all that
is not on its disk, as a dead machine does. Needs root and loop devices."""

import fcntl
import os
import shutil
import struct
import subprocess
import sys
import tempfile

# EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN are the same call; 2: without flushing the journal.
SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = struct.pack("I", 2)
IMAGE_BYTES = 32 << 30  # a hole but for what is written
MAKE = {"ext4": ["mkfs.ext4", "-q", "-F", "-E", "nodiscard"], "xfs": ["mkfs.xfs", "-q", "-K"]}


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


def missing():
    """Why there can be none here; None if there can."""
    if os.geteuid() != 0:
        return "it takes root to mount file systems"
    for kind in MAKE:
        try:
            with Volume(kind):
                pass
        except OSError as error:
            return str(error)
    return None


class Volume:
    """A mounted one; OSError where there can be none. Use it in a with statement."""

    def __init__(self, kind, image_bytes=IMAGE_BYTES):
        self.folder = tempfile.mkdtemp(prefix="paramd-volume-")
        self.image = os.path.join(self.folder, "image")
        self.path = os.path.join(self.folder, "mounted")
        os.mkdir(self.path)
        try:
            with open(self.image, "wb") as file:
                file.truncate(image_bytes)
            run(*MAKE[kind], self.image)
            self.mount()
        except BaseException:
            shutil.rmtree(self.folder)
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        run("umount", self.path)
        shutil.rmtree(self.folder)

    def mount(self):
        run("mount", "-o", "loop", self.image, self.path)

    def cut(self):
        """From now on nothing reaches the disk, and every call fails until it is mounted anew."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, NO_LOG_FLUSH)
        finally:
            os.close(fd)

    def mount_anew(self):
        """What the disk has is all there is."""
        run("umount", self.path)
        self.mount()


if __name__ == "__main__":
    WHY = missing()
    if WHY:
        sys.exit(f"powercut: left out: {WHY}")
