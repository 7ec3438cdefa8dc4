"""Steps one after the other: what each starts from, what its fine-tuning is asked for, what is run again. Neither the
training nor the measuring is real here: test_compressed_export.py has both.
"""

import json

import numpy as np
import pytest

from edgeseg.datasets import open_dataset
from edgeseg.errors import UsageError
from edgeseg.export.compress.apply import SMALL, dense_kernels, rewound
from edgeseg.export.compress.measure import Measure, Row
from edgeseg.export.compress.plan import Step
from edgeseg.export.compress.run import ROUNDS, Compressor, Tuning
from edgeseg.export.quiet import import_tensorflow
from edgeseg.export.source import open_network
from edgeseg.manifest import TargetInfo

import_tensorflow()

import keras  # noqa: E402

from edgeseg.models.file import load_network, save_network  # noqa: E402
from edgeseg.models.hold import zero_share  # noqa: E402

LAYER = "conv3"


class FakeMeasure(Measure):
    def __init__(self, precision):
        """It has nothing to measure with."""
        self.info = TargetInfo("cpu", "tflite", precision)

    @property
    def request(self):
        return self.info._asdict()

    def row(self, source, step, told, epochs, bundle):
        return Row(step, epochs, 1, 1, 4, 1, 1, 4.0, 1, 1, 1, 8.0, 1, 1, 0.5, 0.5, 0.9, [], told)


@pytest.fixture(scope="module")
def original(workshop):
    return open_network(str(workshop.network))


@pytest.fixture
def compressor(original, workshop, tmp_path, monkeypatch):
    """Function (**tuning) -> (Compressor in the same folder each time, the recipes that were trained by now)."""
    recipes = []

    def train(recipe, out, resume, report, note):
        """The kernels get a little larger where they are not zero."""
        network, card = load_network(recipe.init)
        layer = network.get_layer(LAYER)
        layer.kernel.assign(np.asarray(layer.kernel) * 1.01)
        save_network(out / "network.keras", network, card)
        recipes.append(recipe)

    def made(original=original, precision="int8", **tuning):
        tuned = Tuning(**({"epochs": (3,)} | tuning))
        data = open_dataset(str(workshop.data))
        return Compressor(
            original, data, tmp_path / "work", tuned, FakeMeasure(precision), print, lambda _: None
        ), recipes

    monkeypatch.setattr("edgeseg.export.compress.run.train", train)
    return made


def kernel(source):
    return np.asarray(source.network.get_layer(LAYER).kernel)


def test_fine_tuning_knows_the_steps_before_it(compressor, original):
    run, recipes = compressor(epochs=(9, 2), crop=(32, 64))
    done = run.run([Step("weights", 0.5), Step("qat"), Step("share", 16)])
    assert [(r.hold, r.int8) for r in recipes] == [("zeros", False)] * ROUNDS + [("zeros", True), ("values", True)]
    assert [r.epochs for r in recipes] == [3, 3, 3, 2, 2], "nine in three rounds; the last number for all that follow"
    assert {r.teacher for r in recipes} == {(str(original.path),)} and {r.crop for r in recipes} == {(32, 64)}
    assert [r.lr for r in recipes] == [5e-4] * 3 + [1e-4] * 2
    large = [kernel for kernel in dense_kernels(done.source.network).values() if kernel.size >= SMALL]
    assert large and all(len(np.unique(np.rint(127 * k / np.abs(k).max((0, 1, 2))))) <= 16 for k in large)
    assert [row.step for row in done.rows] == ["weights:0.5", "qat", "share:16"]


def test_weights_are_pruned_in_rounds_ever_more(compressor):
    run, recipes = compressor()
    run.run([Step("weights", 0.6)])
    zeros = [zero_share(dense_kernels(load_network(recipe.init)[0]).values()) for recipe in recipes]
    assert zeros[0] < zeros[1] < zeros[2] == pytest.approx(0.6, abs=0.05)


