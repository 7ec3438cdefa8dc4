"""The shapes that convolutions and poolings give (tensorflow/lite/kernels: conv.cc, depthwise_conv.cc, ...); NHWC."""

from typing import List

from edgeseg.tflite.node import Node, Shape, size_of

_SAME, _VALID = 0, 1  # schema.fbs, enum Padding: option 0 of each operator here


def conv(node: Node) -> List[Shape]:
    node.expect(2, 3)
    (n, h, w, c), (out, kh, kw, per_group) = node.shape(0, 4), node.shape(1, 4)
    if c % per_group or out % (c // per_group):
        raise ValueError("a kernel {} on {} channels".format(list(node.shape(1)), c))
    _bias(node, 2, out)
    high = _window(node, h, kh, node.option(2), node.option(5, default=1))
    return [(n, high, _window(node, w, kw, node.option(1), node.option(4, default=1)), out)]


def depthwise_conv(node: Node) -> List[Shape]:
    node.expect(2, 3)
    (n, h, w, c), (one, kh, kw, out) = node.shape(0, 4), node.shape(1, 4)
    if one != 1 or out % c or node.option(3) not in (0, out // c):
        raise ValueError("a kernel {} on {} channels".format(list(node.shape(1)), c))
    _bias(node, 2, out)
    high = _window(node, h, kh, node.option(2), node.option(6, default=1))
    return [(n, high, _window(node, w, kw, node.option(1), node.option(5, default=1)), out)]


def transpose_conv(node: Node) -> List[Shape]:
    node.expect(3, 4)
    (out, kh, kw, c), (n, h, w, channels) = node.shape(1, 4), node.shape(2, 4)
    made = node.numbers(0)
    if c != channels or len(made) != 4 or (made[0], made[3]) != (n, out):
        raise ValueError("a kernel {} on {} channels to {}".format(list(node.shape(1)), channels, list(made)))
    _bias(node, 3, out, optional=True)
    if (_window(node, made[1], kh, node.option(2)), _window(node, made[2], kw, node.option(1))) != (h, w):
        raise ValueError("{} pixels from {}".format(list(made[1:3]), [h, w]))
    return [made]


def pool(node: Node) -> List[Shape]:
    node.expect(1)
    n, h, w, c = node.shape(0, 4)
    high = _window(node, h, node.option(4), node.option(2))
    return [(n, high, _window(node, w, node.option(3), node.option(1)), c)]


def fully_connected(node: Node) -> List[Shape]:
    node.expect(2, 3)
    shape, (out, width) = node.shape(0), node.shape(1, 2)
    keeps_rank, shuffled = node.option(2, "<b"), node.option(1, "<b")
    if size_of(shape) % width or shuffled or (keeps_rank and shape[-1:] != (width,)):
        raise ValueError("weights {} on {}".format([out, width], list(shape)))
    _bias(node, 2, out, optional=True)
    return [shape[:-1] + (out,) if keeps_rank else (size_of(shape) // width, out)]


def _window(node: Node, size: int, kernel: int, stride: int, dilation: int = 1) -> int:
    """At how many places a window lies in `size` pixels."""
    padding, reach = node.option(0, "<b"), (kernel - 1) * dilation + 1
    if min(kernel, stride, dilation) < 1 or padding not in (_SAME, _VALID):
        raise ValueError("kernel {}, stride {}, dilation {}, padding {}".format(kernel, stride, dilation, padding))
    places = size if padding == _SAME else size - reach + 1
    if places < 1:
        raise ValueError("a window of {} in {} pixels".format(reach, size))
    return -(-places // stride)


def _bias(node: Node, number: int, channels: int, optional: bool = False) -> None:
    if number < len(node.inputs) and node.inputs[number] is not None:
        if size_of(node.shape(number)) != channels:
            raise ValueError("a bias {} for {} channels".format(list(node.shape(number)), channels))
    elif not optional and node.type(0) != "float32":
        raise ValueError("no bias")  # which integer kernels read all the same
