"""Folders for the hub: cards are what manifests say, nothing of this machine goes along, and what the hub answers is
told in one line. The hub here is an object that takes the calls of HfApi by its own signatures."""

import inspect
import json
import os
import tempfile
import types

import huggingface_hub
import huggingface_hub.errors
from huggingface_hub.utils import _validators as validators
from hypothesis import strategies as st
import pytest

from itune_jax.core import contracts
from itune_jax.core import files
from itune_jax.run import cli
from itune_jax.run import outside
from itune_jax.run import results
from itune_jax.run.publish import outward
from itune_jax.run.publish import staging
from itune_jax.select import select_protocol
from itune_jax.select import selecting
from tests import fuzz

RUN = {
  "argv": ["train", "--gin_file=demo", "--data=/home/ann/secret place.jsonl", "--run_dir=/home/ann/runs/a"],
  "commit": "abc",
  "packages": {"jax": "0.10.2"},
  "facts": {"parameters": 1000, "trainable_parameters": 24, "steps": 7, "epochs": 0.5},
  "values": {"peft[0].type": "itune_jax.peft.methods.lora.Lora", "peft[0].rank": "8", "steps": "7", "mesh.data": "1"},
}
KEYS = ("name", "rows", "kept", "dropped", "trained_tokens", "kind", "licence", "key", "dropped_by_reason")
MINE = ("mine", 12, 10, 2, 99, "annotated", "", "k1", {"no answer": 2})
THEIRS = ("theirs", 5, 5, 0, 1234, "distilled", "MIT", "k2", {})
DATA = {"rates": {"mine": 3.0, "theirs": 1.0}, "sources": [dict(zip(KEYS, one, strict=True)) for one in (MINE, THEIRS)]}
API = huggingface_hub.HfApi
LINE = contracts.Result("capitals", "exact", 0.25, "", 0.125, 0.5, 32, 64)


class Hub:
  """Takes what HfApi takes, and writes it down."""

  def __init__(self, status=0):
    self.status, self.calls = status, []

  def create_repo(self, *args, **more):
    self._told("create_repo", args, more)

  def upload_folder(self, *args, **more):
    self._told("upload_folder", args, more)
    return huggingface_hub.CommitInfo("https://huggingface.co/ann/x/commit/1", "m", "", "1")

  def _told(self, name, args, more):
    bound = inspect.signature(getattr(API, name)).bind(self, *args, **more)
    self.calls.append((name, {k: v for k, v in bound.arguments.items() if k != "self"}))
    if self.status:
      answer = types.SimpleNamespace(status_code=self.status, headers={}, request=None)
      raise huggingface_hub.errors.HfHubHTTPError("no", response=answer)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def hub(monkeypatch):
  made = Hub()
  monkeypatch.setattr(huggingface_hub, "HfApi", lambda: made)
  return made


@pytest.fixture
def adapter(tmp_path):
  """An exported adapter, its run with two evaluations, and files that must stay here."""
  run = tmp_path / "run"
  files.write_json(str(run / "run.json"), RUN)
  files.write_json(str(run / "data.json"), DATA)
  files.write_text(str(run / "config.gin"), "DATA = '/home/ann/secret.jsonl'\n")
  for label, value in (("before", 0.125), ("after", 0.25), ("step_3", 0.2)):
    rows = [{"id": str(i), "cluster": str(i), "domain": "", "correct": i < 32 * value} for i in range(32)]
    results.write(str(run), label, "capitals", contracts.EvalResult([LINE._replace(value=value)], rows))
  folder = tmp_path / "peft"
  manifest = {"format": "peft", "dtype": "float32", "logit_parity": 0.0, "read_again_by": "peft's formulas"}
  manifest |= {"base": "/home/ann/models/small.gguf", "base_digest": "2-d", "quant": None, "adapter": str(run)}
  files.write_json(str(folder / "export_manifest.json"), manifest)
  files.write_json(str(folder / "adapter_config.json"), {"r": 8, "base_model_name_or_path": "/home/ann/peft/base"})
  for name in ("adapter_model.safetensors", "base/model.safetensors", ".env"):
    files.write_text(str(folder / name), "weights")
  return folder


def push(*argv):
  return cli.main(["push", *map(str, argv), "--licence=apache-2.0"])


def card(folder, kind=huggingface_hub.ModelCard):
  """As the hub's own library reads it."""
  return kind.load(folder / "README.md", ignore_metadata_errors=False)


