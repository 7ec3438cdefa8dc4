"""Finding libedgetpu, and reading its bytes. $EDGESEG_TEST_LIBEDGETPU names a real one, which no test loads here."""

import os
import shutil
import struct
import sys

import pytest
from libedgetpu import STOCK, build_libedgetpu, has_gcc

from edgeseg.coral.library import VARIABLE, find_library, how_to_install, install_command, library_paths
from edgeseg.errors import EnvironmentFault

GOOGLES_COMMIT = "a4dfb8d1a71385bd6d122e4f27f86dcebb96712d"


@pytest.fixture(autouse=True)
def _nothing_named(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)


def put(path, data=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def fault_of(path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(path))
    with pytest.raises(EnvironmentFault) as caught:
        find_library()
    assert caught.value.fix
    return caught.value


class TestWhatItSays:
    def test_double(self, libedgetpu, monkeypatch):
        monkeypatch.setenv(VARIABLE, libedgetpu)
        library = find_library()
        assert library.path == libedgetpu and library.compiler == "12.2.0" and library.performance == "max"
        assert len(library.tensorflow_commit) == 40

    def test_reduced_clock(self, tmp_path, monkeypatch):
        if not has_gcc():
            pytest.skip("no gcc")
        path = build_libedgetpu(str(tmp_path / "std.so"), STOCK + ("PERFORMANCE=THROTTLED",))
        monkeypatch.setenv(VARIABLE, path)
        assert find_library() == (path, GOOGLES_COMMIT, "6.3.0 20170516", "std")

    def test_real(self, real_libedgetpu, monkeypatch):
        monkeypatch.setenv(VARIABLE, real_libedgetpu)
        library = find_library()
        assert library.compiler in ("6.3.0 20170516", "5.4.0 20160609") or library.tensorflow_commit
        data = read(real_libedgetpu)
        assert library.tensorflow_commit.encode() in data and library.compiler.encode() in data

    def test_not_loaded(self, libedgetpu, monkeypatch, tmp_path):
        path = shutil.copy(libedgetpu, str(tmp_path))  # other tests load the original
        monkeypatch.setenv(VARIABLE, path)
        find_library()
        with open("/proc/self/maps") as maps:
            assert path not in maps.read()


class TestWhereItIs:
    def test_nowhere(self, tmp_path):
        with pytest.raises(EnvironmentFault, match="is not installed") as caught:
            find_library(str(tmp_path))
        assert "feranick/libedgetpu/releases" in caught.value.fix and "libedgetpu1-std" in caught.value.fix

    def test_usual_folders(self, tmp_path, libedgetpu):
        file = put(tmp_path / "usr/lib/libedgetpu.so.1.0", read(libedgetpu))
        os.symlink("libedgetpu.so.1.0", str(tmp_path / "usr/lib/libedgetpu.so.1"))
        assert library_paths(str(tmp_path)) == [file[:-2]]
        assert find_library(str(tmp_path)).path == file[:-2]

    def test_cache_of_the_loader(self, tmp_path, libedgetpu):
        file = put(tmp_path / "opt/coral/libedgetpu.so.1", read(libedgetpu))
        cache = b"glibc-ld.so.cache1.1\0\1\0libedgetpu.so.1\0/opt/coral/libedgetpu.so.1\0libz.so\0/lib/libz.so\0"
        put(tmp_path / "etc/ld.so.cache", cache)
        assert library_paths(str(tmp_path)) == [file]

    def test_search_path_comes_first(self, tmp_path, libedgetpu, monkeypatch):
        put(tmp_path / "usr/lib/libedgetpu.so.1", read(libedgetpu))
        file = put(tmp_path / "mine/libedgetpu.so", read(libedgetpu))
        monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere::" + os.path.dirname(file))
        assert find_library(str(tmp_path)).path == file and len(library_paths(str(tmp_path))) == 2

    def test_one_that_does_not_fit_is_passed_over(self, tmp_path, libedgetpu):
        put(tmp_path / "usr/local/lib/libedgetpu.so.1", b"\x7fELF")
        file = put(tmp_path / "usr/lib/libedgetpu.so.1", read(libedgetpu))
        assert find_library(str(tmp_path)).path == file
        os.unlink(file)
        with pytest.raises(EnvironmentFault, match=r"usr/local/lib/libedgetpu.so.1 is no library, or damaged: 4 bytes"):
            find_library(str(tmp_path))


class TestRefused:
    def test_named_file_is_absent(self, tmp_path, monkeypatch):
        fault = fault_of(tmp_path / "gone.so", monkeypatch)
        assert fault.message == "$EDGESEG_LIBEDGETPU names {!r}, which is no file".format(str(tmp_path / "gone.so"))
        assert "unset EDGESEG_LIBEDGETPU" in fault.fix

    def test_empty(self, tmp_path, monkeypatch):
        assert "cannot be read" in fault_of(put(tmp_path / "x.so"), monkeypatch).message

    def test_text(self, tmp_path, monkeypatch):
        fault = fault_of(put(tmp_path / "x.so", b"<html>404 Not Found</html>" * 9), monkeypatch)
        assert fault.message.endswith("x.so is no library, or damaged: 234 bytes, no ELF header")

    def test_cut_off(self, tmp_path, libedgetpu, monkeypatch):
        whole = read(libedgetpu)
        fault = fault_of(put(tmp_path / "x.so", whole[:-100]), monkeypatch)
        assert fault.message.endswith("is cut off: it has {} bytes of {}".format(len(whole) - 100, len(whole)))

    def test_another_machine(self, tmp_path, libedgetpu, monkeypatch):
        data = bytearray(read(libedgetpu))
        struct.pack_into("<H", data, 18, 183 if data[18] != 183 else 62)
        fault = fault_of(put(tmp_path / "x.so", bytes(data)), monkeypatch)
        assert "is a library for a" in fault.message and sys.executable in fault.message
        data[4], data[18] = 1, 40  # 32 bits, of a Raspberry Pi
        assert "is a library for armhf, but" in fault_of(put(tmp_path / "y.so", bytes(data)), monkeypatch).message

    def test_another_library(self, monkeypatch):
        fault = fault_of(os.path.realpath(sys.executable), monkeypatch)
        assert fault.message.endswith("is a library, but not libedgetpu")


class TestInstallation:
    @pytest.mark.parametrize(
        "release, part",
        [
            ("ID=debian\nVERSION_CODENAME=bookworm\n", ".bookworm_"),
            ('ID=raspbian\nVERSION_CODENAME="trixie"\n', ".trixie_"),
            ("ID=linuxmint\nVERSION_CODENAME=wilma\nUBUNTU_CODENAME=noble\n", ".ubuntu24.04_"),
            ("ID=mendel\nVERSION_CODENAME=eagle\n", ""),
            ("", ""),
        ],
    )
    def test_command(self, tmp_path, monkeypatch, release, part):
        put(tmp_path / "etc/os-release", release.encode())
        command = install_command(str(tmp_path))
        if part:
            assert part in command and command.startswith("curl -LO https://github.com/feranick/libedgetpu/releases/")
            assert how_to_install(str(tmp_path)) == command and VARIABLE not in command
            monkeypatch.setenv(VARIABLE, "/old/libedgetpu.so.1")
            assert install_command(str(tmp_path)) == command + " && unset EDGESEG_LIBEDGETPU"
        else:
            assert command == "" and "Mendel" in how_to_install(str(tmp_path))
