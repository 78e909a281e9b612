"""No public call changes a setting of its process: each is looked at while scripts, and other tests, do their work."""

import gzip
import json
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rlmaml
import rlmaml_envs
from rlmaml.base.errors import UserError
from rlmaml.deploy.adaptable import load
from rlmaml.deploy.export import check_takes_tensors
from rlmaml.evaluation.rankings import absolute_error
from rlmaml.families.folders import annotated
from rlmaml.families.installed import read_idx
from rlmaml.families.rating_files import read_ratings
from rlmaml.settings.run import RunSettings
from rlmaml.settings.whole import configure
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.terminal.option_help import sentences
from rlmaml.training.guard import Lost
from rlmaml.training.in_progress import reason_of
from tests.faults.process_wide import Watch, watching
from tests.faults.test_guest import public_calls
from tests.faults.writers import SMALL, TRAINING
from tests.rlmaml.families.test_rating_files import FILES, write
from tests.rlmaml.shapes import shapes_checked
from tests.scripts.test_dynamics import recorded
from tests.scripts.test_scripts import SCRIPTS, run_script

ROOT = Path(__file__).parents[2]
TESTS = ("tests/envs", *(f"tests/rlmaml/{room}" for room in ("policies", "rules", "core", "settings")))
"""Which call what no script does."""
MAY_CHANGE = {
    "rlmaml.base.user_code.named_object": ["places"],  # the user's own code finds what lies beside it, also later
    "rlmaml.policies.module.module_maker": ["places"],
    "rlmaml.base.memory.keep_freed_memory": ["freed memory"],  # which is what it is for; scripts alone call it
    "rlmaml.base.files.replacing": ["processes"],  # within an export, whose end puts it back
    "rlmaml.terminal.command.run_command": ["Python's random numbers", "warnings"],  # the process is a script's
    "rlmaml.terminal.streams.make_streams_last": ["hooks"],
    "rlmaml.training.record.Recorder.__init__": ["hooks"],  # of the writer's thread, until it is closed
    "rlmaml.terminal.waiting.signs_of_life": ["Python's random numbers"],
    "rlmaml.settings.command_line.parse": ["Python's random numbers"],  # which whoever checks types in tests draws
    "rlmaml.settings.command_line.options_of": ["Python's random numbers"],
    "rlmaml.settings.command_line.shared_options": ["Python's random numbers"],
    "rlmaml.settings.command_line.told_in_a_sentence": ["Python's random numbers"],
    "rlmaml.results.supervised_transfer.supervised_transfer": ["Python's random numbers"],
}
"""What is said to change something, and what."""
EXEMPT = {
    "rlmaml.results.benchmark.beside_pool",  # EnvPool is installed nowhere
    "rlmaml.terminal.processes.in_processes",  # all that these do is looked at in this one
    "rlmaml.terminal.waiting.elsewhere",  # which this one says of its processes
    "rlmaml.families.images.check_apart",
    "rlmaml.training.train.nothing_known",  # after what went wrong
    "rlmaml.families.installed.read_fashion",  # of a package of Debian's
    "rlmaml.deploy.adaptable.in_copies",
    "rlmaml.deploy.carried_state.Driven.go_on",  # of a memory
    "rlmaml.deploy.carried_state.how_to_carry",
    "rlmaml.deploy.fit.lived_through",
    "rlmaml.deploy.fit.trial_ends",
    "rlmaml.results.by_episodes.LivedComparison.cost",  # of a robot as it was built
    "rlmaml.results.by_episodes.within_budget",  # of a search
    "rlmaml.evaluation.figures.draw_rewards",  # what scripts draw shows paths
    "rlmaml.results.contenders.worked_on",
    "rlmaml.results.contenders.on_one_thread",
    # data sheets hold these themselves, or each is looked at within whoever calls it
    "rlmaml.base.files.is_left_over",
    "rlmaml.policies.recurrence.one_step",
    "rlmaml.policies.recurrence.unrolled",
    "rlmaml.policies.reduced.ReducedPolicy.fisher_blocks",
    "rlmaml.policies.latent.LatentPolicy.taught",  # of a search around what a student guesses
    "rlmaml.evaluation.context_range.around",
    "rlmaml.results.contenders.is_searched",
    "rlmaml_envs.mark_colours.as_fractions",
    "rlmaml.base.files.unwritable",
    "rlmaml.core.baseline.bootstrapped_values",
    "rlmaml.core.baseline.value_level",
    "rlmaml.core.distributions.Categorical.fisher_roots",
    "rlmaml.core.exploration.credit_losses",
    "rlmaml.core.exploration.credits_of",
    "rlmaml.core.exploration.mean_returns",
    "rlmaml.core.exploration.standardised_returns",
    "rlmaml.core.policy.carries",
    "rlmaml.core.ranks.Ranks.agree",
    "rlmaml.core.ranks.Ranks.gather",
    "rlmaml.core.ranks.Ranks.own",
    "rlmaml.core.surrogate.entropies",
    "rlmaml.core.trust_region.stage_entropies",
    "rlmaml.deploy.cost.peak_bytes",
    "rlmaml.deploy.cost.step_cost",
    "rlmaml.deploy.eight_bits.InEightBits.act",
    "rlmaml.deploy.eight_bits.InEightBits.draw_noise",
    "rlmaml.deploy.eight_bits.InEightBits.start",
    "rlmaml.deploy.eight_bits.exactly",
    "rlmaml.deploy.eight_bits.patterned",
    "rlmaml.deploy.eight_bits.write_with_numbers",
    "rlmaml.deploy.online.better",
    "rlmaml.policies.categorical.CategoricalPolicy.fisher_blocks",
    "rlmaml.policies.embedded.EmbeddedPolicy.describe",
    "rlmaml.policies.gru.GruPolicy.fisher_blocks",
    "rlmaml.policies.of_observations.OfObservations.fisher_blocks",
    "rlmaml.results.compression.as_plain_table",
    "rlmaml.results.compression.exported",
    "rlmaml.results.compression.markdown",
    "rlmaml.results.compression.note",
    "rlmaml.results.compression.read_table",
    "rlmaml.results.compression.returns_in_eight_bits",
    "rlmaml.results.compression.small_rows",
    "rlmaml.results.compression.table_cells",
    "rlmaml.rules.search_rule.SearchRule.during",
    "rlmaml.rules.search_rule.SearchRule.jacobian",
    "rlmaml.rules.search_rule.SearchRule.rates",
    "rlmaml.rules.searches.cma_es",
    "rlmaml.rules.searches.hill_climbing",
    "rlmaml.rules.teacher_rule.TeacherRule.begin",
    "rlmaml.rules.teacher_rule.TeacherRule.step",
    "rlmaml.rules.trust_region_rule.TrustRegionRule.begin",
    "rlmaml.rules.trust_region_rule.TrustRegionRule.during",
    "rlmaml.rules.trust_region_rule.TrustRegionRule.jacobian",
    "rlmaml.rules.trust_region_rule.TrustRegionRule.rates",
    "rlmaml.rules.trust_region_rule.TrustRegionRule.step",
    "rlmaml.settings.checks.free",
    "rlmaml.settings.stages.teacher_and_student",
    "rlmaml.terminal.command.failure_of_own_code",
    "rlmaml.terminal.waiting.Waiting.show",
    "rlmaml.terminal.waiting.progress_bars",
    "rlmaml_envs.ant.build",
    "rlmaml_envs.ant.is_healthy",
    "rlmaml_envs.ant.observe_everything",
    "rlmaml_envs.ant.observe_state_and_forces",
    "rlmaml_envs.ant.observe_without_position",
    "rlmaml_envs.ant.standing_state",
    "rlmaml_envs.ant.torso_position",
    "rlmaml_envs.bodies.centre_of_mass_velocity",
    "rlmaml_envs.bodies.ground_position",
    "rlmaml_envs.bodies.gymnasium_state",
    "rlmaml_envs.bodies.positions_and_velocities",
    "rlmaml_envs.bodies.uniform_state",
    "rlmaml_envs.changes.ground_friction",
    "rlmaml_envs.changes.inertias",
    "rlmaml_envs.changes.masses",
    "rlmaml_envs.family.TaskFamily.controls",
    "rlmaml_envs.family.TaskFamily.observe",
    "rlmaml_envs.family.TaskFamily.render",
    "rlmaml_envs.family.TaskFamily.reset",
    "rlmaml_envs.family.TaskFamily.sample_task",
    "rlmaml_envs.family.TaskFamily.set_tasks",
    "rlmaml_envs.family.TaskFamily.step",
    "rlmaml_envs.half_cheetah.observe_with_centre_of_mass",
    "rlmaml_envs.hopper.is_healthy",
    "rlmaml_envs.humanoid.build",
    "rlmaml_envs.humanoid.centre_of_mass",
    "rlmaml_envs.humanoid.is_healthy",
    "rlmaml_envs.humanoid.observe",
    "rlmaml_envs.kinds.kinds_of_change",
    "rlmaml_envs.kinds.one_change_variants",
    "rlmaml_envs.locomotion.LocomotionVariant.marks",
    "rlmaml_envs.offered.offered_families",
    "rlmaml_envs.own_code.own_frames",
    "rlmaml_envs.problems.survive",
    "rlmaml_envs.problems.upright",
    "rlmaml_envs.registration.add_to_gymnasium",
    "rlmaml_envs.registry.check_maker",
    "rlmaml_envs.rover.names_of_parts",
    "rlmaml_envs.rover.nearness_cost",
    "rlmaml_envs.rover.observe",
    "rlmaml_envs.rover.observe_parts",
    "rlmaml_envs.rover.sample_task",
    "rlmaml_envs.rover.start",
    "rlmaml_envs.rover.with_parts",
    "rlmaml_envs.rover.with_worn_wheels",
    "rlmaml_envs.walker2d.body",
    "rlmaml_envs.walker2d.is_healthy",
}
FEW = ("--episodes-per-step", 2)
WAVES = ("--iterations", 2, "--tasks", 2, "--hidden", 4, "--evaluation-tasks", 2, "--evaluation-steps", 1)
SHOWN = ("--shots", 1, "--queries", 1, "--test-shots", 1, 2)
COMPARED = ("--iterations", 1, "--seeds", 0, *SMALL, "--steps", 1, "--processes", 1)


