"""The card of a model or an adapter: base, method, data, figures with intervals, licence, and the commands."""

from collections.abc import Iterator, Mapping, Sequence
import math
import os
from typing import Any, NamedTuple

import huggingface_hub

from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.run import results as results_lib
from itune_jax.run.publish import outward
from itune_jax.run.report import gains as gains_lib

# Values of a run that a reader of its card asks for, by the beginnings of their dotted names (`run.json`).
_SHOWN = ("peft[", "objective.", "optimizer.", "packing.", "rendering.max_length", "precision.", "steps", "epochs")
_BEFORE = "before"  # the evaluation of the base, as `itune report` has it too


class Figures(NamedTuple):
  """An evaluation: its name, whether it is of what is published (and not of its base), and its figures."""

  label: str
  own: bool
  found: Sequence[contracts.Result]


class Origin(NamedTuple):
  """Where a model comes from: its export's manifest, and the class of transformers that opens it; of its run what
  run.json and data.json say, and its folder ("", and empty, where no run is known); and its evaluations."""

  opens: str
  manifest: Mapping[str, Any]
  run_dir: str
  run: Mapping[str, Any]
  data: Mapping[str, Any]
  figures: Sequence[Figures]


_TEXTS = ("format", "dtype", "base", "base_digest", "read_again_by", "adapter")


def _manifest(path: str) -> dict[str, Any]:
  """What an export says of itself. Raises InputError for a value that a card would say wrongly."""
  found = files.read_object(path)
  parity = found.get("logit_parity")
  number = isinstance(parity, (int, float)) and not isinstance(parity, bool) and math.isfinite(parity)
  wrong = [key for key in _TEXTS if not isinstance(found.get(key, ""), (str, type(None)))]
  wrong += [] if parity is None or number else ["logit_parity"]
  wrong += [] if isinstance(found.get("quant"), (dict, type(None))) else ["quant"]
  if wrong:
    raise errors.InputError(f"{path}: {wrong[0]} is {jsontext.shown(found[wrong[0]])}: it is damaged; export again")
  return found


def origin(folder: str, run_dir: str, evaluations: Sequence[str]) -> Origin:
  """Reads what is known of an export.

  Args:
    folder: what `itune export`, `merge` or `import` wrote. run_dir: its run; "" for the one that the manifest names,
      if it is still there. evaluations: folders that `itune eval --out` wrote, of this very model.

  Raises:
    InputError when a folder is not what it is given as.
  """
  manifest = _manifest(os.path.join(folder, "export_manifest.json"))
  run_dir = run_dir or _run_of(manifest.get("adapter") or "")
  if run_dir and not files.exists(os.path.join(run_dir, "run.json")):
    raise errors.InputError(f"--run_dir={run_dir} holds no run.json: name the folder that itune train wrote into")
  labels = [name for name in results_lib.labels(run_dir) if not name.startswith("step_")] if run_dir else []
  of_run = [_figures(os.path.join(run_dir, "evals", name), name, own=name != _BEFORE) for name in labels]
  given = [_figures(where, os.path.basename(os.path.normpath(where)), own=True) for where in evaluations]
  read = lambda name: files.read_object(os.path.join(run_dir, name)) if run_dir else {}
  return Origin(_opens(folder), manifest, run_dir, read("run.json"), read("data.json"), [*of_run, *given])


def _opens(folder: str) -> str:
  """The class of transformers that opens a model folder, or the base of an adapter."""
  if files.exists(path := os.path.join(folder, "config.json")):
    return (files.read_object(path).get("architectures") or ["AutoModelForCausalLM"])[0]
  task = files.read_object(os.path.join(folder, "adapter_config.json")).get("task_type")
  return {"SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM", "SEQ_CLS": "AutoModelForSequenceClassification"}.get(
    task or "", "AutoModelForCausalLM"
  )


def _run_of(adapter: str) -> str:
  """The run directory behind an adapter, which may be one of its checkpoints; "" where it is of no run."""
  above = os.path.dirname(os.path.dirname(os.path.normpath(adapter)))
  return next((at for at in (adapter, above) if at and files.exists(os.path.join(at, "run.json"))), "")


def _figures(folder: str, label: str, own: bool) -> Figures:
  found = []
  for name in sorted(name for name in files.names(folder) if name.endswith(".json")):
    if isinstance(listed := files.read_json(os.path.join(folder, name)), list):
      found += [contracts.Result(**one) for one in listed]
  if not found:
    raise errors.InputError(f"{folder}: holds no figures: name a folder that itune eval wrote")
  return Figures(label, own, [one for one in found if not one.tag])


def metadata(of: Origin, *, repo: str, base: str, licence: str, peft: bool) -> huggingface_hub.ModelCardData:
  """What the hub reads of the card: figures of the published model alone, each under its benchmark."""
  reported = [
    huggingface_hub.EvalResult(
      task_type="text-generation",
      dataset_type=one.benchmark or evaluation.label,
      dataset_name=one.benchmark or evaluation.label,
      metric_type=one.metric,
      metric_name=f"{one.metric} ({evaluation.label})",
      metric_value=one.value,
    )
    for evaluation in of.figures
    if evaluation.own
    for one in evaluation.found
  ]
  known: dict[str, Any] = {"eval_results": reported, "model_name": repo.partition("/")[2]} if reported else {}
  return huggingface_hub.ModelCardData(
    base_model=base or None,
    license=licence,
    library_name="peft" if peft else "transformers",
    pipeline_tag="text-generation" if of.opens.endswith("ForCausalLM") else None,
    tags=["itune_jax", *(["adapter"] if peft else [])],
    **known,
  )


