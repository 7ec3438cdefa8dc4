"""A bundle for Coral through the public paths, with a double of the Edge TPU that fails in every way that is known.

Whatever the TPU does, each frame comes once, in order, with the mask that the CPU gives it, or the program says why
not.
"""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from compiled import compiled_file

import edgeseg
from edgeseg.backends import BACKENDS, available_package, edgetpu
from edgeseg.bundle import payload_info, read_bundle, write_bundle
from edgeseg.cli import main
from edgeseg.coral.devices import seen_tpus
from edgeseg.manifest import TargetInfo
from edgeseg.palette import CAMVID
from edgeseg.worker.supervisor import Limits

FRAMES = 24
pytestmark = pytest.mark.skipif(
    available_package(BACKENDS[0]) not in edgetpu.PACKAGES, reason="no interpreter that loads delegates"
)


@pytest.fixture(scope="module")
def make_bundle(bundles, tmp_path_factory):
    """Function (keep_on_cpu=0, min_runtime=14) -> path of a compiled bundle for Coral."""
    plain = read_bundle(os.path.join(bundles, "int8.edgeseg"))

    def make(keep_on_cpu=0, min_runtime=14):
        path = str(tmp_path_factory.mktemp("coral") / "coral.edgeseg")
        payloads = dict(plain.payloads, edgetpu=compiled_file(plain.payloads["tflite"], keep_on_cpu, min_runtime))
        info = payload_info("edgetpu", "network_edgetpu.tflite", payloads["edgetpu"])
        manifest = plain.manifest._replace(
            target=TargetInfo("coral", "edgetpu", "int8"), payloads=plain.manifest.payloads + (info,)
        )
        write_bundle(path, manifest, payloads)
        return path

    return make


@pytest.fixture(scope="module")
def coral(make_bundle):
    return make_bundle()


@pytest.fixture(scope="module")
def street(coral, tmp_path_factory):
    """A folder of frames that all differ, and one of the masks that the CPU gives them."""
    cv2 = pytest.importorskip("cv2")
    frames, masks = tmp_path_factory.mktemp("frames"), tmp_path_factory.mktemp("masks")
    colors = np.array([c.color[::-1] for c in CAMVID], np.uint8)
    for i in range(FRAMES):
        labels = np.random.RandomState(i).randint(0, len(CAMVID), (4, 6)).repeat(16, 0).repeat(16, 1)
        cv2.imwrite(str(frames / "{:03}.png".format(i)), colors[labels])
    assert main(["run", coral, "--device", "cpu", "--camera", str(frames), "--masks", str(masks)]) == 0
    wanted = read_folder(masks)
    assert len(set(wanted.values())) == FRAMES
    return str(frames), wanted


@pytest.fixture
def plug(libedgetpu, monkeypatch, tmp_path):
    """Function (faults, variables) that plugs in an Edge TPU with these; events are counted over all processes.

    At the end no process may be left over.
    """
    if seen_tpus():
        pytest.skip("there is a real Edge TPU here")
    monkeypatch.setenv("EDGESEG_LIBEDGETPU", libedgetpu)
    monkeypatch.setattr(edgetpu, "LIMITS", Limits(start_s=5.0, infer_s=1.0, pause_s=0.01))
    events = tmp_path / "events"
    events.mkdir()

    def order(faults="", **variables):
        monkeypatch.setenv("EDGETPU_DOUBLE_EVENTS", str(events))
        monkeypatch.setenv("EDGETPU_DOUBLE_FAULTS", faults)
        for name, value in variables.items():
            monkeypatch.setenv("EDGETPU_DOUBLE_" + name, value)

    order()
    yield order
    assert children() == []


def children():
    """Processes that this one has started and that still run."""
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/{}/stat".format(number)) as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        if int(fields[1]) == os.getpid():
            found.append(int(number))
    return found


def read_folder(folder):
    found = {}
    for name in os.listdir(str(folder)):
        with open(os.path.join(str(folder), name), "rb") as file:
            found[name] = file.read()
    return found


def run_street(bundle, street, folder, *options):
    """Run the street through `edgeseg run`: exit code, masks by name, JSON lines."""
    masks, lines = folder / "out", folder / "lines.jsonl"
    command = ["run", bundle, "--camera", street[0], "--masks", str(masks), "--json", str(lines)]
    code = main(command + list(options))
    records = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    return code, read_folder(masks) if masks.exists() else {}, records


