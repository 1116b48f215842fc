"""IFEval against lm-eval's checkers, verdict by verdict; `-s` prints the table of kinds."""

import collections
import json
import os

import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed: scripts/test.sh parity installs it")

from itune_jax.grading.ifeval import kinds as kinds_lib  # noqa: E402
from itune_jax.grading.ifeval import texts  # noqa: E402
from itune_jax.grading.ifeval import verdicts  # noqa: E402
from tests.grading import ifeval_answers  # noqa: E402
from tests.grading import ifeval_changes  # noqa: E402
from tests.parity import ifeval_official  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
RESPONSES = 200  # of each kind


@pytest.fixture(scope="module")
def official(tmp_path_factory):
  """lm-eval's checkers."""
  with pytest.MonkeyPatch.context() as patch:
    yield ifeval_official.Official(str(tmp_path_factory.mktemp("nltk")), patch)


@pytest.fixture(scope="module")
def rows(itune_data):
  """The official rows."""
  with open(os.path.join(itune_data, "ifeval", "input_data.jsonl"), encoding="utf-8") as f:
    return [json.loads(line) for line in f]


def test_every_kind_is_judged_as_by_lm_eval(official, capsys):
  """25 kinds, right answers and what became of them: no verdict differs, and each kind has both."""
  table = {kind: [0, 0, 0, 0, 0] for kind in kinds_lib.KINDS}
  for kind, counts in table.items():
    rng = ifeval_official.seeded(kind)
    for _ in range(RESPONSES):
      one = ifeval_answers.case(kind, rng)
      response = ifeval_changes.changed(one.answer, rng)
      ours = verdicts.judge([kinds_lib.build(kind, one.kwargs)], response)
      theirs = official.judge("", [kind], [one.kwargs], response)
      counts[0] += 1
      counts[1] += theirs.strict[0]
      counts[2] += theirs.loose[0]
      counts[3] += ours.strict != theirs.strict
      counts[4] += ours.loose != theirs.loose
      if ours != theirs:
        print(kind, one.kwargs, repr(response), ours, theirs)
  with capsys.disabled():
    print(f"\n{'kind':46}{'responses':>10}{'strict':>8}{'loose':>8}{'differences':>13}")
    for kind, (n, strict, loose, *wrong) in table.items():
      print(f"{kind:46}{n:10}{strict / n:8.1%}{loose / n:8.1%}{sum(wrong):13}")
    totals = [sum(counts[i] for counts in table.values()) for i in range(5)]
    print(f"{'all':46}{totals[0]:10}{totals[1] / totals[0]:8.1%}{totals[2] / totals[0]:8.1%}{sum(totals[3:]):13}")
  assert sum(totals[3:]) == 0
  assert totals[0] >= 2000
  outside = {kind: counts[:2] for kind, counts in table.items() if not 0.05 < counts[1] / counts[0] < 0.95}
  assert not outside


def test_the_official_rows_are_judged_as_by_lm_eval(official, rows, capsys):
  """541 prompts, five responses each, all instructions of a row together."""
  assert len(rows) == 541
  counts, wrong = collections.Counter(), []
  for row in rows:
    kinds, kwargs = row["instruction_id_list"], row["kwargs"]
    rng = ifeval_official.seeded(str(row["key"]))
    ours = [kinds_lib.build(*given) for given in zip(kinds, kwargs, strict=True)]
    for response in _responses(row, rng):
      mine, theirs = verdicts.judge(ours, response), official.judge(row["prompt"], kinds, kwargs, response)
      counts["responses"] += 1
      counts["instructions"] += len(kinds)
      counts["followed"] += sum(theirs.strict)
      counts["followed loosely"] += sum(theirs.loose)
      if mine != theirs:
        wrong.append((row["key"], response, mine, theirs))
  with capsys.disabled():
    print(f"\n541 prompts: {dict(counts)}, {len(wrong)} responses with a difference")
  assert not wrong
  assert 0.15 < counts["followed"] / counts["instructions"] < 0.85


def _responses(row, rng):
  """The prompt repeated, an answer of the row's first kind, others changed, prose of some length."""
  yield f"{row['prompt']}\n\n{ifeval_answers.prose(rng, 3)}"
  for kind in rng.choices(row["instruction_id_list"], k=2):
    yield ifeval_changes.changed(ifeval_answers.case(kind, rng).answer, rng)
  yield ifeval_changes.changed(ifeval_answers.prose(rng, rng.randint(1, 30)), rng)
  yield ifeval_changes.changed("\n\n".join(ifeval_answers.prose(rng, 2) for _ in range(rng.randint(1, 6))), rng)


def test_sentences_and_tokens_are_those_of_nltk(official, rows, itune_data):
  """NLTK's own functions, on its own files, over real texts."""
  import nltk

  found = [row["prompt"] for row in rows]
  for folder, key in (("alpaca_eval", "output"), ("dolly_3k", "output")):
    found += _texts(os.path.join(itune_data, folder), key)
  assert len(found) > 1000
  for text in found:
    assert texts.sentences(text) == nltk.sent_tokenize(text)
    assert texts.tokens(text) == nltk.word_tokenize(text)


def _texts(folder, key):
  for name in sorted(os.listdir(folder)):
    path = os.path.join(folder, name)
    if name.endswith(".json"):
      with open(path, encoding="utf-8") as f:
        value = json.load(f)
    elif name.endswith(".jsonl"):
      with open(path, encoding="utf-8") as f:
        value = [json.loads(line) for line in f]
    else:
      continue
    yield from (row[key] for row in value if isinstance(row, dict) and isinstance(row.get(key), str))
