"""What pyproject.toml cannot say: the configs lie beside the package, and are installed within it."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["nvc_jax", "nvc_jax.*"]), "nvc_jax.configs"],
    package_dir={"nvc_jax.configs": "configs"},
)
