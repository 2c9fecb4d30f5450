"""The shared blocks, against what they stand for."""

import pytest
import torch
from torch import nn

from mmvisattn.layers import LayerNorm2d, recompute


def test_layer_norm_is_the_one_on_tokens():
    torch.manual_seed(0)
    norm, tokens = LayerNorm2d(6, eps=1e-3), nn.LayerNorm(6, eps=1e-3)
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    tokens.load_state_dict(norm.state_dict())
    x = torch.randn(2, 6, 5, 7, requires_grad=True)
    expected = tokens(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)
    assert torch.equal(norm(x), expected)
    grad = torch.randn_like(x)
    ours, theirs = (torch.autograd.grad(y, x, grad)[0] for y in (norm(x), expected))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize('momentum', [0.1, None])
def test_recompute_counts_a_batch_once(momentum):
    plain, thrifty = nn.BatchNorm2d(3, momentum=momentum), nn.BatchNorm2d(3, momentum=momentum)
    x = torch.randn(4, 3, 5, 5, requires_grad=True)
    for _ in range(2):
        plain(x).square().sum().backward()
        recompute(thrifty, x).square().sum().backward()
    assert thrifty.num_batches_tracked == plain.num_batches_tracked == 2
    assert torch.equal(plain.running_var, thrifty.running_var)
    assert thrifty.momentum == momentum
