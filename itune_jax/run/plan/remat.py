"""`itune plan --choose_remat`: which activations to keep, by compiling the training step with more and more of them."""

from collections.abc import Callable, Iterator
import dataclasses
from typing import Any

from itune_jax.core import log
from itune_jax.nn import stack
from itune_jax.run.commands import train as train_lib


def _without(*names: str) -> stack.Remat:
  return stack.Remat(policy="taps", names=tuple(name for name in stack.TAPS if name not in names))


# From what keeps least to what keeps most. A byte of any large matmul's output costs the same arithmetic to make
# again, so those of the feed-forward block, the largest, are the last to be kept; attention's come first: their cost
# grows with the length of segments.
LADDER = (
  stack.Remat(policy="full"),
  _without("attn_q", "attn_k", "attn_v", "mlp_gate", "mlp_up", "residual"),
  _without("mlp_gate", "mlp_up"),
  _without("mlp_gate"),
  stack.Remat(policy="taps"),
  stack.Remat(policy="none"),
)


def choose(run: train_lib.Train, plan: Callable[[train_lib.Train], dict[str, Any]]) -> dict[str, Any]:
  """What `plan` finds for the policy whose step is shortest among those that fit, with `remat` and what was `tried`.

  Each policy of LADDER is compiled, up to the first that does not fit: what follows keeps more. If none fits, the
  figures are those of the leanest.
  """
  tried = list(_climb(run, plan))
  fitting = [found for found in tried if found["fits"]] or tried[:1]
  best = min(fitting, key=lambda found: found.get("step_s", 0.0))
  figures = "remat", "peak_gib_per_chip", "step_s", "fits"
  return best | {"tried": [{name: found[name] for name in figures if name in found} for found in tried]}


def _climb(run: train_lib.Train, plan: Callable[[train_lib.Train], dict[str, Any]]) -> Iterator[dict[str, Any]]:
  for i, remat in enumerate(LADDER):
    log.info(f"rematerialisation {i + 1} of {len(LADDER)}: {in_words(remat)}")
    found = plan(dataclasses.replace(run, remat=remat))
    yield found | {"remat": dataclasses.asdict(remat)}
    if not found["fits"]:
      return


def in_words(remat: stack.Remat) -> str:
  """What a policy keeps."""
  if remat.policy != "taps":
    return {"full": "layer inputs only", "none": "every activation"}[remat.policy]
  return f"layer inputs and {', '.join(remat.names)}"


def flags(remat: stack.Remat) -> str:
  """The flags with which a recipe trains under this policy."""
  policy = f"--gin.stack.Remat.policy=\"'{remat.policy}'\""
  return f'{policy} --gin.stack.Remat.names="{remat.names!r}"' if remat.policy == "taps" else policy
