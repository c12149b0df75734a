"""The commands nvc-train, nvc-eval and nvc-meshes."""
