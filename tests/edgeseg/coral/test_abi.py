"""Which interpreter may load which libedgetpu."""

import os
import sys

import pytest

from edgeseg.coral.abi import check_pair, describe, foreign_pycoral
from edgeseg.coral.library import VARIABLE, Library, find_library
from edgeseg.errors import EnvironmentFault

GOOGLES_16 = Library("/lib/libedgetpu.so.1", "a4dfb8d1a71385bd6d122e4f27f86dcebb96712d", "6.3.0 20170516", "std")
GOOGLES_13 = Library("/lib/libedgetpu.so.1", "", "5.4.0 20160609", "")
BUILT_FOR_2_9 = Library("/lib/libedgetpu.so.1", "a5ed5f39b675a1c6f315e0caf3ad4b38478fa571", "12.2.0", "max")
BUILT_FOR_2_10 = Library("/lib/libedgetpu.so.1", "fdfc646704c37bdf450525f6ced9d80df86e4993", "12.2.0", "max")
BUILT_FOR_2_19 = Library("/lib/libedgetpu.so.1", "f4247ebb6f9e7421f38c3f01a9a5d5cd54bd24fd", "12.2.0", "std")
UNKNOWN = Library("/lib/libedgetpu.so.1", "0123456789abcdef0123456789abcdef01234567", "14.2.0", "std")
BUILT_WITHOUT_BAZEL = Library("/lib/libedgetpu.so.1", "", "14.2.0", "")
OLD = (GOOGLES_16, GOOGLES_13, BUILT_FOR_2_9)
NEW = (BUILT_FOR_2_10, BUILT_FOR_2_19, UNKNOWN, BUILT_WITHOUT_BAZEL)
OLD_INTERPRETERS = [("tflite_runtime", "2.5.0.post1"), ("tflite_runtime", "2.9.1"), ("tensorflow", "2.9.3")]
NEW_INTERPRETERS = [
    ("ai_edge_litert", "1.0.1"),
    ("ai_edge_litert", "2.3.0"),
    ("tflite_runtime", "2.10.0"),
    ("tflite_runtime", "2.14.0"),
    ("tflite_runtime", ""),
    ("tflite_runtime", "nightly"),
    ("tensorflow", "2.21.0"),
]


class TestPairs:
    @pytest.mark.parametrize("package, version", NEW_INTERPRETERS)
    @pytest.mark.parametrize("library", OLD)
    def test_refused(self, library, package, version):
        with pytest.raises(EnvironmentFault) as caught:
            check_pair(library, package, version)
        assert "corrupt memory" in caught.value.message and library.path in caught.value.message
        assert "{} {}".format(package, version) in caught.value.message
        assert caught.value.fix.startswith("install a libedgetpu that fits {}: ".format(package))

    @pytest.mark.parametrize("package, version", NEW_INTERPRETERS + OLD_INTERPRETERS)
    @pytest.mark.parametrize("library", NEW)
    def test_newer_library(self, library, package, version):
        check_pair(library, package, version)

    @pytest.mark.parametrize("package, version", OLD_INTERPRETERS)
    @pytest.mark.parametrize("library", OLD)
    def test_older_interpreter(self, library, package, version):
        check_pair(library, package, version)

    @pytest.mark.parametrize("python, named", [((3, 7), True), ((3, 9), True), ((3, 10), False), ((3, 13), False)])
    def test_googles_interpreter_is_named_where_it_exists(self, monkeypatch, python, named):
        monkeypatch.setattr(sys, "version_info", python)
        with pytest.raises(EnvironmentFault) as caught:
            check_pair(GOOGLES_16, "ai_edge_litert", "2.1.0")
        assert ("tflite-runtime==2.5.0.post1" in caught.value.fix) == named

    def test_no_build_for_this_system(self, tmp_path):
        with pytest.raises(EnvironmentFault) as caught:
            check_pair(GOOGLES_16, "tflite_runtime", "2.14.0", str(tmp_path))
        assert "build it for a TensorFlow of 2.10 or later" in caught.value.fix

    def test_double_of_googles(self, stock_libedgetpu, monkeypatch):
        monkeypatch.setenv(VARIABLE, stock_libedgetpu)
        with pytest.raises(EnvironmentFault, match=r"\(TensorFlow 2.5.0\) and ai_edge_litert 2.3.0 corrupt memory"):
            check_pair(find_library(), "ai_edge_litert", "2.3.0")

    def test_real(self, real_libedgetpu, monkeypatch):
        monkeypatch.setenv(VARIABLE, real_libedgetpu)
        library = find_library()
        if library.compiler not in ("5.4.0 20160609", "6.3.0 20170516"):
            pytest.skip("{} is not one of Google's".format(real_libedgetpu))
        for package, version in NEW_INTERPRETERS:
            with pytest.raises(EnvironmentFault, match="corrupt memory"):
                check_pair(library, package, version)
        for package, version in OLD_INTERPRETERS:
            check_pair(library, package, version)


@pytest.mark.parametrize(
    "library, text",
    [
        (GOOGLES_16, "TensorFlow 2.5.0"),
        (GOOGLES_13, "a build of Google's of 2021 or before"),
        (UNKNOWN, "TensorFlow commit 0123456789"),
        (BUILT_WITHOUT_BAZEL, "built with an unknown TensorFlow"),
    ],
)
def test_describe(library, text):
    assert describe(library) == text


class TestPycoral:
    @pytest.mark.parametrize("file, foreign", [("pycoral.py", True), ("utils/edgetpu.py", False)])
    def test_whose(self, tmp_path, monkeypatch, file, foreign):
        for name in ("__init__.py", file):
            path = tmp_path / "pycoral" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("raise RuntimeError('imported')")
        monkeypatch.syspath_prepend(str(tmp_path))
        assert foreign_pycoral() == (os.path.join(str(tmp_path), "pycoral") if foreign else "")

    def test_none(self):
        assert foreign_pycoral() == ""
