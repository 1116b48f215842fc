"""Chat rendering with an exact loss mask, by marking.

Every assistant text is wrapped in private-use characters and rendered a second time by the model's own template.
Where the marks land in the output is where the text landed, whatever the template did around it; and if the
marked rendering without its marks is not the plain one to the letter, the row is refused. No prefix differences
(13 of 40 published templates break them), no searching for the answer's text.

A turn's span begins where the template's generation prompt ends, if the turn is rendered behind it, and runs
through the turn's terminator: exactly what the model must produce at inference.
"""

from collections.abc import Sequence
import dataclasses
import datetime
import functools
import hashlib
import json
import re
from typing import Any, Literal

import jinja2
import numpy as np

from itune_jax.core import check
from itune_jax.core import conversation as conversation_lib
from itune_jax.core import errors
from itune_jax.core import pack
from itune_jax.data import example as example_lib
from itune_jax.data.render import images as images_lib
from itune_jax.data.render import marks as marks_lib
from itune_jax.data.render import text as text_lib
from itune_jax.data.render import tokenizer as tokenizer_lib

# Bump when the rendering or the mask changes: caches of another version are not read. A golden test forces it.
RENDER_VERSION = 1

_END_LIKE = re.compile(r"\s*(<[|/]?[^<>\s]{1,40}>|\[/?[A-Z_]+\])")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rendering:
  """How conversations become tokens.

  date: what templates that print today's date see, so that a cache does not age. truncation: what happens to a
  row longer than max_length; both cuts are counted. dropped_turn: a turn whose text the template drops (old
  thinking) is trained in a row of its own with the history cut there ("split"), or the row is refused.

  max_length: tokens of an example at most. template_kwargs: more names that the chat template sees.
  """

  max_length: int = 2048
  truncation: Literal["keep_start", "keep_end", "drop"] = "keep_start"
  dropped_turn: Literal["split", "refuse"] = "split"
  template_kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
  date: str = "2025-01-01"

  def __post_init__(self):
    check.check_types(self)
    check.require(self.max_length > 1, f"Rendering.max_length = {self.max_length}; it must be at least 2")
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


