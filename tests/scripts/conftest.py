import pytest
from matplotlib.figure import Figure

import rlmaml.training.in_progress
import rlmaml.training.run


@pytest.fixture(autouse=True)
def plain_adaptations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings by scripts draw nothing, neither at their end nor for TensorBoard: a figure takes longer than they.

    Fixtures of a whole file are made before this one, with the real figures.
    """
    for module in (rlmaml.training.run, rlmaml.training.in_progress):
        monkeypatch.setattr(module, "adaptation_figure", lambda *_, **__: Figure(figsize=(1, 1)))
