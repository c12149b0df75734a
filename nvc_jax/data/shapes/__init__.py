"""Readers and generators of shapes, volumes and point clouds."""
