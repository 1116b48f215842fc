"""What a template must do before anything is rendered with it: the test fails closed."""

from collections.abc import Sequence
from typing import Any

from itune_jax.core import errors
from itune_jax.data import example as example_lib
from itune_jax.data.render import template as template_lib

_ANSWERS = ("Good day to you", "Fine, thank you")


def run(renderer: Any, template: template_lib.Template) -> None:
  """Tests a template of a renderer (`chat.Renderer`) with content as text, then as parts; notes its terminator.

  Raises InputError, with what the first of both lacks.
  """
  try:
    _test(renderer, template)
  except errors.InputError as e:
    template.parts = True
    try:
      _test(renderer, template)
    except errors.InputError:
      raise e from None


def _test(renderer: Any, template: template_lib.Template) -> None:
  """A probe's answers must be shown and end in a terminator, in the middle and at the end; and the ids that are trained
  must be those that would be generated: behind the prompt's, through the end."""
  template.probe()
  template.terminator = _terminator(renderer, template)
  tools = () if template is renderer.template() else ({"type": "function", "function": {"name": "probe"}},)
  thinking = [f"<think>\nSo.\n</think>\n\n{answer}" for answer in _ANSWERS]
  problem = ""
  for answers, more in ((_ANSWERS, {}), (thinking, {}), (_ANSWERS, {"reasoning_content": "So."})):
    try:
      _trains_what_is_generated(renderer, _conversation(answers, tools, **more))
      return
    except example_lib.BadRow as e:
      problem = problem or str(e)
  raise errors.InputError(f"the chat template fails its self-test: {problem}")


def _terminator(renderer: Any, template: template_lib.Template) -> str:
  probe = _conversation(_ANSWERS)
  try:
    found = renderer.finder(template).find(probe, probe.messages)
  except example_lib.BadRow as e:
    raise errors.InputError(f"the chat template fails its self-test: {e}; name another template") from None
  ends = []
  for answer, span in zip(_ANSWERS, found.spans, strict=False):
    at = found.text.find(answer, span.start, span.end)
    ends.append(found.text[at + len(answer) : span.end].strip() if at >= 0 else "")
  if found.dropped or len(found.spans) != 2 or not all(ends):
    raise errors.InputError(
      "the chat template fails its self-test: an answer is dropped, or its turn ends without a "
      "token to stop at, so the model would never learn to stop; name another template"
    )
  return ends[-1]


def _trains_what_is_generated(renderer: Any, probe: example_lib.Example) -> None:
  """Raises BadRow unless every answer of a conversation is trained behind the ids of its prompt."""
  template = renderer.template(probe.tools)
  end, trained = renderer.encode(template.terminator), set()
  for messages, row in renderer.rows(probe):
    for turn, first, last in row.stretches:
      prompt = renderer.encode(template.prompt(messages[:turn], tools=probe.tools))
      if row.ids[:first].tolist() != prompt or (len(end) == 1 and row.ids[last - 1] != end[0]):
        raise example_lib.BadRow(f"turn {turn} would be generated behind other ids than it is trained behind")
      trained.add(turn)
  if len(trained) != len(_ANSWERS):
    raise example_lib.BadRow("an answer is not trained")


def _conversation(answers: Sequence[str], tools: Sequence[Any] = (), **more: Any) -> example_lib.Example:
  """Two turns."""
  first, second = ({"role": "assistant", "content": answer, **more} for answer in answers)
  asked = [{"role": "user", "content": text} for text in ("Hello", "And you?")]
  return example_lib.Example(messages=(asked[0], first, asked[1], second), tools=tuple(tools))
