"""Training base parameters themselves: all of them, or those a regular expression names."""

import dataclasses

from itune_jax.core import errors
from itune_jax.core import tree
from itune_jax.peft.folders import codec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Full(codec.PeftMethod):
  """Opens base parameters by a regex over their paths (`blocks/attn/q/kernel`; a stack is one parameter).

  params: the regex.
  """

  params: str = ".*"
  name: str = "full"
  regexes = ("params",)
  peft_type = "LN_TUNING"  # where it opens norms only

  def opens(self, names: list[str]) -> list[str]:
    """The parameters that train. Raises InputError when there are none."""
    opened = tree.matching(names, self.params)
    if not opened:
      raise errors.InputError(f"Full(params={self.params!r}) matches no parameter; parameters are: {', '.join(names)}")
    return opened
