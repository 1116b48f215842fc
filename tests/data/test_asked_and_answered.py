"""What of a conversation is asked, and what is its answer: the last message decides."""

import json

import hypothesis
from hypothesis import strategies as st

from itune_jax.data import mixture
from itune_jax.data.readers import readers
from itune_jax.evals import generation
from itune_jax.evals import items


def turns(count):
  return [{"role": ("user", "assistant")[i % 2], "content": f"turn {i}"} for i in range(count)]


@hypothesis.given(st.integers(1, 9))
def test_all_is_asked_but_an_answer_at_the_end(count):
  row = {"messages": turns(count)}
  example, asked = readers.parse(row, ""), readers.question(row, "")
  ends = count - (count % 2 == 0)
  assert (
    [m["content"] for m in example.prompt]
    == [m["content"] for m in asked.messages]
    == [f"turn {i}" for i in range(ends)]
  )
  assert example.answer == ("" if count % 2 else f"turn {count - 1}")


def test_an_item_asks_the_last_question(tmp_path):
  row = {"messages": turns(3), "check": {"name": "exact", "answer": "x"}}
  (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
  source = mixture.Source(name="s", path=str(tmp_path / "rows.jsonl"))
  (item,) = generation.Generation(items=items.Items(source=source)).benchmark.items()
  assert item.question.messages[-1]["content"] == "turn 2" and len(item.question.messages) == 3
