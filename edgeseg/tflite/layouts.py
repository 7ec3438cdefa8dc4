"""The shapes that operators give which place, join, cut or reduce values (tensorflow/lite/kernels)."""

from typing import List, Tuple

from edgeseg.tflite.node import Node, Shape, check_axis, size_of


def same(node: Node) -> List[Shape]:
    node.expect(1)
    return [node.shape(0)]


def broadcast(node: Node) -> List[Shape]:
    node.expect(2)
    shapes = [node.shape(0), node.shape(1)]
    rank = max(len(shape) for shape in shapes)
    first, second = ((1,) * (rank - len(shape)) + shape for shape in shapes)
    if any(a != b and 1 not in (a, b) for a, b in zip(first, second)):
        raise ValueError("{} with {}".format(*(list(shape) for shape in shapes)))
    return [tuple(max(a, b) for a, b in zip(first, second))]


def concatenation(node: Node) -> List[Shape]:
    node.expect(1, 1000)
    shapes = [list(node.shape(i)) for i in range(len(node.inputs))]
    axis = check_axis(node.option(0), len(shapes[0]))
    widths = [shape[axis : axis + 1] for shape in shapes]
    rest = [shape[:axis] + shape[axis + 1 :] for shape in shapes]
    if any(other != rest[0] or len(shape) != len(shapes[0]) for other, shape in zip(rest, shapes)):
        raise ValueError("shapes {}".format(shapes))
    return [tuple(rest[0][:axis] + [sum(width[0] for width in widths)] + rest[0][axis:])]


def pad(node: Node) -> List[Shape]:
    node.expect(2, 3)
    shape, pads = node.shape(0), node.numbers(1)
    if len(pads) != 2 * len(shape) or min(pads + (0,)) < 0:
        raise ValueError("padding {}".format(list(pads)))
    return [tuple(n + before + after for n, before, after in zip(shape, pads[::2], pads[1::2]))]


def mirror_pad(node: Node) -> List[Shape]:
    mirrored = 0 if node.option(0, "<b") else 1  # REFLECT leaves the border itself out
    if any(pad > n - mirrored for n, pad in zip(_twice(node.shape(0)), node.numbers(1))):
        raise ValueError("padding {}".format(list(node.numbers(1))))
    return pad(node)


def _twice(shape: Shape) -> Shape:
    return tuple(n for n in shape for _ in range(2))


def resize(node: Node) -> List[Shape]:
    node.expect(2)
    (n, _, _, c), size = node.shape(0, 4), node.numbers(1)
    if len(size) != 2 or min(size) < 1:
        raise ValueError("a size of {}".format(list(size)))
    return [(n,) + size + (c,)]


def reduction(node: Node) -> List[Shape]:
    node.expect(2)
    shape = node.shape(0)
    axes = {check_axis(axis, len(shape)) for axis in node.numbers(1)}
    if node.option(0, "<b"):
        return [tuple(1 if i in axes else n for i, n in enumerate(shape))]
    return [tuple(n for i, n in enumerate(shape) if i not in axes)]


def arg_max(node: Node) -> List[Shape]:
    node.expect(2)
    shape = node.shape(0)
    axis = _one_axis(node.numbers(1), len(shape))
    return [shape[:axis] + shape[axis + 1 :]]


