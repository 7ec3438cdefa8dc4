"""Training of a segmentation network, resumable at any epoch with the same result."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras

from edgeseg.datasets import Dataset, Pair, open_dataset
from edgeseg.errors import UsageError
from edgeseg.metrics import iou, mean_iou, pixel_accuracy
from edgeseg.models.augment import Augmentation
from edgeseg.models.average import WeightAverage, restore_batch_norm
from edgeseg.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgeseg.models.curves import write_curves
from edgeseg.models.evaluate import confusion_on
from edgeseg.models.file import NetworkCard, save_network
from edgeseg.models.loss import Balance, SegmentationLoss, class_weights
from edgeseg.models.network import NetworkSpec, build
from edgeseg.models.samples import TrainingSet
from edgeseg.models.weights import load_into, read_weights

BN_BATCHES = 100  # forward passes that re-estimate the BatchNorm statistics at the end


class Recipe(NamedTuple):
    """The arguments of a run: together with the data they determine its result."""

    data: str
    network: str = "fcn8"
    width: float = 1.0
    imgsz: tuple[int, int] = (352, 480)  # height, width
    crop: tuple[int, int] = (352, 480)
    init: str = "imagenet"
    upsampling: str = "bilinear"
    epochs: int = 60
    batch: int = 8
    lr: float = 2e-3
    weight_decay: float = 1e-2
    balance: Balance = "sqrt"
    jaccard: float = 0.5
    rare_crop: float = 0.5
    holdout: str = ""  # training images whose name starts so are validated on instead of `val`
    seed: int = 0


class Progress(NamedTuple):
    """What a running training reports."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    val_miou: float  # of the last epoch, NaN before there is one
    images_per_s: float
    left_s: float


def train(recipe: Recipe, out: Path, resume: bool, report: Callable[[Progress], None]) -> dict[str, Any]:
    """Train and write `out`/network.keras, curves.csv, curves.png; returns the final figures.

    With `resume` the run goes on after the last complete epoch of `out`/checkpoint.npz, which must
    have been made with the same recipe. Raises UsageError for wrong arguments or data.
    """
    return Run(recipe, out, resume).finish(report)