def command_lines(at: Path) -> Iterator[Sequence[object]]:
    """What scripts are asked for, in this order."""
    run, cavia, rl2, waves, recording = (at / name for name in ("run", "cavia", "rl2", "waves", "recorded.npz"))
    often = ("--validation-interval", 1, "--video-interval", 1, "--figure-interval", 1)
    yield "train_nav.py", *TRAINING, "--run-dir", run, *often
    yield "train_nav.py", *TRAINING, "--run-dir", run, "--resume", "--iterations", 3
    yield "train_nav.py", *TRAINING, "--run-dir", cavia, "--algorithm", "cavia"
    yield "train_nav.py", *TRAINING, "--run-dir", rl2, "--algorithm", "rl2", "--trial-episodes", 2, "--minibatches", 1
    yield "train_nav.py", *TRAINING, "--run-dir", rl2, "--start-from", run, "--overwrite"
    for method, *more in (("e-maml", "--entropy-bonus", 0.1), ("promp",), ("reptile",), ("rma", "--minibatches", 1)):
        yield "train_nav.py", *TRAINING, "--run-dir", at / method, "--algorithm", method, *more
    yield "compress.py", run, "--prune", 0.5, "--iterations", 1, *SMALL, "--steps", 1
    yield "summarise.py", run
    yield "evaluate.py", run, *SMALL, "--steps", 1, "--json", at / "evaluation.json"
    yield "evaluate.py", cavia, *SMALL, "--search", "cmaes", "--search-episodes", 2
    yield "benchmark.py", "HalfCheetahVel-v0", *SMALL, "--horizon", 5, "--repeats", 1, "--evaluation"
    yield "benchmark.py", "Navigation2D-v0", *SMALL, "--repeats", 1, "--beside", "fomaml"
    yield "benchmark_supervised.py", "--tasks", 2, "--hidden", 4, "--repeats", 1
    yield "adapt.py", run, *FEW, "--record", recording, "--output", at / "one.safetensors"
    yield "adapt.py", run, "--episodes", recording, "--output", at / "two.safetensors"
    yield "adapt.py", run, *FEW, "--online", "--steps", 1, "--output", at / "three.safetensors"
    yield "adapt.py", cavia, "--online", "--search", "cmaes", "--search-episodes", 4, "--search-average", 2
    yield "render.py", run, *FEW, "--output", at / "film.gif"
    yield "report.py", run, *SMALL, "--steps", 1
    yield "solvers.py", run, "--draws", 1
    yield "export.py", run, "--int8"
    yield "export.py", run, "--normalised", "--overwrite"
    yield "compare.py", run, cavia, *SMALL, "--steps", 1, "--output", at / "compared.json"
    compared = ("compare.py", *COMPARED, "--output", at / "compared")
    yield *compared, "--algorithms", "maml-trpo", "pretrained", "random", "oracle"
    yield "compare.py", *COMPARED, "--output", at / "lived", "--algorithms", "rl2", "random", "--lived", 0, 1
    yield (
        "compare.py",
        *COMPARED,
        "--output",
        at / "transferred",
        "--algorithms",
        "maml-trpo",
        "--source",
        "finn2017",
        "--target",
        "dynamics",
    )
    yield "report.py", at / "compared" / "maml-trpo-seed0", *SMALL, "--steps", 1
    yield "train_sinusoid.py", *WAVES, "--run-dir", waves, "--validation-interval", 1
    yield "report.py", waves, waves / "random", "--output", at / "page.html"
    yield "compare.py", waves, waves / "random", "--output", at / "scores.json"
    natural = ("--outer-optimiser", "trust_region", "--no-pretrained")
    yield "train_sinusoid.py", *WAVES, *natural, "--run-dir", at / "natural"
    yield "evaluate.py", waves, "--seed", 1
    yield "compress.py", waves, "--prune", 0.5, "--iterations", 1, "--tasks", 2, "--steps", 1
    yield "report.py", at / "waves-pruned-0.5", "--output", at / "smaller.html"
    other_waves = (
        "--source",
        "finn2017",
        "--target",
        "li2017",
        "--tasks",
        2,
        "--steps",
        1,
        "--algorithms",
        "maml-trpo",
    )
    yield "compare.py", "sinusoid", "--seeds", 0, "--iterations", 1, *other_waves, "--output", at / "other_waves"
    pictures = ("--ways", 2, "--shots", 1, "--queries", 1, "--filters", 2, *WAVES[:4], *WAVES[6:])
    yield "train_few_shot.py", *pictures, "--rotations", "--run-dir", at / "digits"
    folder = ("--images", at / "pictures", "--image", 1, 8, 8, "--split", 2, 0, 2, "--processes", 1)
    yield "train_few_shot.py", *pictures, *folder, "--run-dir", at / "pictures_run"
    demonstrated = ("--train-tasks", 3, "--test-tasks", 2, "--test-episodes", 2, "--demonstrator-steps", 1)
    imitating = at / "imitation"
    yield "train_imitation.py", *WAVES, *SHOWN, "--demonstrator", run, *demonstrated, "--run-dir", imitating
    yield "adapt.py", imitating, "--demonstrations", at / "demonstrations" / "0.npz"
    files = [at / "demonstrations" / f"{number}.npz" for number in range(4)]
    yield "train_imitation.py", *WAVES, *SHOWN, "--demonstrations", *files, "--run-dir", at / "of_files"
    robots = ("--train-robots", 3, "--test-robots", 2, "--episode-steps", 5, "--recorded", recording)
    yield "train_dynamics.py", "Navigation2D-v0", "--variant", "dynamics", *WAVES, *robots, "--run-dir", at / "robots"
    users: tuple[object, ...] = ("--embedding", 2, "--inner-steps", 1, "--stage-weights", 0, 1, "--new-items", 0.2)
    users += ("--online", "--online-ratings", 12)
    yield "train_recommender.py", *WAVES, *users, "--run-dir", at / "users"


