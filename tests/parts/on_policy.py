"""A part of the joints: a source that samples from the live policy, rewards what it said, and returns a batch."""

import dataclasses

import numpy as np

from itune_jax.core import contracts
from itune_jax.core import pack
from itune_jax.sampling.decode import decode as decode_lib
from tests.parts import policy_gradient


@dataclasses.dataclass(frozen=True)
class OnPolicy(contracts.BatchSource):
  """`n` samples of each of two prompts a step; the reward is how often `wanted` was said, less the prompt's mean."""

  prompts: tuple[tuple[int, ...], ...]
  n: int = 4
  wanted: int = 7
  is_live = True

  def batch(self, k, engine=None):
    chosen = [self.prompts[(2 * k + i) % len(self.prompts)] for i in range(2)]
    asked = [prompt for prompt in chosen for _ in range(self.n)]
    decode = decode_lib.Decode(max_new_tokens=8, temperature=1.0, seed=k, batch=len(asked))
    said = engine.generate(asked, decode)
    rewards = np.array([out.tokens.count(self.wanted) for out in said], np.float32).reshape(2, self.n)
    advantages = (rewards - rewards.mean(1, keepdims=True)).ravel()
    items = [self._item(*given) for given in zip(asked, said, advantages, strict=True)]
    rows = [[item] for item in items]
    return pack.fill(rows, 24, columns=policy_gradient.PolicyGradient.columns)

  def _item(self, prompt, out, advantage):
    ids = np.array([*prompt, *out.tokens], np.int32)
    trained = np.repeat([0.0, 1.0], [len(prompt), len(out.tokens)]).astype(np.float32)
    old = np.concatenate([np.zeros(len(prompt)), out.logprobs]).astype(np.float32)
    return pack.Item(ids, trained, None, {"advantage": advantage, "old_logprob": old})
