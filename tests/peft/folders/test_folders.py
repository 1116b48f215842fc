"""Adapter folders are understood as peft does, or refused in one line: a table of known ones, and mutations."""

import json
import pathlib
from typing import Any

from hypothesis import strategies as st
import numpy as np
import pytest
import safetensors.numpy

from itune_jax.core import errors
from itune_jax.peft.folders import exchange
from itune_jax.peft.folders import experts
from itune_jax.peft.folders import options
from tests import fuzz
from tests.peft.folders import small

Q1 = small.PREFIX + "model.layers.1.self_attn.q_proj."


def refused(folder, words, config=None, arrays=None):
  with pytest.raises(errors.InputError, match=words) as caught:
    small.read(small.write(folder, config, arrays))
  assert "\n" not in str(caught.value)


def test_what_is_whole_is_read(tmp_path):
  small.same(small.read(small.write(tmp_path)), small.meant(small.CONFIG, small.tensors()))


@pytest.mark.parametrize(
  "change,words",
  [
    ({"peft_type": "LOHO"}, "peft_type is 'LOHO'; supported are"),
    ({"peft_type": None}, "peft_type is None"),
    ({"task_type": "SEQ_CLS"}, "task_type is 'SEQ_CLS'"),
    ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights = 'pissa_niter_4' belongs to a changed base"),
    ({"init_lora_weights": "loftq"}, "init_lora_weights = 'loftq'"),
    ({"init_lora_weights": "corda"}, "init_lora_weights = 'corda'"),
    ({"init_lora_weights": "lora_ga"}, "init_lora_weights = 'lora_ga'"),
    ({"layer_replication": [[0, 1], [0, 2]]}, r"layer_replication = \[\[0, 1\], \[0, 2\]\] is not supported"),
    ({"use_qalora": True}, "use_qalora = True is not supported"),
    ({"alora_invocation_tokens": [5]}, "alora_invocation_tokens"),
    ({"of_next_year": 3}, "of_next_year = 3 is an option that is not known here"),
    ({"r": "2"}, "r = '2'; it is a whole number above 0"),
    ({"r": None}, "r = None"),
    ({"lora_alpha": float("nan")}, "lora_alpha = nan; it is a number"),
    ({"use_rslora": "yes"}, "use_rslora = 'yes'; it is true or false"),
    ({"alpha_pattern": {"(": 1}}, "alpha_pattern .* it is numbers by regular expression"),
    ({"target_modules": "q_proj("}, "target_modules = 'q_proj.'"),
    ({"target_modules": ["q_proj"]}, "holds tensors of model.layers.0.self_attn.v_proj, which target_modules"),
    ({"target_modules": ["q_proj", "v_proj", "o_proj"]}, "holds no tensors of model.layers.0.self_attn.o_proj"),
    ({"layers_to_transform": [0]}, "holds tensors of model.layers.1.self_attn"),
    ({"exclude_modules": ["v_proj"]}, "holds tensors of model.layers.0.self_attn.v_proj"),
    ({"modules_to_save": ["lm_head"]}, "modules_to_save names lm_head, of which the file holds nothing"),
    ({"trainable_token_indices": [3]}, "1 ids of tokens, and rows of none in the file"),
    ({"r": 4}, "its rank is 2 in the file, and 4 by adapter_config.json"),
    ({"use_dora": True}, "use_dora is set, but it has no lora_magnitude_vector"),
    ({"lora_bias": True}, "lora_B.bias is missing"),
  ],
  ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_options_that_are_not_as_they_should_be(tmp_path, change, words):
  refused(tmp_path, words, {**small.CONFIG, **change})


def test_a_key_that_is_missing(tmp_path):
  refused(tmp_path, "the key lora_alpha is missing", {k: v for k, v in small.CONFIG.items() if k != "lora_alpha"})


@pytest.mark.parametrize(
  "change,words",
  [
    ({"lora_B.weight": None}, "lora_B.weight is missing, and lora_A.weight is there"),
    ({"lora_A.weight": None, "lora_B.weight": None}, "holds no tensors of model.layers.1.self_attn.q_proj"),
    ({"lora_B.weight": np.zeros((0,), np.float32)}, r"q_proj.lora_B.weight is empty \(shape \[0\]\)"),
    ({"lora_B.weight": np.full((16, 2), np.inf, np.float32)}, "q_proj.lora_B.weight holds a value that is not finite"),
    ({"lora_A.weight": np.ones((16, 2), np.float32)}, "its rank is 16 in the file"),
    ({"lora_B.weight": np.ones((2, 16), np.float32)}, "A has rank 2, B has 16"),
    ({"lora_A.weight": np.ones((2, 16), np.int32)}, "is of type int32, and a weight has a fraction"),
    ({"lora_A.weight": np.array(3, np.float32)}, "is a single number"),
    ({"lora_C.weight": np.ones(3, np.float32)}, "lora_C.weight is no Lora tensor of a module of this model"),
    ({"lora_magnitude_vector": np.ones(16, np.float32)}, "holds lora_magnitude_vector, and adapter_config.json says"),
  ],
  ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_tensors_that_are_not_as_they_should_be(tmp_path, change, words):
  arrays = {**small.tensors(), **{Q1 + name: value for name, value in change.items()}}
  refused(tmp_path, words, arrays={name: value for name, value in arrays.items() if value is not None})


def without(word):
  return {name: value for name, value in small.tensors().items() if word not in name}


def test_all_linear_is_all_layers(tmp_path):
  """Which modules are linear only peft knows; of layers that are alike all have tensors, or none."""
  config = {**small.CONFIG, "target_modules": "all-linear"}
  small.same(small.read(small.write(tmp_path / "a", config)), small.read(small.write(tmp_path / "b")))
  assert len(small.read(small.write(tmp_path / "c", config, without("v_proj")))) == 2
  refused(tmp_path / "d", "holds no tensors of model.layers.1.self_attn.v_proj", config, without("1.self_attn.v_proj"))


def test_a_regex_and_layers_exclude_each_other(tmp_path):
  both = {**small.CONFIG, "target_modules": r".*\.(q|v)_proj", "layers_to_transform": [0]}
  refused(tmp_path / "a", "layers_to_transform chooses among names of modules", both)
  refused(tmp_path / "b", "layers_pattern says which stacks", {**small.CONFIG, "layers_pattern": "layers"})
  refused(tmp_path / "c", "bias", {**small.CONFIG, "bias": "some"})


SITES = {
  f"model.layers.{layer}.mlp.experts.{e}.{leaf}_proj": f"blocks/{layer}/mlp/experts/{e}/{leaf}"
  for layer in range(2)
  for e in range(3)
  for leaf in ("gate", "up", "down")
}


@pytest.mark.parametrize("targets,layers", [(["mlp.experts.down_proj"], 2), (["layers.1.mlp.experts.down_proj"], 1)])
def test_experts_are_whole_or_refused(targets, layers):
  """A layer that target_parameters names has both factors: one alone was left out, and nothing said."""
  prefix, rs = "base_model.model.", np.random.RandomState(0)
  stems = [f"{prefix}model.layers.{layer}.mlp.experts." for layer in range(2)][-layers:]
  shapes = {"lora_A.weight": (6, 5), "lora_B.weight": (4, 6)}
  tensors = {stem + name: rs.randn(*shape).astype(np.float32) for stem in stems for name, shape in shapes.items()}
  config = {"target_parameters": targets, "lora_alpha": 2}
  found = experts.unfused(config, tensors, SITES, prefix)
  assert len(found) == 2 * 3 * layers and all("down_proj" in name for name in found)
  for missing in shapes:
    some = {name: value for name, value in tensors.items() if name != stems[-1] + missing}
    with pytest.raises(errors.InputError, match=f"layers.1.mlp.experts.{missing} is missing, and target_parameters"):
      experts.unfused(config, some, SITES, prefix)


def test_an_adapter_without_any_tensor(tmp_path):
  refused(tmp_path / "a", "is empty", arrays={name: np.zeros((0,), np.float32) for name in small.tensors()})
  refused(tmp_path / "b", "holds no tensors", arrays={})


def test_what_lies_there_is_said(tmp_path):
  folder = pathlib.Path(small.write(tmp_path / "a"))
  (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
  with pytest.raises(errors.InputError, match="only adapter_model.bin, a pickle, which is not read: load it with peft"):
    small.read(folder)
  (folder / "adapter_model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
  with pytest.raises(errors.InputError, match="adapter_model.safetensors: a Git LFS pointer"):
    small.read(folder)
  (folder / "adapter_config.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
  with pytest.raises(errors.InputError, match="adapter_config.json: a Git LFS pointer"):
    small.read(folder)
  (folder / "adapter_config.json").write_text("[]")
  with pytest.raises(errors.InputError, match="a JSON object is expected, this is list"):
    small.read(folder)


def test_every_method_has_its_table():
  assert set(options.TABLE) == {*(kind.peft_type for _, kind in exchange._kinds().values()), "P_TUNING"}


# Values of every type, and some that mean something.
VALUES: list[Any] = [
  None, True, False, 0, 1, 2, 3, -1, 2.5, 10**30, float("nan"), "", "x", "(", "pissa", "olora", "loftq", "all-linear",
  "LORA", "ADALORA", "LOHA", "IA3", "none", [], [0], [1, 1], ["q_proj"], ["q_proj", "v_proj"], ["v_proj", 3], {},
  {"a": 1},  {"q_proj": 2}, {"v_proj": 3}, {"(": 2}, {"q_proj": "2"}, {"q_proj": [1]}, ".*(q|v)_proj", [[0, 1]],
]  # fmt: skip
KEYS = sorted({*options.TABLE["LORA"], *options.TABLE["ADALORA"], "no_such_option"})
SET = st.tuples(st.just("set"), st.sampled_from(KEYS), st.sampled_from(VALUES))
DROP = st.tuples(st.just("drop"), st.sampled_from(sorted(small.CONFIG)), st.none())
TENSOR = st.tuples(
  st.just("tensor"),
  st.sampled_from(sorted(small.tensors())),
  st.sampled_from(
    ["gone", "empty", "renamed", "nan", "turned", "half", "int", "double", "cut", "flat", "swapped", "scalar"]
  ),
)
BYTES = st.tuples(st.just("bytes"), st.sampled_from(["tensors", "config"]), st.integers(0, 999))
FLIP = st.tuples(st.just("flip"), st.integers(0, 400), st.integers(0, 255))
MUTATIONS = st.lists(st.one_of(SET, SET, DROP, TENSOR, TENSOR, BYTES, FLIP), min_size=1, max_size=2)


def changed(arrays, name, how):
  """One tensor changed."""
  value, rest = arrays[name], {key: tensor for key, tensor in arrays.items() if key != name}
  new = {
    "gone": dict,
    "empty": lambda: {name: value[:0]},
    "renamed": lambda: {name.replace("layers.", "layer."): value},
    "nan": lambda: {name: value * np.float32(np.nan)},
    "turned": lambda: {name: np.ascontiguousarray(value.T)},
    "half": lambda: {name: value.astype(np.float16)},
    "int": lambda: {name: value.astype(np.int64)},
    "double": lambda: {name: value.astype(np.float64)},
    "cut": lambda: {name: np.ascontiguousarray(value[:, :1])},
    "flat": lambda: {name: value.reshape(-1)},
    "swapped": lambda: {name.replace("layers.0", "layers.9"): value},
    "scalar": lambda: {name: np.array(1, np.float32)},
  }
  return rest | new[how]()


@fuzz.folders_of(MUTATIONS)
def test_mutated_folders_are_read_as_meant_or_refused(folder, mutations):
  """What is read is what the files say, by other code; or one line."""
  arrays = small.tensors()
  for kind, what, how in mutations:
    arrays = changed(arrays, what, how) if kind == "tensor" and what in arrays else arrays
  small.write(folder, fuzz.fields_changed(small.CONFIG, mutations), arrays)
  weights, said = folder / "adapter_model.safetensors", folder / "adapter_config.json"
  for kind, what, how in mutations:
    if kind == "bytes":
      fuzz.cut(weights if what == "tensors" else said, how)
    elif kind == "flip":
      fuzz.flip(weights, what, how)
  if (found := fuzz.read_or_refused(small.read, folder)) is not None:
    small.same(found, small.meant(json.loads(said.read_text()), safetensors.numpy.load_file(weights)))
