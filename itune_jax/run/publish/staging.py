"""A folder as it will be uploaded: links to what is large, and new files where something stays here."""

from collections.abc import Mapping
import json
import os
import shutil
from typing import Any, NamedTuple

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.run.publish import data_card
from itune_jax.run.publish import model_card
from itune_jax.run.publish import outward

_SECRETS = (".env", "token", "id_rsa", "credentials", ".netrc")


class Staged(NamedTuple):
  """What will be uploaded: "model" or "dataset", the files by their names there with their bytes, what stayed here with
  the reason, and what a person should know."""

  kind: str
  files: Mapping[str, int]
  left_out: Mapping[str, str]
  notes: tuple[str, ...]


class Asked(NamedTuple):
  """What the user says of a publication.

  repo: OWNER/NAME. licence: the hub's name of it. base: what the hub calls the base; "" for what the folder says.
  run_dir: the run of a model; "" for the one that its manifest names. evaluations: folders with figures of the model.
  """

  repo: str
  licence: str
  base: str = ""
  run_dir: str = ""
  evaluations: tuple[str, ...] = ()


def stage(path: str, asked: Asked, into: str) -> Staged:
  """Fills a new folder with what will be uploaded, README.md among it. Raises InputError for what cannot be."""
  try:
    return _stage(path, asked, into)
  except (TypeError, ValueError, LookupError, AttributeError) as e:
    if isinstance(e, errors.InputError):
      raise
    raise errors.InputError(
      f"{path}: its manifest, or a file of its run, holds what no command writes ({jsontext.said(e)}): make it anew"
    ) from None


def _stage(path: str, asked: Asked, into: str) -> Staged:
  if files.exists(os.path.join(path, "export_manifest.json")):
    return _model(path, asked, into)
  for flag, given in (("base_name", asked.base), ("run_dir", asked.run_dir), ("evals", asked.evaluations)):
    if given:
      raise errors.InputError(f"--{flag} is of a model, and {path} is no export (export_manifest.json)")
  return _rows(path, asked, into)


def _rows(path: str, asked: Asked, into: str) -> Staged:
  made = data_card.found(path)
  _link(made.file, os.path.join(into, os.path.basename(made.file)))
  _write_json(os.path.join(into, os.path.basename(made.manifest_file)), outward.public(made.manifest))
  card = data_card.metadata(made, repo=asked.repo, licence=asked.licence)
  _card(into, card.to_yaml(), data_card.text(made, repo=asked.repo, licence=asked.licence))
  others = sorted(set(files.names(path)) - set(os.listdir(into))) if os.path.isdir(path) else []
  return Staged("dataset", _listed(into), dict.fromkeys(others, "no rows, and no manifest"), ())


def _model(folder: str, asked: Asked, into: str) -> Staged:
  of = model_card.origin(folder, asked.run_dir, asked.evaluations)
  peft = of.manifest.get("format") == "peft"
  base = _base(folder, of.manifest, asked.base, peft)
  left_out: dict[str, str] = {}
  for name in _inside(folder):
    if reason := _stays(name, peft):
      left_out[name] = reason
    else:
      _link(os.path.join(folder, name), os.path.join(into, name))
  _anew(os.path.join(into, "export_manifest.json"), {**outward.public(of.manifest), "base": base or "…"})
  if peft:
    at = os.path.join(into, "adapter_config.json")
    _anew(at, {**files.read_object(at), "base_model_name_or_path": base})
  named: dict[str, Any] = dict(repo=asked.repo, base=base, licence=asked.licence, peft=peft)
  _card(into, model_card.metadata(of, **named).to_yaml(), model_card.text(of, **named))
  return Staged("model", _listed(into), left_out, tuple(_notes(of)))


def _notes(of: model_card.Origin) -> list[str]:
  found = [] if of.run else ["no run is known: the card says nothing of data and method (--run_dir names the run)"]
  own = any(one.own for one in of.figures)
  return found + ([] if own else ["no evaluation of it is known: the card has no figures (itune eval, --evals)"])


def _base(folder: str, manifest: Mapping[str, Any], named: str, peft: bool) -> str:
  """What the hub calls the base; "" where a whole model has none. Raises InputError where an adapter has none."""
  if named:
    return named
  said = manifest.get("base", "")
  if peft:
    said = files.read_object(os.path.join(folder, "adapter_config.json")).get("base_model_name_or_path") or ""
  plain = not os.path.isabs(said) and not os.path.exists(said) and len(said.split("/")) == 2
  if peft and not plain:
    raise errors.InputError(
      f"{folder}: its base is {said or 'not named'}, which nobody else can open: give --base_name, its name on the hub"
    )
  return said if plain else ""


def _stays(name: str, peft: bool) -> str:
  """Why a file is not uploaded; "" for one that is."""
  if peft and name.startswith("base/"):
    return "the base, which the hub has by its own name"
  if name == "README.md":
    return "the card is made anew"
  plain = os.path.basename(name).lower()
  return "hidden, or named as a secret" if plain.startswith(".") or plain in _SECRETS else ""


def _inside(folder: str) -> list[str]:
  found = [os.path.relpath(os.path.join(at, name), folder) for at, _, names in os.walk(folder) for name in names]
  return sorted(found)


def _listed(folder: str) -> dict[str, int]:
  return {name: os.path.getsize(os.path.join(folder, name)) for name in _inside(folder)}


def _link(source: str, target: str) -> None:
  """A second name of a file, or a copy where the disk has no such thing."""
  os.makedirs(os.path.dirname(target), exist_ok=True)
  try:
    os.link(os.path.realpath(source), target)
  except OSError:
    shutil.copyfile(source, target)


def _anew(path: str, value: Any) -> None:
  """JSON in place of a link: writing through it would change the folder that is published."""
  os.remove(path)
  _write_json(path, value)


def _write_json(path: str, value: Any) -> None:
  files.write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _card(folder: str, metadata: str, text: str) -> None:
  files.write_text(os.path.join(folder, "README.md"), f"---\n{metadata}\n---\n\n{text}")
