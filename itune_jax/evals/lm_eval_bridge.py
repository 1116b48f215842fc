"""lm-evaluation-harness asks a model on the mesh: an `LM` for its tasks (lm-eval ≥ 0.4.13), without torch.

Which tokens are scored is lm-eval's business, and its rules are followed to the letter: white space at the end of a
context moves to the continuation (`TemplateLM._encode_pair`), an empty context is the prefix token, a text that begins
with the start token gets no second one, what is too long loses its beginning, and whole texts are cut into disjoint
windows (`get_rolling_token_windows`). How they are scored is this project's: contexts that several continuations share
run once, everything is packed, and answers are decoded in one queue whatever their tasks ask for.
"""

import collections
from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import itertools
import json
from typing import Any

import jinja2
from lm_eval.api import instance  # pyright: ignore[reportMissingImports]  # optional
from lm_eval.api import model as lm_eval_model  # pyright: ignore[reportMissingImports]
import tqdm

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.core import ranges
from itune_jax.evals import lm_eval_answers
from itune_jax.evals import lm_eval_tokens
from itune_jax.sampling import engine as engine_lib
from itune_jax.sampling.decode import decode as decode_lib
from itune_jax.sampling.score import rolling

BLOCK = (
  512  # requests that run together where lm-eval keeps answers (`--use_cache`): what is done is kept if it is killed
)
Pair = tuple[tuple[str, str] | None, list[int], list[int]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """How a model is asked, with the meanings of lm-eval's Hugging Face backend.

  batch_size: answers that are decoded together. max_length: positions, 0 for all that the model knows. add_bos_token:
  whether texts begin with the start token; None leaves it to the tokenizer. prefix_token_id: what stands in front of an
  empty context and of a whole text; the start token, or the end token where there is none. think_end_token: the text or
  id that ends thinking, which is then no part of an answer. enable_thinking: given to the chat template, with
  chat_template_args. seed: of what is drawn.
  """

  batch_size: int = 32
  max_length: int = 0
  add_bos_token: bool | None = None
  prefix_token_id: int | None = None
  think_end_token: str | int | None = None
  enable_thinking: bool | None = None
  chat_template_args: dict[str, Any] = dataclasses.field(default_factory=dict)
  seed: ranges.Seed = 0

  def __post_init__(self):
    check.check_types(self)
    check.require(self.batch_size > 0, f"batch_size = {self.batch_size}: answers that run together, 1 or more")
    check.require(self.max_length >= 0, f"max_length = {self.max_length}: positions, 0 for the model's own")
    check.require(
      not self.enable_thinking or self.think_end_token is not None,
      "enable_thinking=True: say what ends the thinking (think_end_token), or it is scored as the answer",
    )


@dataclasses.dataclass(frozen=True)
class Asked:
  """A model as it is asked here.

  engine: its compiled functions, with the tokens that end an answer. template: the chat template's source, "" for none.
  name: what it is, for request caches: equal names must mean equal prompts. template_kwargs: what the template sees
  beside a conversation. info: what the result files say of the model.
  """

  engine: engine_lib.Engine
  tokenizer: Any
  template: str
  name: str
  template_kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  info: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class BridgeLM(lm_eval_model.TemplateLM):
  """A model on the mesh as lm-eval wants one. World size 1: what is spread over devices is the model, not the tasks."""

  def __init__(self, asked: Asked, settings: Settings = Settings()):
    """Raises InputError for settings that this model cannot have."""
    super().__init__()
    self.settings, self._asked = settings, asked
    self.tokenizer = lm_eval_tokens.own_start(asked.tokenizer, settings.add_bos_token)
    self._template, self._straddled, self._shortened = asked.template, 0, 0
    check.require(self.tokenizer.eos_token_id is not None, f"{asked.name}: its tokenizer names no end token")
    most = asked.engine.max_length
    check.require(settings.max_length <= most, f"max_length = {settings.max_length}: the model knows {most} positions")
    self._think_end = lm_eval_tokens.think_end(self.tokenizer, settings.think_end_token)
    self._texts = lm_eval_tokens.Texts(self.tokenizer, self.prefix_token_id, settings.add_bos_token)

  @property
  def eot_token_id(self) -> int:
    """The token that ends a text."""
    return self.tokenizer.eos_token_id

  @property
  def prefix_token_id(self) -> int:
    """What stands in front where there is nothing."""
    own, start = self.settings.prefix_token_id, self.tokenizer.bos_token_id
    return own if own is not None else start if start is not None else self.tokenizer.eos_token_id

  @property
  def max_length(self) -> int:
    """Positions that the model reads at most."""
    return self.settings.max_length or self._asked.engine.max_length

  @property
  def max_gen_toks(self) -> int:
    """New tokens where a task does not say how many."""
    return lm_eval_answers.MAX_GEN_TOKS

  @property
  def batch_size(self) -> int:
    """Answers that are decoded together."""
    return self.settings.batch_size

  @property
  def tokenizer_name(self) -> str:
    """Names the prompts that this model makes, for lm-eval's caches of requests."""
    return self._asked.name

  def get_model_info(self) -> dict[str, Any]:
    """What lm-eval's result file says of the model."""
    return dict(self._asked.info)

  def chat_template(self, chat_template: bool | str = False) -> str | None:
    """The template that prompts are written with from now on; a name chooses one of several."""
    if isinstance(chat_template, str):
      named = self.tokenizer.chat_template
      known = ", ".join(sorted(named)) if isinstance(named, dict) else "none by name"
      check.require(isinstance(named, dict) and chat_template in named, f"no chat template {chat_template!r}: {known}")
      self._template = named[chat_template]
    return self._template if chat_template else None

  def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
    """A conversation as text. A template that refuses the system's turn is given the others, as lm-eval does.

    Raises InputError where there is no template, or it refuses the conversation all the same.
    """
    check.require(self._template, f"{self._asked.name}: no chat template; name one (chat_template=chatml or a file)")
    try:
      return self._written(chat_history, add_generation_prompt)
    except jinja2.TemplateError as e:
      rest = [message for message in chat_history if message["role"] != "system"]
      check.require(len(rest) < len(chat_history), f"the chat template refuses a conversation: {e}")
      log.info("the chat template refuses the system's turn: it is left out, as lm-eval's own backend does")
    try:
      return self._written(rest, add_generation_prompt)
    except jinja2.TemplateError as e:
      raise errors.InputError(f"the chat template refuses a conversation: {e}") from None

  def _written(self, messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
    own = {**self._asked.template_kwargs, **self.settings.chat_template_args}
    thinks = self.settings.enable_thinking
    more = own if thinks is None else {**own, "enable_thinking": thinks}
    how = {"add_generation_prompt": add_generation_prompt, "continue_final_message": not add_generation_prompt, **more}
    return self.tokenizer.apply_chat_template(messages, tokenize=False, chat_template=self._template, **how)

  def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
    """Ids of a text. A text that spells the start token gets no second one."""
    del kwargs
    return self._texts.ids(string, add_special_tokens)

  def loglikelihood(self, requests: list[instance.Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
    """Log-probabilities, in nats, of continuations behind contexts, and whether greedy decoding would give them.

    Raises InputError for a continuation without a token, and with `enable_thinking`, which scores cannot wait for.
    """
    check.require(not self.settings.enable_thinking, "enable_thinking=True: tasks that score given texts cannot think")
    pairs: list[tuple[str, str]] = list(map(_arguments, requests))
    self._texts.learn({text for pair in pairs if pair[0] for text in lm_eval_tokens.wholes(*pair)})
    cut: list[Pair] = [(pair, *self._cut(*pair)) for pair in pairs]
    self._texts.forget()
    if self._straddled:
      log.info(f"{self._straddled} continuations share a token with their context: each is tokenised by itself")
      self._straddled = 0
    return self._loglikelihood_tokens(cut, disable_tqdm=disable_tqdm)

  def _cut(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Ids of both, each with a token at least."""
    if not context:
      ids = self.tok_encode(continuation, add_special_tokens=False)
      if ids[:1] == [self.prefix_token_id]:
        head, tail = ids[:1], ids[1:]
      else:
        head, tail = [self.prefix_token_id], ids
    else:
      head, tail = self._encode_pair(context, continuation)
      if not head:  # white space alone, which is the continuation's
        head = [self.prefix_token_id]
      if not tail:  # one token straddles the place, where lm-eval's own backend ends with an error
        tail = self.tok_encode(continuation, add_special_tokens=False)
        self._straddled += 1
    check.require(tail, f"a continuation has no token: {continuation!r} behind {context[-60:]!r}")
    return head, tail

  def _loglikelihood_tokens(
    self, requests: Sequence[Pair], disable_tqdm: bool = False, **kwargs: Any
  ) -> list[tuple[float, bool]]:
    del kwargs
    given = [(tuple(head), tuple(tail)) for head, tail in (self._fit(*one[1:]) for one in requests)]
    if shorter := sum(len(pair[0]) < len(one[1]) for pair, one in zip(given, requests, strict=True)):
      log.info(f"{shorter} contexts are cut at their beginning: with what follows they exceed {self.max_length} tokens")
    texts: dict[Any, list[tuple[str, str]]] = {pair: [] for pair in given}  # equal pairs are scored once
    for pair, one in zip(given, requests, strict=True):
      texts[pair] += [one[0]] if one[0] is not None else []
    found: dict[Any, tuple[float, bool]] = {}
    with tqdm.tqdm(total=len(texts), disable=disable_tqdm, desc="Running loglikelihood requests") as bar:
      engine = self._asked.engine.with_progress(_advance(bar))
      for block in self._blocks(sorted(texts, key=lambda pair: (len(pair[0]), pair))):
        scores = engine.score(block)
        found |= {pair: (one.logprob, one.is_greedy) for pair, one in zip(block, scores, strict=True)}
        for pair in block:
          for own in texts[pair]:
            self.cache_hook.add_partial("loglikelihood", own, found[pair])
    return [found[pair] for pair in given]

  def _fit(self, head: list[int], tail: list[int]) -> tuple[list[int], list[int]]:
    """The last `max_length` + 1 tokens: the last of them is predicted, and never read."""
    room = self.max_length + 1 - len(tail)
    check.require(room > 0, f"a continuation has {len(tail)} tokens, more than the {self.max_length} that are read")
    return head[-room:], tail

  def _blocks(self, members: list[Any]) -> Iterator[list[Any]]:
    size = len(members) if self.cache_hook.dbdict is None else BLOCK
    for at in range(0, len(members), max(1, size)):
      yield members[at : at + size]

  def loglikelihood_rolling(self, requests: list[instance.Instance], disable_tqdm: bool = False) -> list[float]:
    """Log-probabilities of whole texts, window by window, each token once."""
    texts: list[str] = [_arguments(request)[0] for request in requests]
    self._texts.learn(texts)
    parts = [rolling.windows(self.tok_encode(t), self.prefix_token_id, self.max_length + 1) for t in texts]
    self._texts.forget()
    windows: list[Pair] = [(None, *window) for window in itertools.chain.from_iterable(parts)]
    scores = iter(self._loglikelihood_tokens(windows, disable_tqdm=disable_tqdm))
    found = [float(sum(next(scores)[0] for _ in own)) for own in parts]
    for text, total in zip(texts, found, strict=True):
      self.cache_hook.add_partial("loglikelihood_rolling", (text,), total)
    return found

  def generate_until(self, requests: list[instance.Instance], disable_tqdm: bool = False) -> list[str]:
    """Answers to prompts, all in one queue; equal requests are decoded once, or drawn as often as they are asked.

    Raises InputError, by name, for generation arguments that are not known here.
    """
    asked = list(map(_arguments, requests))
    keys = [(context, json.dumps(how, sort_keys=True, default=str)) for context, how in asked]
    given = {key: how for key, (_, how) in zip(keys, asked, strict=True)}
    plans = {key[1]: lm_eval_answers.plan(own) for key, own in given.items()}
    self._texts.learn(context for context, _ in given)
    counts = {key: n if plans[key[1]].draws else 1 for key, n in collections.Counter(keys).items()}
    order = sorted(given, key=lambda key: (len(self.tok_encode(key[0])), key))
    found: dict[tuple[str, str], list[str]] = {}
    with tqdm.tqdm(total=sum(counts.values()), disable=disable_tqdm, desc="Running generate_until requests") as bar:
      for block in self._blocks(order):
        found |= self._decoded(block, plans, counts, _advance(bar))
        for key in (key for key in block if not plans[key[1]].draws):  # what is drawn is drawn anew
          self.cache_hook.add_partial("generate_until", (key[0], given[key]), found[key][0])
    self._texts.forget()
    if self._shortened:
      log.info(f"{self._shortened} prompts are cut at their beginning: answers have places in {self.max_length} too")
      self._shortened = 0
    return [found[key].pop(0) if counts[key] > 1 else found[key][0] for key in keys]

  def _decoded(
    self,
    keys: Sequence[tuple[str, str]],
    plans: Mapping[str, lm_eval_answers.Plan],
    counts: Mapping[tuple[str, str], int],
    progress: Callable[[int], None],
  ) -> dict[tuple[str, str], list[str]]:
    """The texts of these requests."""
    texts = lm_eval_answers.Texts(self.tokenizer, [s for one in plans.values() for s in one.stops], self._think_end)
    asks = [self._ask(key, plans[key[1]], counts[key], texts) for key in keys]
    decode = decode_lib.Decode(
      max_new_tokens=max(plans[key[1]].limit for key in keys), seed=self.settings.seed, batch=self.batch_size
    )
    engine = dataclasses.replace(self._asked.engine, text=texts, progress=progress)
    said = iter(engine.generate(asks, decode))
    return {key: [texts.answer(next(said), plans[key[1]]) for _ in range(counts[key])] for key in keys}

  def _ask(
    self, key: tuple[str, str], wanted: lm_eval_answers.Plan, count: int, texts: lm_eval_answers.Texts
  ) -> decode_lib.Ask:
    room = self.max_length - wanted.limit
    check.require(
      room > 0, f"max_gen_toks = {wanted.limit}: of {self.max_length} positions none is left for the prompt"
    )
    ids = self.tok_encode(key[0]) or [self.prefix_token_id]
    self._shortened += len(ids) > room
    own = {"limit": wanted.limit, "stop": texts.stops(wanted), "sampling": wanted.sampling}
    return decode_lib.Ask(prompt=ids[-room:], id="\0".join(key), n=count, **own)


def _arguments(request: instance.Instance) -> Any:
  """Context and continuation, or context and generation arguments, or a whole text."""
  return request.args


def _advance(bar: Any) -> Callable[[int], None]:
  return lambda n: bar.update(n)