def test_an_adapter_and_its_card(adapter, hub, capsys):
  before = (adapter / "adapter_config.json").read_text()
  assert push(adapter, "--repo=ann/small-it", "--dry_run", "--base_name=org/small") == 0
  said = json.loads(capsys.readouterr().out.splitlines()[-1])
  out = adapter.parent / "peft_hub"
  assert said["kind"] == "model" and not said["uploaded"] and not hub.calls
  assert set(said["files"]) == {"README.md", "adapter_config.json", "adapter_model.safetensors", "export_manifest.json"}
  assert set(said["left_out"]) == {"base/model.safetensors", ".env"}
  assert files.read_json(str(out / "adapter_config.json")) == {"r": 8, "base_model_name_or_path": "org/small"}
  assert (adapter / "adapter_config.json").read_text() == before, "what is published is not changed"
  assert (out / "adapter_model.safetensors").read_text() == "weights"
  made = card(out)
  assert (made.data.base_model, made.data.license, made.data.library_name) == ("org/small", "apache-2.0", "peft")
  (figure,) = made.data.eval_results
  assert (figure.dataset_name, figure.metric_type, figure.metric_value) == ("capitals", "exact", 0.25), "not the base's"
  for line in (
    "| mine | 75.0% | 12 | 10 | 2 | 99 | annotated | not stated | `k1` |",
    "| theirs | 25.0% | 5 | 5 | 0 | 1,234 | distilled | MIT | `k2` |",
    "| mine | no answer | 2 |",
    "| after | capitals | exact | 0.25 | 0.125 to 0.5 | 32 of 64 |",
    "| before | capitals | exact | 0.125 | 0.125 to 0.5 | 32 of 64 |",
    "| `peft[0].rank` | `8` |",
    "| trainable parameters | 24 |",
    "Commit `abc`; versions: jax 0.10.2.",
  ):
    assert line in made.text
  assert "| capitals | +0.1250 |" in made.text and "step_3" not in made.text and "mesh.data" not in made.text
  whole = "".join((out / name).read_text() for name in said["files"])
  assert "/home" not in whole and str(adapter.parent) not in whole, "no folder of this machine"


def test_a_base_that_nobody_else_can_open_is_asked_for(adapter, hub, capsys):
  assert push(adapter, "--repo=ann/x", "--dry_run") == 2
  assert "give --base_name" in capsys.readouterr().err and not (adapter.parent / "peft_hub").exists()


def test_it_is_sent_and_a_card_that_was_edited_stays(adapter, hub, capsys):
  how = (adapter, "--repo=ann/x", "--base_name=org/small")
  assert push(*how, "--dry_run") == 0
  readme = adapter.parent / "peft_hub" / "README.md"
  readme.write_text(readme.read_text() + "\nBeware of the dog.\n")
  assert push(*how) == 0 and push(*how, "--public", "--overwrite") == 0
  assert readme.read_text().endswith("Beware of the dog.\n") and "edited by hand" in capsys.readouterr().err
  (_, made), (_, sent), (_, again), _ = hub.calls
  assert made == {"repo_id": "ann/x", "repo_type": "model", "private": True, "exist_ok": False}
  assert sent["folder_path"] == str(readme.parent) and sent["ignore_patterns"] == [".itune_push.json"]
  assert again["exist_ok"] and not again["private"]


@pytest.mark.parametrize(("status", "cure"), [(401, "hf auth login"), (403, "this token"), (409, "--overwrite")])
def test_a_hub_that_refuses_is_one_line(adapter, hub, capsys, status, cure):
  hub.status = status
  assert push(adapter, "--repo=ann/x", "--base_name=org/small") == 1
  assert f"({status}): " in (line := capsys.readouterr().err.splitlines()[-1]) and cure in line


def test_offline_is_one_line(adapter, capsys, monkeypatch):
  """The real HfApi, which is told that there is no network."""
  monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
  assert push(adapter, "--repo=ann/x", "--base_name=org/small") == 1
  assert "the hub was not reached (OfflineModeIsEnabled)" in capsys.readouterr().err


def test_a_whole_model_names_its_class_and_needs_no_run(tmp_path, hub, capsys):
  manifest = {
    "format": "hf",
    "dtype": "bfloat16",
    "logit_parity": 0.01,
    "base": "org/small",
    "read_again_by": "safetensors",
  }
  files.write_json(str(tmp_path / "m" / "export_manifest.json"), manifest)
  files.write_json(str(tmp_path / "m" / "config.json"), {"architectures": ["T5ForConditionalGeneration"]})
  assert push(tmp_path / "m", "--repo=ann/x", "--dry_run") == 0
  made, said = card(tmp_path / "m_hub"), capsys.readouterr().err
  assert made.data.base_model == "org/small" and made.data.pipeline_tag is None and made.data.eval_results is None
  assert 'T5ForConditionalGeneration.from_pretrained("ann/x")' in made.text and "no run is known" in said
  results.write_into(str(tmp_path / "evals" / "tuned"), "capitals", contracts.EvalResult([LINE], []))
  assert push(tmp_path / "m", "--repo=ann/x", "--dry_run", f"--evals={tmp_path}/evals/tuned") == 0
  assert card(tmp_path / "m_hub").data.eval_results[0].metric_value == 0.25
  (tmp_path / "m_hub" / ".itune_push.json").unlink()
  assert push(tmp_path / "m", "--repo=ann/x", "--dry_run") == 2 and "did not make it" in capsys.readouterr().err


