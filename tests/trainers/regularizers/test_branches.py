import pytest
import torch
import torchvision
from torch import nn

from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.models.zoo import ARCHITECTURES
from catchup_eval.models.zoo.cifar_resnet import resnet20
from catchup_eval.models.zoo.preactresnet import preactresnet10
from catchup_eval.trainers.regularizers.base import LayerNoise, NoisyModule
from catchup_eval.trainers.regularizers.branches import branch_ends
from catchup_eval.trainers.regularizers.shakedrop import shakedrop


class Block(nn.Module):
    """As PyramidNet's: the branch is a sequence."""

    def __init__(self, *branch):
        super().__init__()
        self.residual = nn.Sequential(*branch)
        self.shortcut = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return self.shortcut(x) + self.residual(x)


def names(net):
    found = {id(module): name for name, module in net.named_modules()}
    return [found[id(end)] for end in branch_ends(net)]


def test_the_ends_of_known_families():
    with fork_global_rng(generator(0)):
        assert names(preactresnet10(classes=2)) == [f"layer{k}.0.conv2" for k in (1, 2, 3, 4)]
        assert names(resnet20(classes=2)) == [
            f"layer{k}.{b}.bn2" for k in (1, 2, 3) for b in range(3)
        ]
        r18, r50 = torchvision.models.resnet18(), torchvision.models.resnet50()
        assert names(r18) == [f"layer{k}.{b}.bn2" for k in (1, 2, 3, 4) for b in (0, 1)]
        assert len(names(r50)) == 16 and all(name.endswith(".bn3") for name in names(r50))
        net = nn.Sequential(Block(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)))
    assert names(net) == ["0.residual.1"]


@pytest.mark.parametrize(
    "name, blocks, ending",
    [
        ("wrn16_8", 6, ".conv2"),
        ("resnet56", 27, ".bn2"),
        ("preactresnet50", 16, ".conv3"),
        ("pyramidnet110", 54, ".residual.5"),
        ("pyramidnet200", 66, ".residual.8"),  # the network of the paper's Table 13
    ],
)
def test_every_block_has_one_branch(name, blocks, ending):
    with torch.device("meta"):
        ends = names(ARCHITECTURES[name].build(classes=10))
    assert len(ends) == len({*ends}) == blocks
    assert all(end.endswith(ending) for end in ends)


@pytest.mark.parametrize("last", [nn.ReLU(), nn.Linear(4, 4)])
def test_a_branch_that_ends_otherwise_is_refused(last):
    with pytest.raises(
        UserError, match=f"to end with a convolution or a batch norm, got {type(last).__name__}"
    ):
        branch_ends(Block(nn.Conv2d(4, 4, 1), last))


@pytest.mark.parametrize(
    "build, channels", [(torchvision.models.resnet18, 64), (torchvision.models.resnet50, 256)]
)
def test_without_its_branch_a_block_is_its_shortcut(build, channels):
    with fork_global_rng(generator(0)):
        net = build(num_classes=5).eval()
        images = torch.rand(2, channels, 8, 8)
    block = net.layer2[0]
    [end] = [end for end in branch_ends(net) if any(end is part for part in block.modules())]
    noise = LayerNoise(nn.Identity(), [NoisyModule(end, lambda h, _source, _share: h, 0.0)])
    torch.testing.assert_close(block(images), block.downsample(images).relu())
    noise.close()


def test_the_chance_of_noise_rises_linearly():
    with fork_global_rng(generator(0)):
        net = preactresnet10(classes=2, width=2).eval()
    ends = branch_ends(net)
    seen = {}
    for number, end in enumerate(ends):
        end.register_forward_hook(lambda _m, _i, out, n=number: seen.update({n: out}))
    on = shakedrop(net, drop=0.4)
    after = {}
    for number, end in enumerate(ends):
        end.register_forward_hook(lambda _m, _i, out, n=number: after.update({n: out}))
    with fork_global_rng(generator(1)):
        net(torch.rand(2, 3, 8, 8))
    for number, factor in enumerate([0.9, 0.8, 0.7, 0.6]):
        torch.testing.assert_close(after[number], factor * seen[number])
    on.layers.close()
