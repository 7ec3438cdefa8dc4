"""Edge TPU against CPU: the right figures, the worst frame, and a result that stays in the bundle."""

import os

import cv2
import numpy as np
import pytest

from edgeseg.bundle import read_bundle, write_bundle
from edgeseg.cli import main, missing_reason
from edgeseg.cli.verify import verification_lines
from edgeseg.errors import CheckFailed, UsageError
from edgeseg.frames import Frame, Frames, choose_frames, pattern_frames, source_frames
from edgeseg.metrics import agreement_iou, confusion_matrix, mean_iou
from edgeseg.palette import CAMVID
from edgeseg.segmenter import Segmenter
from edgeseg.verify import compare, keep


class Wrong(Segmenter):
    """The right half of every `period`-th frame takes each class for the next."""

    period = 1
    calls = 0

    def logits(self, image, color="bgr"):
        grid, times = Segmenter.logits(self, image, color)
        self.calls += 1
        if self.calls % self.period == 0:
            half = grid.shape[1] // 2
            grid[:, half:] = np.roll(grid[:, half:], 1, axis=-1)
        return grid, times


class Noisy(Segmenter):
    """Logits are a step too high or too low, as rounding may leave them."""

    def logits(self, image, color="bgr"):
        grid, times = Segmenter.logits(self, image, color)
        noise = np.random.RandomState(0).randint(-1, 2, grid.shape)
        return (grid + noise).clip(-128, 127).astype(np.int8), times


@pytest.fixture
def bundle(bundles):
    return read_bundle(os.path.join(bundles, "int8.edgeseg"))


@pytest.fixture
def paintings():
    """Three frames in class colours, with labels: patches of 32x32 pixels."""
    random = np.random.RandomState(3)
    colors = np.array([c.color for c in CAMVID], np.uint8)
    labels = random.randint(0, len(CAMVID), (3, 2, 3)).repeat(32, 1).repeat(32, 2).astype(np.uint8)

    def read():
        for number, label in enumerate(labels, start=1):
            yield Frame("frame{}".format(number), colors[label], label)

    return Frames("paintings", "val", 3, True, read)


def test_the_same_twice_agrees(bundle, paintings):
    with Segmenter(bundle, "fake") as cpu, Segmenter(bundle, "fake") as tpu:
        found = compare(cpu, tpu, paintings)
    found.require()
    assert found.ok and found.images == 3 and found.source == "paintings val"
    assert (found.agreement, found.worst_agreement, found.logits_agreement) == (1, 1, 1)
    assert found.logits_max_error == 0 and found.first_difference is None
    assert found.miou_cpu == found.miou_tpu
    assert found.miou_cpu and found.miou_cpu > 0.7
    assert "fake" in found.cpu and found.cpu_ms > 0 and found.tpu_ms > 0


def test_wrong_numbers_fail_on_the_worst_frame(bundle, paintings):
    Wrong.period = 2
    with Segmenter(bundle, "fake") as cpu, Wrong(bundle, "fake") as tpu:
        found = compare(cpu, tpu, paintings)
        frame = list(paintings.read())[1]
        masks = [cpu(frame.image, "rgb").mask, tpu(frame.image, "rgb").mask]
    assert not found.ok and found.worst_image == "frame2"
    assert found.worst_agreement == pytest.approx(agreement_iou(*masks)) and found.worst_agreement < 0.5
    assert found.agreement > found.worst_agreement
    assert found.first_difference == "logits"
    assert found.logits_max_error and found.logits_max_error > 0.1
    with pytest.raises(CheckFailed, match=r"those of frame2 agree by 0\.\d+ .* 0.95 is required of each of 3") as fault:
        found.require()
    assert "edgetpu_compiler -i TENSOR" in fault.value.fix and "--device cpu" in fault.value.fix


def test_miou_of_both_on_labelled_images(bundle, paintings):
    Wrong.period = 1
    with Segmenter(bundle, "fake") as cpu, Wrong(bundle, "fake") as tpu:
        found = compare(cpu, tpu, paintings)
        expected = [
            mean_iou(sum(confusion_matrix(f.label, s(f.image, "rgb").mask, len(CAMVID)) for f in paintings.read()))
            for s in (cpu, tpu)
        ]
    assert [found.miou_cpu, found.miou_tpu] == pytest.approx(expected) and expected[1] < expected[0] / 2


