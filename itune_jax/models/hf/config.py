"""config.json in both directions, by the keys of a family."""

from collections.abc import Mapping
import copy
import dataclasses
import math
from typing import Any

import transformers

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.core import nearest
from itune_jax.models import decoder
from itune_jax.models import encdec
from itune_jax.models import vlm
from itune_jax.models import zoo
from itune_jax.models.hf import keys
from itune_jax.models.hf import rope_config
from itune_jax.nn import moe
from itune_jax.nn import vision


def config_from_hf(config: Mapping[str, Any], where: str) -> Any:
  """Reads a config.json. Raises InputError naming the file, the key, what was found and what is supported."""
  try:
    return _from_hf(config, where)
  except errors.InputError as e:
    raise errors.InputError(str(e) if str(e).startswith(where) else f"{where}: {e}") from None
  except (TypeError, ValueError, AttributeError, IndexError, KeyError, OverflowError, ZeroDivisionError) as e:
    raise errors.InputError(f"{where}: a value that cannot be: {jsontext.said(e, _SAID)}") from None


_SAID = 400  # characters of what transformers says


def _from_hf(config: Mapping[str, Any], where: str) -> Any:
  family = config.get("model_type")
  if not isinstance(family, str) or family not in zoo.FAMILIES:
    near = nearest.nearest(str(family)[:40], zoo.FAMILIES)
    hint = f"; the nearest supported is {near!r}" if near else ""
    raise errors.InputError(
      f"{where}: model_type is {jsontext.shown(family)}; supported are {', '.join(zoo.FAMILIES)}{hint}"
    )
  row = zoo.FAMILIES[family]
  if config.get("quantization_config"):
    found = config["quantization_config"]
    kind = found.get("quant_method") if isinstance(found, Mapping) else found
    raise errors.InputError(
      f"{where}: quantization_config ({jsontext.shown(kind)}) is not supported; load the full weights"
    )
  kind = transformers.CONFIG_MAPPING[family]
  defaults = kind().to_dict()
  read = keys.read_of(family, defaults)
  rope_config.check(config, read, row.turns_part, where)
  keys.check_values(config, read, kind.attribute_map, where)
  full = with_defaults(config, where)
  keys.check(config, defaults, kind.attribute_map, where)
  full = full.to_dict() | {older: getattr(full, older, None) for older in full.attribute_map}
  for key, accepted in row.demands.items():
    if full.get(key, accepted[0]) not in accepted:
      raise errors.InputError(f"{where}: {key} is {jsontext.shown(full[key])}; supported is {accepted[0]!r}")
  try:
    return _READERS[row.kind](row, family, full, where)
  except KeyError as e:
    raise errors.InputError(f"{where}: the key {e} is missing") from None


_LARGEST = 2**31


def _fields(row: zoo.Family, full, where, needed: tuple[str, ...]) -> dict[str, Any]:
  """Our fields by the keys of a family."""
  fields: dict[str, Any] = {}
  for ours, key in row.all_keys.items():
    if full.get(key.theirs) is not None:
      fields[ours] = key.read(full[key.theirs])
      if isinstance(fields[ours], int) and abs(fields[ours]) >= _LARGEST:
        raise errors.InputError(f"{where}: {key.theirs} is {full[key.theirs]!r}, which no model has")
  found = fields.get("activation", "silu")
  if found not in zoo.ACTIVATIONS.values():
    raise errors.InputError(
      f"{where}: the activation is {jsontext.shown(found)}; supported are {', '.join(zoo.ACTIVATIONS)}"
    )
  for name in needed:
    if name not in fields:
      raise KeyError(row.all_keys[name].theirs)
  for name in ("norm_eps", *_FACTORS):
    if name in fields:
      fields[name] = float(fields[name])
    if name in fields and not (math.isfinite(fields[name]) and fields[name] > (-1 if name == "norm_eps" else 0)):
      theirs = row.all_keys[name].theirs
      raise errors.InputError(f"{where}: {theirs} is {full[theirs]!r}; a number above 0 is expected")
  return fields


