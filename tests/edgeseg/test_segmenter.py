"""Segmenter on every runtime that is installed: frames in, masks out."""

import os
import threading

import numpy as np
import pytest

import edgeseg
from edgeseg.backends import BACKENDS, available_package, open_backend
from edgeseg.bundle import read_bundle
from edgeseg.postprocess import Upsampler

CASES = [("onnx", "onnxruntime"), ("int8", "tflite"), ("fp32", "tflite"), ("int8", "fake")]


@pytest.fixture(params=CASES, ids="-".join)
def case(request, bundles):
    """(path of a bundle, device) of a runtime that is installed here."""
    name, device = request.param
    entry = next(entry for entry in BACKENDS if entry.name == device)
    if available_package(entry) is None:
        pytest.skip("{} is not installed".format(" or ".join(entry.packages)))
    return os.path.join(bundles, name + ".edgeseg"), device


def agreement_inside(mask, labels):
    """Share of equal pixels in the middle of the 16x16 patches: borders are interpolated."""
    inner = np.zeros(labels.shape, bool)
    for y in range(4, 12):
        for x in range(4, 12):
            inner[y::16, x::16] = True
    return (mask == labels)[inner].mean()


def test_masks_are_the_classes(case, painting):
    image, labels = painting
    path, device = case
    with edgeseg.Segmenter(path, device) as segmenter:
        rgb = segmenter(image, "rgb")
        bgr = segmenter(image[:, :, ::-1])
        assert agreement_inside(rgb.mask, labels) > 0.99
        assert np.array_equal(rgb.mask, bgr.mask)
        assert rgb.classes == segmenter.classes and rgb.size == (96, 64)


def test_color_order_matters(case, painting):
    image, labels = painting
    path, device = case
    with edgeseg.Segmenter(path, device) as segmenter:
        assert agreement_inside(segmenter(image, "bgr").mask, labels) < 0.9


def test_any_frame_size_and_a_mask_of_that_size(case, painting):
    image, labels = painting
    path, device = case
    with edgeseg.Segmenter(path, device) as segmenter:
        large = segmenter(np.ascontiguousarray(image.repeat(5, 0).repeat(4, 1)), "rgb")
        assert large.mask.shape == (320, 384)
        assert agreement_inside(large.mask[2::5, 2::4], labels) > 0.99
        again = segmenter(image, "rgb")
        assert agreement_inside(again.mask, labels) > 0.99


def test_results_are_not_changed_by_later_frames(case, painting):
    image, _ = painting
    path, device = case
    with edgeseg.Segmenter(path, device) as segmenter:
        first = segmenter(image, "rgb")
        mask, confidence = first.mask.copy(), first.confidence.copy()
        segmenter(255 - image, "rgb")
        assert np.array_equal(first.mask, mask) and np.array_equal(first.confidence, confidence)


def test_min_confidence_gives_255(case, painting):
    image, _ = painting
    path, device = case
    with edgeseg.Segmenter(path, device) as plain, edgeseg.Segmenter(path, device, min_confidence=0.02) as strict:
        sure = plain(image, "rgb")
        result = strict(image, "rgb")
        unsure = result.mask == edgeseg.UNLABELED
        assert unsure.any() and not unsure.all()
        assert np.array_equal(result.mask[~unsure], sure.mask[~unsure])
        assert (sure.confidence[unsure] < 0.0201).all() and (sure.confidence[~unsure] > 0.0199).all()


def test_second_thread_is_refused(bundles, painting, monkeypatch):
    image, _ = painting
    segmenter = edgeseg.Segmenter(os.path.join(bundles, "int8.edgeseg"), "fake")
    entered, leave = threading.Event(), threading.Event()
    infer = segmenter.backend.infer

    def slow():
        entered.set()
        leave.wait(10)
        return infer()

    monkeypatch.setattr(segmenter.backend, "infer", slow)
    thread = threading.Thread(target=segmenter, args=(image,))
    thread.start()
    assert entered.wait(10)
    with pytest.raises(RuntimeError, match="one thread"):
        segmenter(image)
    leave.set()
    thread.join()
    segmenter(image)


@pytest.mark.parametrize(
    "image",
    [np.zeros(shape, np.uint8) for shape in ((4, 4), (4, 4, 4), (0, 4, 3))] + [np.zeros((4, 4, 3)), None],
)
def test_refuses_other_images(bundles, image):
    with edgeseg.Segmenter(os.path.join(bundles, "int8.edgeseg"), "fake") as segmenter:
        with pytest.raises(edgeseg.UsageError, match="uint8"):
            segmenter(image)


