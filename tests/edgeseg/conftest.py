"""What tests of the device side may use besides tests/conftest.py."""

import json
import os

import numpy as np
import pytest

from edgeseg.kernels import kernels_of
from edgeseg.tflite.model import read_tflite

BOARDS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "boards")


@pytest.fixture
def board(tmp_path):
    """Function (name) -> a folder that stands for "/" of that Jetson: nano, tx2, xavier, orin.

    boards/NAME.json holds its files (null: cannot be read) and links, and where they are from.
    """

    def unpack(name):
        with open(os.path.join(BOARDS, name + ".json"), encoding="ascii") as file:
            tree = json.load(file)
        root = str(tmp_path / name)

        def place(path):
            path = os.path.join(root, path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            return path

        for path, text in tree["files"].items():
            if text is None:
                os.mkdir(place(path))  # opens, but cannot be read: like the sensor of a part that is switched off
            else:
                with open(place(path), "w", newline="") as file:
                    file.write(text)
        for path, target in tree["links"].items():
            os.symlink(target, place(path))
        return root

    return unpack


@pytest.fixture(scope="session")
def edited():
    """Function (payload, change) -> the .tflite file with `change(kernel)` for each kernel's array; None leaves it."""

    def edit(payload, change):
        constants = {tensor.name: tensor.data for tensor in read_tflite(payload).tensors}
        for kernel in kernels_of({"tflite": payload}):
            array = change(kernel)
            if array is not None:
                assert array.shape == kernel.array.shape and payload.count(constants[kernel.name]) == 1
                payload = payload.replace(constants[kernel.name], array.astype(np.int8).tobytes())
        return payload

    return edit
