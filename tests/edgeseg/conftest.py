"""What tests of the device side may use besides tests/conftest.py."""

import json
import os

import pytest

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
