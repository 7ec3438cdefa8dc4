"""What is read from a graph: logits or class ids, grid, stride, resize convention, cost, metadata."""

import io
import struct
import zipfile

import pytest

from edgeseg.errors import UsageError
from edgeseg.importing.build import ImportRequest, make_bundle
from edgeseg.importing.cost import cost_of
from edgeseg.importing.ending import channels_of, find_ending
from edgeseg.importing.metadata import Metadata, read_metadata
from edgeseg.importing.output import OutputOptions, describe_output
from edgeseg.tflite.model import read_tflite

IMAGE = ((1, 64, 96, 3), "uint8", 2 / 255, 127)
ALIGNED, CENTRES, OLD = {"align_corners": 1}, {"half_pixel": 1}, {"align_corners": 0}


def describe(graph, classes=4, cut=None, **options):
    model = read_tflite(graph.data())
    return describe_output(model, find_ending(model), cut, ("labels.txt", classes), OutputOptions(**options))


def with_resize(graph, size, options, channels=4):
    """Add a RESIZE_BILINEAR behind the output."""
    sink = graph.tensor((1,) + size + (channels,), "int8", 0.1, -3)
    graph.op("RESIZE_BILINEAR", (graph.outputs[0], graph.constant((2,), "int32")), (sink,), **options)
    graph.outputs = [sink]


def with_arg_max(graph, kind="int64", axis=3):
    source = graph.outputs[0]
    before = graph.tensors[source][0].values
    sink = graph.tensor(before[:3], kind)
    graph.op("ARG_MAX", (source, graph.tensor((), "int32", data=struct.pack("<i", axis))), (sink,))
    graph.outputs = [sink]


def test_low_resolution_logits(network):
    found = describe(network(IMAGE, ((1, 8, 12, 4), "int8", 0.1, -3)), resize="align_corners")
    assert found.info == ((1, 8, 12, 4), "int8", "nhwc", "logits", "align_corners", pytest.approx(0.1), -3)
    assert (found.stride, found.resize_source) == (8, "--resize")


def test_full_size_logits_need_no_convention(network):
    found = describe(network(IMAGE, ((1, 64, 96, 4), "float32")))
    assert found.stride == 1 and found.info[2:] == ("nhwc", "logits", "half_pixel", 1.0, 0)


def test_channels_first(network):
    found = describe(network(IMAGE, ((1, 4, 8, 12), "float32")), resize="half_pixel")
    assert (found.info.layout, found.stride) == ("nchw", 8)


@pytest.mark.parametrize(
    "image, grid, stride", [((513, 513), (33, 33), 16), ((100, 60), (25, 15), 4), ((5, 7), (5, 7), 1)]
)
def test_strides(network, image, grid, stride):
    graph = network(((1,) + image + (3,), "uint8"), ((1,) + grid + (4,), "int8", 0.1, 0))
    assert describe(graph, resize="half_pixel").stride == stride


def test_a_stride_that_must_be_told(network):
    graph = network(((1, 33, 33, 3), "uint8"), ((1, 2, 2, 4), "int8", 0.1, 0))
    with pytest.raises(UsageError, match="any stride from 17 to 32") as caught:
        describe(graph, resize="half_pixel")
    assert "--stride" in caught.value.fix
    assert describe(graph, resize="half_pixel", stride=32).stride == 32
    with pytest.raises(UsageError, match="--stride 16 does not give"):
        describe(graph, resize="half_pixel", stride=16)


@pytest.mark.parametrize("options, name", [(ALIGNED, "align_corners"), (CENTRES, "half_pixel")])
def test_convention_of_a_resize_in_the_graph(network, options, name):
    graph = network(IMAGE, ((1, 8, 12, 4), "int8", 0.1, -3))
    with_resize(graph, (16, 24), options)
    found = describe(graph)
    assert (found.info.resize, found.stride, found.resize_source) == (name, 4, "the RESIZE_BILINEAR in the graph")
    assert describe(graph, resize="half_pixel").info.resize == "half_pixel"


def test_resizes_that_do_not_agree(network):
    graph = network(IMAGE, ((1, 4, 6, 4), "int8", 0.1, -3))
    with_resize(graph, (8, 12), ALIGNED)
    with_resize(graph, (16, 24), CENTRES)
    with pytest.raises(UsageError, match="the resizes in the graph do not agree") as caught:
        describe(graph)
    assert "--resize half_pixel" in caught.value.fix and "--resize align_corners" in caught.value.fix


def test_a_resize_that_is_the_same_by_all_conventions_does_not_count(network):
    graph = network(IMAGE, ((1, 4, 6, 4), "int8", 0.1, -3))
    with_resize(graph, (4, 6), OLD)
    with_resize(graph, (8, 12), CENTRES)
    assert describe(graph).info.resize == "half_pixel"
    with_resize(graph, (16, 24), OLD)
    with pytest.raises(UsageError, match="do not agree"):
        describe(graph)


def test_the_convention_of_the_resize_that_was_cut(network):
    graph = network(IMAGE, ((1, 8, 12, 4), "int8", 0.1, -3))
    found = describe(graph, cut="align_corners")
    assert (found.info.resize, found.resize_source) == ("align_corners", "the RESIZE_BILINEAR that was cut off")
    with pytest.raises(UsageError, match="--resize half_pixel, but the RESIZE_BILINEAR of the graph is align_corners"):
        describe(graph, cut="align_corners", resize="half_pixel")


def test_the_convention_of_tensorflow_1_is_no_answer(network):
    graph = network(IMAGE, ((1, 8, 12, 4), "int8", 0.1, -3))
    with_resize(graph, (16, 24), OLD)
    with pytest.raises(UsageError, match="4 times smaller"):
        describe(graph)