def test_bad_arguments(bundles):
    path = os.path.join(bundles, "int8.edgeseg")
    with pytest.raises(edgeseg.UsageError, match="devices: auto"):
        edgeseg.Segmenter(path, "tpu")
    with pytest.raises(edgeseg.UsageError, match="min_confidence"):
        edgeseg.Segmenter(path, "fake", min_confidence=1.0)
    with pytest.raises(edgeseg.BundleError, match="holds onnx"):
        edgeseg.Segmenter(os.path.join(bundles, "onnx.edgeseg"), "tflite")


def test_missing_runtime_names_the_command(bundles, monkeypatch):
    monkeypatch.setattr("edgeseg.backends.available_package", lambda entry: None)
    with pytest.raises(edgeseg.EnvironmentFault, match="pip install"):
        edgeseg.Segmenter(os.path.join(bundles, "int8.edgeseg"))


def test_auto_says_what_it_took(bundles):
    for name in ("int8", "onnx"):
        bundle = read_bundle(os.path.join(bundles, name + ".edgeseg"))
        try:
            backend = open_backend(bundle)
        except edgeseg.EnvironmentFault:
            continue  # no runtime for it under this Python
        assert backend.package in backend.description and backend.name in backend.description
        backend.close()


def test_manifest_that_lies_about_the_tensors(bundles):
    bundle = read_bundle(os.path.join(bundles, "onnx.edgeseg"))
    if available_package(next(entry for entry in BACKENDS if entry.name == "onnxruntime")) is None:
        pytest.skip("onnxruntime is not installed")
    lie = bundle.manifest._replace(output=bundle.manifest.output._replace(dtype="int8"))
    with pytest.raises(edgeseg.BundleError, match="output tensor"):
        open_backend(bundle._replace(manifest=lie))


def test_letterbox_keeps_the_aspect_ratio(bundles, painting):
    image, labels = painting
    bundle = read_bundle(os.path.join(bundles, "int8.edgeseg"))
    letterboxed = bundle._replace(
        manifest=bundle.manifest._replace(input=bundle.manifest.input._replace(fit="letterbox"))
    )
    wide = np.ascontiguousarray(image[:32])  # 96x32 in a network of 96x64
    with edgeseg.Segmenter(letterboxed, "fake") as segmenter:
        result = segmenter(wide, "rgb")
    assert result.mask.shape == (32, 96)
    assert agreement_inside(result.mask, labels[:32]) > 0.99


def changed(bundles, **output):
    """int8.edgeseg with another output, as the double of a runtime gives it."""
    bundle = read_bundle(os.path.join(bundles, "int8.edgeseg"))
    manifest = bundle.manifest
    return bundle._replace(manifest=manifest._replace(output=manifest.output._replace(**output)))


@pytest.mark.parametrize("dtype, shape", [("int64", (1, 8, 12)), ("int32", (1, 8, 12, 1)), ("float32", (1, 8, 12))])
def test_a_network_that_gives_class_ids(bundles, painting, dtype, shape):
    image, labels = painting
    bundle = changed(bundles, kind="classes", dtype=dtype, shape=shape, scale=1.0, zero_point=0)
    with edgeseg.Segmenter(bundle, "fake") as segmenter:
        result = segmenter(image, "rgb")
        assert np.array_equal(result.mask, labels) and result.mask.dtype == np.uint8
        tall = segmenter(np.ascontiguousarray(image.repeat(3, 0)), "rgb")
        assert np.array_equal(tall.mask, labels.repeat(3, 0))
        with pytest.raises(edgeseg.UsageError, match="no confidence"):
            _ = result.confidence
        assert result.shares() and result.to_dict()["unlabeled"] == 0
    with pytest.raises(edgeseg.UsageError, match="no confidence"):
        edgeseg.Segmenter(bundle, "fake", min_confidence=0.5)


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_the_convention_of_the_manifest_is_used(bundles, painting, fit):
    """Aligned corners need the size of the network's input, and how much of it the frame fills."""
    frame = np.ascontiguousarray(painting[0][:32])
    bundle = changed(bundles, resize="align_corners")
    bundle = bundle._replace(manifest=bundle.manifest._replace(input=bundle.manifest.input._replace(fit=fit)))
    with edgeseg.Segmenter(bundle, "fake") as segmenter:
        logits = segmenter.logits(frame)[0]
        covered = ((64 if fit == "stretch" else 32, 64), (96, 96))
        expected = Upsampler(logits.shape, (32, 96), covered, "align_corners")(logits)
        assert np.array_equal(segmenter(frame).mask, expected)
        assert not np.array_equal(expected, Upsampler(logits.shape, (32, 96), covered)(logits))