_FACTORS = (
  *("embed_scale", "residual_scale", "logit_scale", "attention_scale"),
  *("attention_softcap", "logit_softcap"),
)


def _read_decoder(row: zoo.Family, family: str, full, where) -> decoder.DecoderConfig:
  fields = _fields(row, full, where, ("vocab", "width", "depth", "heads", "max_length"))
  fields.setdefault("kv_heads", fields["heads"])
  fields.setdefault("head_dim", fields["width"] // fields["heads"])
  if full.get("head_dim") not in (None, fields["head_dim"]):
    raise errors.InputError(f"{where}: head_dim is {full['head_dim']!r}; {family} has {fields['head_dim']}")
  fields.setdefault("mlp", 4 * fields["width"])
  if row.embeds_by_root_width:
    fields["embed_scale"] = fields["width"] ** 0.5
  if row.moe:
    keep = row.moe["renormalise"]
    fields["moe"] = moe.MoeSpec(
      experts=full[row.moe["experts"]],
      top_k=full["num_experts_per_tok"],
      renormalise=keep if isinstance(keep, bool) else bool(full[keep]),
    )
  fields |= _read_layers(row, full, fields["depth"])
  if outputs := _scores(full, where):
    fields |= {"scores": outputs, "tied": False}
  return decoder.DecoderConfig(family=family, **{**fields, **row.fixed})


_SCORING = "ForSequenceClassification"


def _scores(full, where) -> int:
  """Outputs of the head of a model that scores text; 0 for a model of language. Raises InputError for another task."""
  named = full.get("architectures") or []
  if not any(isinstance(one, str) and one.endswith(_SCORING) for one in named):
    return 0
  labels = full.get("id2label")
  count = len(labels) if isinstance(labels, Mapping) else full.get("num_labels", 2)
  if not isinstance(count, int) or isinstance(count, bool) or not 0 < count < _LARGEST:
    raise errors.InputError(f"{where}: num_labels is {count!r}; {named[0]} needs a number of outputs")
  return count


def scoring(config: Mapping[str, Any], outputs: int) -> dict[str, Any]:
  """A config.json of the same decoder with a head of so many outputs. Raises InputError for what is no decoder."""
  row = zoo.FAMILIES[config["model_type"]]
  if row.kind != "decoder":
    raise errors.InputError(f"{config['model_type']} is no decoder of text alone: it takes no head that scores")
  labels = {i: f"LABEL_{i}" for i in range(outputs)}
  name = row.architecture.replace("ForCausalLM", "").replace("LMHeadModel", "") + _SCORING
  more = {"id2label": {str(i): label for i, label in labels.items()}, "label2id": {v: k for k, v in labels.items()}}
  return {**config, "architectures": [name], "tie_word_embeddings": False, **more}


def _read_encdec(row: zoo.Family, family: str, full, where) -> encdec.EncDecConfig:
  fields = _fields(row, full, where, ("vocab", "width", "depth", "heads", "head_dim", "mlp"))
  return encdec.EncDecConfig(family=family, **{**fields, **row.fixed})


def _read_vlm(row: zoo.Family, family: str, full, where) -> vlm.VlmConfig:
  inner = {k: v for k, v in full["text_config"].items() if k != "use_bidirectional_attention"}
  if inner.get("model_type") not in row.texts:
    raise errors.InputError(
      f"{where}: text_config.model_type is {inner.get('model_type')!r}; {family} takes {', '.join(row.texts)}"
    )
  text = config_from_hf({"tie_word_embeddings": full.get("tie_word_embeddings"), **inner}, f"{where} (text_config)")
  fields = {f.name: getattr(text, f.name) for f in dataclasses.fields(text)}
  fields |= _fields(row, full, where, ())
  image_token = full.get("image_token_index", full.get("image_token_id"))
  mine = {"family": family, "text_family": text.family, "image_token": image_token, "vision": _read_vision(full, where)}
  return vlm.VlmConfig(**{**fields, **mine, **row.fixed})


_VISION_KEYS = {
  "size": "image_size",
  "patch": "patch_size",
  "width": "hidden_size",
  "depth": "num_hidden_layers",
  "heads": "num_attention_heads",
  "mlp": "intermediate_size",
  "norm_eps": "layer_norm_eps",
}


def _read_vision(full, where) -> vision.VisionConfig:
  found = full["vision_config"]
  keys.check_vision(found, where)
  kind = found.get("model_type")
  if kind not in ("clip_vision_model", "siglip_vision_model"):
    raise errors.InputError(
      f"{where}: vision_config.model_type is {kind!r}; supported are clip_vision_model, siglip_vision_model"
    )
  layer = full.get("vision_feature_layer", -1)
  if not isinstance(layer, int) or layer >= 0:
    raise errors.InputError(f"{where}: vision_feature_layer is {layer!r}; supported are numbers counted from the end")
  return vision.VisionConfig(
    **{ours: found[theirs] for ours, theirs in _VISION_KEYS.items()},
    activation=zoo.ACTIVATIONS.get(found["hidden_act"], found["hidden_act"]),  # pyright: ignore[reportArgumentType]
    class_token=kind == "clip_vision_model",
    skip=-1 - layer,
  )


_READERS = {"decoder": _read_decoder, "encdec": _read_encdec, "vlm": _read_vlm}


def _read_layers(row, full, depth) -> dict[str, Any]:
  """Windows and rotary settings."""
  fields: dict[str, Any] = {}
  window = full.get("sliding_window")
  if row.windows == "all" and window:
    fields["windows"] = (window,) * depth
  elif row.windows == "layer_types" and window:
    windows = tuple(window if kind == "sliding_attention" else 0 for kind in full["layer_types"])
    fields["windows"] = windows if any(windows) else ()
  rope = full.get("rope_parameters")
  if rope and "full_attention" in rope:
    fields["rope"] = rope_config.from_hf(rope["full_attention"], full)
    fields["local_rope"] = rope_config.from_hf(rope["sliding_attention"], full)
  elif rope:
    fields["rope"] = rope_config.from_hf(rope, full)
  return fields


def with_defaults(config, where) -> transformers.PreTrainedConfig:
  """config.json with what its family leaves unsaid, in the spelling of today's transformers."""
  try:
    rest = copy.deepcopy({k: v for k, v in config.items() if k != "model_type"})  # the library completes it in place
    return transformers.AutoConfig.for_model(config["model_type"], **rest)
  except Exception as e:  # the library raises many kinds, all about the file's content
    raise errors.InputError(f"{where}: not a valid {config['model_type']} config ({jsontext.said(e, _SAID)})") from None


def config_to_hf(cfg: Any, dtype: str, tokens: Mapping[str, Any]) -> dict[str, Any]:
  """A config.json that transformers reads. `tokens` adds bos, eos and pad ids."""
  row = zoo.FAMILIES[cfg.family]
  if row.kind == "vlm":
    return _vlm_to_hf(row, cfg, dtype, tokens)
  found: dict[str, Any] = {"architectures": [row.architecture], "model_type": cfg.family, **row.also}
  for ours, key in row.all_keys.items():
    value = key.write(getattr(cfg, ours))
    if found.get(key.theirs, value) != value:
      raise errors.InputError(f"{cfg.family} has one key, {key.theirs}, for {ours} and another field; they differ")
    found[key.theirs] = value
  if row.kind == "decoder":
    found |= _decoder_to_hf(row, cfg)
  if row.kind == "decoder" and cfg.scores:
    found = scoring(found, cfg.scores)
  # Dropout is a matter of the run, not of the weights: none is written.
  special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
  return {**found, "torch_dtype": dtype, "dtype": dtype, **special, **tokens}


def end_ids(config: Mapping[str, Any] | None, generation: Mapping[str, Any] | None, where: str = "") -> tuple[int, ...]:
  """Ids that end a text, of both configs (and that of a text model inside), each once. Raises InputError for others."""
  text = (config or {}).get("text_config")
  found = [(part or {}).get("eos_token_id") for part in (generation, config, text if isinstance(text, Mapping) else {})]
  lists = [one if isinstance(one, list) else [one] for one in found if one is not None]
  ids = [i for one in lists for i in one]
  if bad := [i for i in ids if isinstance(i, bool) or not isinstance(i, int) or i < 0]:
    raise errors.InputError(f"{where}: eos_token_id of config.json or generation_config.json: {bad[0]!r} is no id")
  return tuple(dict.fromkeys(ids))


def untied(config: Mapping[str, Any]) -> dict[str, Any]:
  """A config.json of the same model with an output projection of its own."""
  text = config.get("text_config")
  inner = {"text_config": {**text, "tie_word_embeddings": False}} if isinstance(text, Mapping) else {}
  return {**config, **inner, "tie_word_embeddings": False}


def _vlm_to_hf(row, cfg, dtype, tokens) -> dict[str, Any]:
  text_fields = {f.name: getattr(cfg, f.name) for f in dataclasses.fields(decoder.DecoderConfig)}
  text_fields |= {"family": cfg.text_family, "prefix_lm": False}
  back = {"gelu_tanh": "gelu_pytorch_tanh"}
  clip = cfg.vision.class_token
  seen = {theirs: getattr(cfg.vision, ours) for ours, theirs in _VISION_KEYS.items()}
  seen |= {
    "model_type": "clip_vision_model" if clip else "siglip_vision_model",
    "hidden_act": back.get(cfg.vision.activation, cfg.vision.activation),
    "num_channels": 3,
    "projection_dim": cfg.width,
    **({} if clip else {"vision_use_head": False}),
  }
  found = {key.theirs: key.write(getattr(cfg, ours)) for ours, key in row.all_keys.items()}
  if row.texts[0] == "llama":
    found |= {"vision_feature_layer": -1 - cfg.vision.skip, "vision_feature_select_strategy": "default"}
    found |= {"multimodal_projector_bias": True}
  return {
    "architectures": [row.architecture],
    "model_type": cfg.family,
    "image_token_index": cfg.image_token,
    "projection_dim": cfg.width,
    "hidden_size": cfg.width,
    "tie_word_embeddings": cfg.tied,
    "text_config": config_to_hf(decoder.DecoderConfig(**text_fields), dtype, tokens),
    "vision_config": seen,
    "torch_dtype": dtype,
    "dtype": dtype,
    **found,
  }


def _decoder_to_hf(row, cfg) -> dict[str, Any]:
  found: dict[str, Any] = {"attention_dropout": 0.0}
  if row.moe:
    found |= {str(row.moe["experts"]): cfg.moe.experts, "num_experts_per_tok": cfg.moe.top_k}
    if isinstance(row.moe["renormalise"], str):
      found[row.moe["renormalise"]] = cfg.moe.renormalise
  if row.windows != "none":
    found["sliding_window"] = max(cfg.windows, default=0) or None
  if row.windows == "layer_types" and cfg.windows:
    found["layer_types"] = ["sliding_attention" if w else "full_attention" for w in cfg.windows]
    found["max_window_layers"] = next((i for i, w in enumerate(cfg.windows) if w), cfg.depth)
  elif row.windows == "layer_types":
    found |= dict.fromkeys(row.also, False)
    found["layer_types"] = ["full_attention"] * cfg.depth
  if cfg.positions == "rope":
    found |= rope_config.to_hf(cfg)
  return found
