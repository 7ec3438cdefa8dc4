"""The figures of `edgeseg bench`: there, consistent, and right where they can be known."""

import json
import os

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")

from edgeseg.bench.accuracy import measure_accuracy  # noqa: E402
from edgeseg.cli import main  # noqa: E402
from edgeseg.datasets import open_dataset  # noqa: E402
from edgeseg.palette import CAMVID  # noqa: E402
from edgeseg.segmenter import Segmenter  # noqa: E402


@pytest.fixture
def dataset_folder(tmp_path):
    """Two images in class colours, in CamVid's layout; the label of the second is shifted by one class."""
    rng = np.random.RandomState(0)
    for split in ("val", "valannot"):
        (tmp_path / split).mkdir()
    colors = np.array([c.color for c in CAMVID], np.uint8)
    for number in range(2):
        labels = rng.randint(0, len(CAMVID), (4, 6)).repeat(16, 0).repeat(16, 1).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "val" / "{}.png".format(number)), colors[labels][:, :, ::-1])
        wrong = (labels + number) % len(CAMVID)
        cv2.imwrite(str(tmp_path / "valannot" / "{}.png".format(number)), wrong.astype(np.uint8))
    return str(tmp_path)


def test_accuracy(bundles, dataset_folder):
    dataset = open_dataset(dataset_folder)
    with Segmenter(os.path.join(bundles, "int8.edgeseg"), "fake") as segmenter:
        right = measure_accuracy(segmenter, dataset, "val", 1)
        half = measure_accuracy(segmenter, dataset, "val")
    good, bad = right.scores._asdict(), half.scores._asdict()
    assert right.images == 1 and good["pixel_accuracy"] > 0.75 and good["miou"] > 0.6
    assert half.images == 2 and bad["pixel_accuracy"] < 0.6 * good["pixel_accuracy"] + 0.1
    assert half.confusion.sum() == 2 * 64 * 96
    assert set(bad["iou"]) == {c.name for c in CAMVID}
    # cells of 8x8 pixels, of patches of 16x16: where the network errs, it errs at borders
    assert 0.3 < good["boundary_miou"] < good["miou"]


def test_bench_json_and_confusion_png(bundles, dataset_folder, tmp_path, capsys):
    path, png = tmp_path / "bench.json", tmp_path / "confusion.png"
    arguments = ["bench", os.path.join(bundles, "int8.edgeseg"), "--device", "fake", "--frames", "25"]
    arguments += ["--camera", "pattern:96x64?frames=25", "--data", dataset_folder]
    assert main(arguments + ["--json", str(path), "--confusion", str(png)]) == 0
    figures = json.loads(path.read_text())
    for key in ("fps", "latency_ms", "stages_ms", "bare_inference_ms"):
        assert key in figures
    for key in ("miou", "boundary_miou", "iou", "boundary_iou", "pixel_accuracy"):
        assert key in figures
    assert figures["fps"] > 0 and 0 < figures["bare_inference_ms"] < 1000
    latency = figures["latency_ms"]
    assert latency["p50"] <= latency["p90"] <= latency["p99"]
    assert set(figures["stages_ms"]) == {"capture", "preprocess", "infer", "postprocess", "draw"}
    assert set(figures["upsampling_ms"]) == {"border_only", "every_pixel", "opencv"}
    assert 0 <= figures["miou"] <= 1 and 0 <= figures["pixel_accuracy"] <= 1
    assert np.sum(figures["confusion"]) == 2 * 64 * 96
    assert cv2.imread(str(png)).shape[1] > 600
    text = capsys.readouterr().out
    assert "FPS" in text
    told = "mIoU {:.1f}   within 4 pixels of class borders {:.1f}"
    assert told.format(100 * figures["miou"], 100 * figures["boundary_miou"]) in text


def test_classes_that_differ_are_refused(bundles, dataset_folder, capsys):
    path = os.path.join(bundles, "int8.edgeseg")
    dataset = open_dataset(dataset_folder)
    with Segmenter(path, "fake") as segmenter:
        with pytest.raises(Exception, match="classes"):
            measure_accuracy(segmenter, dataset._replace(classes=dataset.classes[::-1]), "val")
    assert main(["bench", path, "--device", "fake", "--data", dataset_folder, "--split", "test"]) == 2
    assert "splits here: val" in capsys.readouterr().err
    assert main(["bench", path, "--device", "fake", "--confusion", "x.png"]) == 2
