"""What VIEWS may hold: views, under the names that the objective asks for."""

import types

import pytest

from itune_jax.core import errors
from itune_jax.objectives.preference import dpo
from itune_jax.run import views

POLICY = types.SimpleNamespace(base=types.SimpleNamespace(params={}), trainable=set())


@pytest.mark.parametrize(
  ("given", "said"),
  [
    ({"reference": 5}, "VIEWS: 'reference' is 5, no view"),
    ({"reference": "base"}, "VIEWS: 'reference' is 'base', no view"),
    ({"teacher": views.Base()}, "Dpo asks for no 'teacher'; it asks for reference"),
  ],
)
def test_what_is_no_view_is_named(given, said):
  with pytest.raises(errors.InputError, match=said):
    views.make(dpo.Dpo(), given, POLICY, False)
