# SPDX-License-Identifier: Apache-2.0
"""The operators without ranks: every operand and option arrives where it should."""

import numpy as np
import pytest
from numbers_of import Random, assert_close, product

import weft

U = 2.0**-11  # of float16
ROWS, K1, K2, N2 = 7, 32, 64, 48


def test_add_rmsnorm():
    random = Random(1)
    x1, x2 = random.floats(2, 5, 3, 32, dtype=np.float32)
    gamma = random.floats(3, 32, dtype=np.float32)
    y, rstd, x = weft.add_rmsnorm(x1, x2, gamma, epsilon=0.5)
    np.testing.assert_array_equal(x, x1 + x2)
    mean = (x.astype(np.float64) ** 2).mean(axis=(1, 2), keepdims=True)
    assert_close(rstd, 1 / np.sqrt(mean + 0.5), 1e-6)
    assert_close(y, x / np.sqrt(mean + 0.5) * gamma, 2e-6)
    out = np.empty_like(x1), None, x1
    assert weft.add_rmsnorm(x1, x2, gamma, epsilon=0.5, out=out) is out
    np.testing.assert_array_equal(out[0], y)
    np.testing.assert_array_equal(x1, x)


def relu(v):
    return np.maximum(v, 0)


def silu(v):
    return v / (1 + np.exp(-v))


def fastgelu(v):
    return v / (1 + np.exp(-1.702 * v))


def gelu(v):
    return v / (1 + np.exp(-1.5957691216057308 * (v + 0.044715 * v**3)))


def reference(x, w1, w2, b1, b2, f, gate=None):
    """And its bound: the activation is rounded to float16 and the result too; slopes of the activations are below 1.2."""
    h, magnitude = product(x, w1)
    h, error = h + b1, magnitude * 2.0**-23 * K1
    if gate:
        left, right = np.split(h, 2, axis=-1)
        value, opened = (right, left) if gate == "left" else (left, right)
        a = value * f(opened)
        grown = 1.2 * (np.abs(value) + np.abs(f(opened)) + 1)
        error = np.maximum(*np.split(error, 2, axis=-1)) * grown
    else:
        a, error = f(h), 1.2 * error
    error = error + 1.01 * U * np.abs(a) + 2.0**-20
    y = a @ w2.astype(np.float64) + b2
    return y, error @ np.abs(w2.astype(np.float64)) + 2.0**-23 * K2 * (np.abs(a) @ np.abs(w2)) + 1.01 * U * np.abs(y)


def dense(seed, n1=K2):
    random = Random(seed)
    return (random.floats(ROWS, K1), random.floats(K1, n1, scale=0.5), random.floats(K2, N2, scale=0.2), random.floats(n1),
            random.floats(N2))


@pytest.mark.parametrize("activation", [relu, silu, fastgelu, gelu])
def test_ffn(activation):
    x, w1, w2, b1, b2 = dense(2)
    y = weft.ffn(x, w1, w2, bias1=b1, bias2=b2, activation=activation.__name__)
    assert_close(y, *reference(x, w1, w2, b1, b2, activation))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name,f", [("geglu", gelu), ("swiglu", silu), ("reglu", relu)])
def test_ffn_gate(name, f, side):
    x, w1, w2, b1, b2 = dense(3, 2 * K2)
    y = weft.ffn(x, w1, w2, bias1=b1, bias2=b2, activation=name, gate_is_left=side == "left")
    assert_close(y, *reference(x, w1, w2, b1, b2, f, side))


def test_ffn_defaults_and_precision():
    x, w1, w2, _, _ = dense(4)
    y = weft.ffn(x, w1, w2)
    np.testing.assert_array_equal(y, weft.ffn(x, w1, w2, activation="gelu", inner_precise="high_precision"))
    fast = weft.ffn(x, w1, w2, inner_precise="high_performance")
    assert np.any(fast != y)
    assert_close(fast, y.astype(np.float64), 0.02)


@pytest.mark.parametrize("tokens", ["list", "array", "ends"])
@pytest.mark.parametrize("packed", [False, True])
def test_ffn_experts(tokens, packed):
    random, counts = Random(5), [3, 0, 4]
    x, w1, w2 = random.floats(ROWS, K1), random.floats(3, K1, K2, scale=0.5), random.floats(3, K2, N2, scale=0.2)
    b1, b2 = random.floats(3, K2), random.floats(3, N2)
    want = np.concatenate([weft.ffn(part, w1[e], w2[e], bias1=b1[e], bias2=b2[e], activation="silu")
                           for e, part in enumerate(np.split(x, [3, 3]))])
    given = {"list": counts, "array": np.array(counts), "ends": np.cumsum(counts)}[tokens]
    if packed:
        w1, w2 = weft.PackedWeight.pack(w1), weft.PackedWeight.pack(w2)
        assert (w1.experts, w1.k, w1.n) == (3, K1, K2)
    y = weft.ffn(x, w1, w2, bias1=b1, bias2=b2, activation="silu", expert_tokens=given, tokens_are_ends=tokens == "ends")
    np.testing.assert_array_equal(y, want)