def test_rounds_begin_at_the_zeros_that_are_there(compressor):
    run, recipes = compressor()
    run.run([Step("weights", 0.5), Step("weights", 0.7)])
    shares = [zero_share(dense_kernels(load_network(recipe.init)[0]).values()) for recipe in recipes[3:]]
    assert 0.55 < shares[0] < shares[1] < shares[2] == pytest.approx(0.7, abs=0.02)
    with pytest.raises(UsageError, match=r"weights:0\.6: 70% of the weights are zero already"):
        run.run([Step("weights", 0.5), Step("weights", 0.7), Step("weights", 0.6)])


@pytest.fixture
def trained(original):
    """As if `edgeseg train --int8` had made it."""
    return original._replace(card=original.card._replace(ranges={"conv3": (0.0, 6.0)}))


def test_a_network_that_was_trained_to_int8_stays_so(compressor, trained):
    """Until channels go."""
    run, recipes = compressor(original=trained)
    run.run([Step("weights", 0.5)])
    run.run([Step("channels", 0.2), Step("weights", 0.6)])
    assert [r.int8 for r in recipes] == [True] * ROUNDS + [False] * (1 + ROUNDS)


def test_a_float_export_of_such_a_network_needs_no_int8(compressor, trained):
    run, recipes = compressor(original=trained, precision="fp32")
    run.run([Step("weights", 0.5)])
    assert not any(r.int8 for r in recipes)


def test_a_lottery_ticket_has_the_early_weights(compressor, original):
    """Zeros where the tuned network is smallest, and elsewhere the weights from before the step."""
    run, recipes = compressor()
    run.run([Step("weights", 0.6, lottery=True)])
    ticket, tuned = (np.asarray(load_network(recipes[i].init)[0].get_layer(LAYER).kernel) for i in (2, 1))
    kept = ticket != 0
    assert 0.2 < kept.mean() < 0.7 and (tuned[kept] != 0).all()
    assert (ticket[kept] == kernel(original)[kept]).all()


def test_a_lottery_goes_back_to_the_network_that_is_named(compressor, original, tmp_path):
    early = keras.models.clone_model(original.network)
    early.set_weights([w + 0.5 for w in original.network.get_weights()])
    save_network(tmp_path / "early.keras", early, original.card)
    run, recipes = compressor(rewind=str(tmp_path / "early.keras"))
    run.run([Step("weights", 0.6, lottery=True)])
    ticket = np.asarray(load_network(recipes[0].init)[0].get_layer(LAYER).kernel)
    assert (ticket[ticket != 0] == np.asarray(early.get_layer(LAYER).kernel)[ticket != 0]).all()
    with pytest.raises(UsageError, match="other layers"):
        rewound(original, open_network("fcn8-camvid"))


def test_without_epochs_the_card_has_the_figures_of_the_changed_network(compressor):
    run, recipes = compressor(epochs=(0,))
    done = run.run([Step("share", 4)])
    assert not recipes and 0 <= done.source.card.figures["val_miou"] < 0.5


def test_what_is_done_is_not_done_again(compressor):
    run, _ = compressor()
    first = run.run([Step("share", 16)])
    again, trained = compressor()
    second = again.run([Step("share", 16), Step("qat")])
    assert len(trained) == 2 and second.rows[0] == first.rows[0]
    assert second.bundles[0] == first.bundles[0]


def test_a_folder_of_another_compression_is_refused(compressor, tmp_path):
    compressor(epochs=(5,))
    run, _ = compressor()  # nothing was done with the other options
    run.run([Step("share", 16)])
    before = (tmp_path / "work" / "request.json").read_text()
    with pytest.raises(UsageError, match="another compression") as caught:
        compressor(epochs=(4,))
    assert "--work" in caught.value.fix and (tmp_path / "work" / "request.json").read_text() == before
    assert json.loads(before)["tuning"]["epochs"] == [3]


def test_a_teacher_that_is_none(compressor):
    with pytest.raises(UsageError, match="nowhere"):
        compressor(teacher=("nowhere.keras",))


def test_an_order_that_makes_no_sense_runs_nothing(compressor):
    run, recipes = compressor()
    with pytest.raises(UsageError, match="undo it"):
        run.run([Step("share", 16), Step("channels", 0.4)])
    assert not recipes
