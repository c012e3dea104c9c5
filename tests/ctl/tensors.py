"""safetensors files and records for ctl_pusher, made and read here without any of the code under
test: by what the format's documentation says.
"""

import json
import os
import struct
import subprocess

import numpy as np

from support import PUSHER

DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8", "I64": "<i8"}


def read_file(path):
    """Name -> (dtype as the format spells it, array); every byte belongs to one tensor."""
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + length])
    assert length % 8 == 0 and data[8:9] == b"{", path
    assert header.pop("__metadata__")["format"] == "pt", path
    buffer = memoryview(data)[8 + length:]
    tensors = {}
    at = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        assert begin == at, path
        at = end
        values = np.frombuffer(buffer[begin:end], DTYPES[entry["dtype"]])
        tensors[name] = (entry["dtype"], values.reshape(entry["shape"]))
    assert at == len(buffer), path
    return tensors


def read_arrays(folder, stem):
    """Name -> array of a set of files, by its index if it has one."""
    index = os.path.join(folder, f"{stem}.safetensors.index.json")
    if not os.path.exists(index):
        files = [f"{stem}.safetensors"]
    else:
        with open(index, encoding="utf-8") as file:
            files = sorted(set(json.load(file)["weight_map"].values()))
    tensors = {}
    for name in files:
        tensors.update(read_file(os.path.join(folder, name)))
    return {name: array for name, (_, array) in tensors.items()}


def write_file(path, tensors, dtypes=None):
    """tensors: name -> array; dtypes: name -> how the format spells it, if not F32."""
    header = {"__metadata__": {"format": "pt"}}
    buffer = bytearray()
    for name, array in tensors.items():
        dtype = (dtypes or {}).get(name, "F32")
        values = np.ascontiguousarray(array, DTYPES[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": list(np.shape(array)),
                        "data_offsets": [len(buffer), len(buffer) + len(values)]}
        buffer += values
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + buffer)


def record(tensor, gradient, first_block=0, blocks=0):
    """One push for ctl_pusher."""
    return struct.pack("<QQQ", tensor, first_block, blocks) + gradient.astype("<f4").tobytes()


def push(address, model, records):
    """Applies them in order."""
    run = subprocess.run([PUSHER, address, model], input=b"".join(records), stderr=subprocess.PIPE,
                         check=False)
    assert run.returncode == 0, run.stderr
