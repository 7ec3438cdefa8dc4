"""What tests of the Edge TPU may use: the doubles of tests/edgetpu_double."""

import os
import sys

import pytest

_TESTS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.append(os.path.join(_TESTS, "edgetpu_double"))


def _build(tmp_path_factory, name, defines=()):
    from libedgetpu import build_libedgetpu, has_gcc

    if not has_gcc():
        pytest.skip("no gcc to build the double of libedgetpu")
    return build_libedgetpu(str(tmp_path_factory.mktemp(name) / "libedgetpu.so.1"), defines)


@pytest.fixture(scope="session")
def libedgetpu(tmp_path_factory):
    """Path of a double of libedgetpu, as the community builds it for current interpreters."""
    return _build(tmp_path_factory, "libedgetpu")


@pytest.fixture(scope="session")
def stock_libedgetpu(tmp_path_factory):
    """Path of a double of Google's own libedgetpu 16.0: its strings, and its structs of TensorFlow 2.5."""
    from libedgetpu import STOCK

    return _build(tmp_path_factory, "stock", STOCK)


@pytest.fixture(scope="session")
def real_libedgetpu():
    """Path of a real libedgetpu for this machine, which may not be part of this repository."""
    path = os.environ.get("EDGESEG_TEST_LIBEDGETPU")
    if not path:
        pytest.skip("EDGESEG_TEST_LIBEDGETPU names no real libedgetpu")
    return path


@pytest.fixture(autouse=True)
def _no_faults(monkeypatch):
    for name in [name for name in os.environ if name.startswith("EDGETPU_DOUBLE_")]:
        monkeypatch.delenv(name)
