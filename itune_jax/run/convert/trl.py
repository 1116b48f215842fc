"""TRL's configurations of `trl sft`, and those of the alignment handbook, which have the same keys.

Names and defaults are those of TRL's SFTConfig and ModelConfig over transformers' TrainingArguments.
"""

from collections.abc import Mapping
from typing import Any

from itune_jax.core import check
from itune_jax.core import jsontext
from itune_jax.run.convert import dialect

# What transformers' trainer takes whose values change no result here.
TRAINER = frozenset(
  [
    "output_dir",
    "overwrite_output_dir",
    "do_train",
    "do_eval",
    "do_predict",
    "logging_steps",
    "logging_strategy",
    "logging_first_step",
    "log_level",
    "logging_dir",
    "report_to",
    "run_name",
    "save_steps",
    "save_strategy",
    "save_total_limit",
    "save_only_model",
    "evaluation_strategy",
    "eval_strategy",
    "eval_steps",
    "per_device_eval_batch_size",
    "eval_on_start",
    "push_to_hub",
    "hub_model_id",
    "hub_strategy",
    "hub_private_repo",
    "ddp_timeout",
    "ddp_find_unused_parameters",
    "deepspeed",
    "fsdp",
    "fsdp_config",
    "dataloader_num_workers",
    "dataloader_pin_memory",
    "dataloader_drop_last",
    "dataset_num_proc",
    "preprocessing_num_workers",
    "gradient_checkpointing_kwargs",
    "tf32",
    "torch_compile",
    "attn_implementation",
    "use_liger_kernel",
    "group_by_length",
    "remove_unused_columns",
    "disable_tqdm",
    "include_tokens_per_second",
    "include_num_input_tokens_seen",
    "average_tokens_across_devices",
    "plot_loss",
    "overwrite_cache",
    "trust_remote_code",
    "use_fast_tokenizer",
    "flash_attn",
    "bf16_full_eval",
    "use_cache",
  ]
)
OPTIMIZERS = (
  "adamw_torch",
  "adamw_torch_fused",
  "adamw_hf",
  "adamw_bnb_8bit",
  "paged_adamw_8bit",
  "paged_adamw_32bit",
  "adamw_8bit",
)

# Keys of transformers' trainer that say something here, and what it does without them.
TRAINS: dict[str, dialect.Does] = {
  "model_name_or_path": dialect.sets("BASE", str),
  "learning_rate": dialect.sets("schedule.Schedule.rate", float),
  "lr_scheduler_type": dialect.schedule,
  "weight_decay": dialect.sets("adamw.AdamW.weight_decay", float),
  "max_grad_norm": dialect.sets("adamw.AdamW.clip", float),
  "adam_beta1": dialect.sets("adamw.AdamW.b1", float),
  "adam_beta2": dialect.sets("adamw.AdamW.b2", float),
  "adam_epsilon": dialect.sets("adamw.AdamW.eps", float),
  "seed": dialect.sets("SEED", int),
  "bf16": dialect.precision,
  "bnb_4bit_quant_type": dialect.nf4,
  "model_revision": dialect.revision,
  "resume_from_checkpoint": dialect.begins,
  "gradient_checkpointing": dialect.remat,
  "neftune_noise_alpha": lambda draft, value, whole: neftune(draft, value),
  "optim": lambda draft, value, whole: optimizer(draft, value),
  **dialect.steps("num_train_epochs", "max_steps"),
  **dialect.warmup("warmup_ratio", "warmup_steps"),
}
DEFAULTS = {
  "learning_rate": 5e-5,
  "lr_scheduler_type": "linear",
  "weight_decay": 0.0,
  "max_grad_norm": 1.0,
  "num_train_epochs": 3.0,
  "max_steps": -1,
  "seed": 42,
  "per_device_train_batch_size": 8,
  "gradient_accumulation_steps": 1,
  "warmup_ratio": 0.0,
  "warmup_steps": 0,
}
WITHOUT = {
  "fp16": "float16 has no equal; bf16 has",
  "label_smoothing_factor": "label smoothing of SFT",
  "load_in_8bit": "8-bit bases: load_in_4bit has an equal, or quant.Quant.kind = 'int8'",
  "max_samples": "give mixture.Source.limit, or a file with these rows",
  "val_size": "give --val_fraction",
  "train_on_prompt": "prompts do not train here",
  "torch_dtype": "the type of weights is PRECISION",
  "chat_template": "give --gin.TEMPLATE=FILE",
  "chat_template_path": "give --gin.TEMPLATE=FILE",
  "adapter_name_or_path": "give --gin.WARM_START=FOLDER",
  "modules_to_save": "add @full.Full() to PEFT (docs/methods.md)",
  "lora_modules_to_save": "add @full.Full() to PEFT (docs/methods.md)",
}


