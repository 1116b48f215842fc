"""TRL's configurations of `trl dpo`. Names and defaults are those of its DPOConfig, beside what `trl sft` has too."""

from collections.abc import Mapping
from typing import Any

from itune_jax.core import check
from itune_jax.core import jsontext
from itune_jax.run.convert import dialect
from itune_jax.run.convert import trl

_DIVERGENCES = {
  "reverse_kl": "reverse_kl",
  "forward_kl": "forward_kl",
  "js_divergence": "js",
  "alpha_divergence": "alpha",
}
_SMOOTHED = ("robust", "exo_pair", "aot", "aot_unpaired")  # beside "sigmoid", whose smoothed form is "cdpo" here


def losses(draft: dialect.Draft, value: Any, whole: Mapping[str, Any]) -> None:
  """Pairs, and DPO's losses by TRL's names; "sigmoid" with smoothed labels is "cdpo"."""
  names = [value] if isinstance(value, str) else value
  named = isinstance(names, (list, tuple)) and names and all(isinstance(one, str) for one in names)
  check.require(named, f"loss_type: {jsontext.shown(value)} is no loss, and no list of losses")
  draft.parts |= {"objective": "dpo", "data": "pairs"}
  smoothing = dialect.typed("label_smoothing", whole["label_smoothing"], float)
  smoothed = [name for name in names if name in ("sigmoid", *_SMOOTHED)]
  if smoothing and not smoothed:
    draft.notes.append(f"label_smoothing: {smoothing} acts on none of its losses, there and here")
  elif smoothing:
    draft.values["dpo.Dpo.label_smoothing"] = smoothing
    names = ["cdpo" if name == "sigmoid" else name for name in names]
  draft.values["dpo.Dpo.losses"] = tuple(names)


def _weights(draft: dialect.Draft, value: Any, whole: Mapping[str, Any]) -> None:
  del whole
  if value is not None:
    check.require(isinstance(value, list), f"loss_weights: {jsontext.shown(value)} is no list of numbers")
    draft.values["dpo.Dpo.weights"] = tuple(dialect.typed("loss_weights", one, float) for one in value)


def _divergence(draft: dialect.Draft, value: Any, whole: Mapping[str, Any]) -> None:
  known = ", ".join(_DIVERGENCES)
  check.require(
    value in tuple(_DIVERGENCES), f"f_divergence_type: {jsontext.shown(value)} has no equal; there are {known}"
  )
  draft.values["dpo.Dpo.divergence"] = _DIVERGENCES[value]
  if value == "alpha_divergence":
    draft.values["dpo.Dpo.divergence_alpha"] = dialect.typed(
      "f_alpha_divergence_coef", whole["f_alpha_divergence_coef"], float
    )


def _tail(draft: dialect.Draft, value: Any, whole: Mapping[str, Any]) -> None:
  del whole
  if value is not None:
    draft.values["dpo.Dpo.tail"] = dialect.typed("ld_alpha", value, float)


def _follows(draft: dialect.Draft, value: Any, whole: Mapping[str, Any]) -> None:
  """A reference that is synced with the policy (TR-DPO)."""
  if dialect.switched("sync_ref_model", value):
    draft.parts["objective"] = "tr_dpo"
    draft.values |= {
      "views.Following.every": dialect.typed("ref_model_sync_steps", whole["ref_model_sync_steps"], int),
      "views.Following.mix": dialect.typed("ref_model_mixup_alpha", whole["ref_model_mixup_alpha"], float),
    }


def _no_dropout(draft: dialect.Draft, value: Any, whole: Mapping[str, Any]) -> None:
  del whole
  if dialect.switched("disable_dropout", value) and draft.values.get("lora.Lora.dropout"):
    draft.values["lora.Lora.dropout"] = 0.0
    draft.notes.append("its DPO switches dropout off, the adapter's too (disable_dropout): so it is here")


_OWN = {
  "loss_type": ["sigmoid"],
  "beta": 0.1,
  "loss_weights": None,
  "label_smoothing": 0.0,
  "f_divergence_type": "reverse_kl",
  "f_alpha_divergence_coef": 0.5,
  "ld_alpha": None,
  "use_weighting": False,
  "discopop_tau": 0.05,
  "sync_ref_model": False,
  "ref_model_mixup_alpha": 0.6,
  "ref_model_sync_steps": 512,
  "disable_dropout": True,
}
_CACHES = ("precompute_ref_log_probs", "precompute_ref_batch_size")
_REFERENCES = {"reference_free": "see cpo.Cpo and cpo.Simpo in docs/guides/preferences.md"}

TRL_DPO = dialect.Dialect(
  name="trl_dpo",
  # Every key of DPO tells, but `loss_type`, which SFT has too.
  marks=trl.SHARED_MARKS | frozenset([*_OWN, *_CACHES, *_REFERENCES, "max_prompt_length", "rpo_alpha"]) - {"loss_type"},
  defaults={**trl.SHARED_DEFAULTS, "learning_rate": 1e-6, **_OWN},
  does={
    **trl.SHARED,
    "loss_type": losses,
    "beta": dialect.sets("dpo.Dpo.beta", float),
    "loss_weights": _weights,
    "f_divergence_type": _divergence,
    "ld_alpha": _tail,
    "use_weighting": dialect.sets("dpo.Dpo.weighted", bool),
    "discopop_tau": dialect.sets("dpo.Dpo.discopop_tau", float),
    "sync_ref_model": _follows,
    "disable_dropout": _no_dropout,
  },
  harmless=trl.SHARED_HARMLESS
  | {"label_smoothing", "f_alpha_divergence_coef", "ref_model_mixup_alpha", "ref_model_sync_steps", *_CACHES},
  without=trl.WITHOUT
  | _REFERENCES
  | {
    "max_prompt_length": "chat.Rendering.max_length is of prompt and answer together",
    "rpo_alpha": "add the loss 'sft' to loss_type, with loss_weights",
    "ref_model_init_kwargs": "give the reference as views.Named (docs/guides/preferences.md)",
  },
)
