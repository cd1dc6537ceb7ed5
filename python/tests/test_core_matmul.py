# SPDX-License-Identifier: Apache-2.0
"""The matmul + collective operators: every operand and option arrives where it should."""

import numpy as np
import pytest
from numbers_of import Random, assert_close, product
from threads import run_threads

import weft

U = 2.0**-11  # of float16
M, K, N = 6, 64, 64


def expected_sum(partials, magnitudes):
    """Of float16 partials in rank order, and its bound: each is rounded, the sum in fp32, then the result."""
    total = np.sum(partials, axis=0)
    bound = U * (np.sum(np.abs(partials), axis=0) * 1.01 + np.abs(total)) + 2.0**-22 * K * np.sum(magnitudes, axis=0) + 1e-7
    return total, bound


def operands(seed, ranks, m=M):
    random = Random(seed)
    return [{"x1": random.floats(m, K), "x2": random.floats(K, N), "bias": random.floats(N), "x3": random.floats(m, N)}
            for _ in range(ranks)]


def call(each, **more):
    return run_threads(len(each), lambda group: weft.matmul_allreduce(**each[group.rank], group=group, **more))


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_allreduce(ranks):
    each = operands(ranks, ranks)
    products = [product(e["x1"], e["x2"]) for e in each]
    total, bound = expected_sum([p + e["bias"] + e["x3"] for (p, _), e in zip(products, each)], [a for _, a in products])
    bound += U * sum(np.abs(p) + np.abs(e["bias"]) for (p, _), e in zip(products, each))  # rounded before x3 as well
    results = call(each)
    for result in results:
        assert_close(result, total, bound)
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("left_out", ["bias", "x3"])
def test_operand_counts(left_out):
    each = operands(4, 2)
    whole = call(each)[0]
    for e in each:
        del e[left_out]
    assert np.any(call(each)[0] != whole)


@pytest.mark.parametrize("form", ["transposed", "fractal_nz", "fractal_nz_transposed", "packed", "packed_image"])
def test_forms_of_a_weight(form):
    forms = {
        "transposed": lambda w: np.ascontiguousarray(w.T).T,
        "fractal_nz": weft.pack_fractal_nz,
        "fractal_nz_transposed": lambda w: weft.pack_fractal_nz(np.ascontiguousarray(w.T)).T,
        "packed": weft.PackedWeight.pack,
        "packed_image": lambda w: weft.PackedWeight.pack(weft.pack_fractal_nz(w)),
    }
    each = operands(5, 2)
    want = call(each)
    for e in each:
        e["x2"] = forms[form](e["x2"])
    np.testing.assert_array_equal(call(each), want)


def test_three_axes_and_out():
    each = operands(6, 2)
    want = call(each)
    for e in each:
        e["x1"], e["x3"] = e["x1"].reshape(2, 3, K), e["x3"].reshape(2, 3, N)
    got = call(each)
    assert got[0].shape == (2, 3, N)
    np.testing.assert_array_equal(got[0].reshape(M, N), want[0])

    def into_x3(group):
        e = each[group.rank]
        assert weft.matmul_allreduce(**e, group=group, out=e["x3"]) is e["x3"]
        return e["x3"]

    np.testing.assert_array_equal(run_threads(2, into_x3), got)


def int8_operands(seed, ranks):
    random = Random(seed)
    return [{"x1": random.int8(M, K), "x2": random.int8(K, N), "bias": random.generator.integers(-50, 50, N, dtype=np.int32)}
            for _ in range(ranks)]


@pytest.mark.parametrize("pertoken", [False, True])
def test_int8(pertoken):
    random, each = Random(7), int8_operands(7, 2)
    scale = random.positive(N, dtype=np.float32, scale=2.0**-6)
    tokens = random.positive(M, dtype=np.float32)
    parameters = weft.trans_quant_param(scale)
    kept = parameters.astype(np.uint32).view(np.float32).astype(np.float64)  # ten bits of its mantissa remain
    partials = [(e["x1"].astype(np.int64) @ e["x2"] + e["bias"]) for e in each]
    if pertoken:
        results = call(each, dequant_scale=scale, pertoken_scale=tokens)
        partials = [p * scale.astype(np.float64) * tokens[:, None] for p in partials]
    else:
        results = call(each, dequant_scale=parameters)
        partials = [p * kept for p in partials]
    assert results[0].dtype == np.float16
    total, bound = expected_sum(partials, [np.abs(p) for p in partials])
    assert_close(results[0], total, bound)
    assert_close(results[1], total, bound)


def test_int8_communication():
    each = int8_operands(8, 2)
    scale = weft.trans_quant_param(np.full(1, 2.0**-6, np.float32))
    first = np.full((1, N), 0.25, np.float16)
    second = np.full((1, N), 0.5, np.float16)
    results = call(each, dequant_scale=scale, comm_quant_scale_1=first, comm_quant_scale_2=second)
    total = sum((e["x1"].astype(np.int64) @ e["x2"] + e["bias"]) * 2.0**-6 for e in each)
    assert np.max(np.abs(total)) < 30  # nothing is saturated
    assert_close(results[0], total, 2 * 0.125 + 0.25 + 0.05)
    assert np.all(np.asarray(results[0] * 2) == np.round(results[0] * 2))  # multiples of the second scale
    np.testing.assert_array_equal(results[0], results[1])


