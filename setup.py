"""Metadata is in setup.cfg; here is what it cannot say: recipes lie beside the package, and are built into it."""

import setuptools

setuptools.setup(
  packages=[*setuptools.find_packages(include=("itune_jax", "itune_jax.*")), "itune_jax.gin_configs"],
  package_dir={"itune_jax.gin_configs": "gin_configs"},
)
