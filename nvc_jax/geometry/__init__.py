"""Joints, planes, cameras, rotations and labels: what several rooms need."""
