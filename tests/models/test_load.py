"""Hugging Face folders in and out, sharded or not, onto any mesh; and what is refused."""

import json

import jax
import numpy as np
import pytest

from itune_jax.core import axes
from itune_jax.core import errors
from itune_jax.models import decoder
from itune_jax.models import load
from itune_jax.nn import rope
from tests import tiny

BIASED = decoder.DecoderConfig(
  vocab=64,
  width=16,
  depth=3,
  heads=4,
  kv_heads=2,
  head_dim=4,
  mlp=32,
  max_length=128,
  tied=False,
  attention_bias=True,
  output_bias=True,
  mlp_bias=True,
  rope=rope.Rope(base=1000.0, scaling="llama3", factor=8.0, original_length=64),
)


@pytest.mark.parametrize("cfg", [tiny.CONFIG, BIASED], ids=["tied", "biases and scaled rope"])
@pytest.mark.parametrize("shard_bytes", [2**30, 4000], ids=["one file", "sharded"])
@pytest.mark.by_default(1)
def test_save_and_load_are_inverse_onto_eight_devices(tmp_path, cfg, shard_bytes):
  base = tiny.base(cfg=cfg)
  load.save_hf(str(tmp_path / "m"), base.module, base.params, shard_bytes=shard_bytes)
  assert (tmp_path / "m" / "model.safetensors.index.json").exists() == (shard_bytes == 4000)
  again = load.load(str(tmp_path / "m"), mesh=tiny.mesh(8, data=2, fsdp=2, tensor=2), rules=axes.DEFAULT_RULES)
  assert again.cfg == cfg
  assert again.params["blocks/mlp/gate/kernel"].addressable_shards[0].data.shape == (cfg.depth, 8, 16)
  for name, value in base.params.items():
    np.testing.assert_array_equal(again.params[name], value)


def test_bfloat16_is_kept(tmp_path):
  base = tiny.base()
  load.save_hf(str(tmp_path / "m"), base.module, base.params, dtype="bfloat16")
  again = load.load(
    str(tmp_path / "m"),
    mesh=tiny.mesh(1),
    rules=axes.DEFAULT_RULES,
    dtypes=lambda names: dict.fromkeys(names, "bfloat16"),
  )
  assert all(v.dtype == "bfloat16" for v in again.params.values())


def broken(tmp_path, change):
  base = tiny.base()
  load.save_hf(str(tmp_path / "m"), base.module, base.params)
  change(tmp_path / "m")
  load.load(str(tmp_path / "m"), mesh=tiny.mesh(1), rules=axes.DEFAULT_RULES)


def edit(**changes):
  def change(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))

  return change


@pytest.mark.parametrize(
  "change,words",
  [
    (
      edit(model_type="gpt_oss"),
      "model_type is 'gpt_oss'; supported are llama, .*; the nearest supported is 'gpt_neox'",
    ),
    (
      edit(rope_parameters={"rope_type": "magic"}),
      "rope_type is 'magic'; supported are default, linear, dynamic, yarn, longrope, su, llama3",
    ),
    (edit(num_hidden_layers=3), r"missing tensors: model.layers.2.input_layernorm.weight, .* and 6 more"),
    (edit(num_hidden_layers=1), "unexpected tensors: model.layers.1"),
    (
      edit(intermediate_size=48),
      r"misshapen tensors: model.layers.0.mlp.gate_proj.weight is \(32, 16\), expected \(48, 16\)",
    ),
    (edit(tie_word_embeddings=False), "missing lm_head.weight, though the config says tie_word_embeddings = false"),
    (edit(num_attention_heads=3), "not a valid llama config .*16.* attention heads .3."),
    (lambda f: (f / "config.json").write_text("{"), "config.json: not readable as JSON"),
    (lambda f: (f / "config.json").unlink(), "no config.json"),
    (
      lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-10]),
      "truncated: .* bytes, where its header promises",
    ),
    (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 64), "truncated or corrupt"),
    (edit(quantization_config={"quant_method": "gptq"}), "quantization_config .'gptq'. is not supported"),
  ],
  ids=lambda x: x[:30] if isinstance(x, str) else "",
)
def test_what_does_not_fit_is_named(tmp_path, change, words):
  with pytest.raises(errors.InputError, match=words):
    broken(tmp_path, change)


def test_non_finite_weights_are_not_exported_and_nothing_is_left(tmp_path):
  base = tiny.base()
  params = dict(base.params)
  params["norm/scale"] = params["norm/scale"].at[0].set(np.nan)
  with pytest.raises(errors.RunError, match="not finite: refusing"):
    load.save_hf(str(tmp_path / "m"), base.module, params)
  assert not list(tmp_path.iterdir())


def test_the_default_base_loads_and_knows_itself(smollm2_path):
  source = load.open_source(smollm2_path)
  cfg = source.config()
  assert (cfg.vocab, cfg.width, cfg.depth, cfg.heads, cfg.kv_heads, cfg.mlp, cfg.tied) == (
    49152,
    576,
    30,
    9,
    3,
    1536,
    True,
  )
  assert source.read("model.layers.0.self_attn.k_proj.weight").shape == (192, 576)


def test_random_initialisation_does_not_depend_on_the_mesh():
  one, eight = tiny.base(), tiny.base(tiny.mesh(8, data=2, fsdp=2, tensor=2))
  for name in one.params:
    np.testing.assert_array_equal(np.asarray(one.params[name]), np.asarray(jax.device_get(eight.params[name])))
