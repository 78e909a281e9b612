import re
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro

from rlmaml.base.errors import UserError
from rlmaml.settings.checks import option
from rlmaml.settings.command_line import options_of, parse, positional_words, shared_options, told_in_a_sentence
from rlmaml.settings.methods.registry import METHODS
from rlmaml.settings.policy import POLICIES
from rlmaml.settings.whole import Settings, configure, owner_classes


@dataclass(frozen=True)
class Script:
    """A script's own options."""

    place: str = "here"
    """Where it is kept."""


def defaults(variant: str | None, method: str = "maml-trpo") -> Settings:
    settings = configure(variant=variant or "first", max_kl=0.03 if variant == "second" else 0.02, hidden=(8,))
    return settings.changed(iterations=7) if method == "cavia" else settings


def parsed(*words: str) -> tuple[Script, Settings]:
    return parse(Script(), defaults, "What it does.", words)


def test_options_stay_flat_and_reach_their_owners() -> None:
    script, settings = parsed("--place", "there", "--tasks", "7", "--max-kl", "0.5", "--hidden", "3", "4", "--seed=5")
    assert script == Script("there")
    expected = defaults(None).changed(num_tasks=7, max_kl=0.5, hidden=(3, 4), seed=5)
    assert settings == expected


def test_a_command_line_leaves_the_settings_classes_as_they_are() -> None:
    def types() -> list[object]:
        return [field.type for kind in owner_classes("maml-trpo", "gaussian").values() for field in fields(kind)]

    before = types()
    parsed()
    assert types() == before


def test_defaults_are_those_of_the_variant_and_of_the_method_that_are_asked_for() -> None:
    assert parsed("--variant", "second")[1] == defaults("second")
    assert parsed("--algorithm", "cavia")[1].run.iterations == 7
    assert parsed("--variant=second")[1].outer.max_kl == 0.03


def test_the_method_says_which_options_there_are() -> None:
    _, settings = parsed("--algorithm", "reptile", "--outer-step", "adam", "--outer_step_size", "0.5")
    assert settings == configure("reptile", variant="first", hidden=(8,), outer_step="adam", outer_step_size=0.5)
    _, settings = parsed("--outer-step-size", "0.5", "--algorithm=reptile")
    assert settings.outer.outer_step_size == 0.5
    with pytest.raises(UserError, match=r"--max-kl is no option of reptile .* It is one of maml-trpo"):
        parsed("--algorithm", "reptile", "--max-kl", "0.1")
    with pytest.raises(
        UserError, match=r"no option of reptile with a gaussian policy\. --help lists those there are\."
    ):
        parsed("--algorithm", "reptile", "--no-such-thing")


def test_options_of_a_file_are_overruled_and_those_of_another_method_are_refused_with_what_to_do() -> None:
    written = ("--algorithm", "cavia", "--max-kl", "0.3", "--tasks", "7")
    _, settings = parse(Script(), defaults, "What it does.", ["--tasks", "5"], written)
    assert (settings.algorithm, settings.flat()["max_kl"], settings.run.num_tasks) == ("cavia", 0.3, 5)
    words = (
        r"--max-kl is no option of reptile .*It is one of .*cavia.*Take it out of the file of --config, or choose the"
    )
    with pytest.raises(UserError, match=words):
        parse(Script(), defaults, "What it does.", ["--algorithm", "reptile"], written)
    with pytest.raises(UserError, match=r"--max-kl is no option of reptile") as caught:
        parse(Script(), defaults, "What it does.", ["--algorithm", "reptile", "--max-kl", "0.3"])
    assert "--config" not in str(caught.value)


def test_more_stage_weights_than_stages_are_refused_where_they_were_typed_and_cut_where_they_are_a_family_s() -> None:
    weights = ["--stage-weights", "0", "2", "1"]
    with pytest.raises(UserError, match=r"--stage-weights has 3 weights; .* --inner-steps 1\. Give at most 2\."):
        parsed(*weights, "--inner-steps", "1")
    assert parsed(*weights, "--inner-steps", "2")[1].outer.stage_weights == (0.0, 2.0, 1.0)

    assert parsed("--stage-weights", "--inner-steps", "1")[1].outer.stage_weights == ()

    def of_a_family(variant: str | None, method: str) -> Settings:
        return defaults(variant, method).changed(stage_weights=(0.0, 2.0, 1.0))

    _, settings = parse(Script(), of_a_family, "What it does.", ["--inner-steps", "1"])
    assert settings.outer.weights(1) == (0.0, 1.0)


def test_the_policy_kind_says_which_options_there_are() -> None:
    _, settings = parsed("--policy", "gru", "--memory", "5")
    assert settings.network.memory == 5
    with pytest.raises(UserError, match="--memory is no option of maml-trpo with a gaussian policy"):
        parsed("--memory", "5")
    _, settings = parsed("--policy", "my.py:Net", "--initial-std", "0.2")
    assert (settings.policy, settings.network.initial_std) == ("my.py:Net", 0.2)


