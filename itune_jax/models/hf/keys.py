"""Every key of config.json: read, harmless, or refused by name.

Read are the keys of a family's row (`models.zoo`) and those below; harmless are those that do not touch the function
of the weights at inference: dropouts, how weights were drawn, heads of other tasks, what generation starts from. Any
other key that the family's class in transformers has must stand at its default. A key that transformers does not know
either has no effect there, nor here: it is named in one line.
"""

from collections.abc import Mapping
from typing import Any

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.core import log
from itune_jax.models import zoo


def _words(text: str) -> frozenset[str]:
  return frozenset(text.split())


# Read of any family, beside its older spellings (`Family.spellings`).
ALWAYS = _words("model_type dtype torch_dtype tie_word_embeddings quantization_config")
# Read where the family's class has them.
READ = _words("""
  rope_parameters sliding_window use_sliding_window max_window_layers layer_types _sliding_window_pattern
  no_rope_layer_interval num_experts num_local_experts num_experts_per_tok text_config vision_config
  vision_feature_layer dense_act_fn is_gated_act
""")
HARMLESS = _words("""
  _name_or_path architectures transformers_version auto_map torchscript use_cache return_dict return_dict_in_generate
  output_attentions output_hidden_states chunk_size_feed_forward id2label label2id problem_type num_labels
  bos_token_id eos_token_id pad_token_id sep_token_id cls_token_id decoder_start_token_id forced_eos_token_id
  initializer_range initializer_factor attention_dropout attn_pdrop embd_pdrop resid_pdrop hidden_dropout
  dropout_rate classifier_dropout summary_activation summary_first_dropout summary_proj_to_labels summary_type
  summary_use_proj is_decoder pretraining_tp reorder_and_upcast_attn output_router_logits router_aux_loss_coef
  router_jitter_noise image_seq_length num_image_tokens projection_dim task_specific_params n_ctx
  max_length do_sample temperature top_k top_p
""")
# Read in another family, of no effect in these.
UNUSED = {
  "qwen3_moe": ("intermediate_size",),  # of layers without experts, of which there are none
  "llava": ("hidden_size", "vocab_size"),
  "paligemma": ("hidden_size", "vocab_size"),  # those of text_config
}
VISION = _words("""
  image_size patch_size hidden_size num_hidden_layers num_attention_heads intermediate_size layer_norm_eps
  hidden_act num_channels vision_use_head num_positions num_image_tokens projector_hidden_act vocab_size
""")


def read_of(family: str, defaults: Mapping[str, Any]) -> frozenset[str]:
  """The keys that are read of a family, whose class has these."""
  row = zoo.FAMILIES[family]
  own = {value for value in (row.moe or {}).values() if isinstance(value, str)} | set(row.demands)
  if "rope_parameters" in defaults:
    own |= {"rope_scaling", *row.spellings}
  elif row.kind == "vlm":
    own |= set(row.spellings)
  return ALWAYS | READ & set(defaults) | {key.theirs for key in row.all_keys.values()} | own


def check(config: Mapping[str, Any], defaults: Mapping[str, Any], aliases: Mapping[str, str], where: str) -> None:
  """Raises InputError for a key that changes the function and is not read; names those that nobody reads.

  Args:
    config: the file. defaults: of the family's class. aliases: other names of its keys.
  """
  family = config["model_type"]
  known = read_of(family, defaults) | HARMLESS | set(UNUSED.get(family, ()))
  strange = []
  for key, value in config.items():
    name = aliases.get(key, key)
    if name in known or key in known:
      continue
    if name not in defaults:
      strange.append(key)
    elif value != defaults[name]:
      raise errors.InputError(
        f"{where}: {key} is {jsontext.shown(value)}, which is not built; supported is {defaults[name]!r}"
      )
  if strange:
    log.info(f"{where}: not read, as in transformers: {', '.join(sorted(strange))}")


