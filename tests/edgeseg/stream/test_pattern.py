"""The generated street."""

import numpy as np
import pytest

from edgeseg.errors import UsageError
from edgeseg.palette import CAMVID
from edgeseg.stream import open_source
from edgeseg.stream.pattern import scene

pytest.importorskip("cv2")


def frames_of(uri):
    return list(open_source(uri))


def test_uri():
    source = open_source("pattern:96x64@10?seed=3&frames=4")
    assert (source.live, source.size, source.fps, source.frames) == (False, (96, 64), 10.0, 4)
    frames = frames_of("pattern:96x64@10?seed=3&frames=4")
    assert [f.sequence for f in frames] == [0, 1, 2, 3]
    for frame in frames:
        assert frame.image.shape == (64, 96, 3) and frame.image.dtype == np.uint8
        assert frame.label.shape == (64, 96) and frame.label.dtype == np.uint8
    default = open_source("pattern:")
    assert (default.size, default.fps, default.frames) == ((480, 360), 30.0, None)


@pytest.mark.parametrize(
    "uri", ["pattern:big", "pattern:480", "pattern:0x0", "pattern:99999x10", "pattern:@0", "pattern:?seeds=1"]
)
def test_wrong_uris(uri):
    with pytest.raises(UsageError):
        open_source(uri)


def test_a_frame_is_the_same_however_it_is_reached():
    frame = frames_of("pattern:160x120?seed=7&frames=12")[11]
    image, label = scene(160, 120, 11, seed=7)
    assert np.array_equal(frame.image, image) and np.array_equal(frame.label, label)
    assert not np.array_equal(scene(160, 120, 11, seed=8)[1], label)


def test_every_class_is_in_most_frames():
    seen = np.zeros(len(CAMVID), int)
    for frame in frames_of("pattern:480x360@1?seed=1&frames=40"):  # one a second, twice around
        values = np.unique(frame.label)
        assert values.max() < len(CAMVID)
        seen[values] += 1
    assert seen.min() >= 36, {c.name: seen[c.id] for c in CAMVID}


def test_it_moves_smoothly():
    labels = np.stack([f.label for f in frames_of("pattern:240x180?frames=30&seed=2")])
    changes = (labels[1:] != labels[:-1]).mean(axis=(1, 2))
    assert changes.min() > 0 and changes.max() < 0.08
    assert (labels[0] != labels[-1]).mean() > 3 * changes.mean()


def test_labels_fit_the_picture():
    """What a pixel shows follows its label: sky is the brightest, and the sharpest edges of the picture
    between sky and houses lie on the border of the labels."""
    image, label = scene(480, 360, 50, seed=4)
    grey = image.mean(axis=2)
    assert grey[label == 0].mean() > 60 + max(grey[label == c].mean() for c in (1, 3, 5))
    step = np.abs(np.diff(grey, axis=1))
    border = (label[:, 1:] != label[:, :-1]) & ((label[:, 1:] == 0) | (label[:, :-1] == 0))
    assert step[border].mean() > 4 * step[label[:, 1:] == 0].mean()
    # Moved by four pixels the labels would fit much worse.
    assert step[border].mean() > 1.5 * step[np.roll(border, 4, axis=1)].mean()


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (640, 100), (100, 640)])
def test_unusual_sizes(size):
    image, label = scene(size[0], size[1], 9)
    assert image.shape == (size[1], size[0], 3) and label.max() < len(CAMVID)
