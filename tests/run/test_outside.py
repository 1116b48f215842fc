"""What selections are kept clean of: every benchmark whose files are here, whatever else lies beside them."""

import json

import pytest

from itune_jax.core import errors
from itune_jax.evals import folders
from itune_jax.evals.benchmarks import registry
from itune_jax.run import outside

MMLU = {"sample_id": "a/1", "question": "q?", "answer": "A", "subject_category": "x"}
MMLU |= {f"option_{one}": one for one in "abcd"}


@pytest.fixture
def data(tmp_path):
  """A folder of several data sets: one of LegalBench without its test rows, POPE without its images."""
  files = {
    "gsm8k/test.jsonl": json.dumps({"question": "1 + 1?", "answer": "#### 2"}),
    "legalbench/hearsay/base_prompt.txt": "Q: {{text}}",
    "legalbench/hearsay/train.tsv": "index\ttext\tanswer\n0\tHe said so.\tYes",
    "pope/coco_pope_random.json": json.dumps({"question_id": 1, "image": "a.jpg", "text": "A dog?", "label": "no"}),
    "other/notes.txt": "x",
  }
  for name, text in files.items():
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text + "\n")
  return tmp_path


def test_a_data_set_is_none_of_another_benchmark(data):
  """`*/test.jsonl` is Global-MMLU's, where a folder holds languages."""
  published = registry.find("global_mmlu")
  assert folders.Folder(str(data)).holds(published.files[0]) and registry.find("pope").folder([str(data)])
  with pytest.raises(errors.InputError, match="not found"):
    published.folder([str(data)])
  for code in ("de", "en"):
    (data / "global_mmlu" / code).mkdir(parents=True)
    (data / "global_mmlu" / code / "test.jsonl").write_text(json.dumps(MMLU))
  for root in (data, data / "global_mmlu"):
    assert len(list(outside.Outside(data=str(root)).items("global_mmlu"))) == 2
  assert folders.find(("nothing",), published.files, [str(data / "global_mmlu")]) is not None


def test_items_are_those_whose_files_are_there(data):
  there = outside.Outside(data=str(data))
  (rule,) = there.items("legalbench")
  assert "He said so." in rule.prompt and rule.gold == "Yes"
  (asked,) = there.items("pope")
  assert asked.prompt == "A dog?"
  (data / "legalbench" / "hearsay" / "train.tsv").unlink()
  with pytest.raises(errors.InputError, match="no file is named so"):
    list(there.items("legalbench"))


ROWS = [
  ({"prompt": "p"}, "p", ""),
  ({"instruction": "p", "output": "a"}, "p", "a"),
  ({"prompt": "p", "chosen": "a", "rejected": "b"}, "p", "a"),
  ({"question": "p", "choices": ["x", "y"], "answer": 1}, "p", ""),
  ({"question_id": 3, "category": "c", "turns": ["p", "again"]}, "c\np\nagain", ""),
]


def test_any_file_is_rows_that_are_kept_out(tmp_path):
  (tmp_path / "some").mkdir()
  (tmp_path / "some" / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row, _, _ in ROWS))
  there = outside.Outside()
  for path in ("some/a.jsonl", "some"):
    assert [one[1:] for one in there.items(str(tmp_path / path))] == [(prompt, gold) for _, prompt, gold in ROWS]
  for bad in ("{}", "{", '{"n": 1}'):
    (tmp_path / "b.jsonl").write_text(f'{{"prompt": "p"}}\n{bad}\n')
    with pytest.raises(errors.InputError, match="b.jsonl:2: "):
      list(there.items(str(tmp_path / "b.jsonl")))


@pytest.mark.full
def test_every_benchmark_that_is_here_can_be_read(itune_data, capsys):
  there = outside.Outside(data=itune_data)
  counts = {name: sum(1 for _ in there.items(name)) for name in there.benchmarks()}
  with capsys.disabled():
    print(f"\n{len(counts)} benchmarks, {sum(counts.values())} items to be kept out: {counts}")
  assert all(counts.values())
