"""The card of a data set: where its rows come from, what was left out for which reason, who wrote the answers."""

from collections.abc import Mapping, Sequence
import hashlib
import json
import os
from typing import Any, NamedTuple

import huggingface_hub

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.run.publish import outward

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


class Made(NamedTuple):
  """Rows that this project wrote: their file, the manifest and its file, and how many rows have which keys."""

  file: str
  manifest: Mapping[str, Any]
  manifest_file: str
  rows: int
  keys: Mapping[str, int]
  sources: Mapping[tuple[str, str, str], int]


def found(path: str) -> Made:
  """Reads a folder of `itune synth`, or a file of `itune select`. Raises InputError for what has no manifest, and for
  rows that are not those that it tells of."""
  folder = os.path.isdir(path)
  file = os.path.join(path, "rows.jsonl") if folder else path
  about = os.path.join(path, "manifest.json") if folder else f"{path.removesuffix('.jsonl')}.manifest.json"
  if not (files.is_file(file) and files.is_file(about)):
    raise errors.InputError(
      f"{path}: no export (export_manifest.json), and no rows with a manifest ({about}): a card is made of what itune "
      "export, select or synth wrote"
    )
  manifest, rows = files.read_object(about), []
  with files.opened(file) as f:
    for number, line in enumerate(f, 1):
      try:
        rows.append(json.loads(line))
      except ValueError as e:
        raise errors.InputError(f"{file}:{number}: not JSON ({e})") from None
  _same(file, manifest, rows)
  keys: dict[str, int] = {}
  sources: dict[tuple[str, str, str], int] = {}
  for row in rows:
    keys |= {key: keys.get(key, 0) + 1 for key in row}
    source = row.get("source") if isinstance(row.get("source"), dict) else {}
    named = tuple(str(source.get(key) or "not stated") for key in ("kind", "teacher", "licence"))
    sources[named] = sources.get(named, 0) + 1  # pyright: ignore[reportArgumentType]
  return Made(file, manifest, about, len(rows), keys, sources)


def _same(file: str, manifest: Mapping[str, Any], rows: Sequence[Any]) -> None:
  """Raises InputError unless the rows are those of the manifest."""
  if (known := manifest.get("output_sha256")) is not None:
    same = known == files.sha256(file)
  else:
    told = "\n".join(json.dumps(row, sort_keys=True, ensure_ascii=False) for row in rows)
    same = manifest.get("rows_sha256") == hashlib.sha256(told.encode()).hexdigest()
  if not same:
    raise errors.InputError(f"{file}: its rows are not those of its manifest: make them again, or bring them back")


def metadata(made: Made, *, repo: str, licence: str) -> huggingface_hub.DatasetCardData:
  """What the hub reads of the card."""
  size = next((name for limit, name in _SIZES if made.rows < limit), "1M<n<10M")
  by_models = {kind for kind, _, _ in made.sources} <= {"self_generated", "distilled"}
  return huggingface_hub.DatasetCardData(
    license=licence,
    annotations_creators=["machine-generated"] if by_models else None,
    size_categories=[size],
    task_categories=["text-generation"],
    pretty_name=repo.partition("/")[2],
    tags=["itune_jax"],
    configs=[{"config_name": "default", "data_files": os.path.basename(made.file)}],
  )


def text(made: Made, *, repo: str, licence: str) -> str:
  """The card without its metadata, in Markdown."""
  said = sorted({terms for _, _, terms in made.sources})
  parts = [f"# {repo.partition('/')[2]}", f"{made.rows:,} rows for instruction tuning, one JSON object a line."]
  parts += ["## Use", f'```python\nimport datasets\n\nrows = datasets.load_dataset("{repo}", split="train")\n```']
  parts += ["## Rows", outward.table(("key", "rows that have it"), made.keys.items())]
  parts += ["## Who wrote the answers", outward.table(("kind", "teacher", "licence", "rows"), _listed(made.sources))]
  parts += ["## How they were made", *(_of_synth(made.manifest) if "generator" in made.manifest else _of_select(made))]
  parts += ["## Licence", f"{licence}. What rows say of their own: {', '.join(said)}."]
  return outward.public("\n\n".join(parts)) + "\n"


def _listed(sources: Mapping[tuple[str, str, str], int]) -> list[tuple[str | int, ...]]:
  return [(*named, count) for named, count in sorted(sources.items(), key=lambda pair: -pair[1])]


def _of_synth(manifest: Mapping[str, Any]) -> list[str]:
  dropped = sorted(manifest["dropped"].items(), key=lambda pair: (-pair[1], pair[0]))
  funnel = [("candidates", manifest["candidates"]), *dropped, ("accepted", manifest["rows"])]
  parents = [(p.get("file"), p.get("rows"), f"`{p.get('sha256')}`") for p in manifest.get("parents", [])]
  values = {key: value for key, value in manifest["generator"].items() if key != "class"}
  made = f"By `{manifest['generator']['class']}`, {manifest['requests']:,} requests; it ended by: {manifest['ended']}."
  told = json.dumps(values, indent=2, ensure_ascii=False)
  parts = [made, outward.table(("candidates, and what became of them", "count"), funnel)]
  parts += [outward.table(("made from", "rows", "SHA-256"), parents)] if parents else []
  parts += [outward.folded("Values of the generator", told, "json")]
  return [*parts, *(outward.folded(f"Prompt: {n}", p["text"]) for n, p in manifest.get("prompts", {}).items())]


def _of_select(made: Made) -> list[str]:
  manifest = made.manifest
  passes = [(p["step"], p["given"], p["kept"], _reasons(p)) for p in manifest["passes"]]
  inputs = [(p.get("file"), f"`{p.get('sha256')}`") for p in manifest.get("inputs", [])]
  versions = ", ".join(f"{name} {version}" for name, version in manifest.get("versions", {}).items())
  return [
    f"Chosen from {manifest['rows']:,} rows, seed {manifest['seed']}.",
    outward.table(("step", "given", "kept", "left out"), passes),
    outward.table(("input", "SHA-256"), inputs),
    outward.folded("Values of the selection", json.dumps(manifest["values"], indent=2, ensure_ascii=False), "json"),
    f"Versions: {versions}.",
  ]


def _reasons(step: Mapping[str, Any]) -> str:
  return "; ".join(f"{reason}: {count:,}" for reason, count in step.get("dropped", {}).items())
