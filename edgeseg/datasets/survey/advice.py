"""What a survey of a dataset means for training: each finding with what to do about it."""

import shlex
from collections import Counter
from typing import Iterator, List, NamedTuple, Sequence, Tuple

from edgeseg.datasets.survey import TRAIN, Split, Survey
from edgeseg.datasets.survey.recordings import holdout_prefix

_FEW_IMAGES = 5  # or _SMALL: there is little to learn from
_SMALL = 1e-4  # share of the labelled pixels
_LONGEST = 640  # pixels of the longer side that `next_command` proposes


class Note(NamedTuple):
    """Something worth knowing that does not stop a training."""

    text: str
    fix: str


def notes(survey: Survey) -> List[Note]:
    """What else is worth knowing, the gravest first."""
    kinds = (_leaks, _shared, _few_scenes, _copies, _never_seen, _rare, _unlabelled, _splits)
    return [note for kind in kinds for note in kind(survey)]


def next_command(survey: Survey) -> str:
    """The training that this dataset is ready for; "" where it lacks images to train on or to validate on."""
    held, has_val = _holdout(survey), "val" in survey.dataset.splits
    if survey.train is None or not survey.train.pairs or not (held or has_val):
        return ""
    parts = ["edgeseg train --data", shlex.quote(survey.dataset.root)]
    parts.append("--imgsz {} {}".format(*_proposed_size(survey.train.sizes)))
    if held and (survey.leaks or survey.shared or not has_val):
        parts.append(held)
    return " ".join(parts + ["-o runs/mine"])


def _proposed_size(sizes: Counter) -> Tuple[int, int]:
    """Height and width, divisible by 32, that fit into the most common size, the longer one 640 at most."""
    (width, height), _ = sizes.most_common(1)[0]
    scale = min(1.0, _LONGEST / max(width, height))
    return max(32, int(height * scale) // 32 * 32), max(32, int(width * scale) // 32 * 32)


def _holdout(survey: Survey) -> str:
    """The option that validates on a recording of its own, "" where none is known."""
    prefix = holdout_prefix(survey.dataset.root, survey.train.pairs) if survey.train else ""
    return "--holdout " + shlex.quote(prefix) if prefix else ""


def _independent(survey: Survey) -> str:
    held = _holdout(survey)
    advice = "split by recordings or places, never image by image"
    return "{}; for now validate on a recording of its own: {}".format(advice, held) if held else advice


def _leaks(survey: Survey) -> Iterator[Note]:
    for split in survey.splits:
        leaks = [leak for leak in survey.leaks if leak.split == split.name]
        if leaks:
            examples = ["{} is like {} ({} bits differ)".format(k.image, k.train_image, k.bits) for k in leaks]
            yield Note(
                "{} near-duplicates of training images, so its accuracy is too good: {}".format(
                    _images_are(len(leaks), split), _listed(examples, 3)
                ),
                _independent(survey),
            )


def _shared(survey: Survey) -> Iterator[Note]:
    for split in survey.splits:
        shared = [one for one in survey.shared if one.split == split.name]
        if shared:
            yield Note(
                "{} of recordings that train has too ({}), so its accuracy says little about other places".format(
                    _images_are(sum(one.images for one in shared), split),
                    _listed(["{}: {} images".format(one.name, one.train_images) for one in shared]),
                ),
                _independent(survey),
            )


def _few_scenes(survey: Survey) -> Iterator[Note]:
    for split in survey.splits:
        scenes = survey.scenes[split.name]
        if 2 * scenes < len(split.pairs):
            yield Note(
                "the {} images of {} are {} scene{}: the others are near-duplicates, like neighbouring frames of a "
                "video".format(len(split.pairs), split.name, scenes, "" if scenes == 1 else "s"),
                "label fewer frames of each place, and more places",
            )


def _copies(survey: Survey) -> Iterator[Note]:
    for same_labels in (False, True):
        copies = [one.images for one in survey.copies if one.same_labels == same_labels]
        if copies:
            yield Note(
                "{} images are in the data more than once, {}: {}".format(
                    len(copies),
                    "with the same labels" if same_labels else "with labels that contradict each other",
                    _listed([" = ".join(images) for images in copies]),
                ),
                "keep one of each" if same_labels else "keep the right one of each",
            )


def _never_seen(survey: Survey) -> Iterator[Note]:
    names = [c.name for c in survey.dataset.classes]
    seen = {s.name: {name for name, images in zip(names, s.images) if images} for s in survey.splits if s.pairs}
    absent = [name for name in names if not any(name in group for group in seen.values())]
    if seen and absent:
        yield Note(
            "never seen in {}: {}".format(" or ".join(seen), _listed(absent, 8)),
            "add images of them, or leave these classes out",
        )
    learnt = seen.get(TRAIN, set())
    for split, group in seen.items() if learnt else ():
        unlearnt = [name for name in names if name in group - learnt]
        if unlearnt:
            yield Note("in {} but never in train: {}".format(split, _listed(unlearnt, 8)), "add images to train")
        unmeasured = [name for name in names if name in learnt - group]
        if unmeasured:
            yield Note(
                "in train but never in {}: {}".format(split, _listed(unmeasured, 8)),
                "add images to {}: else their accuracy stays unknown".format(split),
            )


def _rare(survey: Survey) -> Iterator[Note]:
    train = survey.train
    if train is None or len(train.pairs) < 2 * _FEW_IMAGES:
        return
    total = max(1, int(train.pixels.sum()))
    rare = [
        "{} ({:.2g} % of the pixels, {} images)".format(c.name, 100.0 * pixels / total, images)
        for c, pixels, images in zip(survey.dataset.classes, train.pixels, train.images)
        if images and (images < _FEW_IMAGES or pixels < _SMALL * total)
    ]
    if rare:
        yield Note("little to learn from in train: {}".format(_listed(rare, 8)), "add images of them, or join classes")


def _unlabelled(survey: Survey) -> Iterator[Note]:
    for split in survey.splits:
        if 0 < split.blank < len(split.pairs):
            yield Note(
                "{} without any labelled pixel".format(_images_are(split.blank, split)),
                "label them or leave them out",
            )
        share = split.unlabelled / max(1, split.unlabelled + int(split.pixels.sum()))
        if 0.5 < share < 1:
            yield Note(
                "{:.0%} of the pixels of {} are unlabelled, and neither learnt nor measured".format(share, split.name),
                "give them a class if they have one",
            )


def _splits(survey: Survey) -> Iterator[Note]:
    splits = survey.dataset.splits
    if TRAIN not in splits:
        yield Note(
            "there is no split 'train': this data can measure a network, not train one",
            "a split is there with its images and its labels: " + survey.dataset.folders,
        )
    elif "val" not in splits:
        held = _holdout(survey) or "--holdout PREFIX"
        yield Note("there is no split 'val'", "add one, or train with {}".format(held))


def _images_are(count: int, split: Split) -> str:
    whole = len(split.pairs)
    part = "all {}".format(whole) if count == whole else "{} of the {}".format(count, whole)
    return "{} images of {} {}".format(part, split.name, "is" if count == 1 else "are")


def _listed(items: Sequence[str], most: int = 5) -> str:
    """The first `most` items, and how many more there are."""
    more = len(items) - most
    return ", ".join(items[:most]) + (" and {} more".format(more) if more > 0 else "")
