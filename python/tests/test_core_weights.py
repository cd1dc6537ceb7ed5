# SPDX-License-Identifier: Apache-2.0
"""Packed weights, FRACTAL_NZ images, packed scales."""

import numpy as np
import pytest
from numbers_of import Random

import weft

K, N = 40, 24


def test_packed_weight(tmp_path):
    random, [group] = Random(1), weft.Group.local(1)
    x1, w = random.floats(3, K), random.floats(K, N)
    want = weft.matmul_allreduce(x1, w, group=group)
    packed = weft.PackedWeight.pack(w, context=group)
    assert (packed.k, packed.n, packed.experts, packed.dtype) == (K, N, 0, "float16")
    assert packed.bytes >= w.nbytes and packed.source.startswith(f"float16 ({K}, {N})")
    assert repr(packed) == f"<weft.PackedWeight of {packed.source}>"
    assert packed.memory_use().bytes >= packed.bytes
    packed.save(str(tmp_path / "w"))
    for path_or_context in (None, weft.Context(1)):
        loaded = weft.PackedWeight.load(str(tmp_path / "w"), context=path_or_context)
        assert (loaded.source, loaded.bytes) == (packed.source, packed.bytes)
        w[:] = 0  # a copy
        np.testing.assert_array_equal(weft.matmul_allreduce(x1, loaded, group=group), want)
    (tmp_path / "bad").write_bytes(b"no weight")
    with pytest.raises(ValueError, match="bad"):
        weft.PackedWeight.load(str(tmp_path / "bad"))
    with pytest.raises(ValueError, match="nowhere"):
        packed.save(str(tmp_path / "nowhere" / "w"))


@pytest.mark.parametrize("dtype", [np.float16, np.int8])
@pytest.mark.parametrize("transposed", [False, True])
def test_fractal_nz(dtype, transposed):
    matrix = Random(2).generator.integers(-9, 9, (K, N)).astype(dtype)
    c0 = 32 // matrix.itemsize
    image = weft.pack_fractal_nz(matrix[::-1].copy()[::-1])
    assert image.shape == (K, N) and image.dtype == dtype
    assert repr(image) == f"<weft.FractalNz {np.dtype(dtype)} ({K}, {N})>"
    padded = np.zeros((-(-K // 16) * 16, -(-N // c0) * c0), dtype)
    padded[:K, :N] = matrix
    tiles = image.storage.reshape(-1, padded.shape[0], c0)
    np.testing.assert_array_equal(tiles.transpose(1, 0, 2).reshape(padded.shape), padded)
    assert len(image.storage) == weft.calculate_matmul_weight_size([K, N], np.dtype(dtype).name)
    if transposed:
        image = image.T
        matrix = matrix.T
        assert image.shape == (N, K)
        again = weft.FractalNz(np.empty_like(image.storage), K, N, transposed=True)
        assert weft.pack_fractal_nz(matrix, out=again) is again
        np.testing.assert_array_equal(again.storage, image.storage)
    np.testing.assert_array_equal(weft.unpack_fractal_nz(image), matrix)
    out = np.zeros(matrix.shape, dtype)
    assert weft.unpack_fractal_nz(image, out=out, context=weft.Context(1)) is out
    np.testing.assert_array_equal(out, matrix)


def test_fractal_nz_errors():
    storage = np.zeros(48 * 32, np.float16)
    assert weft.unpack_fractal_nz(weft.FractalNz(storage, 48, 32)).shape == (48, 32)
    [group] = weft.Group.local(1)
    x1 = np.zeros((2, 49), np.float16)
    with pytest.raises(ValueError, match="x2 has storage float16 .1536. but needs 2048"):
        weft.matmul_allreduce(x1, weft.FractalNz(storage, 49, 32), group=group, out=np.zeros((2, 32), np.float16))
    with pytest.raises(ValueError, match="negative"):
        weft.FractalNz(storage, -1, 2)
    with pytest.raises(TypeError, match="image must be a weft.FractalNz"):
        weft.pack_fractal_nz(x1, out=storage)
    storage.flags.writeable = False
    with pytest.raises(ValueError, match="image is read-only"):
        weft.pack_fractal_nz(np.zeros((48, 32), np.float16), out=weft.FractalNz(storage, 48, 32))


def test_trans_quant_param():
    scale = Random(3).positive(7, dtype=np.float32)
    bits = scale.view(np.uint32).astype(np.int64)
    np.testing.assert_array_equal(weft.trans_quant_param(scale), bits & ~0x1FFF | 1 << 46)
    offset = np.array([3.5, -1, 0, 300, -300, 0.5, 1.5], np.float32)
    integers = np.array([4, -1, 0, 255, -256, 0, 2], np.int64)
    want = bits & ~0x1FFF | (integers & 511) << 37 | 1 << 46
    np.testing.assert_array_equal(weft.trans_quant_param(scale, offset), want)
    out = np.zeros((1, 7), np.uint64)
    assert weft.trans_quant_param(scale[None], offset[None], out=out) is out
    np.testing.assert_array_equal(out[0], want.astype(np.uint64))
    nearest = weft.trans_quant_param(scale, round="nearest")
    rounded = (bits + 0xFFF + (bits >> 13 & 1)) & ~0x1FFF | 1 << 46
    np.testing.assert_array_equal(nearest, rounded)
    with pytest.raises(ValueError, match="round is 'up'"):
        weft.trans_quant_param(scale, round="up")


def test_calculate_matmul_weight_size():
    assert weft.calculate_matmul_weight_size((2, 17, 33), "bfloat16") == 2 * 32 * 48
    assert weft.calculate_matmul_weight_size((17, 33), "int8") == 32 * 64
    with pytest.raises(ValueError, match="dtype is 'float4'"):
        weft.calculate_matmul_weight_size((17, 33), "float4")
