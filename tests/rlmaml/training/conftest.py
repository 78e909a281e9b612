import pytest
from matplotlib.figure import Figure

import rlmaml.training.run


@pytest.fixture(autouse=True)
def plain_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of single tests draw nothing: laying out a figure takes longer than their training.

    Fixtures of a whole file are made before this one, with the real figures.
    """
    monkeypatch.setattr(rlmaml.training.run, "adaptation_figure", lambda *_, **__: Figure(figsize=(1, 1)))
