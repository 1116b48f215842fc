"""config.json of every family, one value at a time: it says the same again, or is refused in one line."""

import copy
import dataclasses
import functools
import math
from typing import Any

from hypothesis import strategies as st
import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.models import decoder
from itune_jax.models import zoo
from itune_jax.models.hf import config as config_lib
from itune_jax.models.hf import keys
from tests import fuzz
from tests.models import families

EVERY = {**families.CASES, **families.ENCDEC, **families.VLM}
VALUES: list[Any] = [
  None, True, False, 0, 1, 2, 3, 8, 16, 64, -1, -8, 4.0, 0.5, 10**12, math.nan, math.inf, "", "x", "4", "gelu", "silu",
  [], [1], [2, 0], [1.0, 2.0], [None], {}, {"a": 1}, {"rope_type": "linear", "factor": 2.0}, {"rope_type": "yarn"},
  {"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 1.0}, {"factor": 2.0},
  {"rope_type": "linear", "type": "dynamic", "factor": 2.0}, {"rope_theta": 7.0}, {"full_attention": {}},
]  # fmt: skip


def keys_of(case):
  """Paths of the keys that are read of a case, those of its inner objects among them."""
  config = EVERY[case]
  defaults = config_lib.with_defaults(config, case).to_dict()
  outer = {(key,) for key in (*keys.read_of(config["model_type"], defaults), *config)} - {("model_type",)}
  inner = {(key, name) for key, value in config.items() if isinstance(value, dict) for name in value}
  more = {(key, name) for key, _ in inner if "rope" in key for name in ("factor", "rope_theta", "type", "beta_fast")}
  return sorted(outer | inner | more)


KEYS = {case: keys_of(case) for case in EVERY}


@st.composite
def changed(draw):
  """(case, its config with one or two values set or taken away)."""
  case = draw(st.sampled_from(sorted(EVERY)))
  config = copy.deepcopy(EVERY[case])
  for path in draw(st.lists(st.sampled_from(KEYS[case]), min_size=1, max_size=2)):
    at = config if len(path) == 1 else config.get(path[0])
    if not isinstance(at, dict):
      continue
    new = draw(st.sampled_from([fuzz.DELETE, *VALUES]))
    if new is fuzz.DELETE:
      at.pop(path[-1], None)
    else:
      at[path[-1]] = copy.deepcopy(new)
  return case, config


def numbers(value):
  """All numbers of a config and what stands in it."""
  if isinstance(value, (tuple, list)):
    return [number for one in value for number in numbers(one)]
  if dataclasses.is_dataclass(value):
    return [number for field in dataclasses.fields(value) for number in numbers(getattr(value, field.name))]
  return [value] if isinstance(value, (int, float)) else []


@fuzz.given(changed())
def test_a_value_is_read_as_it_stands_or_refused(given):
  """What is taken is what the file says, finite, not changed in it, and read again as it is written."""
  case, config = given
  before = repr(config)
  cfg = fuzz.outcome(lambda: config_lib.config_from_hf(config, "f/config.json"))
  assert repr(config) == before, "the file's values are left as they are: an export writes them again"
  if cfg is None:
    return
  assert all(math.isfinite(number) for number in numbers(cfg))
  assert min(getattr(cfg, "windows", ()), default=0) >= 0
  for ours, key in zoo.FAMILIES[cfg.family].all_keys.items():
    value = config.get(key.theirs)
    if value is not None:
      read = key.read(value)
      assert getattr(cfg, ours) == read and isinstance(read, bool) == isinstance(getattr(cfg, ours), bool), key.theirs
  for rope in (cfg.rope, cfg.local_rope) if isinstance(cfg, decoder.DecoderConfig) else ():
    if rope is not None and (turns := fuzz.outcome(functools.partial(rope.frequencies, cfg.head_dim))) is not None:
      assert np.isfinite(turns).all() and math.isfinite(rope.magnitude())
  assert config_lib.config_from_hf(config_lib.config_to_hf(cfg, "float32", {}), "again") == cfg


FACTOR = {"rope_type": "linear", "factor": 2.0}
REFUSED = {
  "rope_scaling.type is 'linear', and rope_scaling.rope_type 'dynamic'": (
    "llama", {"rope_scaling": {**FACTOR, "type": "linear", "rope_type": "dynamic"}},
  ),
  "rope_scaling.factor is missing": ("llama", {"rope_scaling": {"rope_type": "linear"}}),
  "rope_scaling.factor is 'x'": ("llama", {"rope_scaling": {"rope_type": "linear", "factor": "x"}}),
  "rope_parameters.rope_theta is 7.0": ("llama", {"rope_parameters": {"rope_theta": 7.0}}),
  "rope_parameters.factor is 4.0": (
    "llama-linear", {"rope_parameters": {"rope_type": "linear", "factor": 4.0}, "rope_scaling": FACTOR},
  ),
  "rope_theta is '4'": ("llama", {"rope_theta": "4"}),
  "rope_theta is nan": ("llama", {"rope_theta": math.nan}),
  "partial_rotary_factor is 0.5; supported is 1": ("llama", {"partial_rotary_factor": 0.5}),
  "rotary_pct is None": ("gpt_neox", {"rotary_pct": None}),
  "sliding_window is 0": ("mistral", {"sliding_window": 0}),
  "sliding_window is -4": ("phi3", {"sliding_window": -4}),
  "layer_types is not what sliding_window_pattern = 2 says": ("gemma3", {"layer_types": ["full_attention"] * 4}),
  "no_rope_layers is not what no_rope_layer_interval = 2 says": ("smollm3", {"no_rope_layers": [1] * 4}),
  "one table for all layers": ("qwen2", {"rope_parameters": {"full_attention": {}}}),
  "objects full_attention and sliding_attention": ("gemma3", {"rope_parameters": {"rope_theta": 5.0}}),
  "n_layer is 2, and num_hidden_layers is 3|num_hidden_layers is 3, and n_layer is 2": (
    "gpt2", {"num_hidden_layers": 3},
  ),
  "attention_multiplier is 0": ("granite", {"attention_multiplier": 0.0}),
  "logits_scaling is nan": ("granite", {"logits_scaling": math.nan}),
  "dense_act_fn is 'relu'": ("t5-v1.1", {"dense_act_fn": "relu"}),
  "start_token = 96 is outside": ("t5-v1.1", {"decoder_start_token_id": 96}),
  "buckets=2": ("t5-v1.1", {"relative_attention_num_buckets": 2}),
  "tie_word_embeddings is 1": ("t5-v1.1", {"tie_word_embeddings": 1}),
  "VisionConfig.size must be positive": (
    "llava", {"vision_config": {**families.VLM["llava"]["vision_config"], "image_size": 0}},
  ),
}  # fmt: skip


@pytest.mark.parametrize("words", REFUSED)
def test_values_that_cannot_be_or_contradict_each_other(words):
  """Each would run, with another function than the one that was trained."""
  case, change = REFUSED[words]
  with pytest.raises(errors.InputError, match=words.replace("(", r"\(")) as caught:
    config_lib.config_from_hf({**EVERY[case], **change}, "f/config.json")
  assert "\n" not in str(caught.value) and str(caught.value).startswith("f/config.json: ")
