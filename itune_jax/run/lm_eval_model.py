"""`--model itune_jax` of lm-evaluation-harness: a model of this project by its arguments (`--model_args`).

Importing this module puts the name into lm-eval's table of models, which has no other way in (lm-eval 0.4.13).
"""

import dataclasses
import datetime
import hashlib
from typing import Any

import jax
from lm_eval.api import registry  # pyright: ignore[reportMissingImports]  # optional

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.core import numerics
from itune_jax.core import tree
from itune_jax.data.render import chat
from itune_jax.data.render import template as template_lib
from itune_jax.data.render import tokenizer as tokenizer_lib
from itune_jax.evals import lm_eval_bridge
from itune_jax.nn import quant as quant_lib
from itune_jax.parallel import mesh as mesh_lib
from itune_jax.run import adapters as adapters_lib
from itune_jax.run import session as session_lib
from itune_jax.run import specs

NAME = "itune_jax"
AUTO = 32  # answers that are decoded together where nobody says how many
_MESH = ("data", "fsdp", "tensor", "sequence", "expert", "stage", "slices")
_SETTINGS = tuple(field.name for field in dataclasses.fields(lm_eval_bridge.Settings) if field.name != "batch_size")


@registry.register_model(NAME)
class ItuneLM(lm_eval_bridge.BridgeLM):
  """A base, with an adapter on it if one is named, as lm-eval's models are named: by keys and values."""

  def __init__(
    self,
    base: str = "",
    adapter: str = "",
    dtype: numerics.Dtype = "float32",
    quant: str = "",
    chat_template: str = "",
    date: str = "",
    as_asked: bool = False,
    batch_size: int | str = "auto",
    max_batch_size: int | None = None,
    device: str | None = None,
    pretrained: str = "",
    peft: str = "",
    **more: Any,
  ):
    """Loads it.

    base, adapter: as everywhere here (`pretrained`, `peft`: the same by the names of lm-eval's Hugging Face backend).
    dtype: of the frozen base and of activations. quant: packs the frozen kernels (nf4, int8, …). chat_template: in
    place of the model's own. date: what templates see that print today's. as_asked: takes template and quant as given,
    where the adapter was trained with others. batch_size: answers decoded together, "auto" for 32, max_batch_size at
    most. device: lm-eval's, not used: JAX's devices are, laid out by data, fsdp, tensor, sequence, expert, stage and
    slices (`MeshSpec`). more: these, and the fields of `lm_eval_bridge.Settings`.

    Raises InputError for an argument that is not known, and where model, adapter or tokenizer cannot be had.
    """
    unknown = sorted(set(more) - {*_SETTINGS, *_MESH})
    check.require(not unknown, f"--model_args: {', '.join(unknown)}: not known; the guide on lm-eval lists what is")
    check.require(dtype in ("float32", "bfloat16"), f"--model_args: dtype = {dtype!r}: float32 or bfloat16")
    base, adapter = _one("base", base, "pretrained", pretrained), _one("adapter", adapter, "peft", peft)
    if device not in (None, "cuda:0"):  # which lm-eval's command line says where nobody does
      log.info(f"--device {device} is not used: the model is on {jax.default_backend()}, as JAX_PLATFORMS says")
    rows = _rows(batch_size, max_batch_size)
    settings = lm_eval_bridge.Settings(batch_size=rows, **{k: v for k, v in more.items() if k in _SETTINGS})
    check.require(base or adapter, "--model_args: which model? base=MODEL, or adapter=FOLDER, which names its own")
    model, rendering = _model(base, quant, chat_template), chat.Rendering()
    rendering = dataclasses.replace(rendering, date=date) if date else rendering
    model, rendering = adapters_lib.as_trained(model, rendering, adapter, as_asked)
    session = session_lib.open_session(
      model,
      mesh=mesh_lib.MeshSpec(**{k: v for k, v in more.items() if k in _MESH}),
      precision=numerics.Precision(frozen=dtype, compute=dtype),
      adapter=adapter,
    )
    super().__init__(asked_of(session, rendering), settings)


def asked_of(session: session_lib.Session, rendering: chat.Rendering = chat.Rendering()) -> lm_eval_bridge.Asked:
  """A loaded model as lm-eval's tasks ask it. Raises InputError for one that reads both ways, or has many adapters."""
  session.require_one("lm-eval")
  check.require(
    not session_lib.one_answer(session.base.cfg),
    f"{session.model.base}: a model that reads its prompt both ways has no log-probabilities of plain text",
  )
  # What ends a text where lm-eval asks transformers: the base's own word, and the tokenizer's end token.
  ends = tuple(dict.fromkeys((*session.base.ends, session.tokenizer.eos_token_id)))
  template = _template(session.tokenizer, rendering)
  prompts = hashlib.sha256(f"{tokenizer_lib.digest(session.tokenizer)}{template}".encode()).hexdigest()[:16]
  return lm_eval_bridge.Asked(
    engine=dataclasses.replace(session.engine(), stop_ids=ends),
    tokenizer=session.tokenizer,
    template=template,
    name=f"{session.model.base.strip('/').replace('/', '__')}-{prompts}",
    template_kwargs=dict(rendering.template_kwargs),
    info={
      "model_num_parameters": tree.size(session.base.params),
      "model_dtype": session.binder.compute,
      "model_revision": "",
      "model_sha": session.base.digest,
    },
  )


def _model(base: str, quant: str, chat_template: str) -> specs.Model:
  packed = quant_lib.Quant(kind=quant) if quant else None  # pyright: ignore[reportArgumentType]  # checks itself
  return dataclasses.replace(specs.Model(quant=packed, chat_template=chat_template), **({"base": base} if base else {}))


def _template(tokenizer: Any, rendering: chat.Rendering) -> str:
  """The default chat template, "" where there is none; one that prints today's date sees the rendering's."""
  if not tokenizer.chat_template:
    return ""
  found = template_lib.of(tokenizer, rendering.template_kwargs, datetime.date.fromisoformat(rendering.date))
  return found["default"].source


def _one(name: str, value: str, other: str, same: str) -> str:
  """A value that has two names. Raises InputError where both are given, and differ."""
  check.require(not (value and same and value != same), f"--model_args: {name} and {other} are one thing: give one")
  return str(value or same)


def _rows(batch_size: int | str, most: int | None) -> int:
  """How many answers are decoded together. Raises InputError for what is no number and not "auto"."""
  text = str(batch_size)
  if text.startswith("auto"):  # auto:N says how often lm-eval looks for another size
    return min(AUTO, most or AUTO)
  if not text.isdecimal() or not int(text):
    raise errors.InputError(f"batch_size = {batch_size!r}: a number of answers that are decoded together, or auto")
  return int(text)
