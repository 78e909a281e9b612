from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rlmaml.base.errors import UserError
from rlmaml.base.plain_data import read_json
from rlmaml.core.types import Examples, Outputs
from rlmaml.families.sinusoid import Sinusoid
from rlmaml.results.compare import MethodReturns
from rlmaml.results.supervised_transfer import scored_on, supervised_transfer
from rlmaml.results.transfer import Transfer, in_a_sentence, transfer_table
from rlmaml.storage.run_directory import ComparisonDirectory
from rlmaml.training.supervised import SupervisedTasks, train_supervised
from tests.rlmaml.families.supervised import Lines, supervised
from tests.rlmaml.training.conftest import plain_figures

__all__ = ["plain_figures"]

ALONE = np.array([[[5.0, 4.0], [3.0, 2.0], [4.0, 1.0]]] * 2)
BETTER = ALONE - np.array([[[1.0], [2.0], [3.0]], [[3.0], [2.0], [1.0]]])


def make(variant: str, method: str, seed: int) -> SupervisedTasks:
    settings = supervised(method, iterations=2, num_tasks=2, evaluation_tasks=4, evaluation_steps=2, seed=seed)
    family: Any = Lines() if variant == "lines" else Sinusoid(variant, shots=3, queries=4)  # type: ignore[arg-type]
    return SupervisedTasks(settings, family, family, "errors")


def test_of_errors_what_the_source_brings_is_how_much_lower_they_are() -> None:
    outcome = Transfer("a", "b", {"cavia": MethodReturns(BETTER)}, {"cavia": MethodReturns(ALONE)}, score="errors")
    np.testing.assert_array_equal(outcome.brought("cavia").mean, [2.0, 2.0])
    assert in_a_sentence(outcome, "cavia").endswith("brings 2.0000 ± 0.0000 after the last step.")
    assert "Of errors lower ones are better." in transfer_table(outcome)
    of_shares = outcome._replace(score="accuracy")
    np.testing.assert_array_equal(of_shares.brought("cavia").mean, [-2.0, -2.0])


@pytest.mark.usefixtures("plain_figures", "unchecked")
def test_what_was_trained_on_the_source_adapts_to_the_targets_held_out_tasks_and_back(tmp_path: Path) -> None:
    def between(source: str, target: str) -> Transfer:
        directory = ComparisonDirectory(tmp_path)
        told: list[str] = []
        outcome = supervised_transfer(
            *(source, target, make, ("maml-trpo", "pretrained"), (0, 1), directory),
            made_by=lambda *_: {},
            tell=told.append,
        )
        assert told[-1] == f"run 8 of 8: pretrained, seed 1, trained on {target}"
        return outcome

    there, back = between("finn2017", "li2017"), between("li2017", "finn2017")
    assert there.from_source["maml-trpo"].per_task.shape == (2, 4, 3)
    for one, other in ((there, back), (back, there)):  # the runs are the same; what they adapt to is not
        for method in ("maml-trpo", "pretrained"):
            ours, theirs = one.alone[method].per_task, other.from_source[method].per_task
            assert not np.array_equal(ours, theirs)
    run = ComparisonDirectory(tmp_path / "li2017").run("maml-trpo", 1)
    np.testing.assert_array_equal(run.read_scores().per_task["errors"], there.alone["maml-trpo"].per_task[1])
    stored = read_json(ComparisonDirectory(tmp_path).transfer)
    assert (stored["config"]["source"], stored["config"]["seeds"]) == ("li2017", [0, 1])
    assert stored["results"]["finn2017 alone"]["pretrained"]["errors"] == back.alone["pretrained"].per_task.tolist()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("method", ["maml-trpo", "pretrained"])
def test_steps_on_the_targets_tasks_go_down_its_loss_by_sizes_that_suit_it(tmp_path: Path, method: str) -> None:
    class Steep(Sinusoid):
        def loss(self, outputs: Outputs, data: Examples) -> Tensor:
            return 100.0 * super().loss(outputs, data)

    source, steep = make("finn2017", method, 0), Steep(shots=3, queries=4)
    trained = train_supervised(source, tmp_path, progress=False)
    target = source._replace(family=steep, held_out=steep)
    found, own = scored_on(target, trained).scores, trained.scores.scores
    if method == "maml-trpo":  # it was meta-trained for its sizes
        assert (found - own).abs().max() > 1.0
    else:
        torch.testing.assert_close(found, own)  # steps that are a hundredth as long, on a hundred times the loss


def test_variants_between_which_no_model_can_go_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    directory = ComparisonDirectory(tmp_path / "none")
    for source, message in (("li2017", "both li2017"), ("lines", "trained on lines does not fit li2017: Sizes")):
        with pytest.raises(UserError, match=message):
            supervised_transfer(source, "li2017", make, ("maml-trpo",), (0,), directory, made_by=lambda *_: {})
    assert not directory.path.exists()
