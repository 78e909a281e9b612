import pytest
import torch
from torch import Tensor, nn

from rlmaml.policies.matrices import as_text
from rlmaml.policies.sizes import Part
from tests.rlmaml.policies.contract import Kind, PolicyContract, kind

PARTS = (Part("picture", (1, 2, 1)), Part("speed", (1,)))


class OwnNetwork(nn.Module):
    """A network as a user might write it: a hidden layer, and a shortcut around it."""

    def __init__(self, observation_size: int, action_size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(observation_size, 4)
        self.mean = nn.Linear(4 + observation_size, action_size)

    def forward(self, observations: Tensor) -> Tensor:
        mean: Tensor = self.mean(torch.cat([torch.tanh(self.hidden(observations)), observations], -1))
        return mean


KINDS: dict[str, Kind] = {
    "gaussian": kind("gaussian", exportable=True, hidden=(5, 4)),
    "gaussian, scaled": kind("gaussian", exportable=True, hidden=(4,), observation_scales=(0.5, 4.0, 2.0)),
    "gaussian, relu": kind("gaussian", exportable=True, hidden=(8,), activation="relu"),
    "gaussian, context": kind("gaussian", exportable=True, hidden=(4,), context=2, observation_scales=(0.5, 4.0, 2.0)),
    "gaussian, low rank": kind(
        "gaussian", exportable=True, hidden=(6, 5), rank=2, context=2, observation_scales=(0.5, 4.0, 2.0)
    ),
    "gaussian, pruned": kind(
        "gaussian", exportable=True, hidden=(4,), kept=(as_text("layer0.weight", torch.eye(4, 3, dtype=torch.bool)),)
    ),
    "gaussian, pruned factors": kind(
        "gaussian",
        exportable=True,
        hidden=(6, 5),
        rank=2,
        kept=(as_text("layer1.weight.left", torch.arange(10).view(5, 2) % 3 > 0),),
    ),
    "categorical, context": kind("categorical", 4, exportable=False, hidden=(4,), context=3),
    "categorical": kind("categorical", 4, exportable=False, hidden=(4,)),
    "gru": kind("gru", exportable=True, hidden=(4,), memory=5),
    "gru, of no memory": kind("gru", exportable=True, hidden=(4,), algorithm="robust"),
    "gru, scaled": kind(
        "gru",
        exportable=True,
        hidden=(),
        memory=3,
        observation_scales=(0.5, 4.0, 2.0),
        reward_scale=3.0,
    ),
    "latent": kind("latent", exportable=True, hidden=(4,), memory=5, latent=3, observation_scales=(0.5, 4.0)),
    "multimodal": kind("multimodal", exportable=True, parts=PARTS, hidden=(5,), features=4, filters=3),
    "multimodal, scaled, context": kind(
        "multimodal",
        exportable=True,
        parts=PARTS,
        hidden=(),
        features=4,
        filters=2,
        context=2,
        part_scales=(0.5, 4.0),
        activation="relu",
    ),
    "categorical, low rank": kind("categorical", 4, exportable=False, hidden=(6, 3), rank=2, context=2),
    "gru, pruned": kind(
        "gru",
        exportable=True,
        hidden=(4,),
        memory=5,
        kept=(as_text("layer0.weight", torch.arange(32).view(4, 8) % 3 > 0),),
    ),
    "multimodal, pruned": kind(
        "multimodal",
        exportable=True,
        parts=PARTS,
        hidden=(5,),
        features=4,
        filters=3,
        kept=(as_text("encoder0.conv1.weight", torch.arange(81).view(3, 3, 3, 3) % 2 > 0),),
    ),
    "module": kind("network.py:OwnNetwork", exportable=True, module=OwnNetwork),
}
"""Every kind, in the forms that compute differently."""


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
class TestEveryKind(PolicyContract):
    pass