def check_vision(config: Mapping[str, Any], where: str) -> None:
  """The same of a vision tower: images have three channels."""
  if config.get("num_channels", 3) != 3:
    raise errors.InputError(f"{where}: vision_config.num_channels is {config['num_channels']!r}; supported is 3")
  strange = sorted(set(config) - VISION - ALWAYS - HARMLESS)
  if strange:
    log.info(f"{where}: not read of vision_config: {', '.join(strange)}")


_COUNTS = ("num_hidden_layers", "num_layers", "num_decoder_layers", "n_layer", "num_local_experts", "num_experts")
_MOST = 100_000
# Whole numbers that transformers takes as they come, and the least that each may be.
_WHOLE = {"sliding_window": 1, "sliding_window_pattern": 1, "_sliding_window_pattern": 1, "no_rope_layer_interval": 1}
_WHOLE |= {"max_window_layers": 0, "num_attention_heads": 1, "num_key_value_heads": 1, "image_token_index": 0}
_WHOLE |= {"image_token_id": 0}
# Truth values that transformers takes as they come.
_TRUTHS = ("tie_word_embeddings", "scale_decoder_outputs", "is_gated_act")


def check_values(config: Mapping[str, Any], read: frozenset[str], aliases: Mapping[str, str], where: str) -> None:
  """Raises InputError for values of keys that are read which transformers would take for others, or take as they come.

  Args:
    read: the keys that are read of the family. aliases: other names of its keys.
  """
  _check_counts(config, where)
  for key, least in _WHOLE.items():
    value = config.get(key) if key in read else None
    if value is not None and not (type(value) is int and least <= value < 2**31):
      raise errors.InputError(f"{where}: {key} is {jsontext.shown(value)}; a whole number from {least} on is expected")
  for key in _TRUTHS:
    if key in read and not isinstance(config.get(key), (bool, type(None))):
      raise errors.InputError(f"{where}: {key} is {jsontext.shown(config[key])}; true or false is expected")
  pairs = {**aliases, **({"image_token_index": "image_token_id"} if "image_token_index" in read else {})}
  for one, other in pairs.items():
    if one in config and other in config and not jsontext.same(config[one], config[other]):
      both = f"{one} is {jsontext.shown(config[one])}, and {other} is {jsontext.shown(config[other])}"
      raise errors.InputError(f"{where}: {both}, which are one value: take one away")
  _check_kinds_of_layers(config, read, where)


def _check_kinds_of_layers(config: Mapping[str, Any], read: frozenset[str], where: str) -> None:
  """Raises InputError for a list of kinds of layers that contradicts the step by which older files say the same."""
  kinds = config.get("layer_types")
  for key in ("sliding_window_pattern", "_sliding_window_pattern"):
    step = config.get(key) if "sliding_window_pattern" in read else None
    if step is None or not isinstance(kinds, list):
      continue
    if kinds != ["full_attention" if (i + 1) % step == 0 else "sliding_attention" for i in range(len(kinds))]:
      raise errors.InputError(f"{where}: layer_types is not what {key} = {step} says: take one away")
  on, step = config.get("no_rope_layers"), config.get("no_rope_layer_interval")
  if "no_rope_layers" not in read or not isinstance(on, list) or step is None:
    return
  if on != [int((i + 1) % step != 0) for i in range(len(on))]:
    raise errors.InputError(f"{where}: no_rope_layers is not what no_rope_layer_interval = {step} says: take one away")


def _check_counts(config: Mapping[str, Any], where: str) -> None:
  """Raises InputError for a number of layers or experts that no model has: lists of that length would fill memory."""
  for part in (config, *(config.get(key) for key in ("text_config", "vision_config"))):
    found = part if isinstance(part, Mapping) else {}
    for key in _COUNTS:
      if isinstance(found.get(key), (int, float)) and not abs(found[key]) <= _MOST:
        raise errors.InputError(f"{where}: {key} is {found[key]!r}, which no model has")
