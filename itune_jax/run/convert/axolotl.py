"""axolotl's YAML of `axolotl train`: supervised tuning, full, LoRA and QLoRA.

Names and defaults are those of its configuration reference.
"""

from collections.abc import Mapping
from typing import Any

from itune_jax.core import check
from itune_jax.core import jsontext
from itune_jax.run.convert import dialect
from itune_jax.run.convert import trl


def _adapter(draft: dialect.Draft, value: Any, whole: Mapping[str, Any]) -> None:
  if not value:
    return
  check.require(value in ("lora", "qlora"), f"adapter: {jsontext.shown(value)} has no equal; lora and qlora have")
  dialect.adapter_trains(draft)
  check.require("lora_r" in whole and "lora_alpha" in whole, f"adapter: {value} needs lora_r and lora_alpha")
  draft.values |= {
    "lora.Lora.rank": dialect.typed("lora_r", whole["lora_r"], int),
    "lora.Lora.alpha": dialect.typed("lora_alpha", whole["lora_alpha"], float),
    "lora.Lora.dropout": dialect.typed("lora_dropout", whole.get("lora_dropout") or 0.0, float),
    "lora.Lora.rslora": dialect.typed("peft_use_rslora", whole.get("peft_use_rslora") or False, bool),
    "lora.Lora.dora": dialect.typed("peft_use_dora", whole.get("peft_use_dora") or False, bool),
  }
  if not whole.get("lora_target_linear"):
    dialect.targets(draft, whole.get("lora_target_modules") or [], whole)
  if value == "qlora":
    dialect.qlora(draft, True, whole)


def _datasets(draft: dialect.Draft, value: Any, whole: Mapping[str, Any]) -> None:
  given = [] if value is None else value if isinstance(value, list) else [value]
  paths = [one.get("path") if isinstance(one, dict) else one for one in given]
  good = all(isinstance(path, str) and path for path in paths)
  check.require(good, f"datasets: {jsontext.shown(value)} is no list of data sets, each with a `path`")
  dialect.data(draft, paths[0] if len(paths) == 1 else paths, whole)
  for one in given:
    for key, does in _OF_DATA.items():
      if isinstance(one, dict) and key in one:
        does(draft, one[key], one)
  unread = sorted({str(key) for one in given if isinstance(one, dict) for key in one} - {"path", "ds_type", *_OF_DATA})
  if unread:
    draft.notes.append(
      f"of its datasets these are not taken over: {', '.join(unread)} (docs/guides/bring_your_data.md)"
    )


# What trains of a row of a data set: answers and the end of each.
_OF_DATA: dict[str, dialect.Does] = {
  "roles_to_train": dialect.only("roles_to_train", None, ["gpt"], ["gpt", "assistant"], ["assistant"]),
  "train_on_eos": dialect.only("train_on_eos", None, "turn"),
}


def _share(draft: dialect.Draft, value: Any, whole: Mapping[str, Any]) -> None:
  del whole
  if value:
    check.require(
      isinstance(value, float) and value < 1,
      f"val_set_size: {jsontext.shown(value)}: a share below 1 has an equal, a number of rows none",
    )
    draft.set(VAL_FRACTION=value)


_READ_TOGETHER = frozenset(
  [
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "lora_target_modules",
    "lora_target_linear",
    "peft_use_rslora",
    "peft_use_dora",
  ]
)
_QUIET = frozenset(
  [
    "model_type",
    "tokenizer_type",
    "is_llama_derived_model",
    "strict",
    "dataset_prepared_path",
    "hub_model_id",
    "wandb_project",
    "wandb_entity",
    "wandb_watch",
    "wandb_name",
    "wandb_log_model",
    "wandb_run_id",
    "logging_steps",
    "flash_attention",
    "sdp_attention",
    "xformers_attention",
    "evals_per_epoch",
    "saves_per_epoch",
    "eval_table_size",
    "eval_max_new_tokens",
    "local_rank",
    "debug",
    "pad_to_sequence_len",
    "eval_sample_packing",
    "eval_batch_size",
    "tf32",
    "lora_qkv_kernel",
    "lora_o_kernel",
    "lora_mlp_kernel",
    "save_safetensors",
    "save_first_step",
  ]
)

AXOLOTL = dialect.Dialect(
  name="axolotl",
  marks=frozenset(["base_model", "micro_batch_size", "sequence_len"]),
  defaults={
    "gradient_accumulation_steps": 1,
    "micro_batch_size": 1,
    "sequence_len": 512,
    "num_epochs": 1.0,
    "max_steps": -1,
    "lr_scheduler": "cosine",
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "warmup_ratio": 0.03,
    "warmup_steps": 0,
    "seed": 42,
    "sample_packing": False,
    "train_on_inputs": False,
  },
  does={
    "base_model": dialect.sets("BASE", str),
    "adapter": _adapter,
    "datasets": _datasets,
    "val_set_size": _share,
    "learning_rate": dialect.sets("schedule.Schedule.rate", float),
    "lr_scheduler": dialect.schedule,
    "optimizer": lambda draft, value, whole: trl.optimizer(draft, value),
    "weight_decay": dialect.sets("adamw.AdamW.weight_decay", float),
    "max_grad_norm": dialect.sets("adamw.AdamW.clip", float),
    "adam_beta1": dialect.sets("adamw.AdamW.b1", float),
    "adam_beta2": dialect.sets("adamw.AdamW.b2", float),
    "adam_epsilon": dialect.sets("adamw.AdamW.eps", float),
    "seed": dialect.sets("SEED", int),
    "bf16": dialect.precision,
    "bnb_4bit_quant_type": dialect.nf4,
    "load_in_4bit": dialect.qlora,
    "model_revision": dialect.revision,
    "resume_from_checkpoint": dialect.begins,
    "gradient_checkpointing": dialect.remat,
    "sample_packing": dialect.packing,
    "train_on_inputs": dialect.prompts_train,
    "neftune_noise_alpha": lambda draft, value, whole: trl.neftune(draft, value),
    "micro_batch_size": dialect.batch("micro_batch_size", "gradient_accumulation_steps", "sequence_len"),
    **dialect.steps("num_epochs", "max_steps"),
    **dialect.warmup("warmup_ratio", "warmup_steps"),
  },
  harmless=trl.TRAINER | _READ_TOGETHER | _QUIET | {"sequence_len", "gradient_accumulation_steps"},
  without=trl.WITHOUT
  | {
    **dict.fromkeys(_OF_DATA, "answers train, with the end of each turn"),
    "rl": "preference tuning: see recipes/preference.gin",
    "special_tokens": "give specs.Model.special_tokens",
    "tokens": "give specs.Model.special_tokens",
    "eot_tokens": "the end of a turn in the model's template trains, always",
    "early_stopping_patience": "give loop.EarlyStop.patience",
    "plugins": "what a plugin changes is not known here; kernels alone change no result",
  },
  required=("learning_rate",),
)
