"""Commands are tested on one device, as on a laptop."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="package")
def one_device():
  """Recipes for one device find one."""
  patch, devices = pytest.MonkeyPatch(), jax.devices()
  patch.setattr("itune_jax.parallel.mesh.jax.devices", lambda: devices[:1])
  yield
  patch.undo()