@pytest.mark.parametrize("deq_dtype", ["float32", "uint64"])
def test_ffn_int8(deq_dtype):
    random = Random(6)
    x, w1, w2 = random.int8(ROWS, K1), random.int8(K1, K2), random.int8(K2, N2)
    b1, b2 = (random.generator.integers(-50, 50, n, dtype=np.int32) for n in (K2, N2))
    d1, d2 = (np.full(n, 2.0**-8, np.float32) for n in (K2, N2))
    scale, offset = np.full(1, 20, np.float32), np.full(1, -3, np.float32)
    inner = np.float16((x.astype(np.int64) @ w1 + b1) * d1)
    rounded = np.round(np.float16(np.float16(relu(inner) * np.float16(20)) - np.float16(3)))
    quantised = rounded.clip(-128, 127).astype(np.int64)
    want = np.float16((quantised @ w2 + b2) * d2.astype(np.float64))
    if deq_dtype == "uint64":
        d1, d2 = (d.view(np.uint32).astype(np.uint64) for d in (d1, d2))
    y = weft.ffn(x, w1, w2, bias1=b1, bias2=b2, scale=scale, offset=offset, deq_scale1=d1, deq_scale2=d2, activation="relu")
    np.testing.assert_array_equal(y, want)


@pytest.mark.parametrize("int4", [False, True])
def test_ffn_restored_weights(int4):
    random = Random(7)
    q1, q2 = random.int8(K1, K2, low=-8, high=8), random.int8(K2, N2, low=-8, high=8)
    x, s1, s2 = random.floats(ROWS, K1), random.positive(2, K2, scale=0.1), random.positive(N2, scale=0.05)
    o1, o2 = random.floats(2, K2), random.floats(N2)
    w1 = np.float16(np.float16(q1 + np.repeat(o1, K1 // 2, axis=0)) * np.repeat(s1, K1 // 2, axis=0))
    w2 = np.float16(np.float16(q2 + o2) * s2)
    want, bound = reference(x, w1, w2, 0, 0, silu)
    bound += 1.3 * U * np.abs(product(x, w1)[0]) @ np.abs(w2.astype(np.float64))  # the first product is rounded here
    if int4:
        q1, q2 = ((q[:, 0::2] & 15 | q[:, 1::2] << 4).astype(np.uint8) for q in (q1, q2))
    y = weft.ffn(x, q1, q2, antiquant_scale1=s1, antiquant_scale2=s2, antiquant_offset1=o1, antiquant_offset2=o2,
                 activation="silu")
    assert_close(y, want, bound)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def test_routing():
    random, n, experts, k, hidden = Random(8), 6, 5, 2, 16
    logits = random.floats(n, experts, dtype=np.float32, scale=4)
    finished = np.array([0, 0, 1, 0, 0, 0], bool)
    y, expert_idx, row_idx = weft.moe_gating_topk_softmax(logits, k, finished=finished)
    p = softmax(logits.astype(np.float64))
    order = np.argsort(-p, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(expert_idx, np.where(finished[:, None], experts, order))
    assert_close(y, np.take_along_axis(p, order, 1), 1e-6)
    np.testing.assert_array_equal(row_idx, np.arange(n)[:, None] + n * np.arange(k))

    x = random.floats(n, hidden, dtype=np.float32)
    expanded_x, expanded_row_idx, expanded_expert_idx = weft.moe_init_routing(x, row_idx, expert_idx)
    by_expert = np.argsort(expert_idx.reshape(-1), kind="stable")
    np.testing.assert_array_equal(expanded_expert_idx, expert_idx.reshape(-1)[by_expert])
    np.testing.assert_array_equal(expanded_x, x[row_idx.reshape(-1)[by_expert] % n])
    np.testing.assert_array_equal(expanded_row_idx[row_idx.reshape(-1)[by_expert]], np.arange(n * k))
    few = weft.moe_init_routing(x, row_idx, expert_idx, active_num=2)[0]
    np.testing.assert_array_equal(few, expanded_x[:2 * k])

    x1, x2 = random.floats(2, n, hidden, dtype=np.float32)
    bias, scales = random.floats(experts + 1, hidden, dtype=np.float32), random.positive(n, k, dtype=np.float32)
    rows = expanded_row_idx.reshape(k, n).T
    terms = scales[..., None].astype(np.float64) * (expanded_x[rows] + bias[expert_idx])
    operands = {"x1": x1, "x2": x2, "bias": bias, "scales": scales, "expert_idx": expert_idx}
    out = weft.moe_finalize_routing(expanded_x, expanded_row_idx, **operands)
    assert_close(out, x1.astype(np.float64) + x2 + terms.sum(axis=1), 2e-6)
    in_rows = np.ascontiguousarray(rows).reshape(-1)
    again = weft.moe_finalize_routing(expanded_x, in_rows, order="row_major", out=x1, **operands)
    assert again is x1
    np.testing.assert_array_equal(again, out)
    plain = weft.moe_finalize_routing(expanded_x, expanded_row_idx, scales=np.ones((n, k), np.float32))
    assert_close(plain, expanded_x[rows].astype(np.float64).sum(axis=1), 1e-6)


def test_contexts():
    x, w1, w2, _, _ = dense(9)
    want = weft.ffn(x, w1, w2)
    [group] = weft.Group.local(1, threads=2)
    for context in (weft.Context(1), weft.Context(2, isa="scalar"), group):
        np.testing.assert_array_equal(weft.ffn(x, w1, w2, context=context), want)
    weft.set_default_context(weft.Context(1))
    try:
        np.testing.assert_array_equal(weft.ffn(x, w1, w2), want)
    finally:
        weft.set_default_context(None)
