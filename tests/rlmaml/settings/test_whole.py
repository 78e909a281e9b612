import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlmaml.base.errors import UserError
from rlmaml.settings.methods.registry import METHODS
from rlmaml.settings.policy import POLICIES
from rlmaml.settings.whole import (
    Settings,
    as_method,
    check_resumable,
    configure,
    differences,
    from_plain,
    owner_classes,
)

EVERY = [
    (method, policy)
    for method in METHODS
    for policy in (*POLICIES, "my.py:Net")
    if policy
    in {"cavia": ("gaussian", "categorical"), "rl2": ("gru",), "robust": ("gru",), "rma": ("latent",)}.get(
        method, (policy,)
    )
    and (policy != "latent" or method == "rma")
]
"""Every method with every policy kind that it can have: the others have no context or no memory, or teach nobody."""
EVERY_CHOICE = pytest.mark.parametrize(("algorithm", "policy"), EVERY)


@EVERY_CHOICE
def test_option_names_are_unique_over_owners_that_can_be_chosen_together(algorithm: str, policy: str) -> None:
    names = [field.name for kind in owner_classes(algorithm, policy).values() for field in dataclasses.fields(kind)]
    assert len(names) == len(set(names)) > 20
    assert not {"algorithm", "policy", "run_dir", "resume", "overwrite"} & set(names)


@EVERY_CHOICE
def test_plain_data_through_json_brings_back_the_same_settings(algorithm: str, policy: str) -> None:
    settings = configure(algorithm, policy, seed=3, gae_lambda=0.5)
    if settings.has("inner_step_sizes"):
        settings = settings.changed(inner_step_sizes=(0.3, 0.1))
    assert from_plain(json.loads(json.dumps(settings.as_plain()))) == settings


