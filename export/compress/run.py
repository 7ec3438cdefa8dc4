"""Steps of compression, one after the other: each applied, fine-tuned, measured and kept in a folder of its own.

WORK/1-channels-0.4/, WORK/1-channels-0.4/2-share-16/ ... are runs of `edgeseg train`, so what was interrupted goes on
where it stopped, and another second step finds its own place. In each network.keras is the network after the step,
row.json what was measured of it, step.edgeseg its bundle.
"""

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from edgeseg.datasets import Dataset
from edgeseg.errors import UsageError
from edgeseg.export.compress.apply import apply, dense_kernels, rewound
from edgeseg.export.compress.channels import Criterion
from edgeseg.export.compress.magnitude import share_at
from edgeseg.export.compress.measure import Measure, Row, kept
from edgeseg.export.compress.plan import Step, check_order, effects, hold_after, simulates_int8
from edgeseg.export.source import FloatNetwork, open_network
from edgeseg.models.checkpoint import FILE, AtomicReplacement
from edgeseg.models.evaluate import scores_on
from edgeseg.models.file import load_network, read_card, save_network
from edgeseg.models.hold import held_by, zero_share
from edgeseg.models.recipe import Recipe, check_recipe
from edgeseg.models.train import Progress, train
from edgeseg.zoo import NETWORK_FILE, locate_network

START = "start.keras"  # a step's network before its fine-tuning
REQUEST, ROW, BUNDLE = "request.json", "row.json", "step.edgeseg"
ROUNDS = 3  # in which weights are pruned, ever more

Log = Callable[[str], None]


class AlreadyZeroError(UsageError):
    """As many weights are zero as a step would make."""


class Tuning(NamedTuple):
    """Fine-tuning after a step."""

    epochs: tuple[int, ...] = (30,)  # after each step, the last number for all that follow; 0: none
    lr: float | None = None  # None: LEARNING_RATES
    crop: tuple[int, int] | None = None  # height, width; None: whole images
    criterion: Criterion = "taylor"
    rewind: str | None = None  # network whose weights a lottery goes back to; None: that before the step
    teacher: tuple[str, ...] = ()  # networks to learn from; none: the original one

    def epochs_of(self, number: int) -> int:
        """After step `number`, from 0."""
        return self.epochs[min(number, len(self.epochs) - 1)]


# A network that lost channels has to learn much anew; where weights are merely rounded a high rate does harm.
LEARNING_RATES = {"channels": 5e-4, "weights": 5e-4, "2:4": 5e-4, "qat": 1e-4, "share": 1e-4}


class Done(NamedTuple):
    """A network after some steps."""

    steps: tuple[Step, ...]
    source: FloatNetwork
    rows: tuple[Row, ...]  # of each step
    folder: Path  # of the last step, in that of the one before
    bundles: tuple[Path, ...]