class Run:
    """One training run: its data, its networks, and where it is."""

    def __init__(self, recipe: Recipe, out: Path, resume: bool) -> None:
        self.recipe, self.out = recipe, out
        state = self._previous(resume)
        keras.utils.set_random_seed(recipe.seed)
        dataset = open_dataset(recipe.data)
        self.dataset = dataset
        train_pairs, self.val_pairs = split_pairs(dataset, recipe.holdout)
        initial = read_weights(recipe.init, recipe.width)
        geometry = initial.geometry if initial else "symmetric"
        self.spec = NetworkSpec(
            recipe.network, recipe.width, recipe.imgsz, len(dataset.classes), geometry, recipe.upsampling
        )
        self.network = build(self.spec)
        self.learner = build(self.spec._replace(imgsz=recipe.crop))
        if initial:
            load_into(self.learner, initial)
        self.initial = initial
        augmentation = Augmentation(rare_crop=recipe.rare_crop)
        self.samples = TrainingSet(
            dataset, train_pairs, recipe.crop, recipe.batch, augmentation, recipe.seed
        )
        self.trainer = self._compile()
        self.average = WeightAverage(self.learner)
        self.epoch = 0
        self.history: list[dict[str, float]] = []
        if state:
            self._restore(state)

    def _previous(self, resume: bool) -> Checkpoint | None:
        path = self.out / "checkpoint.npz"
        if not resume:
            if path.exists():
                raise UsageError(f"{self.out} already holds a run", "add --resume, or choose another -o")
            return None
        state = load_checkpoint(path)
        mine = {k: list(v) if isinstance(v, tuple) else v for k, v in self.recipe._asdict().items()}
        changed = [k for k, v in mine.items() if state.recipe.get(k) != v]
        if changed:
            was = ", ".join(f"{k}={state.recipe.get(k)!r} (now {mine[k]!r})" for k in changed)
            raise UsageError(f"the run in {self.out} was started with {was}", "resume with the same arguments")
        return state

    def _compile(self) -> keras.Model:
        """The learner with logits at full resolution, its loss and its optimiser."""
        recipe = self.recipe
        logits = keras.layers.UpSampling2D(self.spec.stride, interpolation="bilinear")(self.learner.output)
        trainer = keras.Model(self.learner.input, logits)
        total = recipe.epochs * self.samples.steps
        warmup = min(self.samples.steps, total // 10)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, total - warmup), alpha=0.001, warmup_target=recipe.lr, warmup_steps=warmup
        )
        optimizer = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay, global_clipnorm=5.0)
        optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        weights = class_weights(self.samples.pixels, recipe.balance)
        trainer.compile(optimizer, SegmentationLoss(weights, recipe.jaccard), jit_compile=False)
        optimizer.build(trainer.trainable_variables)
        return trainer

    def finish(self, report: Callable[[Progress], None]) -> dict[str, Any]:
        """Train the epochs that are left, then settle the averaged weights and write the network."""
        while self.epoch < self.recipe.epochs:
            row = self._train_epoch(report)
            self.epoch += 1
            self.average.copy_to(self.network)
            confusion = confusion_on(self.network, self.dataset, self.val_pairs)
            row |= {"val_miou": mean_iou(confusion), "val_pixel_accuracy": pixel_accuracy(confusion)}
            self.history.append(row)
            self._save()
        return self._settle()

    def _train_epoch(self, report: Callable[[Progress], None]) -> dict[str, float]:
        self.trainer.reset_metrics()
        steps, epochs = self.samples.steps, self.recipe.epochs
        last_miou = self.history[-1]["val_miou"] if self.history else float("nan")
        start = time.monotonic()
        loss = float("nan")
        for step, (images, labels) in enumerate(self.samples.epoch(self.epoch), start=1):
            loss = float(self.trainer.train_on_batch(images, labels))
            self.average.update()
            speed = step / (time.monotonic() - start)
            left = (epochs - self.epoch) * steps - step
            report(
                Progress(
                    self.epoch + 1, epochs, step, steps, loss, last_miou,
                    speed * self.samples.batch, left / speed,
                )
            )  # fmt: skip
        seconds = time.monotonic() - start
        images = steps * self.samples.batch
        return {"epoch": self.epoch + 1, "loss": loss, "images_per_s": images / seconds, "seconds": seconds}

    def _save(self) -> None:
        state = Checkpoint(
            self.epoch,
            self.recipe._asdict(),
            [keras.ops.convert_to_numpy(w) for w in self.learner.weights],
            self.average.state(),
            [keras.ops.convert_to_numpy(v) for v in self.trainer.optimizer.variables],
            self.history,
        )
        save_checkpoint(self.out / "checkpoint.npz", state)
        write_curves(self.out, self.history)

    def _restore(self, state: Checkpoint) -> None:
        self.epoch, self.history = state.epoch, state.history
        for variables, values in (
            (self.learner.weights, state.weights),
            (self.trainer.optimizer.variables, state.optimizer),
        ):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        self.average.set_state(state.average)

    def _settle(self) -> dict[str, Any]:
        """Averaged weights with BatchNorm statistics of their own; measured, then written."""
        self.average.copy_to(self.learner)
        batches = (images for epoch in range(BN_BATCHES) for images, _ in self.samples.epoch(epoch))
        restore_batch_norm(self.learner, batches, min(BN_BATCHES, 2 * self.samples.steps))
        self.network.set_weights(self.learner.get_weights())
        confusion = confusion_on(self.network, self.dataset, self.val_pairs)
        figures = {
            "val_miou": mean_iou(confusion),
            "val_pixel_accuracy": pixel_accuracy(confusion),
            "val_iou": {
                c.name: float(v) for c, v in zip(self.dataset.classes, iou(confusion), strict=True)
            },
        }
        card = NetworkCard(
            spec=self.spec,
            classes=self.dataset.classes,
            dataset=self.dataset.name,
            recipe=self.recipe._asdict(),
            init=f"{self.initial.source} sha256:{self.initial.sha256}" if self.initial else "random",
            figures=figures,
        )
        save_network(self.out / "network.keras", self.network, card)
        return figures


def split_pairs(dataset: Dataset, holdout: str) -> tuple[list[Pair], list[Pair]]:
    """Training and validation pairs; with `holdout`, training images of that prefix are validated on.

    A held-out recording (drive) measures what a split of neighbouring video frames cannot.
    """
    pairs = dataset.pairs("train")
    if not holdout:
        return pairs, dataset.pairs("val")
    held = [pair for pair in pairs if pair.name.startswith(holdout)]
    kept = [pair for pair in pairs if not pair.name.startswith(holdout)]
    if not held or not kept:
        raise UsageError(
            f"--holdout {holdout}: {len(held)} of {len(pairs)} training images start so",
            f"name the start of some file names, for example {pairs[0].name.split('_')[0]}",
        )
    return kept, held
