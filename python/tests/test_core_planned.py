# SPDX-License-Identifier: Apache-2.0
"""Planned calls return what the functions return."""

import gc
import inspect
import weakref

import numpy as np
import pytest
from numbers_of import Random
from threads import run_threads

import weft

M, K, N = 4, 32, 48
CLASSES = [each for each in vars(weft).values()
           if inspect.isclass(each) and issubclass(each, weft.Planned) and each is not weft.Planned]


def test_a_class_for_each_operator():
    assert len(CLASSES) == 11
    for each in CLASSES:
        function = each._function
        assert inspect.signature(each) == inspect.signature(function)
        assert getattr(weft, function.__name__) is function and function.__name__ in each.__doc__


def cases(group):
    random = Random(group.rank)
    x1, x2, gamma = random.floats(M, K), random.floats(K, N), random.floats(N)
    residual, wide = random.floats(M, N), random.floats(M, N, dtype=np.float32)
    ids, weights = np.array([[0, 1]] * M, np.int32), random.positive(M, 2, dtype=np.float32)
    routed = weft.moe_gating_topk_softmax(wide, 2)
    rows = weft.moe_init_routing(wide, routed[2], routed[1])
    sent = weft.moe_dispatch(x1, ids, group=group, experts=2)
    scale = np.ones(1, np.float16)
    return {
        weft.MatmulAllReduce: [(x1, x2), {"bias": gamma, "x3": residual}],
        weft.MatmulAllReduceAddRmsNorm: [(x1, x2, residual, gamma), {"epsilon": 0.1}],
        weft.MatmulReduceScatter: [(x1, weft.PackedWeight.pack(x2)), {"bias": gamma}],
        weft.AddRmsNorm: [(residual, residual, gamma), {"epsilon": 0.1}],
        weft.Ffn: [(x1, (x2 * 10).astype(np.int8), x2.T.copy()[:24].copy().astype(np.int8)),
                   {"antiquant_scale1": scale, "antiquant_scale2": scale, "activation": "swiglu", "gate_is_left": True}],
        weft.MoeGatingTopkSoftmax: [(wide, 2), {"finished": np.array([0, 1, 0, 0], bool)}],
        weft.MoeInitRouting: [(wide, routed[2], routed[1]), {"active_num": 3}],
        weft.MoeFinalizeRouting: [(rows[0], rows[1]), {"scales": weights, "x1": wide}],
        weft.MoeDispatch: [(x1, ids), {"experts": weft.MoeExperts(2), "int8_rows": True}],
        weft.MoeCombine: [(sent.expand_x, sent, weights), {"shared_expert_x": x1}],
        weft.MoeCombineAddRmsNorm: [(sent.expand_x, sent, weights, x1, random.floats(K)), {"norm_eps": 0.1}],
    }


def same(got, want):
    for a, b in zip(got, want) if isinstance(want, tuple) else [(got, want)]:
        if isinstance(want, weft.Dispatched) and isinstance(a, np.ndarray) and a.ndim:
            a, b = a[:len(a) * want.rows // len(want.expand_x)], b[:len(b) * want.rows // len(want.expand_x)]
        assert a == b if not isinstance(a, np.ndarray) else np.array_equal(a, b)


def test_they_return_the_same():
    def body(group):
        done = cases(group)
        for each, (operands, keywords) in done.items():
            place = {each._place_name: group}
            want = each._function(*operands, **keywords, **place)
            plan = each(*operands, **keywords, **place)
            assert "\n" in plan.describe()
            for _ in range(3):
                same(plan.run(*operands, **keywords), want)
        return set(done)

    assert run_threads(2, body)[0] == set(CLASSES)


def test_run_takes_what_was_planned():
    [group] = weft.Group.local(1)
    random = Random(1)
    x1, x2 = random.floats(M, K), random.floats(K, N)
    plan = weft.MatmulAllReduce(x1, x2, group=group)
    out = np.zeros((M, N), np.float16)
    assert plan.run(x1, x2, out=out) is out
    np.testing.assert_array_equal(out, weft.matmul_allreduce(x1, x2, group=group))
    with pytest.raises(ValueError, match="x1"):
        plan.run(x1[:2], x2)
    with pytest.raises(ValueError, match="bias"):
        plan.run(x1, x2, bias=x2[0])
    gated = weft.Ffn(x1, x2, x2[:24], activation="swiglu")
    with pytest.raises(ValueError, match="ffn: options differ"):
        gated.run(x1, x2, x2[:24], activation="swiglu", gate_is_left=True)
    with pytest.raises(TypeError, match="group"):
        weft.MatmulAllReduce(x1, x2)
    with pytest.raises(ValueError, match="x1"):
        weft.MatmulAllReduce(x1[:, 1:], x2, group=group)
    group.close()
    for call in (lambda: plan.run(x1, x2), plan.describe):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_a_plan_keeps_its_group_and_no_operands():
    [group] = weft.Group.local(1)
    x1, x2 = np.ones((M, K), np.float16), np.ones((K, N), np.float16)
    plan = weft.MatmulAllReduce(x1, x2, group=group)
    [watched, operand] = weakref.ref(group), weakref.ref(x1)
    del group, x1
    gc.collect()
    assert watched() is not None and operand() is None
    assert np.all(plan.run(np.ones((M, K), np.float16), x2) == K)
    del plan
    gc.collect()
    assert watched() is None