@pytest.mark.parametrize("kind", ["int64", "int32", "uint8", "float32"])
def test_class_ids(network, kind):
    graph = network(IMAGE, ((1, 64, 96, 4), "int8", 0.1, -3))
    with_arg_max(graph, kind)
    found = describe(graph)
    assert found.info == ((1, 64, 96), kind, "nhwc", "classes", "half_pixel", 1.0, 0)
    with pytest.raises(UsageError, match="the model has 4 classes"):
        describe(graph, 3)


def test_class_ids_behind_other_operators(network):
    graph = network(IMAGE, ((1, 64, 96, 4), "int8", 0.1, -3))
    with_arg_max(graph)
    for name, shape, kind in (("CAST", (1, 64, 96), "float32"), ("EXPAND_DIMS", (1, 64, 96, 1), "float32")):
        sink = graph.tensor(shape, kind)
        graph.op(name, (graph.outputs[0],), (sink,))
        graph.outputs = [sink]
    assert describe(graph).info[:4] == ((1, 64, 96, 1), "float32", "nhwc", "classes")


def test_class_ids_that_nothing_in_the_graph_shows(network):
    graph = network(IMAGE, ((1, 64, 96, 1), "uint8"))
    with pytest.raises(UsageError, match="class ids, or the score of one class") as caught:
        describe(graph)
    assert "--class-map" in caught.value.fix
    assert describe(graph, class_map=True).info.kind == "classes"
    assert describe(network(IMAGE, ((1, 64, 96), "int32"))).info.kind == "classes"


def test_endings(network):
    graph = network(IMAGE, ((1, 8, 12, 4), "int8", 0.1, -3))
    with_resize(graph, (64, 96), CENTRES)
    softmax = graph.tensor((1, 64, 96, 4), "int8", 1 / 256, -128)
    graph.op("SOFTMAX", (graph.outputs[0],), (softmax,))
    graph.outputs = [softmax]
    with_arg_max(graph)
    model = read_tflite(graph.data())
    ending = find_ending(model)
    assert [o and o.name for o in ending] == ["RESIZE_BILINEAR", "SOFTMAX", "ARG_MAX"]
    assert ending.arg_max is not None and channels_of(model, ending.arg_max) == 4
    plain = read_tflite(network().data())
    assert find_ending(plain) == (None, None, None)


def test_cost(network):
    graph = network(IMAGE, ((1, 8, 12, 4), "int8", 0.1, -3))
    graph.constant((4,), "int32")  # of nothing
    graph.op("RESHAPE", (graph.outputs[0], graph.constant((4,), "int32")), (graph.tensor((1, 96, 4), "int8"),))
    assert cost_of(read_tflite(graph.data())) == (4 * 3 * 3 * 3, 8 * 12 * 4 * 3 * 3 * 3)


def metadata(labels="labels.txt", mean=(127.5,), std=(127.5,)):
    """The content of TFLITE_METADATA, by the schema."""
    from flatbuffer_writer import Scalar, Vector, write_flatbuffer

    unit = {0: Scalar("B", 1), 1: {0: Vector("f", mean), 1: Vector("f", std)}}
    other = {0: Scalar("B", 2), 1: {0: Scalar("b", 1)}}
    image, output = {0: "image", 4: [other, unit]}, {0: "classes", 6: [{0: labels, 2: Scalar("b", 2)}]}
    graph = {2: [image], 3: [output]}
    return write_flatbuffer({0: "Street net", 3: [graph]}, b"M001")


def packed(graph, **files):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in files.items():
            file.writestr(name.replace("_", "."), content)
    return graph.data() + archive.getvalue()


def test_metadata(network):
    graph = network()
    graph.metadata = {"TFLITE_METADATA": metadata()}
    data = packed(graph, readme_txt="hello", labels_txt="sky\nroad\n")
    assert read_metadata(read_tflite(data), data) == Metadata("Street net", (127.5,), (127.5,), b"sky\nroad\n")
    alone = graph.data()
    assert read_metadata(read_tflite(alone), alone).labels is None
    assert read_metadata(read_tflite(network().data()), data) == Metadata()


@pytest.mark.parametrize("mean, std", [((1.0, 2.0), (1.0, 2.0)), ((1.0,), (0.0,)), ((1.0,), ())])
def test_normalisation_that_makes_no_sense_is_none(network, mean, std):
    graph = network()
    graph.metadata = {"TFLITE_METADATA": metadata(mean=mean, std=std)}
    data = graph.data()
    found = read_metadata(read_tflite(data), data)
    assert (found.mean, found.std, found.name) == ((), (), "Street net")


def test_damaged_metadata_is_none(network):
    graph = network()
    for length in range(8, len(metadata()), 7):
        graph.metadata = {"TFLITE_METADATA": metadata()[:length]}
        data = graph.data()
        read_metadata(read_tflite(data), data)


def test_a_file_that_says_everything(network, save):
    """Labels, normalisation and name from its metadata, the resize convention from its graph: no option is needed."""
    graph = network(((1, 64, 96, 3), "float32"), ((1, 8, 12, 2), "float32"))
    with_resize(graph, (16, 24), ALIGNED, 2)
    graph.metadata = {"TFLITE_METADATA": metadata()}
    path = save("model.tflite", packed(graph, labels_txt="sky\nroad\n"))
    manifest = make_bundle(ImportRequest(path, "out.edgeseg")).manifest
    assert [label.name for label in manifest.classes] == [
        "sky",
        "road",
    ] and manifest.network.architecture == "Street net"
    assert manifest.input.scale == pytest.approx((1 / 127.5,) * 3) and manifest.input.offset == (-1, -1, -1)
    assert manifest.output.resize == "align_corners" and "metadata" in manifest.provenance["labels"]
