"""Live peers: transformers on the weights of the default base, exported by this project."""

import os

import jax
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: scripts/test.sh parity installs it")
transformers = pytest.importorskip("transformers")

from itune_jax import api  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def one_device():
  """Parity is of one device, in float32."""
  torch.set_num_threads(2)
  patch, devices = pytest.MonkeyPatch(), jax.devices()
  patch.setattr("itune_jax.parallel.mesh.jax.devices", lambda: devices[:1])
  yield
  patch.undo()


@pytest.fixture(scope="session")
def ours():
  """The default base model here."""
  return api.load("smollm2-135m-instruct")


@pytest.fixture(scope="session")
def theirs(smollm2_path):
  """The same file, dequantised by transformers itself."""
  folder, name = os.path.split(smollm2_path)
  return transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def base_folder(ours, tmp_path_factory):
  """The base as a Hugging Face folder written by this project."""
  folder = str(tmp_path_factory.mktemp("hf") / "base")
  api.export_hf(ours, folder, merge=False)
  return folder


@pytest.fixture(scope="session")
def ours_hf(base_folder):
  """The same model, loaded from that folder."""
  return api.load(base_folder)
