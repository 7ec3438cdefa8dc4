"""Models that cannot be served: each is refused with its own message, with what to do, and leaves no file."""

import os

import pytest

from edgeseg.errors import BundleError, EdgesegError, UsageError
from edgeseg.importing.build import ImportRequest, import_model

IMAGE, LOGITS = ((1, 64, 96, 3), "uint8", 2 / 255, 127), ((1, 8, 12, 4), "int8", 0.1, -3)


def refusal(data, save, labels, kind=UsageError, **options):
    """What the import of `data` says."""
    path = save("model.tflite", data)
    out = os.path.join(os.path.dirname(path), "out.edgeseg")
    before = sorted(os.listdir(os.path.dirname(path)))
    with pytest.raises(EdgesegError) as caught:
        import_model(ImportRequest(path, out, labels, trial=False, **options), lambda text: None)
    assert type(caught.value) is kind, caught.value
    assert caught.value.fix and path in caught.value.message and "\n" not in caught.value.message
    assert sorted(os.listdir(os.path.dirname(path))) == before
    return caught.value.message


def test_not_a_tflite_file(save, four):
    assert "not a .tflite file" in refusal(b"PK\3\4" + bytes(100), save, four, BundleError)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated(save, four, network, share):
    data = network().data()
    assert "truncated or damaged" in refusal(data[: int(len(data) * share)], save, four, BundleError)


def test_several_inputs(save, four, network):
    graph = network()
    graph.inputs.append(graph.tensor((1, 4), name="state"))
    assert "2 inputs (image [1, 64, 96, 3], state [1, 4])" in refusal(graph.data(), save, four)


@pytest.mark.parametrize(
    "image, words",
    [
        (((1, 100), "uint8"), "is not an image"),
        (((1, 64, 96, 4), "uint8"), "is not an image"),
        (((1, 64, 96, 1), "uint8"), "is a grey image"),
        (((1, 3, 64, 96), "float32"), "channels first (NCHW)"),
        (((4, 64, 96, 3), "uint8"), "batch of 4 images"),
        (((1, 64, 96, 3), "float16"), "is float16"),
        (((1, 64, 96, 3), "int16"), "none of uint8, int8, float32"),
        (((1, 64, 99999, 3), "uint8"), "more than 16384 pixels"),
    ],
)
def test_inputs(save, four, network, image, words):
    assert words in refusal(network(image=image).data(), save, four)


@pytest.mark.parametrize("signature", [(1, -1, -1, 3), (-1, -1, 96, 3)])
def test_dynamic_shape(save, four, graph, network, signature):
    made = network()
    source = made.tensor((1, 1, 1, 3), "uint8", signature=signature, name="image")
    made.inputs = [source]
    assert "has no fixed size" in refusal(made.data(), save, four)


@pytest.mark.parametrize(
    "output, words",
    [
        (((1, 1000), "uint8"), "one vector for the whole image: that is a classifier"),
        (((64, 96), "int64"), "is not a map of classes"),
        (((1, 8, 12, 4), "float16"), "is float16"),
        (((1, 8, 12, 4), "bool"), "none of uint8, int8, int32, int64, float32"),
        (((1, 8, 12, 300), "uint8", 0.1), "300 classes; a mask of bytes holds 255"),
        (((1, 8, 12, 5), "uint8", 0.1), "the model has 5 classes, labels.txt names 4 (is the background missing?)"),
        (((1, 8, 12, 21), "uint8", 0.1), "the model has 21 classes, labels.txt names 4"),
        (((1, 8, 12, 4), "int32"), "4 integers for each pixel"),
        (((1, 10, 12, 4), "uint8", 0.1), "10x12 for an input of 64x96: that is not the input divided by"),
        (((1, 64, 96, 1), "float32"), "class ids, or the score of one class?"),
        (((1, 64, 96), "float32"), "class ids, or the score of one class?"),
        (((1, 1, 17, 3), "float32"), "an output of 1x17"),
        (((1, 6144, 4), "float32"), "an output of 6144x4"),
    ],
)
def test_outputs(save, four, network, output, words):
    assert words in refusal(network(output=output).data(), save, four)


def test_several_outputs(save, four, network):
    graph = network()
    graph.outputs.append(graph.tensor((1, 8, 12, 4), name="auxiliary"))
    assert "2 outputs (out [1, 8, 12, 4], auxiliary [1, 8, 12, 4])" in refusal(graph.data(), save, four)


def test_detection_models(save, four, network):
    graph = network()
    boxes = [graph.tensor(shape, "float32") for shape in ((1, 10, 4), (1, 10), (1, 10), (1,))]
    graph.outputs = boxes
    assert "that is a detection model" in refusal(graph.data(), save, four)
    graph.op("CUSTOM TFLite_Detection_PostProcess", (0,), boxes)
    assert "this is a detection model (TFLite_Detection_PostProcess)" in refusal(graph.data(), save, four)


def test_custom_operators(save, four, network):
    graph = network()
    graph.op("CUSTOM FlexErf", (0,), (1,))
    assert "operators of TensorFlow itself: FlexErf" in refusal(graph.data(), save, four)
    graph = network()
    graph.op("CUSTOM MaxUnpooling2D", (0,), (1,))
    assert "custom operators, which no runtime here knows: MaxUnpooling2D" in refusal(graph.data(), save, four)


def test_several_subgraphs(save, four, network):
    graph = network()
    graph.subgraphs = 2
    assert "2 subgraphs" in refusal(graph.data(), save, four)


def test_operators_without_tensors_are_damage(save, four, network):
    graph = network()
    graph.op("ARG_MAX", (), (graph.tensor((1, 8, 12), "int64"),))
    graph.outputs = [3]
    assert "is damaged" in refusal(graph.data(), save, four, BundleError)


def test_what_the_file_does_not_say(save, four, network):
    """Stride 8 without a resize in the graph: the convention must be told."""
    assert "8 times smaller than the input, and nothing in the file says how" in refusal(network().data(), save, four)


def test_labels_are_needed(save, network):
    assert "names its classes" in refusal(network().data(), save, None)


def test_targets(save, four, network):
    floats = network(image=((1, 64, 96, 3), "float32"), output=((1, 8, 12, 4), "float32"))
    said = [refusal(floats.data(), save, four)]
    assert "which values its input image takes" in said[0]
    from edgeseg.importing.output import OutputOptions
    from edgeseg.importing.pixels import PixelOptions

    told = {"pixels": PixelOptions((0, 1)), "output": OutputOptions(resize="half_pixel")}
    assert "the network is float" in refusal(floats.data(), save, four, target="coral", **told)
    batch = network()
    batch.inputs = [batch.tensor((1, 64, 96, 3), "uint8", 2 / 255, 127, signature=(-1, 64, 96, 3))]
    assert "batch has no fixed size" in refusal(batch.data(), save, four, target="coral", **told)
    assert "--cpu goes with a model compiled" in refusal(network().data(), save, four, cpu=four, **told)


@pytest.mark.parametrize("out, words", [("x.tflite", "does not end with .edgeseg"), ("no/x.edgeseg", "does not exist")])
def test_where_the_bundle_goes(tmp_path, save, four, network, out, words):
    path = save("model.tflite", network().data())
    with pytest.raises(UsageError, match=words):
        import_model(ImportRequest(path, str(tmp_path / out), four, trial=False), lambda text: None)


def test_absent_file(tmp_path):
    with pytest.raises(UsageError, match="is not a file"):
        import_model(ImportRequest(str(tmp_path / "no.tflite"), str(tmp_path / "x.edgeseg")), lambda text: None)
