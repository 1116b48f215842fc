"""LLaMA-Factory's YAML of `llamafactory-cli train`: stages sft, dpo and kto, full and LoRA.

Names and defaults are those of its ModelArguments, DataArguments and FinetuningArguments.
"""

from collections.abc import Mapping
from typing import Any

from itune_jax.core import check
from itune_jax.core import jsontext
from itune_jax.run.convert import dialect
from itune_jax.run.convert import trl


def _stage(draft: dialect.Draft, value: Any, whole: Mapping[str, Any]) -> None:
  known = ("sft", "dpo", "kto")
  check.require(value in known, f"stage: {jsontext.shown(value)} has no equal; {', '.join(known)} have")
  if value == "dpo":
    _preference(draft, whole)
  elif value == "kto":
    draft.parts |= {"objective": "kto", "data": "unpaired"}
    draft.values |= {
      "labelled.Kto.beta": _number("pref_beta", whole),
      "labelled.Kto.desirable": _number("kto_chosen_weight", whole),
      "labelled.Kto.undesirable": _number("kto_rejected_weight", whole),
    }


def _number(key: str, whole: Mapping[str, Any]) -> float:
  return dialect.typed(key, whole.get(key, _PREFERENCES[key]), float)


def _preference(draft: dialect.Draft, whole: Mapping[str, Any]) -> None:
  kind, beta = whole.get("pref_loss", "sigmoid"), _number("pref_beta", whole)
  sft, smoothing = _number("pref_ftx", whole), _number("dpo_label_smoothing", whole)
  draft.parts["data"] = "pairs"
  if kind in ("sigmoid", "hinge", "ipo"):
    draft.parts["objective"] = "dpo"
    smoothed = bool(smoothing) and kind == "sigmoid"
    names = ("cdpo" if smoothed else kind,)
    draft.values |= {"dpo.Dpo.losses": (*names, "sft") if sft else names, "dpo.Dpo.beta": beta}
    draft.values |= {"dpo.Dpo.weights": (1.0, sft)} if sft else {}
    draft.values |= {"dpo.Dpo.label_smoothing": smoothing} if smoothed else {}
    return
  check.require(not sft, f"pref_ftx: {sft:g} has no equal beside pref_loss {jsontext.shown(kind)}")
  if kind == "simpo":
    draft.parts["objective"] = "simpo"
    draft.values |= {"cpo.Simpo.beta": beta, "cpo.Simpo.gamma": _number("simpo_gamma", whole)}
  elif kind == "orpo":
    draft.parts["objective"] = "orpo"
    draft.values |= {"orpo.Orpo.beta": beta}
    draft.notes.append("its ORPO has another convention than TRL's (docs/guides/preferences.md)")
  else:
    check.require(False, f"pref_loss: {jsontext.shown(kind)} has no equal; sigmoid, hinge, ipo, orpo and simpo have")


def _tuning(draft: dialect.Draft, value: Any, whole: Mapping[str, Any]) -> None:
  check.require(value in ("lora", "full"), f"finetuning_type: {jsontext.shown(value)} has no equal; lora and full have")
  if value == "full":
    return
  dialect.adapter_trains(draft)
  rank = dialect.typed("lora_rank", whole.get("lora_rank", 8), int)
  alpha = whole.get("lora_alpha")
  draft.values |= {
    "lora.Lora.rank": rank,
    "lora.Lora.alpha": float(2 * rank) if alpha is None else dialect.typed("lora_alpha", alpha, float),
    "lora.Lora.dropout": dialect.typed("lora_dropout", whole.get("lora_dropout", 0.0), float),
    "lora.Lora.rslora": dialect.typed("use_rslora", whole.get("use_rslora", False), bool),
    "lora.Lora.dora": dialect.typed("use_dora", whole.get("use_dora", False), bool),
  }
  dialect.targets(draft, whole.get("lora_target", "all"), whole)


def _bits(draft: dialect.Draft, value: Any, whole: Mapping[str, Any]) -> None:
  if value is not None:
    check.require(value == 4, f"quantization_bit: {jsontext.shown(value)} has no equal; 4 has")
    dialect.qlora(draft, True, whole)


# What is read with `stage`, and its defaults.
_PREFERENCES = {
  "pref_beta": 0.1,
  "pref_ftx": 0.0,
  "dpo_label_smoothing": 0.0,
  "simpo_gamma": 0.5,
  "kto_chosen_weight": 1.0,
  "kto_rejected_weight": 1.0,
}
_READ_TOGETHER = frozenset(
  ["lora_rank", "lora_alpha", "lora_dropout", "lora_target", "use_rslora", "use_dora", "pref_loss", *_PREFERENCES]
)

LLAMA_FACTORY = dialect.Dialect(
  name="llama_factory",
  marks=frozenset(["finetuning_type", "cutoff_len", "stage"]),
  defaults={
    **trl.DEFAULTS,
    "cutoff_len": 2048,
    "stage": "sft",
    "finetuning_type": "lora",
    "gradient_checkpointing": True,
    "packing": False,
  },
  does={
    **trl.TRAINS,
    "stage": _stage,
    "finetuning_type": _tuning,
    "quantization_bit": _bits,
    "quantization_method": dialect.only("quantization_method", None, "bnb"),
    "dataset": dialect.data,
    "packing": dialect.packing,
    "train_on_prompt": dialect.prompts_train,
    "template": lambda draft, value, whole: draft.notes.append(
      f"its template is {value}: here it is the model's own (--gin.TEMPLATE=FILE for another)"
    ),
    "per_device_train_batch_size": dialect.batch(
      "per_device_train_batch_size", "gradient_accumulation_steps", "cutoff_len"
    ),
    "disable_gradient_checkpointing": lambda draft, value, whole: dialect.remat(draft, not value, whole),
  },
  harmless=trl.TRAINER
  | _READ_TOGETHER
  | {"gradient_accumulation_steps", "cutoff_len", "neat_packing", "dataset_dir", "double_quantization"},
  without={key: value for key, value in trl.WITHOUT.items() if key != "train_on_prompt"}
  | {
    "loraplus_lr_ratio": "append overlays/loraplus.gin",
    "pissa_init": "give --peft=pissa",
    "mask_history": "give a file with the last turns alone",
    "freeze_trainable_layers": "see full.Full.pattern in docs/methods.md",
  },
)
