"""Arms of a round: whatever the rows, both have equal tokens but for one row, and no arm is empty in silence."""

import hypothesis
from hypothesis import strategies as st
import pytest

from itune_jax.data import example as example_lib
from itune_jax.run import improve_arms
from itune_jax.run.commands import improve


def row(number, answer):
  messages = ({"role": "user", "content": f"Question {number}?"}, {"role": "assistant", "content": answer})
  return example_lib.Example(messages=messages, id=f"row-{number}")


SIZES = st.lists(st.integers(0, 6), min_size=10, max_size=20)


@hypothesis.given(made=SIZES, real=SIZES, by=st.sampled_from(("random", "longest")), seed=st.integers(0, 9))
def test_arms_have_equal_tokens(made, real, by, seed):
  rows = {
    name: [row(f"{name}{k}", "x" * size) for k, size in enumerate(sizes)] for name, sizes in (("m", made), ("r", real))
  }
  count = lambda example: len(example.answer)
  budget = min(sum(made), sum(real))
  hypothesis.assume(0 < max(made + real) <= budget / 2)  # else a single row decides
  arms = improve_arms.equal(rows["m"], rows["r"], count, 0, by, seed)
  tokens = {name: arm.tokens for name, arm in arms.items()}
  assert max(tokens.values()) <= budget and abs(tokens["generated"] - tokens["real"]) < max(made + real)
  for name, arm in arms.items():
    assert arm.tokens == sum(map(count, arm.rows)) > 0, name
    assert len({one.id for one in arm.rows}) == len(arm.rows), "a row stands once"


def test_an_arm_of_nothing_is_refused_with_its_reason(tmp_path):
  with pytest.raises(ValueError, match="none of 2 rows can be rendered"):
    improve_arms.equal([row(0, "a"), row(1, "b")], [row(2, "c")], lambda example: 0, 0, "random", 0)
  folder = tmp_path / "synth" / "arithmetic"
  folder.mkdir(parents=True)
  (folder / "rows.jsonl").write_text(improve_arms.lines([row(0, "4")]), encoding="utf-8")
  with pytest.raises(ValueError, match=r"none is left \(1 resembles an earlier one"):
    improve._made(str(tmp_path), {"arithmetic": {"rows": 1}}, [row(0, "5")])
