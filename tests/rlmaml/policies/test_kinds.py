from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

from rlmaml.base.errors import UserError
from rlmaml.policies.gaussian import GaussianPolicy
from rlmaml.policies.kinds import KINDS, make_policy, register_module
from rlmaml.policies.module import ModulePolicy
from rlmaml.policies.sizes import Part, Sizes
from rlmaml.settings.policy import POLICIES, GaussianSettings, ModuleSettings


@pytest.fixture(autouse=True)
def the_registry_is_as_before() -> Iterator[None]:
    before = dict(KINDS)
    yield
    KINDS.clear()
    KINDS.update(before)


def test_every_kind_with_settings_is_made_by_its_name() -> None:
    assert {kind for kind in KINDS if ":" not in kind} == set(POLICIES)  # besides modules of the user's own
    for name, settings in POLICIES.items():
        numbers = {"conv4": 28 * 28, "embedded": 1}.get(name, 3)
        discrete, parts = name in ("categorical", "conv4"), (Part("ranges", (3,)),) * (name == "multimodal")
        policy = make_policy(name, settings(), Sizes(numbers, 2, discrete=discrete, task=1, parts=parts))
        assert type(policy) is KINDS[name]


def test_nothing_that_a_checkpoint_says_runs_code(tmp_path: Path) -> None:
    path = tmp_path / "network.py"
    path.write_text(f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\nfrom torch.nn import Linear\n")
    kind = f"{path}:Linear"
    with pytest.raises(UserError, match=r"a module of your own.*Say that its code may be run: --policy"):
        make_policy(kind, ModuleSettings(), Sizes(3, 2))
    assert not (tmp_path / "ran").exists()
    register_module(kind)
    assert (tmp_path / "ran").exists()
    assert isinstance(make_policy(kind, ModuleSettings(), Sizes(3, 2)), ModulePolicy)


def test_a_module_may_be_given_as_an_object_and_never_hides_a_kind_of_ours() -> None:
    register_module("robot.py:Linear", nn.Linear)
    assert isinstance(make_policy("robot.py:Linear", ModuleSettings(), Sizes(3, 2)), ModulePolicy)
    register_module("gaussian", nn.Linear)
    assert isinstance(make_policy("gaussian", GaussianSettings(), Sizes(3, 2)), GaussianPolicy)
