"""Model folders are read as transformers reads them, or refused in one line: known ones, and mutations."""

import functools
import json
import math
import pathlib
from typing import Any

from hypothesis import strategies as st
import numpy as np
import pytest
import safetensors.numpy

from itune_jax.core import errors
from itune_jax.models import load
from itune_jax.models import zoo
from itune_jax.models.hf import config as config_lib
from itune_jax.models.hf import keys
from tests import fuzz
from tests.models import families

EVERY = {**families.CASES, **families.ENCDEC, **families.VLM}
CONFIG = {**families.CASES["llama"], "attention_bias": False, "rms_norm_eps": 1e-5}


@functools.cache
def shapes() -> dict[str, tuple[int, ...]]:
  """Of the tensors of the tiny llama."""
  return load.stored_shapes(config_lib.config_from_hf(CONFIG, "tiny"))


@functools.cache
def stored(cfg) -> dict[str, tuple[int, ...]]:
  return load.stored_shapes(cfg)


def arrays() -> dict[str, np.ndarray]:
  rs = np.random.RandomState(0)
  return {name: rs.randn(*shape).astype(np.float32) for name, shape in shapes().items()}


def write(folder: pathlib.Path, config=None, tensors=None) -> pathlib.Path:
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "config.json").write_text(json.dumps(CONFIG if config is None else config))
  safetensors.numpy.save_file(arrays() if tensors is None else tensors, folder / "model.safetensors")
  return folder


