"""Every option of adapter_config.json: read, harmless, or refused by name. Nothing is ignored unseen.

An option is harmless when the tensors of the folder are the same function whatever it says: how they were first drawn,
what was dropped while they trained. Where peft would compute something else, it is read or refused. An option that is
in no table here is refused too, unless it is switched off: newer versions of peft write more of them.
"""

from collections.abc import Mapping
import math
import re
from typing import Any, Literal, NamedTuple

from itune_jax.core import errors

Use = Literal["read", "harmless", "off"]  # off: read only with the value in `Option.off`


class Option(NamedTuple):
  """What becomes of an option. kind: of its value, a key of _KINDS, with "?" where null is one."""

  use: Use
  kind: str = "any?"
  off: Any = None


def _is_number(value: Any) -> bool:
  return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_int(value: Any) -> bool:
  return isinstance(value, int) and not isinstance(value, bool)


def _is_words(value: Any) -> bool:
  """A regular expression, or names, which peft matches as such too."""
  return _is_regex(value) if isinstance(value, str) else isinstance(value, list) and all(map(_is_regex, value))


def _is_ints(value: Any) -> bool:
  return isinstance(value, list) and all(_is_int(one) for one in value)


def _is_regex(value: Any) -> bool:
  try:
    return isinstance(value, str) and bool(re.compile(value))
  except (re.error, RecursionError, OverflowError):
    return False


def _is_bias(value: Any) -> bool:
  return isinstance(value, str) and (value in ("none", "all") or value.endswith("_only"))


def _is_pattern(value: Any, item=_is_number) -> bool:
  return isinstance(value, dict) and all(_is_regex(key) and item(one) for key, one in value.items())


_KINDS = {
  "any": (lambda value: True, "anything"),
  "flag": (lambda value: isinstance(value, bool), "true or false"),
  "number": (_is_number, "a number"),
  "int": (lambda value: _is_int(value) and value >= 0, "a whole number"),
  "count": (lambda value: _is_int(value) and value > 0, "a whole number above 0"),
  "integer": (_is_int, "a whole number"),
  "text": (lambda value: isinstance(value, str), "a text"),
  "words": (_is_words, "a list of names, or a regular expression"),
  "names": (lambda value: isinstance(value, list) and _is_words(value), "a list of names"),
  "layers": (lambda value: _is_int(value) or _is_ints(value), "layers by number"),
  "ids": (lambda value: _is_ints(value) and all(one >= 0 for one in value), "a list of token ids"),
  "tokens": (
    lambda value: all(map(_is_ints, value.values() if isinstance(value, dict) else [value])),
    "a list of token ids, or one for each module",
  ),
  "ranks": (lambda value: _is_pattern(value, lambda one: _is_int(one) and one > 0), "ranks by regular expression"),
  "numbers": (_is_pattern, "numbers by regular expression"),
  "bias": (_is_bias, "none, all or a word that ends in _only"),
  "init": (lambda value: isinstance(value, (bool, str)), "true, false or a name"),
}


def _read(kind: str, *names: str) -> dict[str, Option]:
  return {name: Option("read", kind) for name in names}


def _harmless(*names: str) -> dict[str, Option]:
  return {name: Option("harmless") for name in names}


def _off(**values: Any) -> dict[str, Option]:
  return {name: Option("off", off=value) for name, value in values.items()}


