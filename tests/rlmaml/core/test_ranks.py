import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlmaml.base.errors import UserError
from rlmaml.core.ranks import Ranks, join_ranks
from rlmaml.core.task_sums import ALONE
from tests.rlmaml import two_ranks


@given(st.integers(1, 40), st.integers(1, 12))
def test_every_task_has_one_owner_and_shares_differ_by_one_at_most(num_tasks: int, count: int) -> None:
    ranks = [Ranks(rank, count) for rank in range(count)]
    if count > num_tasks:
        with pytest.raises(UserError, match=rf"{count} processes, but {num_tasks} tasks? \(--tasks\)"):
            ranks[0].own(num_tasks)
        return
    shares = [rank.own(num_tasks) for rank in ranks]
    assert [task for share in shares for task in share] == list(range(num_tasks))
    assert {len(share) for share in shares} <= {num_tasks // count, num_tasks // count + 1}
    assert [len(share) for share in shares] == sorted((len(share) for share in shares), reverse=True)


def test_rank_zero_leads(ranks: two_ranks.Ranks) -> None:
    assert [Ranks(rank, 3).leads for rank in range(3)] == [True, False, False]
    assert [rank["facts"]["leads"] for rank in ranks.found] == [True, False]


def test_every_process_gathers_all_tasks_in_order_whatever_their_type_and_shape(ranks: two_ranks.Ranks) -> None:
    assert [rank["facts"]["own"] for rank in ranks.found] == [[[0, 1, 2], [0]], [[3, 4], [1]]]
    tasks = torch.arange(5)
    table = torch.stack([tasks, tasks**2], 1)
    expected = [table.float(), tasks % 2 == 0, table.double().view(-1, 2, 1) + 0.1, tasks, tasks.double()]
    for rank in ranks.found:
        assert rank["facts"]["nothing"] == []
        for ours, theirs in zip(rank["facts"]["gathered"], expected, strict=True):
            assert torch.equal(ours, theirs)
            assert ours.dtype == theirs.dtype


def test_processes_agree_only_where_all_are_well(ranks: two_ranks.Ranks) -> None:
    for rank in ranks.found:
        assert rank["facts"]["agree"] == [True, False, False]


def test_where_one_process_fails_the_others_end_instead_of_waiting(ranks: two_ranks.Ranks) -> None:
    assert "Another process of this run failed" in ranks.found[0]["facts"]["other failed"]


def test_without_torchrun_a_process_is_alone() -> None:
    assert join_ranks({}, "cpu") is ALONE
    assert join_ranks({"WORLD_SIZE": "1"}, "cpu") is ALONE


def test_processes_that_cannot_meet_say_how_to_start_them() -> None:
    with pytest.raises(UserError, match="torchrun"):
        join_ranks({"WORLD_SIZE": "2", "RANK": "0"}, "cpu")  # where to meet is not in the environment
