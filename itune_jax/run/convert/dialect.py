"""How a configuration of another tool is read: each key sets something, changes no result, or has no equal."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import math
import re
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.core import nearest

# The projections by the names that Hugging Face models have.
SITES = {
  "q_proj": "attn/q",
  "k_proj": "attn/k",
  "v_proj": "attn/v",
  "o_proj": "attn/o",
  "qkv_proj": "attn/qkv",
  "gate_proj": "mlp/gate",
  "up_proj": "mlp/up",
  "gate_up_proj": "mlp/gate_up",
  "down_proj": "mlp/down",
}
KINDS = {"linear": "linear", "cosine": "cosine", "constant": "constant", "constant_with_warmup": "constant"}


@dataclasses.dataclass
class Draft:
  """A recipe as it is put together: the parts it includes by folder, its values, and what must be said of it."""

  parts: dict[str, str] = dataclasses.field(
    default_factory=lambda: {
      "models": "path",
      "peft": "full",
      "data": "jsonl",
      "objective": "sft",
      "optim": "adamw",
      "mesh": "auto",
      "precision": "float32",
      "remat": "none",
      "evals": "none",
    }
  )
  overlays: list[str] = dataclasses.field(default_factory=list)
  values: dict[str, Any] = dataclasses.field(default_factory=dict)
  notes: list[str] = dataclasses.field(default_factory=list)

  def set(self, **values: Any) -> None:
    """Macros."""
    self.values |= values


# What a key does to the draft, given its value and all of the configuration.
Does = Callable[[Draft, Any, Mapping[str, Any]], None]


@dataclasses.dataclass(frozen=True)
class Dialect:
  """A tool's configuration.

  name: of the tool. marks: keys that only it has. defaults: what it does where a key that counts is not given (its
  own values, which the recipe must hold too). does: by key. harmless: keys that change no result. without: keys that
  have no equal, and what to do in their place. required: keys that the tool itself asks for.
  """

  name: str
  marks: frozenset[str]
  defaults: Mapping[str, Any]
  does: Mapping[str, Does]
  harmless: frozenset[str]
  without: Mapping[str, str]
  required: tuple[str, ...] = ()

  def draft(self, given: Mapping[str, Any]) -> tuple[Draft, dict[str, str]]:
    """(the recipe, what has no equal by key). Raises InputError for a value that is none of its key's."""
    found, missing = Draft(), {}
    whole = {**self.defaults, **given}
    for key in self.required:
      check.require(key in whole, f"{key} is not given, and {self.name} has no default for it")
    for key, value in whole.items():
      unknown = f"is no key of {self.name} that is known here{nearest.meant(key, self._keys())}"
      if key in self.does:
        self._do(key, found, value, whole)
      elif key in self.harmless or (key in self.without and _is_off(value)):
        continue
      elif key in self.without:
        missing[key] = self.without[key]
      elif _is_off(value):
        found.notes.append(f"{jsontext.shown(key)[1:-1]}: {jsontext.shown(value)} is not taken over: it {unknown}")
      else:
        missing[key] = unknown
    _keep_whole(found)
    return found, missing

  def _do(self, key: str, draft: Draft, value: Any, whole: Mapping[str, Any]) -> None:
    try:
      self.does[key](draft, value, whole)
    except errors.InputError as e:  # it may name what the key sets here, or one that is read with it
      raise errors.InputError(str(e) if str(e).startswith(key) else f"{key}: {e}") from None

  def _keys(self) -> list[str]:
    return [*self.does, *self.harmless, *self.without]


def _keep_whole(draft: Draft) -> None:
  """Losses that compare all rows of a step take it uncut; the rows stay as many."""
  coupled = draft.parts["objective"] == "kto" or {"aot", "aot_unpaired"} & {*draft.values.get("dpo.Dpo.losses", ())}
  if coupled and draft.values.get("MICRO_BATCHES", 1) > 1:
    draft.set(MICRO_BATCHES=1)
    draft.notes.append("its loss compares the rows of a micro-batch; here it compares those of a step, which is uncut")


def _is_off(value: Any) -> bool:
  """Whether a value says that something is not used."""
  return value in (None, False, "", "none", "no") or value in ([], {}) or (value == 0 and not isinstance(value, str))


def sets(macro: str, kind: type | tuple[type, ...], scale: Callable[[Any], Any] = lambda x: x) -> Does:
  """A key that is a value here."""

  def does(draft: Draft, value: Any, whole: Mapping[str, Any]) -> None:
    del whole
    draft.values[macro] = scale(typed(macro, value, kind))

  return does