def reshape(node: Node) -> List[Shape]:
    node.expect(1, 2)
    wanted = node.numbers(1) if len(node.inputs) == 2 else node.table.vector(0, "i") if node.table else ()
    total, known = size_of(node.shape(0)), size_of([n for n in wanted if n != -1])
    if wanted.count(-1) == 1 and known and total % known == 0:
        return [tuple(total // known if n == -1 else n for n in wanted)]
    if -1 in wanted or known != total or min(wanted + (1,)) < 1:
        raise ValueError("{} into {}".format(list(node.shape(0)), list(wanted)))
    return [tuple(wanted)]


def squeeze(node: Node) -> List[Shape]:
    node.expect(1)
    shape = node.shape(0)
    axes = {check_axis(axis, len(shape)) for axis in (node.table.vector(0, "i") if node.table else ())}
    axes = axes or {i for i, n in enumerate(shape) if n == 1}
    if any(shape[i] != 1 for i in axes):
        raise ValueError("axes {} of {}".format(sorted(axes), list(shape)))
    return [tuple(n for i, n in enumerate(shape) if i not in axes)]


def expand_dims(node: Node) -> List[Shape]:
    node.expect(2)
    shape = node.shape(0)
    axis = _one_axis(node.numbers(1), len(shape) + 1)
    return [shape[:axis] + (1,) + shape[axis:]]


def transpose(node: Node) -> List[Shape]:
    node.expect(2)
    shape, order = node.shape(0), node.numbers(1)
    if sorted(order) != list(range(len(shape))):
        raise ValueError("the order {} of {} dimensions".format(list(order), len(shape)))
    return [tuple(shape[i] for i in order)]


def strided_slice(node: Node) -> List[Shape]:
    node.expect(4)
    shape = node.shape(0)
    begins, ends, steps = (node.numbers(i) for i in (1, 2, 3))
    begin_mask, end_mask, ellipsis, new_axis, shrink = (node.option(i) for i in range(5))
    if ellipsis or new_axis or not len(begins) == len(ends) == len(steps) <= len(shape) or 0 in steps:
        raise ValueError("a slice of {} numbers of {} dimensions".format(len(begins), len(shape)))
    made = []
    for i, n in enumerate(shape):
        if i >= len(begins):
            made.append(n)
        elif shrink >> i & 1:
            check_axis(begins[i], n)
        else:
            begin = None if begin_mask >> i & 1 else begins[i]
            end = None if end_mask >> i & 1 else ends[i]
            made.append(len(range(*slice(begin, end, steps[i]).indices(n))))
    return [tuple(made)]


def slice_part(node: Node) -> List[Shape]:
    node.expect(3)
    shape, begins, sizes = node.shape(0), node.numbers(1), node.numbers(2)
    if not len(begins) == len(sizes) == len(shape):
        raise ValueError("a slice of {} numbers of {} dimensions".format(len(begins), len(shape)))
    made = tuple(n - begin if size == -1 else size for n, begin, size in zip(shape, begins, sizes))
    if any(not 0 <= begin <= begin + size <= n for n, begin, size in zip(shape, begins, made)):
        raise ValueError("a slice from {} of {} in {}".format(list(begins), list(sizes), list(shape)))
    return [made]


def split(node: Node) -> List[Shape]:
    node.expect(2)
    shape, parts = node.shape(1), len(node.outputs)
    axis = _one_axis(node.numbers(0), len(shape))
    if node.option(0) != parts or not parts or shape[axis] % parts:
        raise ValueError("{} parts of {}".format(parts, shape[axis]))
    return [shape[:axis] + (shape[axis] // parts,) + shape[axis + 1 :]] * parts


def split_at(node: Node) -> List[Shape]:
    node.expect(3)
    shape, sizes, axes = node.shape(0), node.numbers(1), node.numbers(2)
    axis = _one_axis(axes, len(shape))
    if node.option(0) != len(sizes) or min(sizes + (1,)) < 1 or sum(sizes) != shape[axis]:
        raise ValueError("parts of {} of {}".format(list(sizes), shape[axis]))
    return [shape[:axis] + (size,) + shape[axis + 1 :] for size in sizes]


def pack(node: Node) -> List[Shape]:
    shapes = [node.shape(i) for i in range(len(node.inputs))]
    if not shapes or node.option(0) != len(shapes) or any(shape != shapes[0] for shape in shapes):
        raise ValueError("shapes {}".format([list(shape) for shape in shapes]))
    axis = check_axis(node.option(1), len(shapes[0]) + 1)
    return [shapes[0][:axis] + (len(shapes),) + shapes[0][axis:]]


def unpack(node: Node) -> List[Shape]:
    node.expect(1)
    shape = node.shape(0)
    axis = check_axis(node.option(1), len(shape))
    if not node.option(0) == shape[axis] == len(node.outputs):
        raise ValueError("{} parts of {}".format(node.option(0), shape[axis]))
    return [shape[:axis] + shape[axis + 1 :]] * shape[axis]


def tile(node: Node) -> List[Shape]:
    node.expect(2)
    shape, times = node.shape(0), node.numbers(1)
    if len(times) != len(shape) or min(times + (1,)) < 1:
        raise ValueError("{} times".format(list(times)))
    return [tuple(n * t for n, t in zip(shape, times))]


def broadcast_to(node: Node) -> List[Shape]:
    node.expect(2)
    shape, wanted = node.shape(0), node.numbers(1)
    own = shape[::-1]
    if len(shape) > len(wanted) or any(n not in (1, m) for n, m in zip(own, wanted[::-1])):
        raise ValueError("{} to {}".format(list(shape), list(wanted)))
    return [wanted]


def depth_to_space(node: Node) -> List[Shape]:
    node.expect(1)
    (n, h, w, c), block = node.shape(0, 4), node.option(0)
    if block < 1 or c % (block * block):
        raise ValueError("blocks of {} of {} channels".format(block, c))
    return [(n, h * block, w * block, c // block // block)]


def space_to_depth(node: Node) -> List[Shape]:
    node.expect(1)
    (n, h, w, c), block = node.shape(0, 4), node.option(0)
    if block < 1 or h % block or w % block:
        raise ValueError("blocks of {} of {} pixels".format(block, [h, w]))
    return [(n, h // block, w // block, c * block * block)]


def space_to_batch(node: Node) -> List[Shape]:
    (n, h, w, c), (high, wide), pads = _blocks(node)
    h, w = h + pads[0] + pads[1], w + pads[2] + pads[3]
    if h % high or w % wide:
        raise ValueError("blocks of {} of {} pixels".format([high, wide], [h, w]))
    return [(n * high * wide, h // high, w // wide, c)]


def batch_to_space(node: Node) -> List[Shape]:
    (n, h, w, c), (high, wide), crops = _blocks(node)
    if n % (high * wide):
        raise ValueError("blocks of {} of {} images".format([high, wide], n))
    return [(n // high // wide, h * high - crops[0] - crops[1], w * wide - crops[2] - crops[3], c)]


def _blocks(node: Node) -> Tuple[Shape, Shape, Shape]:
    node.expect(3)
    blocks, pads = node.numbers(1), node.numbers(2)
    if len(blocks) != 2 or min(blocks) < 1 or len(pads) != 4 or min(pads) < 0:
        raise ValueError("blocks of {} and borders of {}".format(list(blocks), list(pads)))
    return node.shape(0, 4), blocks, pads


def _one_axis(axes: Shape, rank: int) -> int:
    if len(axes) != 1:
        raise ValueError("axes {}".format(list(axes)))
    return check_axis(axes[0], rank)
