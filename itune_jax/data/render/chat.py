"""Chat rendering: a conversation as token ids, with a weight for each.

Trained are exactly the tokens that the model must produce at inference: those behind the ids of the turn's prompt,
through the turn's terminator (`spans` finds both in the text). Where the ids of the prompt are not how the ids of the
whole begin, because one token would straddle the place, the turn is a row of its own: the ids of its prompt, then those
of the answer.
"""

import dataclasses
import datetime
import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import pack
from itune_jax.core import conversation as conversation_lib
from itune_jax.data import example as example_lib
from itune_jax.data import messages as messages_lib
from itune_jax.data.render import given_ids
from itune_jax.data.render import self_test
from itune_jax.data.render import images as images_lib
from itune_jax.data.render import marks as marks_lib
from itune_jax.data.render import spans as spans_lib
from itune_jax.data.render import span_ids
from itune_jax.data.render import template as template_lib
from itune_jax.data.render import text as text_lib
from itune_jax.data.render import tokenizer as tokenizer_lib

# Bump when the rendering or the mask changes: caches of another version are not read. A golden test forces it.
RENDER_VERSION = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rendering:
  """How conversations become tokens.

  date: what templates that print today's date see, so that a cache does not age. truncation: what happens to a
  row longer than max_length; both cuts are counted. dropped_turn: a turn whose text the template drops (old
  thinking), or shows behind another prompt than it would be generated behind, is trained in a row of its own with the
  history cut there ("split"), or the row is refused.

  max_length: tokens of an example at most. template_kwargs: more names that the chat template sees.
  """

  max_length: int = 2048
  truncation: Literal["keep_start", "keep_end", "drop"] = "keep_start"
  dropped_turn: Literal["split", "refuse"] = "split"
  template_kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
  date: str = "2025-01-01"

  def __post_init__(self):
    check.check_types(self)
    check.require(self.max_length > 1, f"Rendering.max_length must be at least 2, not {self.max_length}")
    try:
      datetime.date.fromisoformat(self.date)
    except ValueError:
      raise errors.InputError(f"Rendering.date = {self.date!r}; write it as 2025-01-31") from None


@dataclasses.dataclass(frozen=True)
class Rendered:
  """One row of tokens: ids and the loss weight of each, both [n]; 8-bit pixels [H, W, 3] of its images. `truncated`
  tells that something was cut."""

  ids: np.ndarray
  weights: np.ndarray
  truncated: bool = False
  images: tuple[np.ndarray, ...] = ()


class Row(NamedTuple):
  """A row as its text has it, images not yet expanded: stretches are (turn, first id, last id + 1); alone are the turns
  that need a row of their own."""

  ids: np.ndarray
  weights: np.ndarray
  stretches: tuple[tuple[int, int, int], ...]
  alone: tuple[int, ...]


