"""The perceptual hash and the search by it."""

import numpy as np
import pytest

from edgeseg.datasets.survey import similar
from edgeseg.datasets.survey.similar import NEAR, bits_between, image_hash, nearest, scenes

cv2 = pytest.importorskip("cv2", reason="the hash is computed with OpenCV")


def photo(seed):
    coarse = np.random.RandomState(seed).randint(0, 256, (12, 16, 3)).astype(np.uint8)
    return cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC)


def hashes(images):
    return np.stack([np.frombuffer(image_hash(image), np.uint8) for image in images])


CHANGES = {
    "jpeg": lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 20])[1], 1),
    "half": lambda image: cv2.resize(image, (80, 60), interpolation=cv2.INTER_AREA),
    "brighter": lambda image: cv2.add(image, (40, 40, 40, 0)),
    "noise": lambda image: cv2.add(image, np.random.RandomState(0).randint(0, 20, image.shape).astype(np.uint8)),
    "grey": lambda image: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB),
}


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_a_changed_image_stays_near(change):
    images = [photo(seed) for seed in range(20)]
    bits = bits_between(hashes(images), hashes([CHANGES[change](image) for image in images]))
    assert bits.max() <= NEAR


def test_other_images_are_far():
    many = hashes([photo(seed) for seed in range(40)])
    others = [bits_between(many, np.roll(many, step, axis=0)).min() for step in range(1, 40)]
    assert min(others) > 2 * NEAR - 10


def numbers(count, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (count, 32)).astype(np.uint8)


def with_flipped(bits, count):
    """The hash `bits` (32,) with its first `count` bits changed."""
    mask = np.packbits(np.arange(256) < count)
    return bits ^ mask


@pytest.mark.parametrize("block", [3, 512])
def test_scenes_are_chains_of_near_images(monkeypatch, block):
    monkeypatch.setattr(similar, "_BLOCK", block)
    start = numbers(8)
    chain = [with_flipped(start[0], NEAR * step) for step in range(4)]  # the ends differ in 3 NEAR bits
    apart = with_flipped(start[1], NEAR + 1)
    found = scenes(np.stack([chain[3], start[1], chain[0], start[2], chain[2], apart, chain[1], start[2]]))
    assert len(set(found)) == 4
    assert found[0] == found[2] == found[4] == found[6]
    assert found[3] == found[7]
    assert len({found[0], found[1], found[3], found[5]}) == 4


@pytest.mark.parametrize("block", [3, 512])
def test_nearest(monkeypatch, block):
    monkeypatch.setattr(similar, "_BLOCK", block)
    others = numbers(10)
    wanted = [7, 0, 9, 3]
    index, bits = nearest(np.stack([with_flipped(others[i], 5 * i) for i in wanted]), others)
    assert index.tolist() == wanted
    assert bits.tolist() == [35, 0, 45, 15]


def test_no_image_at_all():
    assert scenes(numbers(0)).tolist() == []
    assert [part.tolist() for part in nearest(numbers(0), numbers(3))] == [[], []]
