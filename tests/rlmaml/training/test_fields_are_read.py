import dataclasses
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rlmaml.families.cold_start import Division, divided_ratings
from rlmaml.families.images import FewShot
from rlmaml.families.made_ratings import made_ratings
from rlmaml.families.sinusoid import Sinusoid
from rlmaml.settings.methods.registry import METHODS
from rlmaml.settings.policy import POLICIES
from rlmaml.settings.run import RunSettings
from rlmaml.settings.whole import Settings, configure, owner_classes
from rlmaml.storage.checkpoint import load_checkpoint
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.training.run import evaluate_run, train
from rlmaml.training.supervised import SupervisedTasks, train_supervised
from tests.rlmaml.families.supervised import supervised
from tests.rlmaml.training.stand_ins import Corridor, own_module

SCRIPTS = Path(__file__).parents[3] / "scripts"
OWN = "a module of one's own"
TINY: dict[str, Any] = {
    "iterations": 1,
    "num_tasks": 2,
    "num_episodes": 2,
    "horizon": 3,
    "evaluation_tasks": 1,
    "evaluation_episodes": 2,
    "evaluation_steps": 1,
    "figure_interval": 0,
    "threads": 1,
    "rollout_threads": 1,
}
ReadBy = dict[type[Any], dict[str, set[str]]]
ENVIRONMENT = {"env_id", "variant", "horizon", "observe_task", "rollout_threads"}
"""What environments are made with; others check these fields, too."""


def who_asks(settings: object, frame: types.FrameType | None) -> str:
    """The module in which somebody reads a field; where a method of the settings' own does, who calls the method.

    What checks types in tests stands between a method and its caller. Checks when settings are made are nobody.
    """
    while frame is not None:
        module, code = str(frame.f_globals.get("__name__", "")), frame.f_code
        checks_types = any(
            name in module or name in code.co_filename for name in ("jaxtyping", "beartype", "tests.rlmaml.shapes")
        )
        own_method = module.startswith("rlmaml.settings") and frame.f_locals.get("self") is settings
        if not checks_types and (not own_method or code.co_name in ("__init__", "__post_init__", "check_with")):
            return module
        frame = frame.f_back
    return ""


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> ReadBy:
    """Class of settings -> field -> the modules that read it so far, but for those of settings."""
    fields: ReadBy = {}

    def watch(kind: type[Any]) -> None:
        readers = fields.setdefault(kind, {field.name: set() for field in dataclasses.fields(kind)})

        def getattribute(self: Any, name: str) -> Any:
            if type(self) is kind and name in readers:
                module = who_asks(self, sys._getframe(1))
                if module != "dataclasses" and not module.startswith("rlmaml.settings"):
                    readers[name].add(module)
            return object.__getattribute__(self, name)

        monkeypatch.setattr(kind, "__getattribute__", getattribute, raising=False)

    for algorithm in METHODS:
        for policy in (*POLICIES, "my.py:Net"):
            for kind in owner_classes(algorithm, policy).values():
                if kind not in fields:
                    watch(kind)
    return fields