def optimizer(draft: dialect.Draft, value: Any) -> None:
  """AdamW in any of its implementations; states in 8 bits are kept in float32 here."""
  check.require(
    value in OPTIMIZERS,
    f"optimizer {jsontext.shown(value)} has no equal in this list: {', '.join(OPTIMIZERS)}; see gin_configs/optim",
  )
  if "8bit" in str(value):
    draft.notes.append("its optimizer holds its state in 8 bits; here it is float32")


def neftune(draft: dialect.Draft, value: Any) -> None:
  """Noise on embeddings."""
  if value:
    draft.values["sft.Sft.neftune_alpha"] = dialect.typed("neftune_noise_alpha", value, float)


def _loss(draft: dialect.Draft, value: Any, whole: Mapping[str, Any]) -> None:
  """SFT's losses by TRL's names; "chunked_nll" is "nll" with less memory, as all of it is here."""
  del draft, whole
  check.require(
    value in (None, "nll", "chunked_nll"),
    f"loss_type: {jsontext.shown(value)} has no equal in SFT; nll has. Is it of `trl dpo`? Give --tool=trl_dpo",
  )


def peft(draft: dialect.Draft, value: Any, whole: Mapping[str, Any]) -> None:
  """LoRA with the values that stand beside `use_peft`."""
  if not value:
    return
  dialect.adapter_trains(draft)
  draft.values |= {
    "lora.Lora.rank": dialect.typed("lora_r", whole.get("lora_r", 16), int),
    "lora.Lora.alpha": dialect.typed("lora_alpha", whole.get("lora_alpha", 32), float),
    "lora.Lora.dropout": dialect.typed("lora_dropout", whole.get("lora_dropout", 0.05), float),
    "lora.Lora.rslora": dialect.typed("use_rslora", whole.get("use_rslora", False), bool),
    "lora.Lora.dora": dialect.typed("use_dora", whole.get("use_dora", False), bool),
  }
  names = whole.get("lora_target_modules")
  if names is None:
    # peft's own choice for Llama-like models, where no modules are named.
    draft.values["lora.Lora.sites"] = r"blocks/\d+/(attn/(q|v))"
  else:
    dialect.targets(draft, names, whole)


_READ_BY_PEFT = frozenset(
  ["lora_r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "lora_target_modules", "lora_task_type"]
)
# What `trl sft` and `trl dpo` share.
SHARED: dict[str, dialect.Does] = {
  **TRAINS,
  "use_peft": peft,
  "load_in_4bit": dialect.qlora,
  "dataset_name": dialect.data,
  "dataset_mixture": dialect.data,
  "truncation_mode": dialect.only("truncation_mode", None, "keep_start"),
  "per_device_train_batch_size": dialect.batch(
    "per_device_train_batch_size", "gradient_accumulation_steps", "max_length"
  ),
}
SHARED_DEFAULTS = {**DEFAULTS, "max_length": 1024, "gradient_checkpointing": True, "bf16": True, "use_peft": False}
SHARED_HARMLESS = (
  TRAINER
  | _READ_BY_PEFT
  | {
    "gradient_accumulation_steps",
    "max_length",
    "dataset_train_split",
    "dataset_config",
    "dataset_test_split",
    "padding_free",
    "pad_to_multiple_of",
    "activation_offloading",
  }
)
SHARED_MARKS = frozenset(["use_peft", "dataset_name", "dataset_mixture", "lora_target_modules", "max_length"])

TRL = dialect.Dialect(
  name="trl",
  marks=SHARED_MARKS | {"assistant_only_loss", "completion_only_loss"},
  defaults={**SHARED_DEFAULTS, "learning_rate": 2e-5, "packing": False, "assistant_only_loss": False},
  does={
    **SHARED,
    "packing": dialect.packing,
    "loss_type": _loss,
    "assistant_only_loss": lambda draft, value, whole: dialect.prompts_train(
      draft, not value and not whole.get("completion_only_loss"), whole
    ),
  },
  harmless=SHARED_HARMLESS | {"packing_strategy", "eval_packing", "completion_only_loss"},
  without=WITHOUT,
)
