"""Joints, planes, cameras and labels: what several rooms need."""
