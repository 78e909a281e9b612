from pathlib import Path

import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.rules.search_rule import ContextRange
from rlmaml.storage.range_file import StoredRange, read_context_range, write_context_range


def test_a_range_is_read_as_it_was_written(tmp_path: Path) -> None:
    low, high = torch.tensor([-0.1, 0.0, -1e-7]), torch.tensor([0.3, 2.0, 0.0])
    assert read_context_range(tmp_path / "range.json") is None
    limits = ContextRange({"context": low}, {"context": high}, {"lowest": low + 2})
    write_context_range(tmp_path / "range.json", StoredRange(7, limits))
    stored = read_context_range(tmp_path / "range.json")
    assert stored is not None
    assert stored.iteration == 7
    assert torch.equal(stored.limits.low["context"], low)
    assert torch.equal(stored.limits.high["context"], high)
    assert torch.equal(stored.limits.bounds["lowest"], low + 2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"iteration": 1, "low": {}, "high": {}}',
        '{"iteration": 1, "low": {"context": [-1]}, "high": {}}',
        '{"iteration": 1, "low": {"context": [-1.0]}, "high": {"context": [1.0, 1.0]}}',
        '{"iteration": 1, "low": {"context": [0.5]}, "high": {"context": [1.0]}}',
        '{"iteration": 1, "low": {"context": [-1.0]}, "high": {"context": [-0.5]}}',
        '{"iteration": 1, "low": {"context": [-1.0]}, "high": {"context": [NaN]}}',
        '{"iteration": 1, "low": {"context": [-Infinity]}, "high": {"context": [1.0]}}',
        '{"iteration": 1, "low": {"context": ["a"]}, "high": {"context": [1.0]}}',
        '{"low": {"context": [-1.0]}, "high": {"context": [1.0]}}',
        '{"iteration": 1, "low": {"context": [-1.0]}, "high": {"context": [1.0]}, "bounds": {"lowest": [NaN]}}',
    ],
)
def test_what_is_no_range_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "range.json").write_text(text)
    with pytest.raises(UserError, match="holds no range of contexts"):
        read_context_range(tmp_path / "range.json")