class Renderer(text_lib.Renderer):
  """Renders conversations with one tokenizer and template, after a self-test that fails closed. `images` is how the
  model takes images, None for a model of text."""

  def __init__(
    self, tokenizer, config: Rendering = Rendering(), images: images_lib.Images | None = None, ends: Sequence[int] = ()
  ):
    """ends: further ids that end a turn, by the base's own word (its generation_config.json)."""
    super().__init__(tokenizer)
    self.config, self.images, self._ends = config, images, tuple(ends)
    if not tokenizer.chat_template:
      raise errors.InputError(
        "this tokenizer has no chat template; name one: "
        f"--gin.specs.Model.chat_template=\"'FILE.jinja'\", or a name ({', '.join(tokenizer_lib.TEMPLATES)})"
      )
    # Templates that print today's date would make every cache stale tomorrow: the call becomes the pinned date.
    day = datetime.date.fromisoformat(config.date)
    self._template = re.sub(
      r"strftime_now\(\s*(['\"])(.*?)\1\s*\)", lambda m: json.dumps(day.strftime(m.group(2))), tokenizer.chat_template
    )
    self._parts = False  # whether this template wants content as a list of parts, even for text
    self._specials = sorted(
      (t.content for t in tokenizer.added_tokens_decoder.values() if t.special), key=len, reverse=True
    )
    self.terminator = ""
    try:
      self.header = self._find_header()
      self._self_test()
    except errors.InputError:
      self._parts = True
      try:
        self.header = self._find_header()
        self._self_test()
      except errors.InputError:
        self._parts = False
        self.header = self._find_header()
        self._self_test()

  def text(self, messages, *, tools=(), add_generation_prompt=False, **kwargs) -> str:
    """The template's plain rendering. Raises BadRow with the template's own words when it refuses."""
    try:
      return self.tokenizer.apply_chat_template(
        _plain(messages, self._parts),
        tools=list(tools) or None,
        tokenize=False,
        add_generation_prompt=add_generation_prompt,
        chat_template=self._template,
        **{**self.config.template_kwargs, **kwargs},
      )
    except (jinja2.exceptions.TemplateError, TypeError, KeyError, ValueError) as e:
      raise example_lib.BadRow(f"the chat template refuses it: {e}") from None

  def prompt_ids(self, messages, *, tools=(), **kwargs) -> list[int]:
    """Ids up to and including the generation prompt, each image as many as it has patches; where the last message is
    the assistant's, up to the end of its text, which an answer continues."""
    if marks_lib.begun(messages):
      text = self._unfinished(messages, tools=tools, **kwargs)
    else:
      asked = messages[:-1] if marks_lib.is_empty(messages) else messages
      text = self.text(asked, tools=tools, add_generation_prompt=True, **kwargs)
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
    """What a model reads before it answers. Raises InputError where the template refuses it."""
    messages = [dict(message) for message in conversation.messages]
    try:
      ids = self.prompt_ids(messages, tools=conversation.tools, **conversation.template_kwargs)
      return conversation_lib.Prompt(ids, self.prompt_images(messages))
    except example_lib.BadRow as e:
      raise errors.InputError(str(e)) from None

  def continued(self, context: conversation_lib.Conversation | str, continuation: str) -> tuple[list[int], list[int]]:
    """Ids of a context and of what continues it: behind a conversation's prompt the answer's own ids, plain text as
    `text.Renderer` has it."""
    if isinstance(context, str):
      return super().continued(context, continuation)
    return self.prompt(context).ids, self.encode(continuation)

  def render(self, example: example_lib.Example) -> list[Rendered]:
    """Rows to train on: one, or more where the template drops the text of earlier turns.

    Raises BadRow when the template does not reproduce the conversation, or nothing in it is trained.
    """
    if not any(m["role"] == "assistant" for m in example.messages):
      raise example_lib.BadRow("no assistant turn")
    whole, dropped = self._row(example, example.messages, None)
    rows = [whole]
    if dropped and self.config.dropped_turn == "refuse":
      raise example_lib.BadRow(f"the template drops text of turns {dropped}")
    rows += [self._row(example, example.messages[: i + 1], i)[0] for i in dropped]
    rows = [self._cut(row) for row in rows if row.weights.any()]
    if not rows:
      raise example_lib.BadRow("no token carries weight")
    rows = [row for row in rows if row is not None]
    if not rows:
      raise example_lib.BadRow(f"longer than {self.config.max_length} tokens")
    if not any(row.weights.any() for row in rows):
      raise example_lib.BadRow("truncation leaves no trained token")
    return [row for row in rows if row.weights.any()]

  def item(self, row: Rendered) -> pack.Item:
    """A rendered row as packing takes it, its pixels as the model reads them."""
    images = self.images.scale(np.stack(row.images)) if self.images and row.images else None
    return pack.Item(row.ids, row.weights, images)

  def spans(self, example: example_lib.Example, messages, only: int | None = None):
    """(text, [(start, end, weight)], dropped turns) of one rendering, in characters."""
    kwargs: dict[str, Any] = dict(tools=example.tools, **example.template_kwargs)
    plain = self.text(messages, **kwargs)
    if marks_lib.MARKS.search(plain):
      raise example_lib.BadRow("the text holds characters of the supplementary private-use area")
    marked_messages, pieces = marks_lib.marked(messages)
    marked = self.text(marked_messages, **kwargs)
    if marks_lib.MARKS.sub("", marked) != plain:
      raise example_lib.BadRow(
        "the chat template changes its rendering when the answers are marked; it cannot be masked safely"
      )
    where = marks_lib.positions(marked)
    spans, dropped, previous = [], [], 0
    for turn, marks in pieces.items():
      present = [mark for mark in marks if mark in where]
      if len(present) < len(marks):
        if turn == len(messages) - 1:
          raise example_lib.BadRow(f"the chat template drops text of the last turn ({turn})")
        dropped.append(turn)
      else:
        first, last = where[marks[0]], where[marks[-1]]
        following = min((at for mark, at in where.items() if at >= last and mark not in marks), default=len(plain))
        calls = bool(messages[turn].get("tool_calls"))
        start, end = self._begin(plain, previous, first, calls), self._end(plain, last, following, calls)
        if only in (None, turn):
          spans.append((start, end, float(messages[turn].get("weight", 1.0))))
      previous = max([previous, *(where[m] for m in present)])
    return plain, spans, dropped

  def _row(self, example, messages, only):
    plain, spans, dropped = self.spans(example, messages, only)
    encoded = self.tokenizer(plain, add_special_tokens=False, return_offsets_mapping=True)
    ids = np.asarray(encoded["input_ids"], np.int32)
    starts, ends = np.asarray(encoded["offset_mapping"], np.int64).reshape(-1, 2).T
    weights = np.zeros(len(ids), np.float32)
    for start, end, weight in spans:
      weights[(starts >= start) & (ends <= end) & (ends > starts)] = weight
    expanded = self._expand(messages, ids), self._expand(messages, weights, ids)
    return Rendered(*expanded, images=self._pixels(messages)), dropped

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

  def _begin(self, text, previous, first, calls):
    """Where the generation prompt ends, if it stands between the turn before and this turn's text."""
    at = text.rfind(self.header, previous, first) if self.header else -1
    if at >= 0:
      return at + len(self.header)
    if calls:  # what opens a tool call is the template's, and must be learned: it starts behind the header
      header = self.header.split("<think>")[0]
      at = text.rfind(header, previous, first) if header else -1
      if at < 0:
        raise example_lib.BadRow("where the tool call starts cannot be told from the chat template's generation prompt")
      return at + len(header)
    opening = re.search(r"<think>\s*$", text[previous:first]) if not self.header else None
    return previous + opening.start() if opening else first

  def _end(self, text, last, following, calls):
    """The end of the terminator behind a turn; for tool calls the template's own closing comes first."""
    tail = text[last:]
    if calls and self.terminator:
      at = text.find(self.terminator, last, following)
      if at < 0:
        raise example_lib.BadRow("the chat template does not end a turn that calls a tool")
      return at + len(self.terminator)
    found = self._terminator(tail)
    return last + found.end() if found else last

  def _terminator(self, tail):
    special = re.match(r"\s*(" + "|".join(map(re.escape, self._specials)) + ")", tail) if self._specials else None
    return special or _END_LIKE.match(tail)

  @functools.cached_property
  def turn_end(self) -> conversation_lib.TurnEnd:
    """How a turn ends: by the template's terminator, and by what the tokenizer and the base call an end."""
    ids = self.encode(self.terminator)
    more = ids if len(ids) == 1 else ()
    plain = text_lib.turn_end(self.tokenizer, (*self._ends, *more))
    return dataclasses.replace(plain, text=self.terminator, strings=() if more else (self.terminator,))

  def _find_header(self) -> str:
    user = [{"role": "user", "content": "Hi."}]
    try:
      without, given = self.text(user), self.text(user, add_generation_prompt=True)
    except example_lib.BadRow as e:
      raise errors.InputError(f"the chat template cannot render one user turn: {e}; name another template") from None
    return given[len(without) :] if given.startswith(without) else ""

  def _self_test(self):
    """Spans of a probe must decode to its answers and end in a terminator, in the middle and at the end."""
    answers = ("Good day to you", "Fine, thank you")
    messages = [
      {"role": r, "content": c}
      for r, c in (("user", "Hello"), ("assistant", answers[0]), ("user", "And you?"), ("assistant", answers[1]))
    ]
    try:
      text, spans, dropped = self.spans(example_lib.Example(messages=tuple(messages)), messages)
    except example_lib.BadRow as e:
      raise errors.InputError(f"the chat template fails its self-test: {e}; name another template") from None
    ends = []
    for answer, (start, end, _) in zip(answers, spans, strict=False):
      at = text.find(answer, start, end)
      ends.append(text[at + len(answer) : end].strip() if at >= 0 else "")
    if dropped or len(spans) != 2 or not all(ends):
      raise errors.InputError(
        "the chat template fails its self-test: an answer is dropped, or its turn ends without a "
        "token to stop at, so the model would never learn to stop; name another template"
      )
    self.terminator = ends[-1]

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
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _plain(messages, parts=False) -> list[dict[str, Any]]:
  plain = [{k: v for k, v in message.items() if k != "weight"} for message in messages]
  if parts:
    plain = [
      {**m, "content": [{"type": "text", "text": m["content"]}]} if isinstance(m.get("content"), str) else m
      for m in plain
    ]
  return plain
