"""The one order of a hand's joints, which readers and tasks share.

0 is the wrist; then come the thumb, index, middle, ring and little finger, each from its base to its
tip: 1–4, 5–8, 9–12, 13–16 and 17–20. The hand is a right one; left hands are mirrored when they are
read (x → −x, and the image is flipped).
"""

WRIST = 0

FINGERS = ("thumb", "index", "middle", "ring", "little")

CHAINS = {name: tuple(range(1 + 4 * i, 5 + 4 * i)) for i, name in enumerate(FINGERS)}
"""Joints of every finger, from its base to its tip."""

NAMES = (
    "wrist",
    *(f"thumb_{joint}" for joint in ("cmc", "mcp", "ip", "tip")),
    *(f"{finger}_{joint}" for finger in FINGERS[1:] for joint in ("mcp", "pip", "dip", "tip")),
)
"""Finger and joint: carpometacarpal, metacarpophalangeal, (proximal, distal) interphalangeal, tip."""

NUM_JOINTS = len(NAMES)

PARENTS = (-1, *(WRIST if joint % 4 == 1 else joint - 1 for joint in range(1, NUM_JOINTS)))
"""The joint on the other end of every joint's bone, nearer to the wrist, which has none: -1."""