@pytest.mark.parametrize("keep_on_cpu", [0, 1, 2])
def test_each_mask_is_that_of_the_cpu(keep_on_cpu, make_bundle, street, plug, tmp_path, capsys):
    code, masks, records = run_street(make_bundle(keep_on_cpu), street, tmp_path, "--device", "usb")
    assert code == 0
    assert masks == street[1]
    assert [record["sequence"] for record in records] == list(range(FRAMES))
    errors = capsys.readouterr().err
    assert "edgetpu (usb 1-1, runtime 14" in errors and "warning" not in errors


@pytest.mark.parametrize(
    ("faults", "reasons"),
    [
        ("invoke:abort%7", 4 * ["was ended by SIGABRT (F driver/usb/usb_driver.cc:857] transfer on tag 1 failed."]),
        (
            "invoke:crash@4 invoke:error@9 invoke:hang@15",
            [
                "was ended by SIGSEGV",
                "reported: the Edge TPU failed: Failed to execute request. Deadline exceeded",
                "gave no answer in 1 s",
            ],
        ),
        (
            "invoke:abort@5 open:error@2 open:hang@3 prepare:abort@2",
            ["was ended by SIGABRT", "reported: no Edge TPU is attached", "gave no answer in 5 s", "SIGABRT"],
        ),
        ("invoke:sleep20", []),
    ],
)
def test_faults_that_are_survived(faults, reasons, coral, street, plug, tmp_path, capsys):
    plug(faults)
    code, masks, records = run_street(coral, street, tmp_path, "--device", "usb")
    assert code == 0
    assert masks == street[1]
    assert [record["sequence"] for record in records] == list(range(FRAMES))
    warnings = [line for line in capsys.readouterr().err.splitlines() if "the Edge TPU's process" in line]
    assert len(warnings) == len(reasons)
    for number, warning in enumerate(warnings):
        assert reasons[number] in warning and "; restart {}".format(number + 1) in warning


