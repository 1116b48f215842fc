"""The view that evaluators get: generation and scoring of live parameters, on the training mesh."""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

from itune_jax.core import axes as axes_lib
from itune_jax.core import batch as batch_lib
from itune_jax.core import errors
from itune_jax.core import pack
from itune_jax.parallel import shard
from itune_jax.sampling.decode import call
from itune_jax.sampling.decode import decode as decode_lib
from itune_jax.sampling.decode import one_token
from itune_jax.sampling.decode import watch
from itune_jax.sampling.score import on_tokens
from itune_jax.sampling.score import rewards as rewards_lib
from itune_jax.sampling.score import score


@dataclasses.dataclass(frozen=True)
class Engine:
  """Compiled functions of a binder with the parameters of now. `with_params` costs nothing.

  bind: all that is static of the model on its mesh. params: its arrays of now. max_length: positions that it knows.
  progress: is told of each answer or score that is there. stop_ids: of which each ends a text.
  text: of ids, which stop strings are looked for in. kept: what was laid out for these parameters, shared with copies
  that differ in anything else. reference: the engine of the reference that a run compares with, if it has one.
  scores: whether the model has a head that scores in place of the vocabulary's.
  """

  bind: Any
  params: Any
  max_length: int
  stop_ids: tuple[int, ...]
  progress: Callable[[int], None] = lambda n: None
  text: watch.Text | None = None
  kept: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False, compare=False)
  reference: "Engine | None" = None
  scores: bool = False

  @property
  def _one_token(self) -> tuple[Any, Any]:
    if "one_token" not in self.kept:
      self.kept["one_token"] = one_token.prepare(self.bind, self.params)
    return self.kept["one_token"]

  def with_params(self, params: Any) -> "Engine":
    """The same functions on other arrays."""
    return dataclasses.replace(self, params=params, kept={})

  def with_progress(self, progress: Callable[[int], None]) -> "Engine":
    """The same, counting to somebody else."""
    return dataclasses.replace(self, progress=progress)

  def generate(
    self,
    asks: Sequence[decode_lib.Ask | Sequence[int]],
    decode: decode_lib.Decode,
    images: Sequence[Any] = (),
    adapters: Sequence[int] | None = None,
    limits: Sequence[int] | None = None,
    on_text: Callable[[watch.Piece], None] | None = None,
    on_end: Callable[[int, call.Generation], None] = lambda i, generation: None,
  ) -> list[call.Generation]:
    """Continues requests (`decode.Ask`) or prompts of ids; samples of one together, in the order given.

    Of prompts of ids `images` holds the pixels of each, or None, where any has some; `adapters` the number of each
    one's adapter, where several ride on one base; `limits` how many new tokens each may have. on_text: gets what is new
    of each text as it comes; on_end: each sample by its number as soon as it has ended.

    Raises InputError as `decode.generate` does, and for a model that scores.
    """
    self._require_words()
    return decode_lib.generate(
      self.bind,
      self.params,
      asks,
      decode,
      self.stop_ids,
      self.max_length,
      self.progress,
      images=images,
      one_token=self._one_token,
      adapters=adapters,
      limits=limits,
      text=self.text,
      on_text=on_text,
      on_end=on_end,
    )

  def score(self, pairs, images: Sequence[Any] = (), adapters: Sequence[int] | None = None) -> list[score.Score]:
    """Log-likelihoods of (context ids, continuation ids); `images` and `adapters` as for `generate`, by pair."""
    self._require_words()
    return score.loglikelihood(
      self.bind,
      self.params,
      pairs,
      max_length=self.max_length,
      rows=self._rows(2),
      put=self._put,
      progress=self.progress,
      images=images,
      adapters=adapters,
    )

  def rewards(self, texts: Sequence[Sequence[int]]) -> Any:
    """Scores [texts, outputs] of ids by a head that scores. Raises InputError as `rewards.rewards` does."""
    how: dict[str, Any] = dict(rows=self._rows(2), put=self._put, progress=self.progress)
    return rewards_lib.rewards(self.bind, self.params, texts, max_length=self.max_length, **how)

  def token_losses(self, batch: batch_lib.Batch) -> tuple[Any, Any]:
    """Nats and whether it is the likeliest token, [B, T], at every position of a batch that has a weight."""
    self._require_words()
    return score.losses(self.bind, self.params, self._put(batch))

  def _require_words(self) -> None:
    if self.scores:
      raise errors.InputError(
        "this is a reward model: it has scores and no words. Leave out validation and evaluators of text; "
        "preferred.Preferred with by = 'reward' is one for it"
      )

  def losses(self, items: Sequence[pack.Item]) -> list[on_tokens.Losses]:
    """Nats of every token of items that has a weight. Raises InputError for an item that the model cannot hold."""
    return on_tokens.losses(self.bind, self.params, items, self._put, **self._packed)

  def surprises(self, items: Sequence[pack.Item]) -> list[on_tokens.Surprise]:
    """The same tokens beside what the model expected in their place. Raises as `losses`."""
    return on_tokens.surprises(self.bind, self.params, items, self._put, **self._packed)

  def pooled(self, texts: Sequence[Sequence[int]], weigh: Callable[[int], Any]) -> Any:
    """Weighted means [N, D] of the final hidden states of texts of ids (`on_tokens.pooled`). Raises as `losses`."""
    return on_tokens.pooled(self.bind, self.params, texts, weigh, self._put, **self._packed)

  @property
  def _packed(self) -> dict[str, Any]:
    return dict(rows=self._rows(1), max_length=self.max_length, progress=self.progress)

  def put(self, batch: Any) -> Any:
    """A batch that every process holds, on the mesh."""
    return self._put(batch)

  def _put(self, batch):
    rules: axes_lib.Rules = dict(self.bind.rules)
    return shard.same_batch(batch, self.bind.mesh, rules)

  def _rows(self, least: int) -> int:
    """Rows of a scoring batch: a multiple of the data axes, so that every device has work."""
    shards = self.bind.mesh.shape.get("data", 1) * self.bind.mesh.shape.get("fsdp", 1)
    return -(-least // shards) * shards