class Compressor:
    """Steps from one original network, in the folder `work`.

    Raises UsageError where `work` holds the steps of another network, data or target, or a teacher cannot be read.
    """

    def __init__(
        self,
        original: FloatNetwork,
        dataset: Dataset,
        work: Path,
        tuning: Tuning,
        measure: Measure,
        log: Log,
        report: Callable[[Progress], None],
    ) -> None:
        self.original, self.dataset, self.work = original, dataset, work
        self._tuning, self._measure, self._log, self._report = tuning, measure, log, report
        teachers = [locate_network(name) for name in tuning.teacher] or [original.path]
        for path in teachers:
            read_card(path)
        self._teachers = tuple(str(path.absolute()) for path in teachers)
        self._early = open_network(tuning.rewind) if tuning.rewind else None
        self._held = held_by(original.network)
        check_recipe(self._recipe((Step("qat"),), Path(), 1))
        self._claim()

    def start(self) -> Done:
        return Done((), self.original, (), self.work, ())

    def run(self, steps: Sequence[Step]) -> Done:
        """All steps, in order. Raises UsageError where one would undo another, or its budget is out of reach."""
        check_order(steps)
        done = self.start()
        for step in steps:
            done = self.go_on(done, step)
        return done

    def go_on(self, done: Done, step: Step) -> Done:
        """One step more. Raises UsageError where the original is not for it, or its budget is out of reach."""
        if self._held == "values" and step.kind in ("channels", "weights", "2:4", "share"):
            raise UsageError(
                f"the weights of {self.original.path} are shared already, and {step.text} would undo that",
                "begin with the network that it was made of",
            )
        steps = (*done.steps, step)
        folder = done.folder / f"{len(steps)}-{step.folder}"
        epochs = self._tuning.epochs_of(len(done.steps))
        source = self._tuned(done.source, steps, folder, epochs)
        row = kept(
            folder / ROW, partial(self._measure.row, source, step.text, effects(step.kind), epochs, folder / BUNDLE)
        )
        return Done(steps, source, (*done.rows, row), folder, (*done.bundles, folder / BUNDLE))

    def _tuned(self, source: FloatNetwork, steps: tuple[Step, ...], folder: Path, epochs: int) -> FloatNetwork:
        """The network after the last of `steps`, fine-tuned; weights are pruned in rounds."""
        early, parts = self._early or source, _in_rounds(source, steps[-1], epochs)
        rounds = len(parts)
        for number, partly in enumerate(parts, start=1):
            is_last = number == rounds
            part = folder if is_last else folder / f"round-{number}"
            if not (part / NETWORK_FILE).is_file():
                self._log(f"{partly.text}" + (f", round {number} of {rounds}" if rounds > 1 else ""))
                self._start(source, partly, early, part)
                self._finetune(steps, part, epochs - (rounds - 1) * (epochs // rounds) if is_last else epochs // rounds)
            source = open_network(str(part / NETWORK_FILE))
        return source

    def _start(self, source: FloatNetwork, step: Step, early: FloatNetwork, part: Path) -> None:
        if (part / START).is_file():
            return
        changed = apply(source, step, self.dataset, self._tuning.criterion, self._log)
        if step.lottery:
            changed = rewound(changed, early)
        save_network(part / START, changed.network, changed.card)

    def _finetune(self, steps: tuple[Step, ...], part: Path, epochs: int) -> None:
        if not epochs:
            network, card = load_network(part / START)
            scores = scores_on(network, self.dataset, self.dataset.pairs("val"))._asdict()
            figures = {f"val_{name}": value for name, value in scores.items()}
            save_network(part / NETWORK_FILE, network, card._replace(figures=figures))
            return
        train(self._recipe(steps, part, epochs), part, (part / FILE).is_file(), self._report, self._log)

    def _recipe(self, steps: tuple[Step, ...], part: Path, epochs: int) -> Recipe:
        spec, lr = self.original.card.spec, self._tuning.lr
        return Recipe(
            data=os.path.abspath(self.dataset.root),
            network=spec.architecture,
            width=spec.width,
            imgsz=spec.imgsz,
            crop=self._tuning.crop or spec.imgsz,
            init=str((part / START).absolute()),
            upsampling=spec.upsampling,
            epochs=epochs,
            lr=LEARNING_RATES[steps[-1].kind] if lr is None else lr,
            hold=hold_after(steps) or self._held,
            int8=simulates_int8(steps, bool(self.original.card.ranges) and self._measure.info.precision == "int8"),
            teacher=self._teachers,
        )

    def _claim(self) -> None:
        """Write down what `work` is for; another request finds out."""
        wanted: dict[str, Any] = {
            "network": self.original.sha256,
            "data": os.path.abspath(self.dataset.root),
            "measure": self._measure.request,
            "tuning": self._tuning._asdict() | {"rewind": self._early and str(self._early.path.absolute())},
        }
        wanted = json.loads(json.dumps(wanted))
        path = self.work / REQUEST
        is_begun = any(
            found.name != REQUEST for pattern in ("*.json", "*.keras", FILE) for found in self.work.rglob(pattern)
        )
        if is_begun and path.is_file() and json.loads(path.read_text()) != wanted:
            raise UsageError(
                f"{self.work} holds the steps of another compression",
                "give the options of that one to go on with it, or another --work folder",
            )
        with AtomicReplacement(path) as temporary:
            temporary.write_text(json.dumps(wanted, indent=1))


def _in_rounds(source: FloatNetwork, step: Step, epochs: int) -> list[Step]:
    """The step; for weights one of each round, from the zeros that are there to those that it asks for."""
    if step.kind != "weights":
        return [step]
    initial = zero_share(dense_kernels(source.network).values())
    if initial >= step.amount:
        raise AlreadyZeroError(
            f"{step.text}: {initial:.0%} of the weights are zero already", "give a greater share, or leave it out"
        )
    rounds = ROUNDS if epochs >= ROUNDS else 1
    shares = [share_at(number / rounds, initial, step.amount) for number in range(1, rounds + 1)]
    return [step._replace(amount=share) for share in shares]
