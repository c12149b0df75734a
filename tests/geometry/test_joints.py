"""The order of a hand's joints."""

from nvc_jax.geometry.joints import CHAINS, FINGERS, NAMES, NUM_JOINTS, PARENTS, WRIST


def test_every_joint_hangs_on_the_wrist_by_its_finger():
    assert (NUM_JOINTS, len(NAMES), len(PARENTS), len(set(NAMES))) == (21, 21, 21, 21)
    assert sorted(joint for name in FINGERS for joint in CHAINS[name]) == list(range(1, 21))
    assert PARENTS[WRIST] == -1
    for name in FINGERS:
        for parent, joint in zip((WRIST, *CHAINS[name]), CHAINS[name], strict=False):
            assert PARENTS[joint] == parent
            assert NAMES[joint].startswith(f"{name}_")
        assert NAMES[CHAINS[name][-1]] == f"{name}_tip"
    assert NAMES[5] == "index_mcp"
