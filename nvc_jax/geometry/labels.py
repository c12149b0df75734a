"""Labels of voxels, points and pixels."""

UNKNOWN = 255
"""The class of voxels and points whose class is not known; they count nowhere."""
