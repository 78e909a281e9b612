import ast
import itertools
import re
from pathlib import Path

import pytest

from rlmaml.base.random_streams import Phase, RandomStreams, Stream


def first(streams: RandomStreams, stream: Stream, *indices: int) -> float:
    return float(streams.generator(stream, *indices).random())


def test_every_seed_phase_iteration_stream_step_and_task_draws_its_own_numbers() -> None:
    draws = [
        first(RandomStreams(seed, phase, iteration), stream, step, task)
        for seed, phase, iteration, stream, step, task in itertools.product(
            range(3), Phase, range(3), Stream, range(3), range(3)
        )
    ]
    assert len(set(draws)) == len(draws) == 3 * 3 * 3 * 8 * 3 * 3


def test_the_same_key_draws_the_same_numbers() -> None:
    one, two = RandomStreams(5, iteration=7), RandomStreams(5, iteration=7)
    assert (
        one.generator(Stream.ACTIONS, 1, 2).random(4).tolist() == two.generator(Stream.ACTIONS, 1, 2).random(4).tolist()
    )
    assert one.parameter_seed() == two.parameter_seed()


def test_a_task_does_not_depend_on_the_number_of_tasks() -> None:
    streams = RandomStreams(3, iteration=2)
    assert streams.task_seeds(9)[:4] == streams.task_seeds(4)
    nine, four = range(9), range(4)
    assert streams.initial_state_seeds(1, nine, 5)[: 4 * 5] == streams.initial_state_seeds(1, four, 5)
    few, many = streams.action_generators(1, four), streams.action_generators(1, nine)
    assert [g.random() for g in few] == [g.random() for g in many][:4]


def test_every_task_has_a_number_of_its_own_for_the_minibatches_of_each_epoch_of_each_iteration() -> None:
    drawn = [
        key
        for iteration in range(2)
        for epoch in range(3)
        for key in RandomStreams(4, iteration=iteration, tasks=range(5)).minibatch_keys(epoch)
    ]
    assert len(set(drawn)) == 2 * 3 * 5
    assert drawn[5:10] == RandomStreams(4, tasks=range(5)).minibatch_keys(1)
    assert RandomStreams(4, tasks=(3, 1)).minibatch_keys(1) == [drawn[8], drawn[6]]
    assert drawn[0] == first(RandomStreams(4), Stream.MINIBATCHES, 0, 0)


def test_a_share_of_the_tasks_draws_what_it_would_draw_among_all() -> None:
    streams = RandomStreams(3, iteration=2)
    seeds = streams.initial_state_seeds(1, range(6), 5)
    assert streams.initial_state_seeds(1, range(2, 4), 5) == seeds[10:20]
    assert streams.initial_state_seeds(1, [5, 0], 5) == seeds[25:30] + seeds[:5]
    every = [g.random() for g in streams.action_generators(1, range(6))]
    assert [g.random() for g in streams.action_generators(1, [4, 1])] == [every[4], every[1]]


def test_an_initial_state_does_not_depend_on_the_number_of_episodes() -> None:
    streams = RandomStreams(3)
    few, many = (streams.initial_state_seeds(0, range(2), count) for count in (3, 7))
    assert few == many[:3] + many[7:10]


def test_all_tasks_and_copies_of_a_run_get_different_seeds() -> None:
    seeds = []
    for iteration in range(5):
        streams = RandomStreams(0, iteration=iteration)
        seeds += streams.task_seeds(20)
        seeds += [seed for step in range(2) for seed in streams.initial_state_seeds(step, range(20), 5)]
    assert len(set(seeds)) == len(seeds) == 5 * (20 + 100 + 100)


def test_training_and_evaluation_share_no_task() -> None:
    training = {seed for i in range(20) for seed in RandomStreams(0, Phase.TRAINING, i).task_seeds(20)}
    assert training.isdisjoint(RandomStreams(0, Phase.EVALUATION).task_seeds(40))


ROOT = Path(__file__).parents[3]
ADDED_TO = {
    "envs/rlmaml_envs/rehearsal.py",  # constants of its own
    "rlmaml/policies/gru.py",  # a parameter seed, which is drawn: no run's has the one of another's as its neighbour
    "rlmaml/policies/latent.py",
    "scripts/train_dynamics.py",  # what tasks that runs have left are made again from; each draws streams of its own
    "scripts/train_imitation.py",
}
"""Files that add to a seed."""


def added_to_a_seed(code: str) -> bool:
    """Whether something is added to what is called a seed: the sum is that of a neighbour, which shares its numbers."""
    sums = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add))
    terms = (ast.unparse(term) for node in sums for term in (node.left, node.right))
    given = (
        word.value
        for call in ast.walk(ast.parse(code))
        if isinstance(call, ast.Call)
        for word in call.keywords
        if word.arg == "seed"
    )
    return any(term.lower().endswith("seed") for term in terms) or any(isinstance(one, ast.BinOp) for one in given)


def test_nothing_is_added_to_a_seed_so_that_neighbours_share_no_numbers() -> None:
    assert added_to_a_seed("record(env, options.seed + visit)")
    assert added_to_a_seed("record(env, seed=100 + visit)")
    assert not added_to_a_seed("record(env, seed, visit=visit + 1)")
    files = [path for room in ("rlmaml", "envs", "scripts") for path in (ROOT / room).rglob("*.py")]
    adding = {str(path.relative_to(ROOT)) for path in files if added_to_a_seed(path.read_text())}
    assert adding == ADDED_TO
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
            assert not added_to_a_seed(block), page


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_seeds_fit_into_31_bits(seed: int) -> None:
    assert all(0 <= value < 2**31 for value in RandomStreams(seed).task_seeds(50))
