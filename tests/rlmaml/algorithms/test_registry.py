import importlib
from types import ModuleType

import pytest

from rlmaml.algorithms import registry
from rlmaml.algorithms.maml_trpo import MamlTrpo
from rlmaml.algorithms.registry import make_meta_algorithm
from rlmaml.algorithms.reptile import Reptile
from rlmaml.base.errors import UserError
from rlmaml.settings.methods.maml_trpo import MamlSettings
from rlmaml.settings.methods.registry import METHODS
from rlmaml.settings.methods.reptile import ReptileSettings
from rlmaml.settings.whole import configure


def test_a_methods_name_gives_its_meta_algorithm_with_its_own_settings() -> None:
    expected = MamlTrpo(MamlSettings(max_kl=0.02))
    assert make_meta_algorithm(configure("maml-trpo", max_kl=0.02)) == expected
    assert make_meta_algorithm(configure("fomaml", max_kl=0.02)) == expected
    assert make_meta_algorithm(configure("reptile", outer_step="adam")) == Reptile(ReptileSettings(outer_step="adam"))


@pytest.mark.parametrize("name", METHODS)
def test_only_the_module_of_the_chosen_method_is_imported(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[str] = []

    def remembering(module: str) -> ModuleType:
        imported.append(module)
        return importlib.import_module(module)

    monkeypatch.setattr(registry, "import_module", remembering)
    make_meta_algorithm(configure(name))
    assert imported == [METHODS[name].module]


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"'none'.*maml-trpo, fomaml, e-maml"):
        configure("none")