@pytest.fixture
def make_env(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """``make_env(settings)``: what the scripts make environments with, or choices where the policy makes them."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    environments = __import__("environments")
    yield (
        lambda settings, render_mode=None: (
            (lambda num_envs: Corridor(num_envs, settings.run.horizon))
            if settings.policy == "categorical"
            else environments.environment_maker(settings, render_mode)
        )
    )
    for name in ("environments", "own_code", "supervised", "defaults"):
        sys.modules.pop(name, None)


def go_through(settings: Settings, make_env: Any, run_dir: Path) -> None:
    """Train, and evaluate once more, by steps within a trust region where that has settings."""
    drawn = settings.policy not in ("gru", "latent", "categorical")
    make_scene = (lambda: make_env(settings, "rgb_array")(1)) if drawn else None
    train(settings, make_env(settings), run_dir, make_scene=make_scene)
    checkpoint = load_checkpoint(RunDirectory(run_dir).checkpoint)
    evaluate_run(checkpoint, make_env(settings), num_tasks=1, num_episodes=2, steps=1, seed=0)


def test_every_field_is_read_by_somebody_who_is_no_settings_class(tmp_path: Path, read: ReadBy, make_env: Any) -> None:
    kinds = {(method.inner, method.outer): method.name for method in reversed(METHODS.values())}
    pairs = [(name, METHODS[name].policy or "gaussian") for name in kinds.values() if name != "maml-trpo"]
    supervised_kinds = ("conv4", "embedded")
    in_parts = {"env_id": "RoverGoal-v0", "variant": "modalities"}
    named = [kind for kind in (*POLICIES, own_module(tmp_path)) if kind not in ("latent", *supervised_kinds)]
    pairs += [("maml-trpo", kind) for kind in named]
    for algorithm, policy in pairs:
        small_batches = {"minibatches": 1} if configure(algorithm, policy).has("minibatches") else {}
        settings = configure(algorithm, policy, **TINY, **small_batches, **(in_parts if policy == "multimodal" else {}))
        small = {"hidden": (3,), "memory": 2, "cg_iterations": 2}
        free = {name for name in small if settings.has(name)} - METHODS[algorithm].stands_for.keys()
        settings = settings.changed(**{name: small[name] for name in free})
        go_through(settings, make_env, tmp_path / f"{algorithm}-{Path(policy).name}")
    small_sets = supervised("maml-trpo", iterations=1, num_tasks=2, evaluation_tasks=2)
    train_supervised(
        SupervisedTasks(small_sets, Sinusoid(), Sinusoid(), "errors"), tmp_path / "supervised", progress=False
    )
    pictures = {name: torch.arange(96, dtype=torch.uint8).view(6, 16) for name in "ab"}
    few_shot = FewShot("made", pictures, ways=2, shots=2, queries=2)
    small_sets = configure("maml-trpo", "conv4", outer_optimiser="adam", iterations=1, image=(1, 4, 4), filters=2)
    small_sets = small_sets.changed(num_tasks=2, evaluation_tasks=2, evaluation_steps=1, threads=1)
    train_supervised(SupervisedTasks(small_sets, few_shot, few_shot, "accuracy"), tmp_path / "few_shot", progress=False)
    users = divided_ratings(made_ratings(30, 40), Division())
    network = {"categories": users.vocabulary.counts, "flags": len(users.vocabulary.flags), "hidden": (3,)}
    small_sets = supervised("maml-trpo", iterations=1, num_tasks=2, evaluation_tasks=2, policy="embedded", **network)
    train_supervised(
        SupervisedTasks(small_sets, users.train, users.validation, "mae"), tmp_path / "recommender", progress=False
    )
    unread = [f"{kind.__name__}.{name}" for kind, fields in read.items() for name, by in fields.items() if not by]
    assert not unread, f"nobody reads {unread}"
    ignored = [name for name in ENVIRONMENT if "environments" not in read[RunSettings][name]]
    assert not ignored, f"environments are made without {ignored}"


def test_who_asks_is_the_caller_of_a_method_of_the_settings_and_nobody_where_they_are_checked(
    read: ReadBy,
) -> None:
    settings = configure("maml-trpo")
    kinds = owner_classes("maml-trpo", "gaussian")
    settings.changed(seed=3, max_kl=0.5).flat()
    dataclasses.asdict(settings)

    def known() -> dict[str, set[str]]:
        return {owner: {name for name, by in read[kind].items() if by} for owner, kind in kinds.items()}

    assert not any(known().values())
    settings.outer.weights(1)
    assert settings.advantages.bootstraps is False
    assert settings.run.seed == 0
    found = {owner: names for owner, names in known().items() if names}
    read_for_weights = {"stage_weights", "anneal_stage_weights"}
    assert found == {"outer": read_for_weights, "advantages": {"time_limit"}, "run": {"seed"}}
    assert read[kinds["outer"]]["stage_weights"] == {__name__}
