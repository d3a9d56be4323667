"""Augmentation: each change against an independent computation, and that chance belongs to the slice and the epoch."""

import contextlib
import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats
from torch._subclasses.fake_tensor import FakeTensorMode

from cac_hpc.settings.train import AugmentConfig
from cac_hpc.train import augment_slices as augmentation
from cac_hpc.train.augment_slices import AIR_HU, FULL_TURN, Change, augment, draw, epoch_seed, keys, move, normal

EVERYTHING = AugmentConfig(rotation_deg=15.0, shift=0.1, scale=0.2, flip_left_right=True, noise_hu=20.0, offset_hu=30.0)
MASK = 2**64 - 1


def slices(num, size=32, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(-1024, 1500, (num, size, size), dtype=np.int16))


def change(num=1, turn=0, **given):
    """The same change for each slice; nothing where nothing is given."""
    values = {"magnify_N": 1.0, "down_N": 0.0, "right_N": 0.0, "mirror_N": 1.0, "offset_hu_N": 0.0} | given
    return Change(
        turn_N=torch.full((num,), turn), **{name: torch.full((num,), value) for name, value in values.items()}
    )


def splitmix(state):
    """The hash in Python's own numbers."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def test_everything_off_gives_the_slices_as_they_are():
    hu = slices(3)
    assert torch.equal(augment(hu, torch.arange(3), 1, AugmentConfig()), hu.float())


@given(st.lists(st.integers(0, MASK), min_size=1, max_size=9))
def test_the_hash_is_splitmix64(states):
    hashed = augmentation._mix(torch.tensor([augmentation._signed(state) for state in states]))
    assert [number & MASK for number in hashed.tolist()] == [splitmix(state) for state in states]


def test_the_hash_gives_the_published_first_numbers():
    state = torch.tensor([augmentation._signed(1234567 + count * augmentation.STEP) for count in (1, 2, 3)])
    assert augmentation._mix(state).tolist() == [6457827717110365317, 3203168211198807973, -8629252141511181193]


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**40))
@settings(max_examples=50)
def test_what_is_drawn_is_recomputed_in_python(seed, number):
    key = splitmix(splitmix(seed) ^ number)
    bits = [splitmix((key + count * augmentation.STEP) & MASK) >> 40 for count in range(6)]
    drawn = draw(keys(torch.tensor([number]), seed), EVERYTHING)
    most = round(15 / 360 * FULL_TURN)
    assert drawn.turn_N.item() == bits[0] * (2 * most + 1) // 2**24 - most
    uniform = [bit / 2**23 - 1 for bit in bits]
    assert drawn.magnify_N.item() == pytest.approx(1 + 0.2 * uniform[1], abs=1e-6)
    assert (drawn.down_N.item(), drawn.right_N.item()) == pytest.approx((0.1 * uniform[2], 0.1 * uniform[3]), abs=1e-6)
    assert drawn.mirror_N.item() == (-1 if uniform[4] < 0 else 1)
    assert drawn.offset_hu_N.item() == pytest.approx(30 * uniform[5], abs=1e-4)


@pytest.mark.parametrize(("down", "right"), [(3, 0), (0, 5), (-2, 7), (-4, -1)])
def test_a_shift_by_whole_pixels_moves_them_and_air_moves_in(down, right):
    hu = slices(1).float()
    padded = np.full((96, 96), AIR_HU, np.float32)
    padded[32 + down : 64 + down, 32 + right : 64 + right] = hu[0]
    moved = move(hu, change(down_N=down / 32, right_N=right / 32))
    np.testing.assert_array_equal(moved[0], padded[32:64, 32:64])


def test_a_mirrored_slice_is_read_backwards():
    hu = slices(2).float()
    assert torch.equal(move(hu, change(2, mirror_N=-1.0)), hu.flip(-1))


@pytest.mark.parametrize("quarters", [-2, -1, 1, 2])
def test_a_quarter_turn_is_clockwise_and_exact(quarters):
    hu = slices(1).float()
    moved = move(hu, change(turn=quarters * FULL_TURN // 4))
    np.testing.assert_array_equal(moved[0], np.rot90(hu[0].numpy(), -quarters))


def test_a_slice_magnified_twice_shows_its_middle_between_the_pixels():
    row = torch.tensor([0.0, 100.0, 200.0, 300.0]).expand(1, 4, 4)
    assert move(row, change(magnify_N=2.0))[0, 1].tolist() == [75, 125, 175, 225]


@given(
    turn=st.integers(-FULL_TURN // 2, FULL_TURN // 2),
    magnify=st.floats(0.5, 2.0),
    down=st.floats(-0.5, 0.5),
    right=st.floats(-0.5, 0.5),
    mirror=st.sampled_from([-1.0, 1.0]),
    shape=st.sampled_from([(32, 32), (30, 30), (17, 17), (24, 40)]),
)
@settings(max_examples=60, deadline=None)
def test_moving_is_scipys_affine_transform(turn, magnify, down, right, mirror, shape):
    hu = np.random.default_rng(7).integers(-1024, 1500, shape).astype(np.float32)
    angle = 2 * np.pi * turn / FULL_TURN
    # of (row, column) from the centre: where a pixel goes; scipy asks where it comes from
    turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    inverse = np.linalg.inv(turned * magnify @ np.diag([1.0, mirror]))
    centre = (np.array(shape) - 1) / 2
    offset = centre - inverse @ (centre + np.array([down, right]) * shape)
    wanted = ndimage.affine_transform(
        hu.astype(np.float64), inverse, offset, order=1, mode="grid-constant", cval=AIR_HU
    )
    moved = move(
        torch.from_numpy(hu)[None],
        change(turn=turn, magnify_N=magnify, down_N=down, right_N=right, mirror_N=mirror),
    )
    np.testing.assert_allclose(moved[0], wanted, atol=0.2)  # 2500 HU between neighbours, float32 coordinates


def test_augment_applies_what_was_drawn():
    hu, number = slices(5), torch.arange(5)
    cfg = dataclasses.replace(EVERYTHING, noise_hu=0.0)
    drawn = draw(keys(number, 3), cfg)
    wanted = move(hu.float(), drawn) + drawn.offset_hu_N[:, None, None]
    assert torch.equal(augment(hu, number, 3, cfg), wanted)


def test_an_offset_is_the_same_for_all_pixels_and_within_bounds():
    hu = slices(200, size=4)
    added = augment(hu, torch.arange(200), 5, AugmentConfig(offset_hu=25.0)) - hu.float()
    assert (added.amax((1, 2)) - added.amin((1, 2))).max() < 1e-3
    assert 24 < added.abs().max() <= 25


def test_chances_are_uniform_and_unrelated():
    number = torch.arange(20_000)
    drawn = draw(keys(number, epoch_seed(0, 1, 2)), EVERYTHING)
    most = round(15 / 360 * FULL_TURN)
    chances = np.stack([
        drawn.turn_N.numpy() / most, (drawn.magnify_N.numpy() - 1) / 0.2, drawn.down_N.numpy() / 0.1,
        drawn.right_N.numpy() / 0.1, drawn.offset_hu_N.numpy() / 30])  # fmt: skip
    assert np.abs(chances).max() <= 1 + 1e-6
    for chance in chances:
        assert stats.kstest(chance, stats.uniform(-1, 2).cdf).pvalue > 0.01
        assert abs(np.corrcoef(chance[1:], chance[:-1])[0, 1]) < 0.03  # neighbouring slices
    assert np.abs(np.corrcoef(chances) - np.eye(5)).max() < 0.03
    assert (drawn.mirror_N < 0).float().mean().item() == pytest.approx(0.5, abs=0.015)


def test_noise_is_normal_white_and_as_strong_as_asked():
    noise = augment(slices(8, 64) * 0, torch.arange(8), 11, AugmentConfig(noise_hu=20.0)).numpy()
    assert stats.kstest(noise.ravel() / 20, "norm").pvalue > 0.01
    assert noise.mean() == pytest.approx(0, abs=0.35)  # three standard errors
    assert noise.std() == pytest.approx(20, abs=0.25)
    assert np.abs(noise).max() < 20 * 4.9
    for one, other in [(noise[:, 1:], noise[:, :-1]), (noise[..., 1:], noise[..., :-1]), (noise[1:], noise[:-1])]:
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.02
    parts = noise.reshape(8, 4, -1)  # of one hash
    for one in range(4):
        for other in range(one):
            assert abs(np.corrcoef(parts[:, one].ravel(), parts[:, other].ravel())[0, 1]) < 0.04


@pytest.mark.parametrize("num_pixels", [1, 3, 4, 5, 49])
def test_any_number_of_pixels_has_its_noise(num_pixels):
    assert normal(torch.arange(2), num_pixels).shape == (2, num_pixels)


@pytest.mark.parametrize("size", [32, 37, 100])
def test_a_slice_comes_out_the_same_alone_and_in_any_batch(size):
    hu, number = slices(7, size), torch.tensor([5, 900_000, 0, 17, 3, 44, 8])
    together = augment(hu, number, 9, EVERYTHING)
    for position in range(7):
        alone = augment(hu[[position]], number[[position]], 9, EVERYTHING)
        assert torch.equal(alone[0], together[position])
    order = torch.tensor([6, 2, 0, 5, 1])
    assert torch.equal(augment(hu[order], number[order], 9, EVERYTHING), together[order])


def test_the_number_of_threads_changes_nothing():
    hu, number = slices(5, 96), torch.arange(5)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(augment(hu, number, 9, EVERYTHING))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_slices_epochs_folds_and_seeds_differ():
    hu = slices(1).expand(2, -1, -1)
    seeds = {epoch_seed(*key) for key in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]}
    results = [one for seed in seeds for one in augment(hu, torch.arange(2), seed, EVERYTHING)]
    for one in range(len(results)):
        for other in range(one):
            assert not torch.allclose(results[one], results[other], atol=1.0)
    assert len(results) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_one_setting_changes_nothing_of_the_others():
    hu, number = slices(4), torch.arange(4)
    both = augment(hu, number, 2, AugmentConfig(offset_hu=10.0, noise_hu=5.0))
    noise = augment(hu * 0, number, 2, AugmentConfig(noise_hu=5.0))
    assert torch.equal(augment(hu, number, 2, AugmentConfig(offset_hu=10.0)) + noise, both)


def test_no_generator_and_no_slice_is_touched():
    hu = slices(3)
    before, state = hu.clone(), torch.get_rng_state()
    augment(hu, torch.arange(3), 1, EVERYTHING)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(hu, before)


def test_an_empty_share_stays_empty():
    assert augment(slices(0), torch.arange(0), 1, EVERYTHING).shape == (0, 32, 32)


@pytest.mark.parametrize(("device", "mode"), [("cpu", FakeTensorMode), ("meta", contextlib.nullcontext)])
def test_no_value_is_asked_back_from_the_device(device, mode):
    """Tensors without values refuse to tell one, as waiting for a device would have to."""
    augmentation._tables.cache_clear()
    try:
        with mode():
            hu = torch.empty(4, 32, 32, dtype=torch.int16, device=device)
            result = augment(hu, torch.empty(4, dtype=torch.int64, device=device), 1, EVERYTHING)
    finally:
        augmentation._tables.cache_clear()
    assert (result.shape, result.dtype, result.device.type) == ((4, 32, 32), torch.float32, device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_computes_the_same_without_waiting():
    hu, number = slices(7), torch.arange(7)
    on_gpu = [hu.cuda(), number.cuda()]
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = augment(*on_gpu, 9, EVERYTHING)
        noise = augment(*on_gpu, 9, AugmentConfig(noise_hu=20.0, offset_hu=30.0))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(result.cpu(), augment(hu, number, 9, EVERYTHING), atol=0.2, rtol=0)
    assert torch.equal(noise.cpu(), augment(hu, number, 9, AugmentConfig(noise_hu=20.0, offset_hu=30.0)))