class Renderer(text_lib.Renderer):
  """Renders conversations with one tokenizer and its templates, after a self-test that fails closed."""

  def __init__(
    self,
    tokenizer,
    config: Rendering = Rendering(),
    images: images_lib.Images | None = None,
    ends: Sequence[int] = (),
    one_answer: bool = False,
  ):
    """images: how the model takes images, None for a model of text. ends: further ids that end a turn, by the base's
    own word (its generation_config.json). one_answer: every answer is a row of its own, for models that read all that
    stands in front of it both ways (encoder-decoders, prefix-LMs).

    Raises InputError for a template that is missing, or whose turns would not be trained as they are generated."""
    super().__init__(tokenizer)
    self.config, self.images, self._ends, self._one_answer = config, images, tuple(ends), one_answer
    if not tokenizer.chat_template:
      raise errors.InputError(
        "this tokenizer has no chat template; name one: "
        f"--gin.specs.Model.chat_template=\"'FILE.jinja'\", or a name ({', '.join(tokenizer_lib.TEMPLATES)})"
      )
    self._templates = template_lib.of(tokenizer, config.template_kwargs, datetime.date.fromisoformat(config.date))
    self._stretches = span_ids.Stretches(self.encode, tokenizer.added_tokens_decoder)
    self._finders: dict[template_lib.Template, spans_lib.Finder] = {}
    for template in self._templates.values():
      self_test.run(self, template)

  def __reduce__(self):
    return Renderer, (self.tokenizer, self.config, self.images, self._ends, self._one_answer)

  def template(self, tools: Sequence[Any] = ()) -> template_lib.Template:
    """The template of conversations with these tools."""
    return self._templates["tool_use" if tools and "tool_use" in self._templates else "default"]

  @property
  def header(self) -> str:
    """What the template writes to have an answer written."""
    return self.template().header

  @property
  def terminator(self) -> str:
    """What the template writes behind an answer."""
    return self.template().terminator

  def text(self, messages, *, tools=(), add_generation_prompt=False, **kwargs) -> str:
    """The template's plain rendering. Raises BadRow with the template's own words when it refuses."""
    how: dict[str, Any] = dict(tools=tools, add_generation_prompt=add_generation_prompt, **kwargs)
    return self.template(tools).text(messages, **how)

  def prompt_ids(self, messages, *, tools=(), **kwargs) -> list[int]:
    """Ids up to and including the generation prompt, each image as many as it has patches; where the last message is
    the assistant's, up to the end of its text, which an answer continues. Raises BadRow."""
    if marks_lib.begun(messages):
      text = self._unfinished(messages, tools=tools, **kwargs)
    else:
      asked = messages[:-1] if marks_lib.is_empty(messages) else messages
      text = self.template(tools).prompt(asked, tools=tools, **kwargs)
    template_lib.require_shown(text, messages, tools)
    return self._expand(messages, np.asarray(self.encode(text), np.int32)).tolist()

  def _unfinished(self, messages, **kwargs) -> str:
    """The rendering up to where the last message's text ends, as transformers' `continue_final_message` has it: white
    space at its end goes where the template strips it. Prompt and beginning are one text, encoded together, as they are
    in training. Raises BadRow where the template does not show the text, or shows it otherwise when it is marked."""
    plain, marked = self.text(messages, **kwargs), self.text(marks_lib.end_marked(messages), **kwargs)
    begun, mark, behind = marked.rpartition(marks_lib.END)
    stripped = begun.rstrip()  # what the template strips behind the text it would strip behind the mark as well
    begun = begun if behind.startswith(" ") and plain.startswith(begun) else stripped
    if not mark or marks_lib.MARKS.search(begun) or not plain.startswith(begun):
      raise example_lib.BadRow("the chat template does not show the last message as it is: no answer can go on from it")
    return begun

  def prompt_images(self, messages) -> np.ndarray | None:
    """Pixels [I, H, W, 3] of the images of a prompt, as the model reads them. Raises BadRow."""
    pixels = self._pixels(messages)
    return self.images.scale(np.stack(pixels)) if self.images and pixels else None

  def prompt(self, conversation: conversation_lib.Conversation) -> conversation_lib.Prompt:
    """What a model reads before it answers; messages are read as those of rows are. Raises InputError where one is
    none, or the template refuses it."""
    try:
      messages, _ = messages_lib.conversation(conversation.messages)
      tools = messages_lib.tools(conversation.tools)
      ids = self.prompt_ids(messages, tools=tools, **conversation.template_kwargs)
      return conversation_lib.Prompt(ids, self.prompt_images(messages))
    except example_lib.BadRow as e:
      raise errors.InputError(str(e)) from None

  def continued(self, context: conversation_lib.Conversation | str, continuation: str) -> tuple[list[int], list[int]]:
    """Ids of a context and of what continues it: behind a conversation's prompt the answer's own ids, plain text as
    `text.Renderer` has it."""
    if isinstance(context, str):
      return super().continued(context, continuation)
    return self.prompt(context).ids, self.encode(continuation)

  def render(self, example: example_lib.Example, begun: span_ids.Begun | None = None) -> list[Rendered]:
    """Rows to train on: one, or more where turns need rows of their own.

    begun: what `begin` made of it. Raises BadRow when the template does not reproduce the conversation, or nothing in
    it is trained.
    """
    if example.given is not None:
      return self._given(example.given)
    if not any(m["role"] == "assistant" for m in example.messages):
      raise example_lib.BadRow("no assistant turn")
    rows = [self._rendered(messages, row) for messages, row in self.rows(example, begun) if row.weights.any()]
    if not rows:
      raise example_lib.BadRow("no token carries weight")
    kept = [cut for row in rows if (cut := self._cut(row)) is not None]
    if not kept:
      raise example_lib.BadRow(f"longer than {self.config.max_length} tokens")
    kept = [row for row in kept if row.weights.any()]
    if not kept:
      raise example_lib.BadRow("truncation leaves no trained token")
    return kept

  def _given(self, given: example_lib.Given) -> list[Rendered]:
    """Ids as they are, cut as rows of messages are. Raises BadRow for ids of another vocabulary."""
    trained = [i for i, w in zip(given.ids, given.weights, strict=True) if w]
    given_ids.require(self.tokenizer, given.ids, trained, given.text)
    row = self._cut(Rendered(np.asarray(given.ids, np.int32), np.asarray(given.weights, np.float32)))
    if row is None:
      raise example_lib.BadRow(f"longer than {self.config.max_length} tokens")
    if not row.weights[1:].any():
      raise example_lib.BadRow("truncation leaves no trained token" if row.truncated else "no token carries weight")
    return [row]

  def begin(self, examples: Sequence[example_lib.Example]) -> list[span_ids.Begun | None]:
    """What the rendering of many conversations begins with, their texts encoded together by all threads of the
    tokenizer; None where `render` has to begin by itself."""
    found = [self._found(example) for example in examples]
    encoded = iter(text_lib.encoded(self.tokenizer, [one.text for one in found if one is not None]))
    return [None if one is None else span_ids.Begun(one, next(encoded)) for one in found]

  def _found(self, example: example_lib.Example) -> spans_lib.Found | None:
    if self._one_answer or example.plain or example.given is not None:
      return None
    try:
      return self.finder(self.template(example.tools)).find(example, example.messages)
    except example_lib.BadRow:
      return None  # to be said where it is rendered

  def rows(self, example: example_lib.Example, begun: span_ids.Begun | None = None) -> Iterator[tuple[Any, Row]]:
    """The messages of each row, and the row: of the whole conversation, then of turns that need one of their own."""
    messages = example.messages
    if example.plain:
      yield from ((messages, row) for row in self._plain(example))
      return
    if self._one_answer:
      alone = [i for i, m in enumerate(messages) if m["role"] == "assistant" and m.get("weight", 1.0)]
    else:
      whole = self._row(example, messages, None, begun)
      yield messages, whole
      alone = whole.alone
    for i in alone:
      yield messages[: i + 1], self._row(example, messages[: i + 1], i)

  def _plain(self, example: example_lib.Example) -> Iterator[Row]:
    """Raw text without a template, in rows of max_length, all of it trained: behind the token that begins a text where
    the tokenizer puts one, and with the one that ends it. Raises BadRow for models that answer prompts alone."""
    if self._one_answer:
      raise example_lib.BadRow("raw text is for models that read from left to right alone")
    start = self.tokenizer("")["input_ids"][:1]
    start = start if start == [self.tokenizer.bos_token_id] else []
    end = [] if self.tokenizer.eos_token_id is None else [self.tokenizer.eos_token_id]
    ids = np.asarray([*start, *self.encode(example.answer), *end], np.int32)
    for begin in range(0, len(ids), self.config.max_length):
      piece = ids[begin : begin + self.config.max_length]
      weights = np.ones(len(piece), np.float32)
      weights[: len(start) if not begin else 0] = 0
      if len(piece) > 1:
        yield Row(piece, weights, ((0, 0, len(piece)),), ())

  def shown(self, example: example_lib.Example) -> str:
    """The text that the model reads of an example, "" where the template refuses it."""
    if example.plain:
      return example.answer
    try:
      return self.text(example.messages, tools=example.tools, **example.template_kwargs)
    except example_lib.BadRow:
      return ""

  def _rendered(self, messages, row: Row) -> Rendered:
    expanded = self._expand(messages, row.ids), self._expand(messages, row.weights, row.ids)
    return Rendered(*expanded, images=self._pixels(messages))

  def item(self, row: Rendered) -> pack.Item:
    """A rendered row as packing takes it, its pixels as the model reads them."""
    images = self.images.scale(np.stack(row.images)) if self.images and row.images else None
    return pack.Item(row.ids, row.weights, images)

  def spans(self, example: example_lib.Example, messages, only: int | None = None):
    """(text, [(start, end, weight)], dropped turns) of one rendering, in characters. Raises BadRow."""
    found = self.finder(self.template(example.tools)).find(example, messages, only)
    return found.text, [(span.start, span.end, span.weight) for span in found.spans], list(found.dropped)

  def finder(self, template: template_lib.Template) -> spans_lib.Finder:
    """Finds the spans of one template."""
    if template not in self._finders:
      specials = [token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special]
      self._finders[template] = spans_lib.Finder(template, specials)
    return self._finders[template]

  def _row(self, example, messages, only: int | None, begun: span_ids.Begun | None = None) -> Row:
    """A row of all turns, or of one. Raises BadRow where a turn of its own is not shown behind its prompt."""
    if begun is None:
      found = self.finder(self.template(example.tools)).find(example, messages, only)
      (encoded,) = text_lib.encoded(self.tokenizer, [found.text])
    else:
      found, encoded = begun
    ids = encoded.ids
    weights, stretches, alone = np.zeros(len(ids), np.float32), [], list(found.dropped)
    for span in found.spans:
      if not span.weight:
        continue
      stretch = self._stretches.find(found.text, encoded, span) if span.fits else None
      if stretch is not None:
        weights[slice(*stretch)] = span.weight
        stretches.append((span.turn, *stretch))
      elif only is None:
        alone.append(span.turn)
      else:
        return self._joined(found.text, span)
    splits = {*found.dropped, *(span.turn for span in found.spans if not span.fits and span.weight)}
    if only is None and splits and self.config.dropped_turn == "refuse":
      raise example_lib.BadRow(f"the template drops text of turns {sorted(splits)}, or shows it behind another prompt")
    return Row(np.asarray(ids, np.int32), weights, tuple(stretches), tuple(sorted(alone)))

  def _joined(self, text: str, span: spans_lib.Span) -> Row:
    """The ids of a turn's prompt, then those of the answer, as they are generated one behind the other."""
    if not span.fits:
      raise example_lib.BadRow(
        f"turn {span.turn} does not stand behind the prompt that it would be generated behind (it ends in "
        f"{self.header[-40:]!r}); write the answer as the template has it, with its thinking, or name another template"
      )
    prompt, whole = self.encode(text[: span.start]), self.encode(text[: span.end])
    answer = next(
      (ids for ids in self._alone(text[span.start : span.end]) if self._reads(prompt + ids) == self._reads(whole)), None
    )
    if answer is None:
      raise example_lib.BadRow(
        f"the tokenizer writes the answer of turn {span.turn} otherwise behind its prompt than in the whole text"
      )
    weights = np.r_[np.zeros(len(prompt), np.float32), np.full(len(answer), span.weight, np.float32)]
    stretch = (span.turn, len(prompt), len(prompt) + len(answer))
    return Row(np.asarray(prompt + answer, np.int32), weights, (stretch,), ())

  def _alone(self, text: str) -> Iterator[list[int]]:
    """Ids of a text that stands behind others: as the tokenizer has it, then without what it puts in front of a first
    word, which an added token in front takes upon itself."""
    yield self.encode(text)
    special = next((t.content for t in self.tokenizer.added_tokens_decoder.values() if t.special and not t.rstrip), "")
    if special:
      yield self.encode(special + text)[len(self.encode(special)) :]

  def _reads(self, ids: list[int]) -> str:
    return self.tokenizer.decode(ids)

  def _expand(self, messages, values, ids=None):
    """Values by token, those of an image token once for each of its patches."""
    if self.images is None:
      return values
    is_image = (values if ids is None else ids) == self.images.token
    found, wanted = int(is_image.sum()), len(images_lib.parts(messages))
    if found != wanted:
      raise example_lib.BadRow(f"the rendered text has places for {found} images, the conversation has {wanted}")
    return np.repeat(values, np.where(is_image, self.images.patches, 1))

  def _pixels(self, messages) -> tuple[np.ndarray, ...]:
    found = images_lib.parts(messages)
    if found and self.images is None:
      raise example_lib.BadRow("it has images; this model takes none, or its folder has no preprocessor_config.json")
    return tuple(self.images.read(part) for part in found) if self.images else ()

  @functools.cached_property
  def turn_end(self) -> conversation_lib.TurnEnd:
    """How a turn ends: by a template's terminator, and by what the tokenizer and the base call an end."""
    by_id, by_text = [], []
    for terminator in dict.fromkeys(template.terminator for template in self._templates.values()):
      ids = self.encode(terminator)
      by_id += ids if len(ids) == 1 else []
      by_text += [terminator] if len(ids) != 1 else []
    plain = text_lib.turn_end(self.tokenizer, (*self._ends, *by_id))
    return dataclasses.replace(plain, text=self.terminator, strings=tuple(by_text))

  def _cut(self, row: Rendered) -> Rendered | None:
    limit, n = self.config.max_length, len(row.ids)
    if n <= limit:
      return row
    if self.config.truncation == "drop":
      return None
    start = self.config.truncation == "keep_start"
    keep = slice(0, limit) if start else slice(n - limit, n)
    return Rendered(row.ids[keep], row.weights[keep], True, self._kept_images(row, row.ids[keep], start))

  def _kept_images(self, row, ids, start):
    if not row.images or self.images is None:
      return ()
    count = self.images.count(ids)
    if count * self.images.patches != (ids == self.images.token).sum():
      raise example_lib.BadRow(f"truncation to {self.config.max_length} tokens would cut through an image")
    return row.images[:count] if start else row.images[len(row.images) - count :]

  def digest(self) -> str:
    """What a cached rendering depends on besides the data and the tokenizer."""
    what = [RENDER_VERSION, self.tokenizer.chat_template, dataclasses.asdict(self.config)]
    what += [self.images.digest()] if self.images else []
    what += ["one answer"] if self._one_answer else []
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
