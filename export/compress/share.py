"""Weight sharing (Deep Compression, Han et al. 2016, arXiv 1510.00149, section 3): a layer has few different weights.

K-means finds them, from a linear start: the paper's best (section 3.2), as it keeps the few large weights. They are
centroids on the int8 grid of the exported file, where a weight is a whole number of its output channel's scale, the
largest of the channel being 127 or -127. So these two are always in the codebook, and the int8 file holds exactly the
centroids. A pruned weight keeps its zero, which is then in the codebook too.
"""

import numpy as np
from sklearn.cluster import KMeans

from edgeseg.models.hold import LARGEST, Shared, channel_scales


def share(kernel: np.ndarray, clusters: int, channel_axis: int = 3, is_pruned: bool = False) -> Shared:
    """At most `clusters` values for a kernel, (h, w, in, out); of a depthwise one `channel_axis` is 2.

    Zeros of a kernel that `is_pruned` stay zeros: zero is then one of the values.
    """
    scales = channel_scales(kernel, channel_axis)
    grid = (kernel / scales).astype(np.float64)
    pruned = (kernel == 0) & is_pruned
    book = _book(grid[~pruned], clusters - bool(pruned.any()))
    if pruned.any():
        book = np.unique(np.append(book[book != 0], 0.0))
    return Shared(book, nearest(book, grid, pruned), scales)


def nearest(book: np.ndarray, grid: np.ndarray, pruned: np.ndarray) -> np.ndarray:
    """Index of the nearest value for each weight; of pruned ones that of zero."""
    borders = (book[1:] + book[:-1]) / 2
    indices = np.searchsorted(borders, grid).astype(np.uint8)
    if pruned.any():
        indices[pruned] = np.searchsorted(book, 0.0)
    return indices


def _book(values: np.ndarray, clusters: int) -> np.ndarray:
    """Whole numbers, ascending, the outermost of them -127 and 127."""
    different = np.unique(np.rint(values))
    if len(different) <= clusters:
        return different
    start = np.linspace(-LARGEST, LARGEST, clusters)[:, None]
    found = KMeans(clusters, init=start, n_init=1, random_state=0).fit(values[:, None]).cluster_centers_.ravel()
    book = np.sort(np.rint(found))
    book[0], book[-1] = -LARGEST, LARGEST
    return np.unique(book)
