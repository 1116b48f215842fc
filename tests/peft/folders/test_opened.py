"""Tables of a tied base in a PEFT folder: which part, and which stay one (`folders.tied`); copies of the base."""

import json

import numpy as np
import pytest
import safetensors.numpy

from itune_jax.core import errors
from itune_jax.peft.folders import exchange
from itune_jax.peft.folders import opened
from tests.peft.folders import small

EMBED, HEAD = small.PREFIX + "model.embed_tokens.", small.PREFIX + "lm_head."
ONE = np.random.RandomState(1).randn(64, 16).astype(np.float32)


def load(folder, more, **config):
  small.write(folder, {**small.CONFIG, **config}, {**small.tensors(), **more})
  return exchange.load(str(folder), small.model(), small.LAYOUT)


@pytest.mark.parametrize(
  "more,config,parts,opens",
  [
    ({EMBED + "weight": ONE}, {"modules_to_save": ["embed_tokens"]}, True, {"embed/table"}),
    ({HEAD + "weight": ONE}, {"modules_to_save": ["lm_head"]}, True, {"head/kernel"}),
    ({EMBED + "modules_to_save.weight": ONE}, {"modules_to_save": ["embed_tokens"]}, True, {"embed/table"}),
    (
      {EMBED + "weight": ONE, HEAD + "weight": ONE + 1},
      {"modules_to_save": ["embed_tokens", "lm_head"]},
      True,
      {"embed/table", "head/kernel"},
    ),
    (
      {EMBED + "weight": ONE, HEAD + "weight": ONE},
      {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
      False,
      {"embed/table"},
    ),
    # What no wrapper holds is the table of both: the copy of a base that got more rows, say.
    ({HEAD + "weight": ONE}, {}, False, {"embed/table"}),
    ({EMBED + "weight": ONE}, {}, False, {"embed/table"}),
    (
      {HEAD + "lora_A.weight": ONE[:2], HEAD + "lora_B.weight": ONE[:, :2]},
      {"target_modules": ["q_proj", "v_proj", "lm_head"]},
      True,
      set(),
    ),
    (
      {EMBED + "lora_embedding_A": ONE.T[:2], EMBED + "lora_embedding_B": ONE[:16, :2]},
      {"target_modules": ["q_proj", "v_proj", "embed_tokens"]},
      False,
      set(),
    ),
    ({EMBED + "token_adapter.trainable_tokens_delta": ONE[:2]}, {"trainable_token_indices": [9, 3]}, False, set()),
    (
      {HEAD + "token_adapter.trainable_tokens_delta": ONE[:2]},
      {"trainable_token_indices": {"lm_head": [9, 3]}},
      True,
      set(),
    ),
  ],
)
def test_tables_part_as_in_peft(tmp_path, more, config, parts, opens):
  _, values = load(tmp_path, more, **config)
  assert values.untied is parts and set(values.opened) == opens
  if "Tokens" in values.leaves:
    (rows,) = values.leaves["Tokens"].values()
    np.testing.assert_array_equal(rows["rows"], ONE[[1, 0]])  # in rising order of the ids


@pytest.mark.parametrize(
  "more,config,words",
  [
    ({EMBED + "weight": ONE, HEAD + "weight": ONE + 1}, {}, "differ, and the base ties them"),
    ({EMBED + "weight": ONE[:60]}, {}, r"embed_tokens.weight is \(60, 16\), and \(64, 16\) in this model"),
    ({EMBED + "weight": ONE.T}, {}, r"embed_tokens.weight is \(16, 64\)"),
    (
      {
        EMBED + "token_adapter.trainable_tokens_delta": ONE[:1],
        HEAD + "lora_A.weight": ONE[:2],
        HEAD + "lora_B.weight": ONE[:, :2],
      },
      {"trainable_token_indices": [3], "target_modules": ["q_proj", "v_proj", "lm_head"]},
      "rows of tokens of a tied table beside an adapter of lm_head",
    ),
    ({EMBED + "token_adapter.trainable_tokens_delta": ONE[:3]}, {"trainable_token_indices": [3, 9]}, r"rows of \[3\]"),
    (
      {EMBED + "token_adapter.trainable_tokens_delta": ONE[:2]},
      {"trainable_token_indices": [3, 3]},
      "not each another",
    ),
  ],
)
def test_tables_that_are_not_as_they_should_be(tmp_path, more, config, words):
  with pytest.raises(errors.InputError, match=words):
    load(tmp_path, {name: np.ascontiguousarray(value) for name, value in more.items()}, **config)


def test_a_copy_of_another_base_is_refused(tmp_path):
  more = {
    EMBED + "base_layer.weight": ONE,
    EMBED + "lora_embedding_A": ONE.T[:2],
    EMBED + "lora_embedding_B": ONE[:16, :2],
  }
  more = {name: np.ascontiguousarray(value) for name, value in more.items()}
  _, values = load(tmp_path, more, target_modules=["q_proj", "v_proj", "embed_tokens"])
  assert list(values.copies) == ["embed/table"] and not values.opened
  opened.check_copies({"embed/table": ONE}, values.copies)
  opened.check_copies({"embed/table": ONE * np.float32(1 + 2.0**-9)}, values.copies)  # rounded to bfloat16
  opened.check_copies({}, values.copies)  # packed: it cannot be told
  with pytest.raises(
    errors.InputError, match="another embed/table of the base than this one: an adapter of another base"
  ):
    opened.check_copies({"embed/table": ONE * np.float32(1.3)}, values.copies)


def test_what_peft_starts_from_the_base_is_part_of_the_method(tmp_path):
  (method, *_), _ = load(tmp_path / "a", {}, init_lora_weights="pissa")
  assert method.init == "pissa" and method.needs_weight
  (method, *_), _ = load(tmp_path / "b", {}, init_lora_weights="gaussian")
  assert method.init == "uniform"
  table = {EMBED + "lora_embedding_A": ONE.T[:2].copy(), EMBED + "lora_embedding_B": ONE[:16, :2].copy()}
  with pytest.raises(errors.InputError, match="init_lora_weights = 'pissa' is supported for linear layers alone"):
    load(tmp_path / "c", table, init_lora_weights="pissa", target_modules=["q_proj", "v_proj", "embed_tokens"])


def test_learned_tokens_are_read_alone(tmp_path):
  config = {"peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": 3}
  safetensors.numpy.save_file({"prompt_embeddings": ONE[:3]}, tmp_path / "adapter_model.safetensors")
  (tmp_path / "adapter_config.json").write_text(json.dumps(config))
  _, values = exchange.load(str(tmp_path), small.model(), small.LAYOUT)
  assert list(values.whole) == ["Prompt"]
  safetensors.numpy.save_file({"prompt_embeddings": ONE[:3], "x": ONE}, tmp_path / "adapter_model.safetensors")
  with pytest.raises(errors.InputError, match="x is no tensor of Prompt"):
    exchange.load(str(tmp_path), small.model(), small.LAYOUT)
  (tmp_path / "adapter_config.json").write_text(json.dumps({**config, "num_virtual_tokens": 4}))
  safetensors.numpy.save_file({"prompt_embeddings": ONE[:3]}, tmp_path / "adapter_model.safetensors")
  with pytest.raises(
    errors.InputError, match=r"the folder has prompt_embeddings of \(3, 16\); this model's are \(4, 16\)"
  ):
    exchange.load(str(tmp_path), small.model(), small.LAYOUT)