_ALL = (
  _read("text", "peft_type")
  | _read("text?", "task_type", "base_model_name_or_path", "revision")
  | _harmless("auto_mapping", "peft_version", "inference_mode")
)
# Of methods that sit in modules. What trains by `bias` stands in the file; kernels are laid out as their family's.
_MODULES = (
  _ALL
  | _read("words?", "target_modules", "exclude_modules", "layers_pattern")
  | _read("layers?", "layers_to_transform")
  | _read("names?", "modules_to_save")
  | _read("bias?", "bias")
  | _harmless("init_weights")
  | _read("flag?", "fan_in_fan_out")
)
_LEARNED = (
  _ALL
  | _read("count", "num_virtual_tokens")
  | _harmless("token_dim", "num_attention_heads", "num_layers", "num_transformer_submodules")
  | _off(modules_to_save=None)
)
_LORA = (
  _MODULES
  | _read("count", "r")
  | _read("number", "lora_alpha")
  | _read("number?", "lora_dropout")
  | _read("flag?", "use_rslora", "use_dora", "lora_bias", "ensure_weight_tying")
  | _read("init?", "init_lora_weights")
  | _read("ranks?", "rank_pattern")
  | _read("numbers?", "alpha_pattern")
  | _read("tokens?", "trainable_token_indices")
  | _read("names?", "target_parameters")
  | _harmless("megatron_config", "megatron_core", "runtime_config", "qalora_group_size")
  | _harmless("loftq_config", "eva_config", "corda_config", "lora_ga_config")  # of an init_lora_weights
  | _off(layer_replication=None, use_qalora=False, alora_invocation_tokens=None, arrow_config=None, use_bdlora=None)
  | _off(velora_config=None, kasa_config=None, monteclora_config=None)
)
TABLE: dict[str, dict[str, Option]] = {
  "LORA": _LORA,
  "ADALORA": _LORA
  | _read("int", "target_r")
  | _harmless("r", "init_r", "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight", "total_step")
  | _harmless("rank_pattern", "init_lora_weights", "use_rslora")
  | _off(alpha_pattern={}, use_dora=False, lora_bias=False, target_parameters=None, trainable_token_indices=None),
  "BOFT": _MODULES | _harmless("boft_block_size", "boft_block_num", "boft_n_butterfly_factor", "boft_dropout"),
  "C3A": _MODULES | _harmless("block_size", "block_size_pattern"),
  "DELORA": _MODULES
  | _read("number?", "delora_lambda")
  | _harmless("r", "rank_pattern", "lambda_pattern", "module_dropout"),
  "FOURIERFT": _MODULES
  | _read("count", "n_frequency")
  | _read("number", "scaling")
  | _read("int?", "random_loc_seed")
  | _off(n_frequency_pattern={}),
  "GRALORA": _MODULES
  | _read("count", "r", "gralora_k")
  | _read("int", "hybrid_r")
  | _read("number", "alpha")
  | _harmless("gralora_dropout"),
  "HIRA": _MODULES | _harmless("r", "rank_pattern", "hira_dropout"),
  "HRA": _MODULES | _read("count", "r") | _read("flag?", "apply_GS"),
  "IA3": _MODULES | _harmless("feedforward_modules", "init_ia3_weights"),
  "LN_TUNING": _MODULES | _read("words?", "modules_to_save"),
  "LOHA": _MODULES
  | _read("count", "r")
  | _read("number", "alpha")
  | _read("ranks?", "rank_pattern")
  | _read("numbers?", "alpha_pattern")
  | _harmless("rank_dropout", "module_dropout", "use_effective_conv2d"),
  "LOKR": _MODULES
  | _read("count", "r")
  | _read("number", "alpha")
  | _read("flag?", "decompose_both")
  | _read("integer", "decompose_factor")
  | _off(rank_pattern={}, alpha_pattern={})
  | _harmless("rank_dropout", "module_dropout", "use_effective_conv2d", "rank_dropout_scale"),
  "MISS": _MODULES | _read("count", "r", "mini_r") | _read("init?", "init_weights") | _harmless("miss_dropout"),
  "OFT": _MODULES
  | _read("flag?", "block_share", "use_cayley_neumann")
  | _read("count", "num_cayley_neumann_terms")
  | _harmless("r", "oft_block_size", "module_dropout", "eps")
  | _off(coft=False),
  "PREFIX_TUNING": _LEARNED | _harmless("init_weights", "encoder_hidden_size", "prefix_projection"),
  "PROMPT_TUNING": _LEARNED
  | _harmless("prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs"),
  "P_TUNING": _LEARNED
  | _harmless("encoder_reparameterization_type", "encoder_hidden_size", "encoder_num_layers", "encoder_dropout"),
  "RANDLORA": _MODULES
  | _read("count", "r")
  | _read("number", "randlora_alpha")
  | _harmless("projection_prng_key", "save_projection", "sparse", "very_sparse", "randlora_dropout"),
  "ROAD": _MODULES | _read("text", "variant") | _read("count", "group_size"),
  "SHIRA": _MODULES | _read("count", "r") | _harmless("mask_type", "random_seed"),
  "TRAINABLE_TOKENS": _MODULES | _read("ids", "token_indices"),
  "VBLORA": _MODULES
  | _read("count", "r", "num_vectors", "vector_length", "topk")
  | _off(save_only_topk_weights=False)
  | _harmless("vblora_dropout", "init_vector_bank_bound", "init_logits_std"),
  "VERA": _MODULES
  | _read("count", "r")
  | _read("number?", "d_initial")
  | _harmless("projection_prng_key", "save_projection", "vera_dropout"),
}
# How values that are written in no file come into being: with another task, modules are there that no file names.
_TASKS = (None, "CAUSAL_LM", "SEQ_2_SEQ_LM")


class Config(dict[str, Any]):
  """adapter_config.json, checked; a key that is asked for and missing is one line."""

  def __init__(self, found: Mapping[str, Any], where: str):
    super().__init__(found)
    self.where = where

  def __missing__(self, key: str) -> Any:
    raise errors.InputError(f"{self.where}: the key {key} is missing")


def checked(found: Mapping[str, Any], where: str, supported: list[str]) -> Config:
  """The options of a folder.

  Args:
    where: the file. supported: peft's types that are read.

  Raises:
    InputError naming the option, its value and the file: of another method, of another type, one that changes the
    function in a way that is not built, or one that is not known.
  """
  kind = found.get("peft_type")
  if not isinstance(kind, str) or kind not in supported or kind not in TABLE:
    raise errors.InputError(f"{where}: peft_type is {kind!r}; supported are {', '.join(map(repr, supported))}")
  for name, value in found.items():
    _check(name, value, TABLE[kind].get(name), where)
  task = found.get("task_type")
  if task not in _TASKS:
    raise errors.InputError(f"{where}: task_type is {task!r}; supported are CAUSAL_LM and SEQ_2_SEQ_LM")
  return Config(found, where)


def _check(name: str, value: Any, option: Option | None, where: str) -> None:
  is_off = value is None or value is False or value in ({}, [])
  if option is None and not is_off:
    raise errors.InputError(
      f"{where}: {name} = {value!r} is an option that is not known here: load the adapter with peft, merge it, and use "
      "the whole model"
    )
  if option is None:
    return
  if option.use == "off" and not is_off and value != option.off:
    raise errors.InputError(f"{where}: {name} = {value!r} is not supported")
  if option.use != "read" or value is None and option.kind.endswith("?"):
    return
  fits, said = _KINDS[option.kind.rstrip("?")]
  if not fits(value):
    raise errors.InputError(f"{where}: {name} = {value!r}; it is {said}")
