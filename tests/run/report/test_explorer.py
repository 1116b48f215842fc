"""The page of the data: all rows are counted, some drawn, and what a file says is never markup."""

import json
import re

import pytest

from itune_jax.core import errors
from itune_jax.data import mixture
from itune_jax.data.render import chat
from itune_jax.run.report import explorer


def written(tmp_path, count):
  line = lambda i: json.dumps({"prompt": f"q {i // 2}", "completion": "</script><b>yes</b>", "language": "en"})
  (tmp_path / "x.jsonl").write_text("".join(f"{line(i)}\n" for i in range(count)) + '{"foo": 1}\n')
  return mixture.Source(name="s", path=str(tmp_path / "x.jsonl"))


def pieces(tokenizer):
  return lambda ids, weights: [(tokenizer.decode([i]), w) for i, w in zip(ids, weights, strict=True)]


@pytest.mark.parametrize("sample", [5, 1000])
def test_rows_are_counted_and_drawn_in_order(sample, tmp_path, smollm2_tokenizer):
  source, renderer = written(tmp_path, 40), chat.Renderer(smollm2_tokenizer)
  prepared = {"kept": 40, "dropped": 1, "dropped_by_reason": {"why": 1}, "tokens": 9, "trained_tokens": 4}
  for manifest in (None, prepared):
    found = explorer.data((source,), renderer, pieces(smollm2_tokenizer), [manifest], sample)
    (one,), rows = found["sources"], found["rows"]
    assert (one["rows"], one["repeated"]) == (41, 20) and len(rows) == one["sampled"] == min(sample, 41)
    lines = [int(row["where"].rpartition(":")[2]) for row in rows]
    assert lines == sorted(set(lines))
    kept = [row for row in rows if not row["dropped"]]
    assert all("".join(t for t, w in row["text"] if w) == "</script><b>yes</b><|im_end|>" for row in kept)
    assert all(0 < row["trained"] < row["tokens"] and row["schema"] == "prompt_completion" for row in kept)
    assert sum(one["lengths"]) == len(kept) and one["languages"] == [("en", len(kept))]
    if manifest:
      assert (one["kept"], one["drops"], one["tokens"]) == (40, [("why", 1)], 9)
    elif sample == 1000:
      assert one["dropped"] == 1 and "no known format" in one["drops"][0][0]


def test_a_draw_takes_each_row_as_often(tmp_path):
  counts, source = [0] * 41, written(tmp_path, 40)
  entries = [entry.place for entry in explorer.draw(source, 41).entries]
  assert entries == list(range(1, 42))
  for limit in range(1, 41):
    for entry in explorer.draw(source, limit).entries:
      counts[entry.place - 1] += 1
  assert sum(counts) == 820 and min(counts) > 4 and max(counts) < 40  # 20 are expected of each


def test_the_page_holds_its_data_as_data(tmp_path, smollm2_tokenizer):
  renderer, source = chat.Renderer(smollm2_tokenizer), written(tmp_path, 4)
  found = explorer.data((source,), renderer, pieces(smollm2_tokenizer), [None], 10)
  page = explorer.page("The <data>", found)
  (text,) = re.findall(r'<script type="application/json" id="data">(.*)</script>', page)
  assert json.loads(text)["rows"] == json.loads(json.dumps(found["rows"])) and "<b>yes" not in page
  assert page.count("<script") == 2 and "The &lt;data&gt;" in page and "http" not in page.replace("http-equiv", "")


def test_languages_are_unknown_without_lingua(monkeypatch):
  def lacks(*args):
    raise errors.InputError("lingua is not installed")

  monkeypatch.setattr(explorer.language_filter.Languages, "apply", lacks)
  rows = [{"language": "", "dropped": "", "text": [["Guten Tag", 1.0]]}]
  explorer._add_languages(rows)
  assert rows[0]["language"] == "unknown"