def typed(what: str, value: Any, kind: type | tuple[type, ...]) -> Any:
  """The value as this type; YAML reads 1e-4 as text, which numbers may be. Raises InputError."""
  kinds = kind if isinstance(kind, tuple) else (kind,)
  if float in kinds and isinstance(value, (int, str)) and not isinstance(value, bool) and _is_number(value):
    value = float(value)
  fits = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
  fits = fits and not (isinstance(value, float) and not math.isfinite(value))
  check.require(fits, f"{what}: {jsontext.shown(value)} is no {' or '.join(one.__name__ for one in kinds)}")
  return value


def _is_number(value: Any) -> bool:
  return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", str(value)) is not None


def schedule(draft: Draft, value: Any, whole: Mapping[str, Any]) -> None:
  """The form of the learning rate's decay."""
  del whole
  kind = KINDS.get(str(value))
  check.require(kind, f"lr_scheduler_type: {jsontext.shown(value)} has no equal; there are {', '.join(KINDS)}")
  draft.values["schedule.Schedule.kind"] = kind


def targets(draft: Draft, value: Any, whole: Mapping[str, Any]) -> None:
  """Modules that get an adapter, by name. All linear ones are the seven projections: the default."""
  del whole
  names = re.split(r"[,\s]+", value.strip()) if isinstance(value, str) else value
  if names in (None, ["all"], ["all-linear"], [], [""]):
    return
  texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
  check.require(texts, f"target modules: {jsontext.shown(value)} is no list of names")
  unknown = [name for name in names if name not in SITES]
  check.require(
    not unknown,
    f"target module {unknown[:1]} has no equal here; give sites of `itune inspect`; known are {', '.join(SITES)}",
  )
  at: dict[str, list[str]] = {}
  for room, site in (SITES[name].split("/") for name in names):
    at.setdefault(room, []).append(site)
  parts = [f"{room}/({'|'.join(sites)})" for room, sites in at.items()]
  draft.values["lora.Lora.sites"] = rf"blocks/\d+/({'|'.join(parts)})"


def precision(draft: Draft, value: Any, whole: Mapping[str, Any]) -> None:
  """bfloat16; adapters stay in float32, as a full model's master weights do."""
  del whole
  if value == "auto" or switched("bf16", value):
    draft.parts["precision"] = "bf16_master" if draft.parts["peft"] == "full" else "bf16_base"


def data(draft: Draft, value: Any, whole: Mapping[str, Any]) -> None:
  """What is trained on: a file where it is one; else the file is to be given."""
  del whole
  if isinstance(value, str) and files.is_file(value):
    draft.set(DATA=value)
  elif value:
    draft.notes.append(f"its data is {jsontext.shown(value)}: give the file by --data")


def switched(what: str, value: Any) -> bool:
  """Whether something is used: true, false, or nothing. Raises InputError for anything else, as "false" as text."""
  check.require(value in (None, True, False), f"{what}: {jsontext.shown(value)} is neither true nor false")
  return bool(value)


def adapter_trains(draft: Draft) -> None:
  """An adapter trains; what needs whole weights in float32 does not stay."""
  draft.parts["peft"] = "lora"
  if draft.parts["precision"] == "bf16_master":
    draft.parts["precision"] = "bf16_base"


def qlora(draft: Draft, value: Any, whole: Mapping[str, Any]) -> None:
  """The frozen kernels in 4 bits."""
  del whole
  if switched("load_in_4bit", value) and "qlora" not in draft.overlays:
    draft.overlays.append("qlora")


def nf4(draft: Draft, value: Any, whole: Mapping[str, Any]) -> None:
  """The code of 4-bit weights."""
  del draft, whole
  check.require(value in (None, "nf4"), f"bnb_4bit_quant_type: {jsontext.shown(value)} has no equal; nf4 has")


def revision(draft: Draft, value: Any, whole: Mapping[str, Any]) -> None:
  """A version of the model on a hub."""
  del whole
  if value not in (None, "main"):
    draft.notes.append(f"its model is of revision {jsontext.shown(value)}: give a folder that holds it by --base")


def begins(draft: Draft, value: Any, whole: Mapping[str, Any]) -> None:
  """A checkpoint of theirs that the run goes on from; `true` is the newest of its own folder."""
  del draft, whole
  none = value in (None, True, False, "", "true", "false")
  check.require(
    none, f"resume_from_checkpoint: {jsontext.shown(value)} has no equal: checkpoints of other tools are not read"
  )


def remat(draft: Draft, value: Any, whole: Mapping[str, Any]) -> None:
  """Gradient checkpointing: only the inputs of layers are kept."""
  del whole
  kept = value in ("offload", "unsloth") or switched("gradient_checkpointing", value)
  draft.parts["remat"] = "full" if kept else "none"


def packing(draft: Draft, value: Any, whole: Mapping[str, Any]) -> None:
  """Rows are always packed here, and examples never see one another."""
  del whole
  if not switched("packing", value):
    draft.notes.append("it does not pack: here a row of PACKING holds several examples, so a step sees more of them")