SOMEBODYS = """
import contextlib
import random


def sound():
    return random.Random(0).random()


def function():
    random.random()


def steps():
    yield 1
    random.random()


@contextlib.contextmanager
def within():
    yield
    random.random()


def _hidden():
    pass


class Class:
    def __init__(self):
        random.random()

    def method(self):
        random.random()

    @staticmethod
    def static():
        random.random()

    @classmethod
    def of_class(cls):
        random.random()


class Sound:
    def __init__(self):
        self.number = 1

    def __call__(self):
        return self.number
"""
"""A package whose public calls draw from Python's generator, but for those that are sound."""


def test_any_new_function_is_known_and_what_it_changes_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "somebodys").mkdir()
    (tmp_path / "somebodys" / "__init__.py").write_text("")
    (tmp_path / "somebodys" / "module.py").write_text(SOMEBODYS)
    monkeypatch.syspath_prepend(str(tmp_path))
    package, names = import_module("somebodys"), import_module("somebodys.module")
    with watching(package) as (watch, known):
        for function in (names.sound, names.function, lambda: list(names.steps()), names.Sound(), names.Class):
            function()
        with names.within():
            pass
        one = names.Class()
        for function in (one.method, one.static, names.Class.of_class):
            function()
    changing = {"function", "steps", "within"}
    changing |= {f"Class.{name}" for name in ("__init__", "method", "static", "of_class")}
    sound = {"sound", "Sound.__init__", "Sound.__call__"}
    assert known == {f"somebodys.module.{name}" for name in changing | sound} == set(watch.calls)
    assert watch.changed == {f"somebodys.module.{name}": ["Python's random numbers"] for name in changing}


