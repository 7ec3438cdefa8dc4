"""ADE20K SceneParsing (ADEChallengeData2016): 150 classes with the values 1..150; 0 is "other".

Zhou et al., CVPR 2017; http://sceneparsing.csail.mit.edu, https://github.com/CSAILVision/sceneparsing
"""

import os
from typing import Optional

from edgeseg.datasets.base import Dataset
from edgeseg.datasets.labels import mapped_ids
from edgeseg.datasets.layouts.ade20k_classes import ADE20K
from edgeseg.datasets.listing import images_in, paired

_SPLITS = {"train": "training", "val": "validation"}
_GET = "unpack ADEChallengeData2016.zip again (http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip)"


def open_ade20k(root: str) -> Optional[Dataset]:
    """Read images/{training,validation} and annotations/{training,validation} in `root`; None for another layout."""
    files = {}
    for split, folder in _SPLITS.items():
        files[split] = [images_in(os.path.join(root, kind, folder)) for kind in ("images", "annotations")]
    # images/training is a folder that others have, too
    if not any(name.startswith("ADE_") for images, _ in files.values() for name in images):
        return None
    splits = {split: paired(images, labels, _GET) for split, (images, labels) in files.items() if images or labels}
    ids = {c.id + 1: c.id for c in ADE20K}
    return Dataset(
        "ADE20K", root, ADE20K, splits, mapped_ids(ids, [0], "ADE20K's values are 0 (other) to 150; " + _GET)
    )