def test_rows_that_were_chosen(tmp_path, hub, capsys):
  rows = [{"prompt": f"What is {i} + {i}?", "completion": str(2 * i)} for i in range(6)]
  (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"x": 1}]))
  one = select_protocol.Selection(budget=select_protocol.Budget(rows=3), bad_rows="drop")
  where = str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl")
  selecting.select(one, *where, begin=lambda *told: lambda *done: None, outside=outside.Outside())
  assert push(tmp_path / "out.jsonl", "--repo=ann/rows") == 0
  assert {call["repo_type"] for _, call in hub.calls} == {"dataset"}
  made = card(tmp_path / "out_hub", huggingface_hub.DatasetCard)
  assert made.data.size_categories == ["n<1K"] and "Chosen from 7 rows" in made.text
  assert "| prompt | 3 |" in made.text and str(tmp_path) not in made.text
  with open(tmp_path / "out.jsonl", "a", encoding="utf-8") as f:
    f.write(json.dumps(rows[0]) + "\n")
  assert push(tmp_path / "out.jsonl", "--repo=ann/rows") == 2
  assert "not those of its manifest" in capsys.readouterr().err
  assert push(tmp_path / "in.jsonl", "--repo=ann/rows") == 2 and "no rows with a manifest" in capsys.readouterr().err


@pytest.mark.parametrize("repo", ["name", "a/b/c", "a/", "-a/b", "a/b--c", "a/b c"])
def test_what_is_no_name_of_a_repository(tmp_path, repo, capsys):
  assert push(tmp_path, f"--repo={repo}") == 2 and "OWNER/NAME" in capsys.readouterr().err
  if repo != "name":  # the hub knows names without an owner, of old
    with pytest.raises(huggingface_hub.errors.HFValidationError):
      validators.validate_repo_id(repo)


def test_paths_from_the_root_lose_their_folders():
  told = {"a": "/home/ann/x.jsonl", "b": ["--data=/a b/c/d.jsonl", "gs://bucket/x/y", "http://host:80/v1/chat"]}
  assert outward.public(told) == {
    "a": "…/x.jsonl",
    "b": ["--data=…/d.jsonl", "gs://bucket/x/y", "http://host:80/v1/chat"],
  }
  assert outward.public("starter:train and a/b/c, q/k") == "starter:train and a/b/c, q/k"


@pytest.mark.parametrize("token", [None, "hf_x", "é"])
def test_no_network_is_one_line(adapter, capsys, monkeypatch, token):
  """The real HfApi, at a port that nobody listens on: what carries it raises errors of its own."""
  monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
  real = huggingface_hub.HfApi
  monkeypatch.setattr(huggingface_hub, "HfApi", lambda: real(endpoint="http://127.0.0.1:9", token=token))
  assert push(adapter, "--repo=ann/x", "--base_name=org/small") == 1
  said = capsys.readouterr().err.splitlines()[-1]
  assert "ann/x: the hub was not reached (" in said and "peft_hub holds all of it" in said


MANIFEST = {"format": "peft", "dtype": "float32", "logit_parity": 0.0, "base": "o/b", "base_digest": "2-d"}
MANIFEST |= {"read_again_by": "us", "quant": {"kind": "nf4"}, "adapter": "runs/x"}
MANIFESTS = {
  "peft/export_manifest.json": MANIFEST,
  "peft/adapter_config.json": {"r": 8, "base_model_name_or_path": "o/b", "task_type": "CAUSAL_LM"},
  "run/run.json": RUN,
  "run/data.json": DATA,
}


@fuzz.given(st.sampled_from(sorted(MANIFESTS)), st.data())
def test_a_card_is_made_of_whole_manifests_or_not_at_all(name, draw):
  """One node of a manifest is replaced or removed; nothing half-made is left."""
  with tempfile.TemporaryDirectory() as top:
    for file, value in MANIFESTS.items():
      files.write_json(os.path.join(top, file), value)
    folder, out = os.path.join(top, "peft"), os.path.join(top, "out")
    files.write_json(os.path.join(top, name), draw.draw(fuzz.mutated([MANIFESTS[name]]))[3])
    asked = staging.Asked("ann/x", "mit", run_dir=os.path.join(top, "run"))

    def staged():
      with files.whole_folder(out) as partial:
        return staging.stage(folder, asked, partial)

    found = fuzz.outcome(staged)
    assert sorted(os.listdir(top)) == ["out"] * (found is not None) + ["peft", "run"]
    if found is not None:
      assert huggingface_hub.ModelCard.load(os.path.join(out, "README.md")).data.license == "mit"