def test_rounding_does_not_count_where_the_network_wavers(bundle):
    """Generated scenes in colours that no class has: a step more or less turns many a winner."""
    bundle = bundle._replace(manifest=bundle.manifest._replace(output=bundle.manifest.output._replace(scale=0.25)))
    with Segmenter(bundle, "fake") as cpu, Noisy(bundle, "fake") as tpu:
        found = compare(cpu, tpu, pattern_frames(2))
        frame = next(pattern_frames(2).read())
        whole = agreement_iou(cpu(frame.image, "rgb").mask, tpu(frame.image, "rgb").mask)
    assert found.ok and 0 < found.counted < 1 and found.worst_agreement > 0.99 > whole
    assert (found.images, found.miou_cpu, found.miou_tpu) == (2, None, None)
    text = "\n".join(verification_lines(found._asdict()))
    assert "(generated scenes), where the CPU is sure: {:.2%} of the pixels".format(found.counted) in text


def test_wrong_numbers_fail_on_generated_scenes(bundle):
    Wrong.period = 1
    with Segmenter(bundle, "fake") as cpu, Wrong(bundle, "fake") as tpu:
        found = compare(cpu, tpu, pattern_frames(2))
    assert not found.ok and found.first_difference == "logits"


def test_the_result_stays_in_the_bundle(bundle, paintings, tmp_path):
    path = str(tmp_path / "a.edgeseg")
    write_bundle(path, bundle.manifest, bundle.payloads)
    with Segmenter(bundle, "fake") as cpu, Segmenter(bundle, "fake") as tpu:
        found = compare(cpu, tpu, paintings)
    keep(read_bundle(path), found)
    kept = read_bundle(path)
    assert kept.manifest.verification == dict(found._asdict())
    assert kept.manifest._replace(verification=None) == bundle.manifest and kept.payloads == bundle.payloads
    text = "\n".join(verification_lines(kept.manifest.verification))
    assert "agree by 1.000 on 3 images (paintings val)\n" in text
    assert found.miou_cpu and "mIoU {0:.2%} CPU, {0:.2%} Edge TPU".format(found.miou_cpu) in text


def test_lines_of_a_verification_that_lacks_figures():
    assert "agree by - on None images" in verification_lines({})[0]


def test_frames_of_any_source(tmp_path):
    for number in range(5):
        cv2.imwrite(str(tmp_path / "{}.png".format(number)), np.full((64, 96, 3), (number, 0, 255), np.uint8))
    frames = source_frames(str(tmp_path), 3)
    found = list(frames.read())
    assert [frame.name for frame in found] == ["0", "2", "4"]  # evenly spread
    assert found[1].image[0, 0].tolist() == [255, 0, 2]  # RGB
    assert len(list(frames.read())) == 3
    assert [frame.name for frame in source_frames("pattern:96x64", 2).read()] == ["frame000000", "frame000001"]
    assert "secret" not in source_frames("rtsp://user:secret@camera/1", 2).title


def test_requests_that_make_no_sense(tmp_path):
    with pytest.raises(UsageError, match="nothing to compare"):
        choose_frames(CAMVID, None, "val", None, 0)
    with pytest.raises(UsageError, match="--data and --camera"):
        choose_frames(CAMVID, str(tmp_path), "val", "0", None)
    assert choose_frames(CAMVID, None, "val", "0", None).images == 20


def test_a_bundle_for_the_cpu_needs_keras(bundles, capsys):
    path = os.path.join(bundles, "int8.edgeseg")
    assert main(["verify", path, "--device", "usb"]) == 2
    assert "--device is for bundles for the Edge TPU" in capsys.readouterr().err
    if not missing_reason("verify"):
        pytest.skip("Keras and TensorFlow are installed")
    assert main(["verify", path]) == 3
    assert "edgeseg verify needs " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "; not for bundles for the Edge TPU]" in " ".join(capsys.readouterr().out.split())
