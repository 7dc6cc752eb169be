import math

import pytest
from torch import nn

from networks.torchvision_import import torchvision_models
from training.backbones import find_backbone
from training.hyperparameters import Hyperparameters
from training.optimizer import adamw, averaging_rate, learning_rate_share, parameter_blocks, set_learning_rates


def network() -> nn.Sequential:
    """Return a network of two blocks: a convolution with the norm after it, and a linear layer."""
    return nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8, 4))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("efficientnet_lite0", 18),  # stem, 16 residual blocks, the last convolution
        ("resnet18", 9),  # stem, 8 residual blocks
        ("densenet121", 8),  # stem, 4 dense blocks, 3 transitions
        ("vit_b_16", 15),  # class token, patches, positions, 12 layers
        ("swin_t", 16),  # patches, 12 layers, 3 mergings
        ("convnext_tiny", 22),  # stem, 18 blocks, 3 downsamplings
    ],
)
def test_blocks_follow_each_other_from_input_to_output(name: str, count: int) -> None:
    layers: nn.Module = nn.Identity()
    if name == "efficientnet_lite0":
        layers = find_backbone(name, None).load().layers
    else:
        layers = torchvision_models().get_model(name, weights=None)
        layers.set_submodule(list(layers.named_modules())[-1][0], nn.Identity())  # As Backbone does.
    blocks = parameter_blocks(layers)
    assert len(blocks) == count
    assert {id(each) for block in blocks for each in block} == {id(each) for each in layers.parameters()}
    assert sum(map(len, blocks)) == len(list(layers.parameters()))


def test_a_norm_belongs_to_the_block_before_it() -> None:
    layers = network()
    first, last = parameter_blocks(layers)
    assert [each.shape for each in first] == [(8, 3, 1, 1), (8,), (8,), (8,)]
    assert [each.shape for each in last] == [(4, 8), (4,)]


@pytest.mark.parametrize("weight_decay", [0.01, 0.0])
def test_the_rate_falls_block_by_block_from_the_head_and_only_matrices_decay(weight_decay: float) -> None:
    settings = Hyperparameters(full_learning_rate=0.1, layer_decay=0.5, weight_decay=weight_decay)
    layers, head = network(), nn.Linear(4, 2)
    layers[4].bias.requires_grad_(False)
    groups = adamw(layers, head, settings).param_groups
    assert [(group["lr"], group["weight_decay"], len(group["params"])) for group in groups] == [
        (0.1, weight_decay, 1),
        (0.1, 0.0, 1),
        (0.05, weight_decay, 1),  # Its bias is frozen.
        (0.025, weight_decay, 1),
        (0.025, 0.0, 3),
    ]


def test_the_rate_warms_up_and_follows_a_cosine() -> None:
    # 2 of 40 steps are the warm-up, with 1/3 and 2/3 of the rate. Half-way through the other 38 it is half of the rate.
    assert [learning_rate_share(step, 40) for step in (0, 1, 2, 21)] == pytest.approx([1 / 3, 2 / 3, 1, 0.5])
    assert learning_rate_share(39, 40) == pytest.approx((1 - math.cos(math.pi / 38)) / 2)
    assert all(0 < learning_rate_share(step, steps) <= 1 for steps in (1, 2, 3) for step in range(steps))
    optimizer = adamw(network(), nn.Linear(4, 2), Hyperparameters(full_learning_rate=0.1, layer_decay=0.5))
    set_learning_rates(optimizer, 21, 40)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(
        [0.05, 0.05, 0.025, 0.025, 0.0125, 0.0125]
    )


def test_the_average_is_short_at_first() -> None:
    assert averaging_rate(0.99, 0) == pytest.approx(0.9)
    assert averaging_rate(0.99, 90) == pytest.approx(0.09)  # 1 - 91 / 100
    assert averaging_rate(0.99, 10_000) == pytest.approx(0.01)
