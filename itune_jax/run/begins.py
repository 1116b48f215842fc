"""What an objective says that a run begins with (`Objective.starts_at`), held against its first step."""

from collections.abc import Callable
from typing import Any

import jax

from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import numerics

WITHIN = {"float32": 1e-6, "bfloat16": 1e-2}  # by what activations are computed in
STORED = {"float32": 1e-4, "bfloat16": 5e-2}  # where the reference ran before, in other rows: sums round otherwise


def checked(
  step_fn: Callable, objective: contracts.Objective, compute: numerics.Dtype, done: int, stored: bool = False
) -> Callable:
  """The step, whose first call of a run ends it where a figure is another; nothing is saved then.

  A preference whose reference is not the policy as it starts is no error that a loss curve shows: it only trains
  towards something else. stored: whether the reference's log-probs were stored before. Raises RunError.
  """
  expected = {} if done else dict(objective.starts_at)

  def run(*args: Any) -> Any:
    out = step_fn(*args)
    while expected:
      name, value = expected.popitem()
      found = float(jax.device_get(out[1][name]))
      if not abs(found - value) <= (STORED if stored else WITHIN)[compute]:
        raise errors.RunError(
          f"the run begins with {name} = {found:.3g}, and {type(objective).__name__} with {value:g}: policy and "
          "reference differ before the first step. Dropout, noise, or a method that does not start as the identity do "
          f"that; where VIEWS names another reference on purpose, set {type(objective).__name__}.check_start = False"
        )
    return out

  return run