def text(of: Origin, *, repo: str, base: str, licence: str, peft: bool) -> str:
  """The card without its metadata, in Markdown."""
  parts = [f"# {repo.partition('/')[2]}", _what(of, base, peft), "## Use", _use(of.opens, repo, base, peft)]
  parts += ["## Training data", _data(of), "## Method", _method(of), "## Figures", _tables(of)]
  parts += ["## Licence", _licence(of, licence), "## How it was made", _made(of)]
  return outward.public("\n\n".join(part for part in parts if part)) + "\n"


def _what(of: Origin, base: str, peft: bool) -> str:
  named = f"`{base}`" if base else "a base that no hub name is known of"
  whole = "A parameter-efficient adapter of" if peft else "A whole model, tuned from"
  quant = f", packed in training as {of.manifest['quant'].get('kind', 'codes')}" if of.manifest.get("quant") else ""
  if (near := of.manifest.get("logit_parity")) is None:
    return f"{whole} {named}{quant}."
  read = (
    f"Read again by {of.manifest.get('read_again_by')}, its logits differ from those of the model that was exported"
  )
  return f"{whole} {named}{quant}. {read} by {near:.1e} of their range at most; weights are {of.manifest.get('dtype')}."


def _use(opens: str, repo: str, base: str, peft: bool) -> str:
  model = "import transformers\n\n"
  if not peft:
    return f'```python\n{model}model = transformers.{opens}.from_pretrained("{repo}")\n```'
  lines = f'base = transformers.{opens}.from_pretrained("{base}")\n'
  return f'```python\nimport peft\n{model}{lines}model = peft.PeftModel.from_pretrained(base, "{repo}")\n```'


def _data(of: Origin) -> str:
  if not of.data:
    return "Not recorded: the folder that was published names no run."
  head = ("source", "share", "rows", "kept", "dropped", "trained tokens", "who wrote the answers", "licence", "key")
  rates = of.data.get("rates", {})
  total = sum(rates.values()) or 1.0
  rows = [
    (
      source.get("name"),
      f"{rates.get(source.get('name'), 0.0) / total:.1%}",
      *(source.get(key) for key in ("rows", "kept", "dropped", "trained_tokens", "kind")),
      source.get("licence") or "not stated",
      f"`{source.get('key')}`",
    )
    for source in of.data.get("sources", [])
  ]
  reasons = [
    (source["name"], reason, count)
    for source in of.data.get("sources", [])
    for reason, count in source.get("dropped_by_reason", {}).items()
  ]
  left_out = "\n\n" + outward.table(("source", "left out because", "rows"), reasons) if reasons else ""
  return outward.table(head, rows) + "\n\nA key is a digest of the rows, the tokenizer and the rendering." + left_out


def _method(of: Origin) -> str:
  if not of.run:
    return "Not recorded: the folder that was published names no run."
  facts = of.run.get("facts", {})
  named = ("trainable_parameters", "parameters", "rows", "steps", "epochs", "positions_per_step")
  known = [(name.replace("_", " "), _plain(facts[name])) for name in named if name in facts]
  values = [(f"`{name}`", f"`{v}`") for name, v in of.run.get("values", {}).items() if name.startswith(_SHOWN)]
  return outward.table(("fact", "value"), known) + "\n\n" + outward.table(("value", "of the run"), values)


def _plain(value: Any) -> Any:
  return f"{value:.2f}" if isinstance(value, float) else value


def _tables(of: Origin) -> str:
  if not of.figures:
    return "None were recorded."
  rows = [
    (
      one.label,
      f.benchmark,
      f.metric,
      f"{f.value:.4g}",
      _interval(f),
      f"{f.n:,}" + (f" of {f.of:,}" if f.of > f.n else ""),
    )
    for one in of.figures
    for f in one.found
  ]
  head = ("evaluation", "benchmark", "metric", "value", "95 % interval", "items")
  said = "`before` is the base without this training." if any(not one.own for one in of.figures) else ""
  return "\n\n".join(part for part in (outward.table(head, rows), said, _gains(of.run_dir)) if part)


def _interval(one: contracts.Result) -> str:
  return "" if one.low is None or one.high is None else f"{one.low:.4g} to {one.high:.4g}"


def _gains(run_dir: str) -> str:
  """Before against after on the same items."""
  rows = [
    (g["name"], f"{g['gain']:+.4f}", f"{g['gain_ci_low']:+.4f} to {g['gain_ci_high']:+.4f}", g["items"])
    for g in (gains_lib.gains(run_dir) if run_dir else [])
  ]
  head = ("after minus before, same items", "difference", "95 % interval", "items")
  return outward.table(head, rows) if rows else ""


def _licence(of: Origin, licence: str) -> str:
  sources = sorted({source.get("licence") or "not stated" for source in of.data.get("sources", [])})
  said = f" The data's: {', '.join(sources)}." if sources else ""
  return f"{licence}.{said} The base has a licence of its own, which stays in force."


def _made(of: Origin) -> str:
  return "\n\n".join(_steps(of))


def _steps(of: Origin) -> Iterator[str]:
  yield f"Base: `{of.manifest.get('base', '')}`, digest `{of.manifest.get('base_digest', '')}`."
  if of.run:
    yield "```bash\nitune " + " ".join(map(_word, outward.public(of.run.get("argv", [])))) + "\n```"
    commit = of.run.get("commit")
    versions = ", ".join(f"{name} {version}" for name, version in of.run.get("packages", {}).items())
    yield (f"Commit `{commit}`; " if commit else "") + f"versions: {versions}."
    if files.exists(path := os.path.join(of.run_dir, "config.gin")):
      with files.opened(path) as f:
        yield outward.folded("All values that were given (gin)", f.read())


def _word(word: str) -> str:
  return f"'{word}'" if any(mark in word for mark in " *?()[]<>&;|$\\") else word
