"""Trees of OpenAssistant: a prompt, its replies, theirs, and so on, each with the rank that people gave it.

A tree is one row (`message_tree_id`, `prompt` with `replies`), or its messages are rows of their own that stand
together (`message_id`, `parent_id`). Read are its best path, all of its paths, or pairs of replies to one prompt of
which one is ranked before the other. Messages that are marked deleted are no part of it.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from itune_jax.core import jsontext
from itune_jax.data import example as example_lib
from itune_jax.data import fields

_ROLES = {"prompter": "user", "assistant": "assistant"}
_READ = ("message_tree_id", "tree_state", "prompt", "origin")
_KEPT = ("message_tree_id", "message_id", "parent_id", "text", "role", "lang", "replies", "rank", "deleted")

Node = Mapping[str, Any]
Path = list[Node]


def best(raw: Mapping[str, Any]) -> example_lib.Example:
  """The path that takes the best-ranked reply everywhere; without ranks the first one. Raises BadRow."""
  path = [_root(raw)]
  while replies := _replies(path[-1]):
    path.append(min(replies, key=_rank))
  return _example(raw, _answered(path))


def paths(raw: Mapping[str, Any]) -> Iterator[example_lib.Example]:
  """Every path from the prompt to the last answer of a thread."""
  seen: set[int] = set()  # of the messages themselves: an answer that several questions follow ends one thread
  found = False
  for path in _threads([_root(raw)]):
    path = _answered(path)
    if not path or id(path[-1]) in seen:
      continue
    seen.add(id(path[-1]))
    found = True
    yield _example(raw, path)
  if not found:
    raise fields.BadRow("no message of its tree is an answer")


def pairs(raw: Mapping[str, Any]) -> Iterator[example_lib.Example]:
  """Every pair of replies to one prompt of which people ranked one before the other."""
  found = False
  for path in _prompts([_root(raw)]):
    ranked = sorted((reply for reply in _replies(path[-1]) if _ranked(reply)), key=_rank)
    for better, worse in itertools.combinations(ranked, 2):
      if better["rank"] == worse["rank"] or _text(better) == _text(worse):
        continue
      found = True
      example = _example(raw, [*path, better], trained=False)
      said = {"role": "assistant", "content": _text(worse)}
      unread = example.unread
      yield example_lib.with_rejected(example, (*example.messages[:-1], said), None, unread)
  if not found:
    raise fields.BadRow("no two answers of its tree are ranked one before the other")


def grouped(rows: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
  """(where, row) again, where the messages of a tree that are rows of their own are one row, that of its tree; its
  place is that of its first message. The messages of a tree stand one behind the other."""
  where, waiting = None, []
  for place, raw in rows:
    if not is_message(raw):
      if waiting:
        yield where, _tree(waiting)
      waiting = []
      yield place, raw
      continue
    if waiting and waiting[0]["message_tree_id"] != raw["message_tree_id"]:
      yield where, _tree(waiting)
      waiting = []
    where = where if waiting else place
    waiting.append(raw)
  if waiting:
    yield where, _tree(waiting)


def is_message(raw: Any) -> bool:
  """Whether a row is a message of a tree."""
  return isinstance(raw, dict) and {"message_id", "parent_id", "message_tree_id", "text", "role"} <= raw.keys()


def _tree(messages: list[dict[str, Any]]) -> Any:
  """The tree of its messages; or why they are none."""
  nodes = {str(message["message_id"]): {**message, "replies": []} for message in messages}
  if len(nodes) < len(messages):
    return fields.BadRow("two messages of its tree have one `message_id`")
  root = None
  for node in nodes.values():
    if fields.is_null(node["parent_id"]):
      if root is not None:
        return fields.BadRow("its tree has two messages without a parent")
      root = node
    elif str(node["parent_id"]) not in nodes:
      return fields.BadRow(f"the parent of its message {jsontext.shown(node['message_id'])} is not among its rows")
    else:
      nodes[str(node["parent_id"])]["replies"].append(node)
  if root is None:
    return fields.BadRow("its tree has no message without a parent")
  level, reached, depth = [root], 0, 0
  while level and depth <= jsontext.DEPTH:
    reached, depth = reached + len(level), depth + 1
    level = [reply for node in level for reply in node["replies"]]
  if level:
    return fields.BadRow(f"its tree is more than {jsontext.DEPTH} replies deep")
  if reached < len(nodes):
    return fields.BadRow("messages of its tree are replies to each other, and not to its prompt")
  return {"message_tree_id": messages[0]["message_tree_id"], "prompt": root}


def _root(raw: Mapping[str, Any]) -> Node:
  root = raw.get("prompt")
  if not isinstance(root, Mapping):
    raise fields.BadRow(f"`prompt` is {jsontext.name(root)} ({jsontext.shown(root)}); a tree begins with a message")
  if root.get("role") != "prompter":
    raise fields.BadRow(f"its tree begins with a message of {jsontext.shown(root.get('role'))}; that is the prompter's")
  if _deleted(root):
    raise fields.BadRow("the prompt of its tree is marked deleted")
  _text(root)
  return root


def _replies(node: Node) -> list[Node]:
  given = [] if fields.is_null(node.get("replies")) else node["replies"]
  if not isinstance(given, list) or not all(isinstance(one, Mapping) for one in given):
    raise fields.BadRow(f"`replies` of a message is {jsontext.shown(given)}; it must be a list of messages")
  other = "assistant" if node.get("role") == "prompter" else "prompter"
  for one in given:
    if one.get("role") != other:
      raise fields.BadRow(f"a reply to the {node.get('role')} is of {jsontext.shown(one.get('role'))}, not of {other}")
    if "message_id" not in one:
      raise fields.BadRow("a message of its tree has no `message_id`")
  return [one for one in given if not _deleted(one)]


def _deleted(node: Node) -> bool:
  """Whether a message is marked deleted. Raises BadRow for a mark that is neither true nor false."""
  mark = node.get("deleted")
  if not fields.is_null(mark) and not isinstance(mark, bool):
    raise fields.BadRow(f"`deleted` of a message is {jsontext.shown(mark)}; it must be true or false")
  return mark is True


def _ranked(node: Node) -> bool:
  return not fields.is_null(node.get("rank"))


def _rank(node: Node) -> tuple[bool, float]:
  """What replies are ordered by; those without a rank come last, in the order of the file."""
  return not _ranked(node), fields.number(node["rank"], "`rank`") if _ranked(node) else 0.0


def _threads(path: Path) -> Iterator[Path]:
  replies = sorted(_replies(path[-1]), key=_rank)
  if not replies:
    yield path
  for reply in replies:
    yield from _threads([*path, reply])


def _prompts(path: Path) -> Iterator[Path]:
  """The paths that end with a message of the prompter."""
  if path[-1]["role"] == "prompter":
    yield path
  for reply in _replies(path[-1]):
    yield from _prompts([*path, reply])


def _answered(path: Path) -> Path:
  """The path without what nobody answered."""
  last = max((i for i, node in enumerate(path) if node["role"] == "assistant"), default=-1)
  return path[: last + 1]


def _text(node: Node) -> str:
  return fields.text(node.get("text"), "`text` of a message")


def _example(raw: Mapping[str, Any], path: Path, trained: bool = True) -> example_lib.Example:
  if not path:
    raise fields.BadRow("nobody answers the prompt of its tree")
  messages = [{"role": _ROLES[node["role"]], "content": _text(node)} for node in path]
  if not trained:
    messages = [{**m, "weight": 0} if m["role"] == "assistant" else m for m in messages[:-1]] + messages[-1:]
  language = path[0].get("lang")
  row = {
    "messages": messages,
    "id": path[-1].get("message_id"),
    "language": language if isinstance(language, str) else "",
  }
  example = example_lib.from_json(row)
  unread = example_lib.unread_keys(raw, _READ)
  unread += [f"message: {key}" for node in path[:1] for key in example_lib.unread_keys(node, _KEPT)]
  object.__setattr__(example, "unread", tuple(unread))
  return example