def prompts_train(draft: Draft, value: Any, whole: Mapping[str, Any]) -> None:
  """Here answers train, and never prompts."""
  del whole
  if switched("training on prompts", value):
    draft.notes.append("it trains on prompts too; here answers alone train")


def only(key: str, *values: Any) -> Does:
  """A key of which these values are how it is here, and others have no equal."""

  def does(draft: Draft, value: Any, whole: Mapping[str, Any]) -> None:
    del draft, whole
    check.require(value in values, f"{key}: {jsontext.shown(value)} has no equal; {jsontext.shown(values[-1])} has")

  return does


def batch(per_device: str, accumulation: str, length: str) -> Does:
  """Rows of a step: those of one device, times the steps that are added up."""

  def does(draft: Draft, value: Any, whole: Mapping[str, Any]) -> None:
    del value
    each, times = (typed(key, whole[key], int) for key in (per_device, accumulation))
    longest = typed(length, whole[length], int)
    for name, number in ((per_device, each), (accumulation, times), (length, longest)):
      check.require(number > 0, f"{name}: {number} must be 1 or more")
    draft.values |= {
      "feed.Packing.rows": each * times,
      "feed.Packing.row_length": longest,
      "chat.Rendering.max_length": longest,
      "MICRO_BATCHES": times,
    }

  return does


def text(path: str, draft: Draft, missing: Mapping[str, str], tool: str) -> str:
  """The recipe, with what it does not take over at its head."""
  said = [f"Made of {path} ({tool})."]
  said += [f"No equal: {key}: {what}" for key, what in missing.items()]
  said += [f"Note: {note}" for note in draft.notes]
  head = [f"# {jsontext.line(one)}" for one in said]  # a value that goes over lines would be gin from its second on
  includes = [f'include "{folder}/{name}.gin"' for folder, name in draft.parts.items()]
  includes += [f'include "overlays/{name}.gin"' for name in draft.overlays]
  order = sorted(draft.values.items(), key=lambda one: ("." not in one[0], one[0]))
  return "\n".join([*head, *includes, *(f"{name} = {jsontext.shown(value)}" for name, value in order)]) + "\n"


def chosen(given: Mapping[str, Any], dialects: Sequence[Dialect], asked: str) -> tuple[Dialect, list[str]]:
  """The dialect of a configuration: the one asked for, or the one of whose marks it has most; of equals the first, if
  their names begin alike. And the names of those equals. Raises InputError."""
  if asked:
    return next(one for one in dialects if one.name == asked), []
  counts = [len(one.marks & given.keys()) for one in dialects]
  found = [one for one, count in zip(dialects, counts, strict=True) if count and count == max(counts)]
  names = ", ".join(one.name for one in dialects)
  whose = " or ".join(one.name for one in found) or f"none of {names}"
  clear = bool(found) and all(one.name.startswith(found[0].name) for one in found)
  check.require(clear, f"it is not clear whose configuration this is ({whose}); give --tool")
  return found[0], [one.name for one in found[1:]]


def steps(epochs: str, most: str) -> dict[str, Does]:
  """The length of a run: a number of steps that is positive counts, else passes over the data."""

  def by_epochs(draft: Draft, value: Any, whole: Mapping[str, Any]) -> None:
    if not _positive(whole.get(most)):
      number = typed(epochs, value, float)
      check.require(number > 0, f"{epochs}: {number} must be above 0, where {most} says no number of steps")
      draft.set(EPOCHS=number, STEPS=0)

  def by_steps(draft: Draft, value: Any, whole: Mapping[str, Any]) -> None:
    del whole
    if value is not None and typed(most, value, int) > 0:
      draft.set(STEPS=value, EPOCHS=0)

  return {epochs: by_epochs, most: by_steps}


def _positive(value: Any) -> bool:
  return isinstance(value, int) and not isinstance(value, bool) and value > 0


def warmup(share: str, count: str) -> dict[str, Does]:
  """A share of all steps, or their number, which counts where both are given."""

  def by_share(draft: Draft, value: Any, whole: Mapping[str, Any]) -> None:
    if not whole.get(count):
      number = typed(share, value, float)
      check.require(0 <= number < 1, f"{share}: {number:g} is no share of the steps, from 0 up to 1")
      draft.values["schedule.Schedule.warmup"] = number

  def by_count(draft: Draft, value: Any, whole: Mapping[str, Any]) -> None:
    del whole
    if value:
      found = typed(count, value, float)
      check.require(found >= 0, f"{count}: {jsontext.shown(value)} must be 0 or more")
      draft.values["schedule.Schedule.warmup"] = found if found < 1 else int(found)

  return {share: by_share, count: by_count}
