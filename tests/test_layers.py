"""Attention, MLP and LayerNorm2d against torch's own, and the naming of steps."""

import pytest
import torch
from torch import nn

from samlite import layers
from samlite.layers import MLP, Attention, LayerNorm2d, record


def torch_attention(attention: Attention) -> nn.MultiheadAttention:
    """torch's multi-head attention with the same weights."""
    width = attention.query_projection.in_features
    reference = nn.MultiheadAttention(width, attention.heads, batch_first=True)
    projections = (attention.query_projection, attention.key_projection, attention.value_projection)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
        reference.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
        reference.out_proj.weight.copy_(attention.output_projection.weight)
        reference.out_proj.bias.copy_(attention.output_projection.bias)
    return reference


def test_attention_equals_torch():
    attention = Attention(24, heads=3)
    queries, keys, values = torch.randn(2, 5, 24), torch.randn(2, 7, 24), torch.randn(2, 7, 24)
    expected, weights = torch_attention(attention)(queries, keys, values, average_attn_weights=False)
    torch.testing.assert_close(attention(queries, keys, values), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(attention.weights(queries, keys), weights, atol=1e-6, rtol=1e-5)


def test_attention_gives_one_vector_a_query():
    assert Attention(16, 2)(torch.randn(1, 3, 16), torch.randn(1, 9, 16), torch.randn(1, 9, 16)).shape == (1, 3, 16)


def test_attention_in_fewer_channels():
    attention = Attention(32, heads=4, inner_width=16)
    assert attention.key_projection.weight.shape == (16, 32)
    tokens = torch.randn(2, 3, 32)
    assert attention(tokens, tokens, tokens).shape == (2, 3, 32)


def test_heads_that_do_not_divide_the_width_are_named():
    with pytest.raises(ValueError, match="30 channels, 4 heads"):
        Attention(30, heads=4)


def test_mlp_has_no_activation_at_its_end():
    mlp = MLP(3, 8, 8, 2)
    assert [tuple(layer.weight.shape) for layer in mlp.layers] == [(8, 3), (8, 8), (2, 8)]
    x = torch.randn(50, 3)
    torch.nn.init.constant_(mlp.layers[2].bias, -10)
    expected = mlp.layers[2](torch.relu(mlp.layers[1](torch.relu(mlp.layers[0](x)))))
    torch.testing.assert_close(mlp(x), expected)
    assert (mlp(x) < 0).all()


def test_layer_norm_2d_normalises_channels_at_each_location():
    norm = LayerNorm2d(6)
    y = norm(torch.randn(2, 6, 4, 5) * 3 + 1)
    torch.testing.assert_close(y.mean(1), torch.zeros(2, 4, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(1, unbiased=False), torch.ones(2, 4, 5), atol=1e-4, rtol=0)


def test_record_returns_the_very_tensor_and_tells_listeners():
    heard = []
    x = torch.zeros(1)
    layers._listeners.append(lambda name, tensor: heard.append((name, tensor)))
    try:
        assert record("step", x) is x
    finally:
        layers._listeners.pop()
    assert heard == [("step", x)]
    assert record("unheard", x) is x and len(heard) == 1