def test_what_is_written_of_a_place_has_no_folders_and_a_method_that_takes_the_settings_over_has_them() -> None:
    settings = configure(policy="/home/me/net.py:Net", start_from="/home/me/runs/intact/")
    assert settings.run.start_from == as_method(settings, "reptile").run.start_from == "/home/me/runs/intact/"
    assert "/home/me" not in json.dumps([settings.as_plain(), settings.flat()])
    read = from_plain(settings.as_plain())
    assert (read.policy, read.run.start_from) == ("net.py:Net", "intact")
    check_resumable(read, settings)
    with pytest.raises(UserError, match=r"is now 'dynamics'; --seed was 0 and is now 3\. Repeat"):
        check_resumable(configure(variant="finn2017"), configure(variant="dynamics", seed=3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_tasks": 0}, "--tasks is 0; it must be a number above 0."),
        ({"num_episodes": -3}, "--episodes is -3"),
        ({"horizon": 0}, "--horizon is 0"),
        ({"inner_steps": -1}, "--inner-steps is -1"),
        ({"inner_steps": 0, "learn_step_sizes": True}, "there is no step to learn"),
        ({"iterations": -1}, "--iterations is -1"),
        ({"seed": -1}, "--seed is -1"),
        ({"discount": 1.5}, "--discount is 1.5; it must be a number from 0 to 1."),
        (
            {"discount": 1.0, "time_limit": "bootstrap"},
            "--discount is 1.0; it must be below 1 with --time-limit bootstrap",
        ),
        ({"max_kl": float("nan")}, "--max-kl is nan"),
        ({"hidden": (64, 0)}, "--hidden is (64, 0)"),
        ({"inner_step_sizes": ()}, "--inner-step-sizes is ()"),
        (
            {"algorithm": "cavia", "context": 0},
            "--context is 0; it must be above 0 where it is what adapts",
        ),
        ({"algorithm": "cavia", "policy": "gru"}, "--adapt is 'context'; it must be all or head with this policy"),
        (
            {"algorithm": "anil", "context": 3},
            "--context is 3; it must be 0, or --adapt all or context: beside a head that",
        ),
        ({"policy": "gru", "value_head": True}, "--value-head is True; it must be off with inner steps: rl2 and rma"),
        ({"algorithm": "e-maml", "exploration_credit": 0.0}, "it must be above 0; without credit it is maml-trpo"),
        ({"policy": "latent"}, "--policy latent has a teacher, whom only --algorithm rma learns from"),
        ({"algorithm": "rl2", "policy": "latent"}, "memory alone is --policy gru"),
        (
            {"algorithm": "meta-sgd", "learn_step_sizes": False},
            "layer where sizes are not learned; add --learn-step-sizes",
        ),
        ({"algorithm": "meta-sgd", "step_sizes_per": "layer"}, "--algorithm meta-sgd stands for 'parameter'"),
        (
            {"step_sizes_per": "parameter"},
            "--step-sizes-per is 'parameter'; it must be layer where sizes are not learned",
        ),
        ({"inner_loss": "dice", "first_order": True}, "dice differs by its second derivative alone"),
        ({"algorithm": "fomaml", "first_order_until": 20}, "--first-order-until is 20; it must be 0 with first order"),
        ({"inner_steps": 0, "first_order_until": 20}, "and where --inner-steps is 0: there is no derivative"),
        ({"algorithm": "pretrained", "first_order": True}, "--first-order is True; it must be off, or --inner-steps"),
        (
            {"algorithm": "promp", "inner_steps": 0, "kl_target": 0.1},
            "--kl-target is 0.1; it must be 0 where --inner-steps",
        ),
        ({"algorithm": "reptile", "adapt": "head"}, "--adapt is 'head'; it must be all for reptile"),
        (
            {"algorithm": "reptile", "inner_loss": "dice"},
            "--inner-loss is 'dice'; it must be another for reptile, which takes no second derivative: dice differs by",
        ),
        (
            {"stage_weights": (1.0, 0.0)},
            "--stage-weights is (1.0, 0.0); it must be not all 0 for the 1 after an inner",
        ),
        (
            {"algorithm": "promp", "stage_weights": (1.0, 0.0), "inner_steps": 2, "anneal_stage_weights": 5},
            "it must be not all 0 for the 2 after an inner step; --algorithm pretrained has none",
        ),
        (
            {"algorithm": "anil", "hidden": ()},
            "--adapt is 'head'; it must be all, or --hidden one width or more: without hidden layers the head is all",
        ),
        ({"algorithm": "pretrained", "inner_steps": 1}, "--inner-steps is 1, but --algorithm pretrained stands for 0"),
        ({"adapt_std": True}, "--adapt-std is True; it must be off unless --adapt is head"),
        ({"inner_kl": 1.0}, "--inner-kl is 1.0; it must be 0 with fewer than two inner steps"),
        ({"inner_l2": -1.0, "inner_steps": 2}, "--inner-l2 is -1.0"),
        ({"parameter_noise": 0.1, "inner_steps": 0}, "--parameter-noise is 0.1; it must be 0 where --inner-steps is 0"),
        ({"anneal_stage_weights": 5, "inner_steps": 0}, "--anneal-stage-weights is 5; it must be 0 where"),
        ({"entropy_bonus": float("nan")}, "--entropy-bonus is nan"),
        ({"inner_step_sizes": (0.1, -0.1)}, "--inner-step-sizes is (0.1, -0.1)"),
        ({"inner_reward_power": 0.0}, "--inner-reward-power is 0.0; it must be a number above 0, at most 10"),
        ({"inner_reward_power": 11.0}, "--inner-reward-power is 11.0; it must be a number above 0, at most 10"),
        ({"inner_reward_power": 2.0}, "--inner-reward-power is 2.0; it must be 1 without --inner-advantage-scale"),
        ({"inner_advantage_scale": -1.0}, "--inner-advantage-scale is -1.0; it must be a finite number above 0"),
        ({"curvature_fraction": 0.0}, "--curvature-fraction is 0.0"),
        ({"backtrack": 1.0}, "--backtrack is 1.0"),
        ({"stage_weights": (1.0, -1.0)}, "--stage-weights is (1.0, -1.0); it must be finite numbers not below 0"),
        ({"stage_weights": (0.0, 0.0)}, "--stage-weights is (0.0, 0.0)"),
        ({"threads": 0}, "--threads is 0"),
        ({"threads": 10**9}, "--threads is 1000000000; it must be at most 1024"),
        ({"max_kl": float("inf")}, "--max-kl is inf; it must be a finite number"),
        ({"initial_std": float("inf")}, "--initial-std is inf"),
        ({"inner_step_sizes": (float("inf"),)}, "--inner-step-sizes is (inf,)"),
        ({"advantage_scale": 0.0}, "--advantage-scale is 0.0"),
        ({"observation_scales": (1.0, 0.0)}, "--observation-scales is (1.0, 0.0); it must be finite numbers above 0"),
        ({"device": "gpu"}, "--device is 'gpu'; it must be cpu, cuda or cuda:N."),
        ({"rollout_device": "tpu"}, "--rollout-device is 'tpu'; it must be cpu, cuda or cuda:N."),
        (
            {"algorithm": "fomaml", "first_order": False},
            "--first-order is False, but --algorithm fomaml stands for True",
        ),
        ({"device": "cuda:\u0663"}, "--device is 'cuda:\u0663'; it must be cpu, cuda or cuda:N."),
        ({"algorithm": "magic"}, "--algorithm is 'magic'; it must be one of maml-trpo, fomaml, e-maml"),
        (
            {"policy": "oracle"},
            "it must be one of gaussian, categorical, gru, latent, conv4, embedded, multimodal, or FILE",
        ),
        ({"policy": "gru", "memory": 0}, "--memory is 0; it must be at least 1. What remembers nothing is --policy"),
        ({"algorithm": "rl2", "memory": 0}, "all tasks that is trained as rl2 is --algorithm robust"),
        ({"algorithm": "pretrained", "policy": "gru", "memory": 0, "value_head": True}, "--memory is 0"),
        ({"algorithm": "robust", "memory": 5}, "--memory is 5, but --algorithm robust stands for 0"),
        (
            {"algorithm": "random", "entropy_bonus": 0.1},
            "--entropy-bonus is 0.1, but --algorithm random stands for 0.0",
        ),
        (
            {"algorithm": "rma", "inner_advantage_scale": 2.0},
            "--inner-advantage-scale is 2.0; it must be None where nothing adapts by gradient steps",
        ),
        ({"algorithm": "reptile", "outer_step_size": 0.0}, "--outer-step-size is 0.0"),
        ({"algorithm": "reptile", "inner_steps": 0}, "--inner-steps is 0; it must be at least 1 for reptile"),
        ({"algorithm": "reptile", "max_kl": 0.1}, "--max-kl is not a setting of reptile"),
        ({"policy": "my.py:Net", "hidden": (3,)}, "--hidden is not a setting of maml-trpo with a my.py:Net policy"),
    ],
)
def test_an_illegal_value_is_refused_with_its_option_its_value_and_what_is_legal(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        configure(**changes)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time_limit": "Bootstrap"}, "--time-limit is 'Bootstrap'; it must be one of fixed_horizon, bootstrap."),
        ({"inner_loss": "likelihood-ratio"}, "--inner-loss is 'likelihood-ratio'; it must be one of log_likelihood"),
        ({"hidden": [8, 8]}, "--hidden is [8, 8]; it must be a tuple, each entry of which is a whole number."),
        ({"horizon": 2.5}, "--horizon is 2.5; it must be a whole number or None."),
    ],
)
def test_a_value_of_another_kind_is_refused_like_an_illegal_one(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        configure(**changes)


@pytest.mark.usefixtures("unchecked")
def test_settings_of_another_owner_are_refused() -> None:
    whole = configure()
    others: dict[str, Any] = {"run": None, "outer": whole.inner, "inner": configure("reptile").inner}
    for owner, other in others.items():
        with pytest.raises(UserError, match=f"The settings of {owner} are .* needs "):
            dataclasses.replace(whole, **{owner: other})


@settings(max_examples=30)
@given(st.none() | st.text() | st.lists(st.integers()) | st.dictionaries(st.text(), st.integers()))
def test_what_is_no_configuration_is_refused(stored: Any) -> None:
    with pytest.raises(UserError, match="does not fit this version"):
        from_plain(stored)


@settings(max_examples=30)
@given(st.recursive(st.none() | st.booleans() | st.text(), lambda inner: st.dictionaries(st.text(), inner)))
def test_plain_data_of_another_shape_is_refused(stored: Any) -> None:
    with pytest.raises(UserError):
        from_plain({"algorithm": "maml-trpo", "policy": "gaussian", "run": stored})


def test_a_stored_field_that_no_longer_exists_is_named() -> None:
    stored = dataclasses.asdict(configure())
    stored["advantages"]["gone"] = stored["advantages"].pop("discount")
    with pytest.raises(UserError, match="gone"):
        from_plain(stored)


def test_a_change_reaches_its_owner_and_nobody_else() -> None:
    before = configure()
    after = before.changed(discount=0.5, hidden=(3,), max_kl=0.2, inner_steps=2, seed=7)
    assert (after.advantages.discount, after.network.hidden, after.outer.max_kl) == (0.5, (3,), 0.2)
    assert (after.inner.inner_steps, after.run.seed) == (2, 7)
    changed = {name for name, value in after.flat().items() if before.flat()[name] != value}
    assert changed == {"discount", "hidden", "max_kl", "inner_steps", "seed"}


def test_what_is_checked_between_owners_is_checked_after_a_change_too() -> None:
    weighted = configure(inner_steps=1, stage_weights=(0.0, 1.0))
    with pytest.raises(UserError, match="--stage-weights"):
        weighted.changed(inner_steps=0)


def test_fomaml_is_maml_with_first_order() -> None:
    fomaml = configure("fomaml", seed=1)
    assert dataclasses.replace(fomaml, algorithm="maml-trpo") == configure("maml-trpo", first_order=True, seed=1)


def test_the_settings_of_another_method_agree_wherever_both_have_a_field() -> None:
    start = configure(hidden=(5,), inner_step_sizes=(0.3,), max_kl=0.5, gae_lambda=0.9, initial_std=0.2)
    reptile = as_method(start, "reptile", "gru")
    assert (reptile.network.hidden, reptile.network.initial_std, reptile.inner.inner_step_sizes) == ((5,), 0.2, (0.3,))
    assert reptile.advantages.gae_lambda == 0.9
    assert not reptile.has("max_kl")
    assert as_method(start, "fomaml", "gaussian").inner.first_order
    assert as_method(start, "maml-trpo", "gaussian") is start


@pytest.mark.parametrize("method", ["fomaml", "reptile"])
def test_a_method_that_another_s_inner_loss_makes_no_sense_for_has_its_own(method: str) -> None:
    settings = as_method(configure(inner_loss="dice", inner_steps=3), method)
    assert (settings.inner.inner_loss, settings.inner.inner_steps) == ("log_likelihood", 3)


def test_a_context_does_not_go_with_a_head_that_adapts_alone() -> None:
    anil = as_method(configure("cavia", context=3, hidden=(5,)), "anil")
    assert (anil.network.context, anil.network.hidden, anil.inner.adapt) == (0, (5,), "head")
    assert as_method(configure("cavia", context=3), "maml-trpo").network.context == 3


def test_a_head_on_what_has_no_hidden_layers_but_other_ones_adapts_alone() -> None:
    for policy in ("gru", "embedded", "multimodal"):
        assert configure("anil", policy, hidden=()).inner.adapt == "head"
    assert configure("e-maml", stage_weights=(1.0, 0.0, 1.0), inner_steps=2).outer.weights(2) == (0.5, 0.0, 0.5)


def test_a_method_that_needs_inner_steps_has_its_own_where_others_have_none() -> None:
    reptile = as_method(configure(inner_steps=0, stage_weights=(1.0,), hidden=(5,)), "reptile", "gaussian")
    assert (reptile.inner.inner_steps, reptile.network.hidden) == (1, (5,))
    for loss, own in (("dice", "log_likelihood"), ("likelihood_ratio", "likelihood_ratio")):
        alone = as_method(configure(inner_loss=loss, inner_steps=0, stage_weights=(1.0,)), "reptile")
        assert (alone.inner.inner_loss, alone.inner.inner_steps) == (own, 1)


@pytest.mark.parametrize(
    ("left", "taken", "field"),
    [
        ("reptile", "promp", "outer_step_size"),
        ("promp", "reptile", "outer_step_size"),
        ("promp", "rl2", "epochs"),
        ("rl2", "maml-ppo", "clip"),
    ],
)
def test_what_another_method_calls_by_the_same_name_is_not_carried_over_to_it(
    left: str, taken: str, field: str
) -> None:
    changed = as_method(configure(left).changed(**{field: 9 if field == "epochs" else 0.77}), taken)
    assert changed.flat()[field] == configure(taken).flat()[field]


def test_what_methods_share_is_carried_over_between_them() -> None:
    clipped = configure("promp", epochs=7, outer_step_size=0.02, cosine_iterations=30)
    ppo = as_method(clipped, "maml-ppo").outer
    assert (ppo.epochs, ppo.outer_step_size, ppo.cosine_iterations) == (7, 0.02, 30)
    assert as_method(configure("rl2", epochs=7), "rma").outer.epochs == 7
    assert as_method(clipped, "maml-trpo").outer.cosine_iterations == 30


def test_what_a_method_begins_from_goes_with_it_unless_it_was_changed() -> None:
    plain = as_method(configure("rl2", num_episodes=7, horizon=50), "maml-trpo")
    assert plain == configure("maml-trpo", num_episodes=7, horizon=50)


def test_stage_weights_sum_to_one_and_fall_on_the_last_stage_by_default() -> None:
    assert configure(inner_steps=2).outer.weights(2) == (0.0, 0.0, 1.0)
    assert configure(inner_steps=2, stage_weights=(1.0, 3.0)).outer.weights(2) == pytest.approx((1 / 7, 3 / 7, 3 / 7))
    assert configure(inner_steps=0, stage_weights=(2.0, 3.0)).outer.weights(0) == (1.0,)


def other_values(settings: Settings) -> Iterator[tuple[str, Any]]:
    """Another legal value for every field but those that others depend on."""
    special = {
        "env_id": "Other-v0",
        "variant": "other",
        "start_from": "elsewhere",
        "device": "cuda",
        "rollout_device": "cuda:1",
        "horizon": 7,
        "cg_iterations": 7,
        "inner_loss": "dice",
        "activation": "relu",
        "time_limit": "bootstrap",
        "advantage_scale": 2.0,
        "inner_step_sizes": (0.7,),
        "stage_weights": (1.0, 1.0),
        "observation_scales": (2.0,),
        "hidden": (3,),
        "outer_step": "adam",
        "outer_optimiser": "adam",
        "preconditioner": "none",
        "adapt": "head",
        "step_sizes_per": "parameter",
        "kept": ("layer0.weight:1x1:gA==",),
    }
    for name, value in settings.flat().items():
        if name in ("algorithm", "policy", *METHODS[settings.algorithm].stands_for):
            continue
        if name in special:
            yield name, special[name]
        elif isinstance(value, bool):
            yield name, not value
        elif isinstance(value, int):
            yield name, value + 1
        else:
            yield name, value / 2 if value else 0.25


@pytest.mark.parametrize("algorithm", METHODS)
def test_a_run_resumes_only_under_settings_that_would_have_made_the_same_run(algorithm: str) -> None:
    stored, free, refused = configure(algorithm), set(), set()
    if stored.has("inner_steps") and "inner_steps" not in METHODS[algorithm].stands_for:
        stored = stored.changed(inner_steps=2)
    for name, value in other_values(stored):
        try:
            requested = stored.changed(**{name: value})
        except UserError:  # some values are legal beside some others alone
            refused.add(name)
            continue
        if differences(stored, requested):
            with pytest.raises(UserError, match=re.escape(f"and is now {value!r}")):
                check_resumable(stored, requested)
        else:
            check_resumable(stored, requested)
            free.add(name)
    every = {
        *("iterations", "evaluation_tasks", "evaluation_episodes", "evaluation_steps"),
        *("checkpoint_interval", "kept_checkpoints", "validation_interval", "figure_interval", "video_interval"),
        "patience",
        *("device", "rollout_device", "threads", "rollout_threads"),
    }
    assert free == every - {*METHODS[algorithm].stands_for}
    assert not refused & every
    assert len(refused) <= 11


def test_another_method_or_policy_is_another_run() -> None:
    with pytest.raises(UserError, match="--algorithm was 'maml-trpo' and is now 'reptile'"):
        check_resumable(configure(), configure("reptile"))
    with pytest.raises(UserError, match="--policy was 'gaussian' and is now 'gru'"):
        check_resumable(configure(), configure(policy="gru"))


def test_who_resumes_with_another_family_method_or_policy_is_told_that_alone() -> None:
    with pytest.raises(UserError) as refusal:
        check_resumable(configure(), configure("cavia", policy="categorical", seed=3))
    assert str(refusal.value).startswith(
        "The run to resume has another configuration: --algorithm was 'maml-trpo' and is now 'cavia'; --policy was "
        "'gaussian' and is now 'categorical'; other settings follow from that. Repeat"
    )
    with pytest.raises(UserError, match=r"--variant was 'finn2017' and is now 'dynamics'\. Repeat"):
        check_resumable(configure(variant="finn2017"), configure(variant="dynamics"))


def test_counted_differences_are_those_that_move_what_a_run_reaches() -> None:
    stored = configure()
    assert differences(stored, stored.changed(iterations=7, threads=1), counted=True) == [
        "--iterations was 100 and is now 7"
    ]
