"""What is to be a regular expression compiles where it is set, or is refused there in one line."""

import dataclasses

import pytest

from itune_jax.core import errors
from itune_jax.nn import quant
from itune_jax.optim import adamw
from itune_jax.peft import registry
from itune_jax.peft.methods import full
from itune_jax.peft.methods import tokens

_TABLES = ("rank_pattern", "alpha_pattern")
ROWS = [
  *((kind, name) for kind in registry.METHODS.values() for name in kind.regexes),
  (adamw.Group, "pattern"),
  (quant.Quant, "sites"),
]


@pytest.mark.parametrize("kind,name", ROWS, ids=lambda x: x if isinstance(x, str) else x.__name__)
def test_what_does_not_compile_is_one_line(kind, name):
  value = {"blocks/(q": 3} if name in _TABLES else "blocks/(q"
  with pytest.raises(errors.InputError, match=r"is no regular expression: missing \), unterminated subpattern") as e:
    kind(**{name: value, **({"ids": (1,)} if kind is tokens.Tokens else {})})
  assert "\n" not in str(e.value) and f"{kind.__name__}.{name}" in str(e.value)


def test_every_field_that_reads_like_one_is_asked():
  for kind in registry.METHODS.values():
    fields = {f.name for f in dataclasses.fields(kind)}
    assert fields & {"sites", "params", "inputs", *_TABLES} <= set(kind.regexes), kind
  assert full.Full(params=".*/kernel").params == ".*/kernel"