def test_the_help_has_a_family_s_own_defaults_also_where_the_class_has_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    def of_a_family(variant: str | None, method: str) -> Settings:
        return defaults(variant, method).changed(advantage_scale=3.0, inner_steps=2, stage_weights=(0.0, 2.0, 1.0))

    with pytest.raises(SystemExit):
        parse(Script(), of_a_family, "What it does.", ["--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert re.search(r"None: by each task's own deviation\. \(default: 3\.0\)", text)
    assert re.search(r"--stage-weights [^(]*\(default: 0\.0 2\.0 1\.0\)", text)
    assert not re.search(r"--cg-iterations [^(]*\(default", text[: text.index("--preconditioner")])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("meta-sgd", "--inner-steps", "0"), "--learn-step-sizes is True; it must be off, or --inner-steps above 0"),
        (("anil", "--hidden"), "--adapt is 'head'; it must be all, or --hidden one width or more"),
    ],
)
def test_what_a_method_stands_for_is_not_offered_as_what_to_change(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=f"{re.escape(message)}.* {words[0]} always has it: change what you gave"):
        parsed("--algorithm", *words)
    with pytest.raises(UserError) as caught:
        parsed("--inner-steps", "0", "--first-order")
    assert "always has it" not in str(caught.value)


def test_a_name_that_stands_for_a_setting_sets_it() -> None:
    assert parsed("--algorithm", "fomaml")[1].inner == parsed("--first-order")[1].inner


def test_a_switch_can_be_turned_off() -> None:
    assert not parsed("--learn-step-sizes", "--no-learn-step-sizes")[1].inner.learn_step_sizes


@pytest.mark.parametrize("method", METHODS)
def test_the_help_of_a_method_lists_its_own_options_each_with_a_sentence(
    method: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        parsed("--algorithm", method, "--help")
    text = capsys.readouterr().out
    for name in configure(method).flat():
        assert re.search(rf"{option(name)}\b[^\n]*\n?.*[A-Z][a-z]+", text), name
    for other in METHODS:
        for name in set(configure(other).flat()) - set(configure(method).flat()):
            assert option(name) + " " not in text


@pytest.mark.parametrize("words", [("--algorithm", "magic"), ("--policy", "oracle")])
def test_an_unknown_name_is_refused_with_those_there_are(words: tuple[str, str]) -> None:
    with pytest.raises(UserError, match="it must be one of"):
        parsed(*words)


def test_the_help_names_every_method(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--help")
    words = {word.strip(",;.") for word in capsys.readouterr().out.split()}
    assert words >= METHODS.keys()


def test_words_that_are_neither_options_nor_their_values_are_positional_wherever_they_stand() -> None:
    @dataclass(frozen=True)
    class Inner:
        task: tuple[str, ...] = ()

    @dataclass(frozen=True)
    class Outer:
        choice: tyro.conf.OmitArgPrefixes[Inner]
        seed: int = 0
        overwrite: bool = False
        num_tasks: Annotated[int, tyro.conf.arg(name="tasks")] = 1

    for words, found in (
        ("run --seed 3", ["run"]),
        ("--seed 3 run --help", ["run"]),
        ("--seed=3 run", ["run"]),
        ("--tasks 3 --no-overwrite run other", ["run", "other"]),
        ("--task a=1 b=2 run", []),
        ("--task a=1 b=2 --overwrite run", ["run"]),
        ("-h run", ["run"]),
        ("--seed -3 run", ["run"]),
        ("--max-kl 0.1 run --hidden 8 16", ["run"]),
        ("run --nothing 3 other", ["run"]),
    ):
        assert positional_words(words.split(), Outer) == found, words


@dataclass(frozen=True)
class Comparing:
    """Options of a command that has some in common with a training."""

    family: tyro.conf.Positional[str | None] = None
    """Which."""
    num_tasks: Annotated[int, tyro.conf.arg(name="tasks")] = 1
    """How many."""
    overwrite: bool = False
    """Whether."""


@pytest.mark.parametrize(
    ("words", "own", "shared"),
    [
        ("--max-kl 0.02", "", {"max_kl": 0.02}),
        ("--max_kl=0.02 Somewhere-v0", "Somewhere-v0", {"max_kl": 0.02}),
        ("Somewhere-v0 --hidden 8 16 --tasks 3", "Somewhere-v0 --tasks 3", {"hidden": (8, 16)}),
        ("--learn-step-sizes Somewhere-v0", "Somewhere-v0", {"learn_step_sizes": True}),
        ("--no-learn-step-sizes --help", "--help", {"learn_step_sizes": False}),
        ("--inner-advantage-scale None", "", {"inner_advantage_scale": None}),
        ("--inner-loss dice --max-kl 0.1 --max-kl 0.2", "", {"inner_loss": "dice", "max_kl": 0.2}),
        ("--max-kl 0.1 --hidden 8", "", {"max_kl": 0.1, "hidden": (8,)}),
        ("--hidden 8 --max-kl 0.1", "", {"hidden": (8,), "max_kl": 0.1}),
        ("--outer-step-size -1", "", {"outer_step_size": -1.0}),
        ("--tasks 5", "--tasks 5", {}),
    ],
)
def test_options_of_a_training_are_told_from_a_commands_own_which_come_first(
    words: str, own: str, shared: dict[str, object]
) -> None:
    found = shared_options(words.split(), Comparing, {})
    assert found == (own.split(), shared)
    assert list(found[1]) == list(shared)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--max-kll 0.1", "Did you mean --max-kl?"),
        ("--seed 3", "Use --seeds in its place."),
        ("--max-kl many", "--max-kl is 'many'; it must be a finite number."),
        ("--max-kl", "--max-kl is without a value"),
    ],
)
def test_a_mistyped_option_among_shared_ones_is_refused_in_the_words_of_a_training(words: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        shared_options(words.split(), Comparing, {"seed": "--seeds"})


def test_fields_of_one_name_have_one_type_in_every_method_and_policy_kind() -> None:
    types: dict[str, set[str]] = {}
    for name, method in METHODS.items():
        for kind in [*owner_classes(name, method.policy or "gaussian").values(), *POLICIES.values()]:
            for one in fields(kind):
                types.setdefault(one.name, set()).add(str(one.type))
    assert {name: found for name, found in types.items() if len(found) > 1} == {}


@dataclass(frozen=True)
class Typed:
    """Options of every kind."""

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    """Where the run is."""
    num_episodes: Annotated[int, tyro.conf.arg(name="episodes-per-step")] = 20
    """How many."""
    rate: float | None = None
    """How fast."""
    sizes: tuple[int, ...] = ()
    """How large."""
    actions: Literal["sampled", "mean"] = "mean"
    """Which."""


def test_an_option_is_explained_by_the_string_below_it_and_by_no_comment(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass(frozen=True)
    class Explained:
        # For whoever reads the source.
        seed: int = 0  # and this
        rate: float = 1.0  # and that
        """How fast."""

    with pytest.raises(SystemExit):
        options_of(Explained, arguments=["--help"])
    text = capsys.readouterr().out
    assert "How fast." in text
    assert not re.search("whoever|and th", text)


@pytest.mark.parametrize("colours", [False, True])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run --episodes-per-stpe 3", "--episodes-per-stpe is no option of tool.py. Did you mean --episodes-per-step?"),
        (
            "run --episodes 3",
            "--episodes is no option of tool.py. There are: --episodes-per-step, --rate, --sizes, --ac",
        ),
        ("run --episodes-per-step many", "--episodes-per-step is 'many'; it must be a whole number."),
        ("run --episodes-per-step", "--episodes-per-step is without a value; --help says what it takes."),
        ("run --rate fast", "--rate is 'fast'; it must be a finite number or None."),
        ("run --sizes 1 two", "--sizes is '1 two'; each must be a whole number."),
        ("run --actions men", "--actions is 'men'; it must be one of sampled, mean. Did you mean mean?"),
        ("run --actions none", "--actions is 'none'; it must be one of sampled, mean."),
        ("run other", "other is neither an option nor the value of one; --help lists what there is."),
        ("--rate 3", "RUN_DIR is missing. Where the run is."),
    ],
)
def test_what_is_wrong_with_a_command_line_is_said_in_one_sentence_without_a_box(
    words: str, said: str, colours: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["scripts/tool.py"])
    monkeypatch.setitem(tyro._experimental_options, "ansi_codes", colours)
    with pytest.raises(UserError) as caught:
        options_of(Typed, arguments=words.split())
    assert str(caught.value).startswith(said)
    assert str(caught.value) == said or said.endswith("--ac")
    assert capsys.readouterr() == ("", "")