def refused(call: Callable[[], object]) -> None:
    """A call that ends with a sentence."""
    with pytest.raises(UserError):
        call()


def further_calls(at: Path) -> Iterator[Callable[[], object]]:
    """Calls that no script makes."""
    policy = load(at / "run")
    yield lambda: policy.explore(np.zeros(2), np.random.default_rng(0))
    yield lambda: absolute_error(torch.zeros(1, 2), torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool))
    yield lambda: reason_of(RuntimeError("why"))
    yield lambda: annotated(at / "absent")
    yield lambda: sentences(RunSettings)
    yield lambda: check_takes_tensors(lambda xp, actions: actions, 2)
    for name in ("absent", "run/metrics.jsonl"):
        yield partial(refused, partial(load, at / name))
    yield Lost().numbers
    yield lambda: RunDirectory(at / "run").of_mean_actions(RunDirectory(at / "run").evaluation)
    for layout, content in FILES.items():
        yield partial(read_ratings, write(at / layout, content))
    (at / "bytes.gz").write_bytes(gzip.compress(struct.pack(">4I", 2051, 1, 2, 2) + bytes(4)))
    yield lambda: read_idx(at / "bytes.gz", 2051)


@pytest.fixture(scope="module")
def by_scripts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Watch, set[str]]:
    """What became of all calls that scripts make, and the names of all public functions."""
    from PIL import Image

    at = tmp_path_factory.mktemp("calls")
    small = configure(num_tasks=2, num_episodes=2, horizon=5, hidden=(4,), cg_iterations=2)
    for name in ("a", "b", "c", "d"):
        (at / "pictures" / name).mkdir(parents=True)
        for index in range(8):
            Image.new("L", (9, 9), 30 * index).save(at / "pictures" / name / f"{index}.png")
    (at / "demonstrations").mkdir()
    for number in range(4):
        recorded(at / "demonstrations" / f"{number}.npz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rlmaml.training.fine_tuning.FINE_TUNING", (1.0, 0.1))
        patch.syspath_prepend(str(SCRIPTS))
        for variant in ("finn2017", "dynamics"):
            own = small.changed(variant=variant)
            patch.setitem(import_module("defaults").TUNED, ("Navigation2D-v0", variant), own)
        with watching(rlmaml, rlmaml_envs) as (watch, known), shapes_checked(False):
            for call in public_calls(at / "guest").values():
                call()
            for words in command_lines(at):
                assert run_script(*map(str, words)) == 0, words
            for further in further_calls(at):
                further()
    return watch, known