def test_a_fault_that_does_not_pass_ends_the_run(coral, street, plug, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(edgetpu, "LIMITS", Limits(pause_s=0.01, attempts=2))
    plug("invoke:abort@8 open:abort@2")
    code, masks, records = run_street(coral, street, tmp_path, "--device", "usb")
    assert code == 3
    assert 0 < len(masks) < FRAMES and masks.items() <= street[1].items()
    assert sorted(masks) == ["{:03}.png".format(n) for n in range(len(masks))]
    assert [record["sequence"] for record in records] in ([], list(range(len(masks))))
    errors = capsys.readouterr().err
    assert "edgeseg: error: the Edge TPU failed 2 times on one frame" in errors
    assert "powered hub" in errors and "--device cpu" in errors


@pytest.mark.parametrize(
    ("plugged", "reason"),
    [
        (("", {"DEVICES": ""}, "usb"), "no Edge TPU is attached"),
        (("", {"DEVICES": "usb pci"}, "usb:1"), "there is no device 'usb:1'"),
        (("", {"RUNTIME": "13"}, "usb"), "is compiled for Edge TPU runtime 14 and later; libedgetpu at "),
        (("list:crash", {}, "usb"), "ended the process that asked it for its devices: SIGSEGV"),
        (("list:abort", {}, "edgetpu"), "ended the process that asked it for its devices: SIGABRT"),
        (("open:error", {}, ":0"), "no Edge TPU is attached"),  # none in /sys, whatever the double lists
        (("open:abort", {}, "edgetpu"), "cannot be started: its process was ended by SIGABRT (F driver/usb/"),
        (("prepare:error", {}, "usb"), "libedgetpu has lost the Edge TPU"),
        (("prepare:crash", {}, "usb"), "cannot be started: its process was ended by SIGSEGV"),
    ],
)
def test_faults_that_are_told(plugged, reason, coral, street, plug, tmp_path, capsys):
    faults, variables, device = plugged
    plug(faults, **variables)
    code, masks, records = run_street(coral, street, tmp_path, "--device", device)
    errors = capsys.readouterr().err
    assert (code, masks, records) == (3, {}, [])
    assert reason in errors and "\n  fix: " in errors and "Traceback" not in errors


def test_a_library_that_would_corrupt_memory_is_not_loaded(
    coral, street, plug, stock_libedgetpu, tmp_path, monkeypatch
):
    monkeypatch.setenv("EDGESEG_LIBEDGETPU", stock_libedgetpu)
    with pytest.raises(edgeseg.EnvironmentFault, match="corrupt memory together"):
        edgeseg.Segmenter(coral, device="usb")
    assert not (tmp_path / "events" / "open").exists()


def test_a_missing_libusb_is_named(coral, plug, tmp_path, monkeypatch):
    from libedgetpu import build_libedgetpu

    folder = tmp_path / "libraries"
    folder.mkdir()
    usb = str(folder / "libusb-double.so.0")
    subprocess.run(["gcc", "-shared", "-Wl,-soname,libusb-double.so.0", "-o", usb, "-x", "c", "/dev/null"], check=True)
    library = build_libedgetpu(str(folder / "libedgetpu.so.1"), needs=[usb])
    os.unlink(usb)
    monkeypatch.setenv("EDGESEG_LIBEDGETPU", library)
    with pytest.raises(edgeseg.EnvironmentFault, match=r"libusb-double\.so\.0"):
        edgeseg.Segmenter(coral, device="usb")


def test_two_processes_cannot_have_one_tpu(coral, plug, tmp_path, painting):
    plug(LOCK=str(tmp_path / "lock"))
    with edgeseg.Segmenter(coral, device="usb") as first:
        with pytest.raises(edgeseg.EnvironmentFault):
            edgeseg.Segmenter(coral, device="usb")
        first(painting[0], "rgb")
    with edgeseg.Segmenter(coral, device="usb") as second:
        second(painting[0], "rgb")


def test_several_tpus(coral, plug, painting):
    plug(DEVICES="usb pci usb")
    for device, description in (("usb:1", "edgetpu (usb 1-2, "), (":1", "edgetpu (pci apex_0, ")):
        with edgeseg.Segmenter(coral, device=device) as segmenter:
            assert segmenter.backend.description.startswith(description)
            segmenter(painting[0], "rgb")


def test_bench(coral, plug, tmp_path, capsys):
    pytest.importorskip("cv2")
    plug("invoke:abort@50")
    assert main(["bench", coral, "--device", "usb", "--frames", "5", "--json", "-"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["fps"] > 0
    assert captured.err.count("the Edge TPU's process was ended by SIGABRT") == 1
    assert (tmp_path / "events" / "invoke").stat().st_size > 60


def test_auto_without_a_tpu_runs_on_the_cpu_and_says_so(coral, street, tmp_path, capsys):
    code, masks, _ = run_street(coral, street, tmp_path)
    assert (code, masks) == (0, street[1])
    assert "warning: no Edge TPU is seen here" in capsys.readouterr().err


def test_the_tpu_dies_with_its_program(coral, plug, libedgetpu):
    """Not even a killed program leaves a process behind that holds the TPU."""
    plug("invoke:hang@3")
    script = (
        "import edgeseg, numpy, sys; s = edgeseg.Segmenter(sys.argv[1], device='usb'); print(s.backend._worker.pid)"
    )
    script += "; sys.stdout.flush(); [s(numpy.zeros((64, 96, 3), 'uint8')) for _ in range(9)]"
    program = subprocess.Popen([sys.executable, "-c", script, coral], stdout=subprocess.PIPE)
    assert program.stdout is not None
    with program.stdout as printed:
        child = int(printed.readline())
        assert os.path.exists("/proc/{}".format(child))
        program.kill()
    program.wait()
    for _ in range(100):
        if not os.path.exists("/proc/{}".format(child)):
            break
        time.sleep(0.05)
    assert not os.path.exists("/proc/{}".format(child))


def test_google_s_own_network(shared_data, plug, tmp_path, monkeypatch):
    """The compiled DeepLab of google-coral/test_data, imported; its golden test is pycoral's tests/segment_test.py."""
    cv2 = pytest.importorskip("cv2")
    plain, compiled = (
        shared_data("coral", "deeplabv3_mnv2_pascal_quant{}.tflite".format(part)) for part in ("", "_edgetpu")
    )
    monkeypatch.setattr(edgetpu, "LIMITS", Limits(pause_s=0.01))
    plug("invoke:abort@3", MODEL=plain)
    bundle = str(tmp_path / "deeplab.edgeseg")
    labels = shared_data("coral", "pascal_voc_segmentation_labels.txt")
    assert main(["import", compiled, "--cpu", plain, "--labels", labels, "--no-trial", "-o", bundle]) == 0
    image = cv2.imread(shared_data("coral", "bird_segmentation.bmp"))
    wanted = cv2.imread(shared_data("coral", "bird_segmentation_mask.bmp"), cv2.IMREAD_UNCHANGED)
    with edgeseg.Segmenter(bundle, device="usb") as tpu, edgeseg.Segmenter(bundle, device="cpu") as cpu:
        tpu(image)
        mask = tpu(image).mask
        same = np.count_nonzero(mask == wanted)
        assert same / (2 * mask.size - same) > 0.90
        assert (mask == cpu(image).mask).all()
        assert tpu.backend.counters.restarts == 1
