from torch import Tensor

from rlmaml.algorithms.e_maml import EMaml
from rlmaml.algorithms.maml_trpo import MamlTrpo
from rlmaml.core.types import Meta
from rlmaml.settings.methods.e_maml import EMamlSettings
from rlmaml.settings.methods.maml_trpo import MamlTrpoSettings
from tests.rlmaml.algorithms.test_maml_trpo import DOWNHILL
from tests.rlmaml.core.test_exploration import RULE, estimates, exact_meta_gradient, sampled_stages, standard_errors_off
from tests.rlmaml.makers import assert_same, learner, vector
from tests.rlmaml.tabular import CHAIN, POLICY, rational_theta


def uphill(algorithm: MamlTrpo) -> Tensor:
    """The meta-gradient in units of the return, read off an update that follows it."""
    theta = rational_theta()
    new, _, report = algorithm.update(learner(POLICY, RULE), Meta(theta, {}), {}, sampled_stages(CHAIN))
    assert report.accepted
    step = vector(new) - vector(theta)
    gradient: Tensor = step / step.norm() * report.gradient_norm * CHAIN.horizon
    return gradient


def test_an_update_goes_along_the_unbiased_meta_gradient_and_that_of_maml_along_the_biased_one() -> None:
    exact, update = exact_meta_gradient(CHAIN), {"curvature_fraction": 1.0, **DOWNHILL}
    credited = EMaml(EMamlSettings(**update))  # type: ignore[arg-type]
    plain = MamlTrpo(MamlTrpoSettings(**update))  # type: ignore[arg-type]
    uncredited = EMaml(EMamlSettings(exploration_credit=0.0, **update))  # type: ignore[arg-type]
    for algorithm, has_credit in ((credited, True), (plain, False), (uncredited, False)):
        per_task = estimates(CHAIN, credited=has_credit)
        ours = uphill(algorithm)
        assert_same(ours, per_task.mean(0), rtol=1e-5, atol=1e-6)
        off = float(standard_errors_off(per_task - per_task.mean(0) + ours, exact).max())
        assert off < 4 if has_credit else off > 5