@pytest.fixture(scope="module")
def by_tests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What became of all calls that tests of the mathematics and of the environments make; some of them may fail."""
    seen = tmp_path_factory.mktemp("session") / "seen.json"
    words = ["-o", "addopts=", "-m", "not slow", "-p", "no:cacheprovider", "-W", "ignore", "-q"]
    command = [sys.executable, "-m", "pytest", "-p", "tests.faults.watched_session", "--watched", seen, *words]
    subprocess.run(list(map(str, [*command, *TESTS])), cwd=ROOT, capture_output=True, check=False)
    found: dict[str, Any] = json.loads(seen.read_text())
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_what_is_process_wide_is_as_before_after_every_public_call_of_scripts(
    by_scripts: tuple[Watch, set[str]],
) -> None:
    watch, _ = by_scripts
    assert {name: what for name, what in watch.changed.items() if what != MAY_CHANGE.get(name)} == {}


@pytest.mark.slow
def test_what_is_process_wide_is_as_before_after_every_public_call_of_tests(by_tests: dict[str, Any]) -> None:
    assert {name: what for name, what in by_tests["changed"].items() if what != MAY_CHANGE.get(name)} == {}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_public_function_is_looked_at(by_scripts: tuple[Watch, set[str]], by_tests: dict[str, Any]) -> None:
    watch, known = by_scripts
    assert len(known) > 900
    assert known >= EXEMPT, f"there is no {EXEMPT - known}"
    without = {name for name in known - set(watch.calls) - set(by_tests["called"]) if not name.endswith(".__init__")}
    assert without <= EXEMPT, f"no case calls {without - EXEMPT}"