def test_options_of_a_training_are_refused_in_the_same_words() -> None:
    for words, said in (
        ("--iteratoins 3", "--iteratoins is no option of maml-trpo with a gaussian policy. Did you mean --iterations"),
        ("--iterations many", "--iterations is 'many'; it must be a whole number."),
        ("--hidden 8 wide", "--hidden is '8 wide'; each must be a whole number."),
        ("--inner-loss dize", "--inner-loss is 'dize'; it must be one of log_likelihood, likelihood_ratio, dice. Did"),
        ("--algorithm maml-trop", "--algorithm is 'maml-trop'; it must be one of maml-trpo, fomaml"),
        ("--policy gausian", "--policy is 'gausian'; it must be one of gaussian, "),
    ):
        with pytest.raises(UserError) as caught:
            parsed(*words.split())
        assert str(caught.value).startswith(said), words
    for name, meant in (("--algorithm", "maml-trpo"), ("--policy", "gaussian")):
        with pytest.raises(UserError, match=rf"Did you mean {meant}\?"):
            parsed(name, meant[:-2])


def refused() -> None:
    """What a later version of tyro may say."""
    with told_in_a_sentence({}):
        sys.stderr.write("╭─ A box ─╮\n│ Two of one kind, │\n│ which is one too many. │\n│ ─────── │\n│ --help │\n")
        raise SystemExit(2)


def test_a_refusal_in_words_that_are_not_known_here_is_told_as_it_is_and_what_is_said_besides_stays(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(UserError, match=r"^Two of one kind, which is one too many\.$"):
        refused()
    with told_in_a_sentence({}):
        sys.stderr.write("by the way")
    assert capsys.readouterr().err == "by the way"
