"""Training of a segmentation network, resumable at any epoch with the same result."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import keras

from edgeseg.datasets import Pair, open_dataset
from edgeseg.errors import UsageError
from edgeseg.models.augment import Augmentation, Sizes
from edgeseg.models.average import WeightAverage, restore_batch_norm
from edgeseg.models.checkpoint import FILE, Checkpoint, load_checkpoint, save_checkpoint, sole_user
from edgeseg.models.coarse import open_also
from edgeseg.models.curves import write_curves
from edgeseg.models.evaluate import scores_on
from edgeseg.models.fake_quant import Range, round_outputs
from edgeseg.models.file import NetworkCard, save_network
from edgeseg.models.freeze import freeze
from edgeseg.models.fused_norm import fuse_batch_norm
from edgeseg.models.hold import hold_views, keep_scales_positive
from edgeseg.models.int8 import freeze_batch_norm, int8_views, require_trained, training_ranges
from edgeseg.models.loss import DistillationLoss, SegmentationLoss, class_weights
from edgeseg.models.network import build
from edgeseg.models.ranking import Ranked, choose, ranking_text
from edgeseg.models.recipe import Recipe, check_recipe, check_same, split_pairs
from edgeseg.models.samples import LABEL_STEP, TrainingSet
from edgeseg.models.spec import NetworkSpec
from edgeseg.models.teacher import Teacher
from edgeseg.models.transfer import transfer_text
from edgeseg.models.views import bake, look_through
from edgeseg.models.weights import InitialWeights, images_seen, load_into, name_of, read_weights
from edgeseg.zoo import NETWORK_FILE

__all__ = ["Progress", "Recipe", "Run", "split_pairs", "train"]

MANY_IMAGES = 1000  # take long enough to read that a user wonders
EVALUATIONS = 20  # on the validation split, over a whole run
BN_BATCHES = 100  # forward passes that re-estimate the BatchNorm statistics at the end


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
    done: bool = False  # the epoch is complete, and `val_miou` is its own


def _say_nothing(text: str) -> None:
    """For who has no use for notes."""


def train(
    recipe: Recipe,
    out: Path,
    resume: bool,
    report: Callable[[Progress], None],
    note: Callable[[str], None] = _say_nothing,
) -> dict[str, Any]:
    """Train and write `out`/network.keras, curves.csv, curves.png; returns the final figures.

    With `resume` the run goes on after the last complete epoch of `out`/checkpoint.npz, which must
    have been made with the same recipe. `note` is told what became of the initial weights, in words.
    Raises UsageError for wrong arguments or data, and where the loss is no longer a number;
    EnvironmentFault where `out` cannot be written.
    """
    with sole_user(out):
        return Run(recipe, out, resume, note).finish(report)


class Run:
    """One training run: its data, its networks, and where it is."""

    def __init__(self, recipe: Recipe, out: Path, resume: bool, note: Callable[[str], None]) -> None:
        check_recipe(recipe)
        self.recipe, self.out = recipe, out
        state = self._previous(resume)
        dataset = open_dataset(recipe.data)
        self.dataset = dataset
        train_pairs, self.val_pairs = split_pairs(dataset, recipe.holdout)
        self.spec = NetworkSpec(
            recipe.network, recipe.width, recipe.imgsz, len(dataset.classes), upsampling=recipe.upsampling
        )
        if state:
            self.ranking = [Ranked(**row) for row in state.ranking]
        else:
            self.ranking = choose(recipe.candidates, self.spec, train_pairs)
        self._start(train_pairs, note if not state else _say_nothing)
        augmentation = Augmentation(rare_crop=recipe.rare_crop)
        sizes = Sizes(recipe.imgsz, recipe.crop)
        if len(train_pairs) > MANY_IMAGES:
            note(f"reading {len(train_pairs)} images")
        also = open_also(recipe, dataset.classes)
        self.samples = TrainingSet(dataset, train_pairs, sizes, recipe.batch, augmentation, recipe.seed, also)
        teachers = [Path(path) for path in recipe.teacher]
        self.teacher = Teacher(teachers, dataset.classes, recipe.crop, self.spec.stride) if teachers else None
        self.trainer = self._compile()
        self.average = WeightAverage(self.learner)
        self.epoch = 0
        self.history: list[dict[str, float]] = []
        if state:
            self._restore(state)

    def _start(self, pairs: Sequence[Pair], note: Callable[[str], None]) -> None:
        """Build the networks and load the initial weights."""
        recipe = self.recipe
        self.initial = read_weights(self.ranking[0].init if self.ranking else recipe.candidates[0], recipe.width)
        if self.initial:
            self.spec = self.spec._replace(geometry=self.initial.geometry, channels=_pruned(self.initial, self.spec))
        keras.utils.set_random_seed(recipe.seed)
        self.network = build(self.spec)
        self.learner = build(self.spec._replace(imgsz=recipe.crop))
        fuse_batch_norm(self.learner)
        if self.ranking:
            note(ranking_text(self.ranking))
        if self.initial:
            transfer = load_into(self.learner, self.initial, [c.name for c in self.dataset.classes])
            freeze(self.learner, recipe.freeze, transfer)
            note(transfer_text(self.initial.source, transfer))
        self.views = hold_views(self.learner, recipe.hold)
        if recipe.hold == "values":
            keep_scales_positive(self.learner)
        self.ranges: dict[str, Range] | None = None
        if self.initial and recipe.int8:
            require_trained(self.initial, transfer)
            self.network.set_weights(self.learner.get_weights())
            self.ranges = training_ranges(self.network, self.initial, self.dataset, pairs)
            self.views = int8_views(self.learner, self.views)
            freeze_batch_norm(self.learner)
        look_through(self.learner, self.views)
        round_outputs(self.learner, self.ranges or {})

    def _previous(self, resume: bool) -> Checkpoint | None:
        path = self.out / FILE
        if not resume:
            if path.exists() or (self.out / NETWORK_FILE).exists():
                raise UsageError(f"{self.out} already holds a run", "add --resume, or choose another -o")
            return None
        state = load_checkpoint(path)
        check_same(self.recipe, state.recipe, self.out)
        return state

    def _compile(self) -> keras.Model:
        """The learner with logits at the resolution of the labels, its losses and its optimiser."""
        recipe = self.recipe
        logits = keras.layers.UpSampling2D(self.spec.stride // LABEL_STEP, interpolation="bilinear")(
            self.learner.output
        )
        weights = class_weights(self.samples.pixels, recipe.balance)
        meanings = self.samples.meanings
        weights = meanings.spread(weights, self.samples.pixels)
        outputs, losses = [logits], [SegmentationLoss(weights, recipe.jaccard, meanings)]
        if self.teacher:
            outputs.append(self.learner.output)
            losses.append(DistillationLoss(recipe.distill))
        trainer = keras.Model(self.learner.input, outputs)
        total = recipe.epochs * self.samples.steps
        warmup = min(self.samples.steps, total // 10)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, total - warmup), alpha=0.001, warmup_target=recipe.lr, warmup_steps=warmup
        )
        optimizer = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay, global_clipnorm=5.0)
        optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        # Without jit JAX runs operation by operation; TensorFlow and PyTorch are quick without it.
        jit = keras.backend.backend() == "jax"
        trainer.compile(optimizer, losses, jit_compile=jit)
        optimizer.build(trainer.trainable_variables)
        return trainer

    def finish(self, report: Callable[[Progress], None]) -> dict[str, Any]:
        """Train the epochs that are left, then settle the averaged weights and write the network."""
        while self.epoch < self.recipe.epochs:
            row, progress = self._train_epoch(report)
            self.epoch += 1
            self.history.append(row | self._validate())
            self._save()
            report(progress._replace(val_miou=self._last_miou(), done=True))
        return self._settle()

    def _validate(self) -> dict[str, float]:
        """Figures of the averaged weights on the validation split; NaN in most epochs of a long run."""
        epochs = self.recipe.epochs
        if (epochs - self.epoch) % math.ceil(epochs / EVALUATIONS):
            return {"val_miou": math.nan, "val_pixel_accuracy": math.nan}
        self.average.copy_to(self.network)
        bake(self.network, self.views)
        scores = scores_on(self.network, self.dataset, self.val_pairs)
        shares = {"val_miou": scores.miou, "val_pixel_accuracy": scores.pixel_accuracy}
        return {name: math.nan if share is None else share for name, share in shares.items()}

    def _last_miou(self) -> float:
        known = [row["val_miou"] for row in self.history if not math.isnan(row["val_miou"])]
        return known[-1] if known else math.nan

    def _step(self, images: Any, labels: Any) -> float:
        """One step of the optimiser; the mean loss since the epoch began."""
        targets = [labels, self.teacher(images)] if self.teacher else [labels]
        return float(self.trainer.train_on_batch(images, targets, return_dict=True)["loss"])

    def _train_epoch(self, report: Callable[[Progress], None]) -> tuple[dict[str, float], Progress]:
        self.trainer.reset_metrics()
        steps, epochs = self.samples.steps, self.recipe.epochs
        last_miou = self._last_miou()
        start = time.monotonic()
        with closing(self.samples.epoch(self.epoch)) as batches:
            for step, (images, labels) in enumerate(batches, start=1):
                loss = self._step(images, labels)
                if not math.isfinite(loss):
                    raise UsageError(
                        f"the loss is {loss} in epoch {self.epoch + 1}, step {step}", "start anew with a lower --lr"
                    )
                self.average.update()
                seconds = time.monotonic() - start
                if step == 1:
                    first = seconds  # that step compiles, and tells little about the others
                step_s = (seconds - first) / (step - 1) if step > 1 else first
                left_s = step_s * ((epochs - self.epoch) * steps - step)
                speed = self.samples.batch / step_s
                progress = Progress(self.epoch + 1, epochs, step, steps, loss, last_miou, speed, left_s)
                report(progress)
        row = {"epoch": self.epoch + 1, "loss": loss, "images_per_s": speed, "seconds": seconds}
        return row, progress

    def _save(self) -> None:
        state = Checkpoint(
            self.epoch,
            self.recipe._asdict(),
            [keras.ops.convert_to_numpy(w) for w in self.learner.weights],
            self.average.state(),
            [keras.ops.convert_to_numpy(v) for v in self.trainer.optimizer.variables],
            self.history,
            tuple(row._asdict() for row in self.ranking),
        )
        save_checkpoint(self.out / FILE, state)
        write_curves(self.out, self.history)

    def _restore(self, state: Checkpoint) -> None:
        self.epoch, self.history = state.epoch, state.history
        optimizer = self.trainer.optimizer.variables
        groups = ((self.learner.weights, state.weights), (optimizer, state.optimizer))
        for variables, values in groups:
            if [tuple(v.shape) for v in variables] != [v.shape for v in values]:
                raise UsageError(
                    f"the checkpoint in {self.out} holds other weights than this version of edgeseg and Keras has",
                    "resume with the versions that began the run, or start a new one",
                )
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        self.average.set_state(state.average)

    def _settle(self) -> dict[str, Any]:
        """Averaged weights with BatchNorm statistics of their own; measured, then written."""
        write_curves(self.out, self.history)  # killed after its last checkpoint, a run has not written them
        self.average.copy_to(self.learner)
        bake(self.learner, self.views)
        if not self.recipe.int8:  # which has frozen them
            batches = (images for epoch in range(BN_BATCHES) for images, _ in self.samples.epoch(epoch))
            restore_batch_norm(self.learner, batches, min(BN_BATCHES, 2 * self.samples.steps))
        self.network.set_weights(self.learner.get_weights())
        scores = scores_on(self.network, self.dataset, self.val_pairs)
        figures = {f"val_{name}": value for name, value in scores._asdict().items()}
        card = NetworkCard(
            spec=self.spec,
            classes=self.dataset.classes,
            dataset=self.dataset.name,
            recipe=_without_folders(self.recipe),
            init=f"{self.initial.source} sha256:{self.initial.sha256}" if self.initial else "random",
            figures=figures,
            ranges=self.ranges,
            teachers=self.teacher.sources if self.teacher else (),
            images=images_seen(self.initial, self.samples.images),
            ranking=tuple(row._asdict() | {"init": name_of(row.init)} for row in self.ranking),
        )
        save_network(self.out / NETWORK_FILE, self.network, card)
        return figures


def _pruned(initial: InitialWeights, spec: NetworkSpec) -> tuple[tuple[str, int], ...]:
    """The channels of a pruned network that is trained on; of another architecture or width they are only a start."""
    same = initial.card is not None and initial.card.spec[:2] == spec[:2]
    return initial.card.spec.channels if initial.card and same else ()


def _without_folders(recipe: Recipe) -> dict[str, Any]:
    """The recipe for other machines: files by name."""
    teachers = [name_of(path) for path in recipe.teacher]
    names = [name_of(source) for source in recipe.candidates]
    init = names[0] if len(names) == 1 else names
    files = {name: Path(getattr(recipe, name)).name for name in ("data", "also", "also_classes")}
    return recipe._asdict() | files | {"init": init, "teacher": teachers}