@pytest.mark.parametrize("scales", ["one", "columns", "groups"])
def test_int8_weights(scales):
    random = Random(9)
    group_size = 32 if scales == "groups" else 0
    shape = {"one": (1,), "columns": (N,), "groups": (K // 32, N)}[scales]
    each = []
    for _ in range(2):
        each.append({"x1": random.floats(M, K), "x2": random.int8(K, N),
                     "antiquant_scale": random.positive(*shape, scale=0.1), "antiquant_offset": random.floats(*shape)})
    results = call(each, antiquant_group_size=group_size)
    products = []
    for e in each:
        rows = [np.repeat(e[name].astype(np.float64), 32, axis=0) if group_size else e[name].astype(np.float64)
                for name in ("antiquant_scale", "antiquant_offset")]
        weight = (e["x2"] + rows[1]).astype(np.float16).astype(np.float64) * rows[0]
        products.append(product(e["x1"], weight.astype(np.float16)))
    total, bound = expected_sum([p for p, _ in products], [a for _, a in products])
    assert_close(results[0], total, bound)


def nibbles(values):
    """int4 values, two a byte along the last axis, the lower nibble first."""
    bits = values.astype(np.uint8) & 15
    return bits[..., 0::2] | bits[..., 1::2] << 4


@pytest.mark.parametrize("transposed", [False, True])
def test_int4_weights(transposed):
    random = Random(10)
    weights = [random.int8(K, N, low=-8, high=8) for _ in range(2)]
    each = [{"x1": random.floats(M, K), "x2": w, "antiquant_scale": random.positive(N)} for w in weights]
    want = call(each)
    for e, w in zip(each, weights):
        e["x2"] = nibbles(np.ascontiguousarray(w.T)).T if transposed else nibbles(w)
        assert e["x2"].shape == ((K // 2, N) if transposed else (K, N // 2))
    np.testing.assert_array_equal(call(each), want)


def norm_of(y, gamma, epsilon):
    y = y.astype(np.float64)
    return y / np.sqrt(np.mean(y * y, axis=-1, keepdims=True) + epsilon) * gamma


@pytest.mark.parametrize("axes", [2, 3])
def test_add_rmsnorm(axes):
    each, random = operands(11, 2), Random(12)
    gamma, epsilon = random.floats(N), 0.25
    for e in each:
        e["residual"] = e.pop("x3").reshape((M, N) if axes == 2 else (2, 3, N))
        e["x1"] = e["x1"].reshape((M, K) if axes == 2 else (2, 3, K))

    def fused(group):
        return weft.matmul_allreduce_add_rmsnorm(**each[group.rank], gamma=gamma, epsilon=epsilon, group=group)

    results = run_threads(2, fused)
    products = [product(e["x1"].reshape(M, K), e["x2"]) for e in each]
    total, bound = expected_sum([p + e["bias"] for (p, _), e in zip(products, each)], [a for _, a in products])
    for (y, norm_out), e in zip(results, each):
        assert y.shape == norm_out.shape == e["residual"].shape
        want = total + e["residual"].reshape(M, N)
        assert_close(y.reshape(M, N), want, bound + U * np.abs(want))
        assert_close(norm_out, norm_of(y, gamma, epsilon), 3 * U * np.abs(norm_of(y, gamma, epsilon)) + 1e-6)

    def in_place(group):
        e = dict(each[group.rank])
        e["residual"] = e["residual"].copy()
        norm_out = weft.matmul_allreduce_add_rmsnorm_(**e, gamma=gamma, epsilon=epsilon, group=group)
        return e["residual"], norm_out

    for got, want in zip(run_threads(2, in_place), results):
        np.testing.assert_array_equal(got, want)


def test_add_rmsnorm_quantised():
    random = Random(13)
    residual, gamma = random.floats(M, N), random.floats(N)
    int8 = int8_operands(13, 2)
    int4 = [{"x1": random.floats(M, K), "x2": nibbles(random.int8(K, N, low=-8, high=8)),
             "antiquant_scale": random.positive(K // 32, N, scale=0.1), "antiquant_offset": random.floats(K // 32, N),
             "antiquant_group_size": 32} for _ in range(2)]
    for e in int8:
        e["dequant_scale"] = weft.trans_quant_param(random.positive(N, dtype=np.float32, scale=2.0**-8))
    for each in (int8, int4):
        sums = call(each)

        def fused(group):
            return weft.matmul_allreduce_add_rmsnorm(**each[group.rank], residual=residual, gamma=gamma, group=group)

        for y, norm_out in run_threads(2, fused):
            want = sums[0].astype(np.float64) + residual
            assert_close(y, want, U * (np.abs(want) + np.abs(sums[0])))
            assert_close(norm_out, norm_of(y, gamma, 1e-6), 3 * U * np.abs(norm_of(y, gamma, 1e-6)) + 1e-6)


@pytest.mark.parametrize("kind", ["float16", "int8", "int8 packed scales"])
def test_reduce_scatter(kind):
    random = Random(14)
    if kind == "float16":
        each = operands(14, 3)
        for e in each:
            del e["x3"]
        want = call(each)[0]
    else:
        each = int8_operands(14, 3)
        scale, tokens = random.positive(N, dtype=np.float32, scale=2.0**-6), random.positive(M, 1, dtype=np.float32)
        if kind == "int8":
            want = call(each, dequant_scale=scale, pertoken_scale=tokens[:, 0].copy())[0]
            more = {"x1_scale": tokens, "x2_scale": scale}
        else:
            packed = weft.trans_quant_param(scale)
            want = call(each, dequant_scale=packed)[0]
            more = {"x2_scale": packed}
        each = [e | more for e in each]
    results = run_threads(3, lambda group: weft.matmul_reduce_scatter(**each[group.rank], group=group))
    np.testing.assert_array_equal(np.concatenate(results), want)
    out = [np.zeros((M // 3, N), np.float16) for _ in each]
    run_threads(3, lambda group: weft.matmul_reduce_scatter(**each[group.rank], group=group, out=out[group.rank]))
    np.testing.assert_array_equal(out, results)