def shard(folder: pathlib.Path, prefix: str = "model") -> dict[str, str]:
  """Two shards and their index."""
  given, index = arrays(), {}
  for i, part in enumerate((sorted(given)[:5], sorted(given)[5:])):
    file = f"{prefix}-{i + 1:05d}-of-00002.safetensors"
    safetensors.numpy.save_file({name: given[name] for name in part}, folder / file)
    index |= dict.fromkeys(part, file)
  (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
  return index


def read(folder):
  """Config and tensors, checked against each other."""
  source = load.open_source(str(folder))
  cfg = source.config()
  load.check_tensors(source, stored(cfg), cfg)
  return cfg, {name: np.asarray(source.read(name)) for name in source.names()}


def refused(folder, words):
  with pytest.raises(errors.InputError, match=words) as caught:
    read(folder)
  assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_one_file_goes_before_an_index_as_in_transformers(tmp_path, capsys):
  folder = write(tmp_path)
  stale = {name: value + 1 for name, value in arrays().items()}
  safetensors.numpy.save_file(stale, folder / "old.safetensors")
  index = {"weight_map": dict.fromkeys(stale, "old.safetensors")}
  (folder / "model.safetensors.index.json").write_text(json.dumps(index))
  _, found = read(folder)
  np.testing.assert_array_equal(found["model.norm.weight"], arrays()["model.norm.weight"])
  assert (
    "model.safetensors is read, as transformers does; model.safetensors.index.json beside it" in capsys.readouterr().err
  )


def test_shards_are_one_model_with_one_digest(tmp_path):
  whole = write(tmp_path / "a")
  parts = write(tmp_path / "b")
  shard(parts)
  (parts / "model.safetensors").unlink()
  for name, value in read(parts)[1].items():
    np.testing.assert_array_equal(value, arrays()[name])
  digest = load.open_source(str(whole)).digest()
  assert load.open_source(str(parts)).digest() == digest
  tuned = {name: value * np.float32(1.3) + np.float32(0.01) for name, value in arrays().items()}
  assert load.open_source(str(write(tmp_path / "c", None, tuned))).digest() != digest
  turned = {**CONFIG, "rope_theta": 5000.0}
  assert load.open_source(str(write(tmp_path / "d", turned))).digest() != digest
  renamed = {**CONFIG, "max_position_embeddings": 128, "use_cache": False, "torch_dtype": "float16"}
  assert load.open_source(str(write(tmp_path / "e", renamed))).digest() == digest


@pytest.mark.parametrize(
  "change,words",
  [
    (lambda f: (f / "model-00002-of-00002.safetensors").unlink(), "model-00002-of-00002.safetensors is missing, which"),
    (lambda f: (f / "model.safetensors.index.json").write_text("{}"), "weight_map names no safetensors files"),
    (
      lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../x.safetensors"}}'),
      "weight_map",
    ),
    (lambda f: (f / "model.safetensors.index.json").write_text("[]"), "a JSON object is expected, this is list"),
    (lambda f: (f / "model.safetensors.index.json").unlink(), "is no part of a model without an index"),
  ],
)
def test_shards_that_are_not_whole(tmp_path, change, words):
  folder = write(tmp_path)
  shard(folder)
  (folder / "model.safetensors").unlink()
  change(folder)
  refused(folder, words)


def test_an_index_and_its_shards_must_agree(tmp_path):
  folder = write(tmp_path)
  index = shard(folder)
  (folder / "model.safetensors").unlink()
  name = min(index)
  index[name] = "model-00002-of-00002.safetensors"
  (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
  refused(folder, f"{name} is not in model-00002-of-00002.safetensors")


@pytest.mark.parametrize(
  "name,content,words",
  [
    ("pytorch_model.bin", "x", "pytorch_model.bin is a pickle of PyTorch's, which is not read: load the folder with"),
    ("model.Q4_0.gguf", "x", "is a model by itself: give that file"),
    (None, "", "no weights; expected model.safetensors"),
    ("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
  ],
)
def test_other_weights_are_named(tmp_path, name, content, words):
  folder = write(tmp_path)
  (folder / "model.safetensors").unlink()
  if name:
    (folder / name).write_text(content)
  refused(folder, words)


@pytest.mark.parametrize(
  "change,words",
  [
    ({"num_hidden_layers": "2"}, "num_hidden_layers"),
    ({"hidden_size": 32.5}, "hidden_size"),
    ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, which no model has"),
    ({"model_type": ["llama"]}, "model_type is"),
    ({"rope_scaling": 3}, "rope_scaling is 3; an object is expected"),
    ({"quantization_config": 7}, "quantization_config .7. is not supported"),
    ({"is_encoder_decoder": True}, "is_encoder_decoder is True, which is not built"),
    ({"eos_token_id": [2, "x"]}, "eos_token_id"),
  ],
)
def test_configs_that_cannot_be(tmp_path, change, words):
  with pytest.raises(errors.InputError, match=words):
    read(write(tmp_path, {**CONFIG, **change}))


def test_a_key_that_transformers_does_not_know_either_is_named(capsys):
  plain = config_lib.config_from_hf(CONFIG, "f")
  assert config_lib.config_from_hf({**CONFIG, "sliding_window": 4, "unsloth_version": "1"}, "f") == plain
  assert "f: not read, as in transformers: sliding_window, unsloth_version" in capsys.readouterr().err


def test_ends_of_both_configs_are_kept():
  both = config_lib.end_ids({"eos_token_id": 2, "text_config": {"eos_token_id": [7]}}, {"eos_token_id": [5, 2]})
  assert both == (5, 2, 7) and config_lib.end_ids(None, None) == ()


@pytest.mark.parametrize("family", sorted(zoo.FAMILIES))
def test_every_key_of_a_family_is_in_a_table(family):
  """What the family's class in transformers has is read, harmless, or one of the few that must stay at its default."""
  case = next(fields for fields in EVERY.values() if fields["model_type"] == family)
  full = config_lib.with_defaults(case, family)
  defaults = type(full)().to_dict()
  left = set(defaults) - keys.read_of(family, defaults) - keys.HARMLESS - set(keys.UNUSED.get(family, ()))
  assert left <= {"is_encoder_decoder"}, sorted(left)


VALUES: list[Any] = [
  None, True, False, 0, 1, 2, 3, 4, 16, 32, 48, 96, -1, 2.0, 0.5, 10**20, float("nan"), float("inf"), "", "x", "silu",
  "gelu", "llama", "mistral", "gpt2", [], [1], [2, 0], {}, {"a": 1}, {"rope_type": "linear", "factor": 2.0},
  {"rope_type": "linear"}, {"rope_type": "yarn", "factor": "x"}, {"rope_type": "dynamic", "factor": -1}, [["x"]],
]  # fmt: skip
SET = st.tuples(
  st.just("set"),
  st.sampled_from(
    sorted({*CONFIG, "rope_scaling", "rope_parameters", "head_dim", "hidden_act", "no_such", "mlp_bias"})
  ),
  st.sampled_from(VALUES),
)
DROP = st.tuples(st.just("drop"), st.sampled_from(sorted(CONFIG)), st.none())
TENSOR = st.tuples(
  st.just("tensor"), st.integers(0, 18), st.sampled_from(["gone", "renamed", "turned", "int", "empty"])
)
BYTES = st.tuples(st.just("bytes"), st.sampled_from(["config.json", "model.safetensors"]), st.integers(0, 999))
FLIP = st.tuples(st.just("flip"), st.integers(0, 1500), st.integers(0, 255))
INDEX = st.tuples(st.just("index"), st.sampled_from(VALUES), st.booleans())
MUTATIONS = st.lists(st.one_of(SET, SET, DROP, TENSOR, BYTES, FLIP, INDEX), min_size=1, max_size=2)


def changed(given, number, how):
  name = sorted(given)[number % len(given)]
  value, rest = given[name], {key: tensor for key, tensor in given.items() if key != name}
  new = {
    "gone": dict,
    "renamed": lambda: {name + "s": value},
    "turned": lambda: {name: np.ascontiguousarray(value[None])},
    "int": lambda: {name: value.astype(np.int32)},
    "empty": lambda: {name: value[:0]},
  }
  return rest | new[how]()


@fuzz.folders_of(MUTATIONS)
def test_mutated_folders_are_read_or_refused(folder, mutations):
  """The same tensors and a config that says the same again, or one line."""
  tensors, weights = arrays(), folder / "model.safetensors"
  for kind, what, how in mutations:
    tensors = changed(tensors, what, how) if kind == "tensor" else tensors
  write(folder, fuzz.fields_changed(CONFIG, mutations), tensors)
  for kind, what, how in mutations:
    if kind == "bytes":
      fuzz.cut(folder / what, how)
    elif kind == "flip":
      fuzz.flip(weights, what, how)
    elif kind == "index":
      shard(folder)
      if how:
        weights.unlink(missing_ok=True)
      (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": what}))
  if (found := fuzz.read_or_refused(read, folder)) is not None:
    same(folder, *found)


def same(folder, cfg, found):
  """What was read is what the files say, by other code."""
  there = safetensors.numpy.load_file(folder / "model.safetensors")
  assert found.keys() == there.keys()
  for name, value in there.items():
    np.testing.assert_array_equal(found[name], value)
  said = json.loads((folder / "config.json").read_text())
  for ours, key in zoo.FAMILIES[cfg.family].all_keys.items():
    value = said.get(key.theirs)
    if value is not None:
      assert getattr(cfg, ours) == key.read(value), key.theirs
  assert all(math.isfinite(value) for value in (cfg.norm_eps, cfg.rope.base, cfg.rope.factor))
  again = config_lib.config_from_hf(config_lib.config_to_hf(cfg, "float32", {}), "again")
  assert again == cfg
