"""Synthetic hands: what lies where, who occurs in which split, and that nothing changes."""

from __future__ import annotations

import numpy as np
import pytest

from nvc_jax.config import make_config
from nvc_jax.core.errors import UserError
from nvc_jax.data import Source, open_source
from nvc_jax.data.base.source import class_names_of
from nvc_jax.data.hands.crops import HALF_CUBE
from nvc_jax.data.hands.skeleton import GESTURES
from nvc_jax.data.hands.synthetic import PERSONS, Hands
from nvc_jax.geometry.joints import PARENTS


def options(**changes):
    return make_config({"data": {"source": "hands", **changes}}).data


def bones(joints):
    return np.linalg.norm(joints[:, 1:] - joints[:, list(PARENTS[1:])], axis=-1)


def pixels(batch):
    joints, camera = batch["joints"], batch["camera"][:, None]
    return joints[..., :2] / joints[..., 2:] * camera[..., :2] + camera[..., 2:]


def test_fields_fit_each_other():
    source = open_source(options(num_scenes=30, image_size=(40, 40)), "train")
    assert isinstance(source, Source)
    batch = source.gather(np.arange(30))
    for name, field in source.spec.items():
        assert batch[name].shape == (30, *field.shape)
        assert batch[name].dtype == field.dtype
    assert batch["visible"].all()
    assert class_names_of(source) == tuple(GESTURES)
    assert 0 <= batch["label"].min() <= batch["label"].max() < len(GESTURES)
    # The surface covers the joints: seen depth is less than theirs, by the flesh at most.
    u, v = np.rint(pixels(batch)).astype(int).transpose(2, 0, 1)
    inside = (np.stack([u, v]) >= 0).all(axis=0) & (np.stack([u, v]) < 40).all(axis=0)
    assert inside.mean() > 0.95
    frame = np.broadcast_to(np.arange(30)[:, None], u.shape)
    value = batch["image"][frame[inside], v[inside], u[inside], 0].astype(float)
    assert (value > 0).mean() > 0.97
    center = batch["center"][frame[inside]]
    seen = center[:, 2] + HALF_CUBE - (value - 1) * (HALF_CUBE / 127)
    behind = (batch["joints"][inside][:, 2] - seen)[value > 0]
    assert np.quantile(behind, 0.02) > -3
    assert np.median(behind) < 25
    # It is centered on what is seen of it.
    lit = batch["image"][..., 0] > 0
    places = np.array([np.argwhere(image).mean(axis=0) for image in lit])
    np.testing.assert_allclose(places.mean(axis=0), 19.5, atol=1.5)


def test_channels_and_sides():
    depth, color, both = (
        Hands("test", 3, 24, channels).gather(np.arange(3)) for channels in (1, 3, 4)
    )
    np.testing.assert_array_equal(both["image"][..., :3], color["image"])
    np.testing.assert_array_equal(depth["joints"], both["joints"])
    same = (depth["image"][..., 0] > 0) == (both["image"][..., 3] > 0)
    assert same.mean() > 0.99
    assert Hands("test", 1).spec["image"].shape == (48, 48, 1)


def test_a_hand_is_a_function_of_its_number():
    one, other = Hands("train", 9), Hands("train", 7)
    first = one.gather(np.array([5, 2, 5]))
    second = other.gather(np.array([2, 5]))
    for name in first:
        np.testing.assert_array_equal(first[name][1], second[name][0])
        np.testing.assert_array_equal(first[name][[0, 2]], second[name][[1, 1]])
    assert (first["image"][0] != first["image"][1]).any()
    assert (Hands("train", 9, seed=1).gather(np.array([5]))["joints"] != first["joints"][0]).any()


def test_persons_of_the_test_never_occur_in_training():
    sizes = {
        split: bones(Hands(split, 2 * number, 8).gather(np.arange(2 * number))["joints"])
        for split, number in PERSONS.items()
    }
    for split, number in PERSONS.items():
        # Every person has one skeleton, in whatever pose.
        np.testing.assert_allclose(sizes[split][:number], sizes[split][number:], atol=1e-3)
    for split in ("validation", "test"):
        difference = np.abs(sizes[split][:, None] - sizes["train"][None]).max(axis=-1)
        assert difference.min() > 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_size": (48, 64)}, r"\(48, 64\).*square"),
        ({"image_size": (4, 4)}, "side of 8 pixels"),
    ],
)
def test_wrong_options_are_one_sentence(changes, words):
    with pytest.raises(UserError, match=words):
        open_source(options(**changes), "train")
