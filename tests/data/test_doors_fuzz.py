"""What comes through a door is understood with nothing lost, or refused in one line: no traceback, no other meaning."""

import functools
import io
import json
import math
import pathlib
import tempfile

import gguf
import numpy as np
import PIL.Image
from hypothesis import strategies as st

from itune_jax.data import example as example_lib
from itune_jax.data.readers import formats
from itune_jax.data.readers import readers
from itune_jax.data.render import chat
from itune_jax.data.render import images as images_lib
from itune_jax.data.render import tokenizer as tokenizer_lib
from tests import fuzz
from tests.data.render import stand_in
from tests.models import folders

CALL = {"type": "function", "id": "1", "function": {"name": "look", "arguments": {"city": "Oslo", "n": [1, "two"]}}}
ROWS = [
  {
    "messages": [
      {"role": "system", "content": "Sys"},
      {"role": "user", "content": [{"type": "text", "text": "part"}, {"type": "text", "text": "other"}], "name": "me"},
      {"role": "assistant", "content": "first", "weight": 0.5, "reasoning_content": "why"},
      {"role": "user", "content": "more"},
      {"role": "assistant", "content": None, "tool_calls": [CALL]},
      {"role": "tool", "content": "5", "tool_call_id": "1"},
      {"role": "assistant", "content": "last", "train": True},
    ],
    "tools": [{"type": "function", "function": {"name": "look", "parameters": {}}}],
    "id": "x",
    "source": {"kind": "distilled", "teacher": "t"},
    "scores": {"s": 1.5},
    "check": {"name": "exact", "answer": "last"},
    "language": "en",
    "template_kwargs": {"flag": True},
  },
  {
    "conversations": [
      {"from": "human", "value": "ask"},
      {"from": "function_call", "value": json.dumps(CALL["function"])},
      {"from": "observation", "value": "seen"},
      {"from": "gpt", "value": "say", "weight": 1},
    ],
    "system": "Sys",
    "tools": json.dumps([{"name": "look", "parameters": {}}]),
  },
  {"instruction": "do", "input": "with", "output": "done", "system": "Sys", "history": [["before", "then"]]},
  {"prompt": "ask", "completion": "say", "language": "en"},
  {"prompt": [{"role": "user", "content": "ask"}], "completion": [{"role": "assistant", "content": "say"}]},
  {"question": "ask", "answer": "say", "id": 7},
  {"Definition": ["define", "it"], "input": "with", "output": ["one", "two"], "task": "t1"},
]
# What is text in each format and shown by the template: another type is refused there.
TEXT_KEYS = {"content", "value", "text", "instruction", "input", "output", "prompt", "completion", "question", "answer"}
SHOWN = TEXT_KEYS | {"system", "reasoning_content"}


def is_text_place(base, path):
  """Whether a path of a row leads to text that its format needs to be text."""
  if path[0] in ("check", "source", "scores", "tools", "template_kwargs") or "arguments" in path:
    return False
  return path[-1] in TEXT_KEYS and isinstance(fuzz.at(base, path), str)


def shown_texts(base):
  """The texts of a row that its conversation must show."""
  for path in fuzz.paths(base):
    value = fuzz.at(base, path)
    own = [key for key in path if isinstance(key, str)][-1:] or [""]
    inside = path and path[0] not in ("check", "source", "scores", "tools", "template_kwargs", "id")
    if inside and "arguments" not in path and own[0] in SHOWN | {"history", "Definition"} and isinstance(value, str):
      yield path, value


@functools.cache
def renderer():
  return chat.Renderer(stand_in.With(characters(), tokenizer_lib.named("chatml")))


@functools.cache
def characters():
  folder = tempfile.mkdtemp()
  folders.write_tokenizer(pathlib.Path(folder))
  return tokenizer_lib.load(folder)


@fuzz.given(fuzz.mutated(ROWS))
def test_a_row_means_what_it_says_or_is_refused(case):
  """One node of a row of any format is replaced or removed."""
  base, path, new, raw = case
  found = fuzz.outcome(lambda: readers.parse(raw, "/nowhere"))
  null = new is fuzz.DELETE or new is None or (isinstance(new, float) and math.isnan(new))
  if is_text_place(base, path) and not null and not isinstance(new, (str, list)):
    assert found is None, (path, new, "is no text, and was taken")
  if found is None:
    return
  assert found == example_lib.from_json(found.to_json()), "what is stored is what was read"
  text = fuzz.outcome(lambda: renderer().text(found.messages, tools=found.tools, **found.template_kwargs))
  for where, value in shown_texts(raw) if text is not None else ():
    named = formats.known(raw) == formats.known(base) and where in set(fuzz.paths(base))
    if named and not (path == where[: len(path)] and path != where) and where[-1] != "text" and value.strip():
      other_answers = base is ROWS[6] and where[0] == "output"
      as_call = where[0] == "conversations" and raw["conversations"][where[1]].get("from") == "function_call"
      assert other_answers or as_call or value in text, (where, value, text)
  fuzz.outcome(lambda: renderer().render(found))
  fuzz.outcome(lambda: renderer().prompt(found.question))


@fuzz.given(fuzz.mutated(ROWS))
def test_a_prompt_is_a_question_or_refused(case):
  """The same, as what is asked."""
  raw = case[3]
  found = fuzz.outcome(lambda: readers.question(raw, "/nowhere"))
  if found is not None:
    prompt = fuzz.outcome(lambda: renderer().prompt(found))
    assert prompt is None or prompt.ids


LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


@fuzz.given(fuzz.damaged(LINES), st.sampled_from(["x.jsonl", "x.json", "x.ndjson", "x.jsonl.gz", "p"]))
def test_a_file_is_rows_or_one_line(data, name):
  """Bytes that are cut, doubled and replaced."""
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / name
    path.write_bytes(data)
    rows = fuzz.outcome(lambda: list(readers.read(str(path))))
    for row in rows or ():
      assert row.example is not None or (row.problem and "\n" not in row.problem)
    fuzz.outcome(lambda: readers.questions(str(path)))


TEMPLATE = tokenizer_lib.named("chatml")
BITS = [
  "{% endif %}",
  "{{ 1 / 0 }}",
  "{{ x.y.z }}",
  "| trim",
  "| upper",
  "[0]",
  "assistant",
  "\n",
  "{{ raise_exception('no') }}",
]
BITS += [
  "{% for x in 5 %}",
  "strftime_now",
  "message['content']",
  "{{ messages }}",
  "<|im_end|>",
  "- ",
  "}}",
  "''",
  "[:1]",
]


@fuzz.given(st.integers(0, len(TEMPLATE)), st.integers(0, 30), st.sampled_from([*BITS, "", "", ""]))
def test_a_template_renders_what_is_generated_or_is_refused(start, length, bit):
  """The template of chatml, of which a stretch is replaced."""
  own = stand_in.With(characters(), TEMPLATE[:start] + bit + TEMPLATE[start + length :])
  ours = fuzz.outcome(lambda: chat.Renderer(own))
  if ours is None:
    return
  turns = [{"role": r, "content": c} for r, c in (("system", "Sys"), ("user", "ask"), ("assistant", "say"))]
  rows = fuzz.outcome(lambda: ours.render(example_lib.Example(messages=tuple(turns))))
  for row in rows or ():
    first = int(np.flatnonzero(row.weights)[0])
    assert row.ids[:first].tolist() == ours.prompt_ids(turns[:2])
    assert "say" in own.decode(row.ids[row.weights != 0]) and "ask" in own.decode(row.ids[:first])


@functools.cache
def takes_images():
  folder = pathlib.Path(tempfile.mkdtemp())
  folders.write_processor("llava", folder)
  return images_lib.load(str(folder), token=folders.IMAGE, patches=folders.PATCHES, size=folders.SIDE)


@functools.cache
def pictures():
  noise = np.random.RandomState(0).randint(0, 256, (20, 24, 3)).astype(np.uint8)
  found = []
  for mode, kind in (
    ("RGB", "PNG"),
    ("P", "PNG"),
    ("RGB", "JPEG"),
    ("P", "GIF"),
    ("RGB", "BMP"),
    ("L", "TIFF"),
    ("RGBA", "WEBP"),
  ):
    file = io.BytesIO()
    PIL.Image.fromarray(noise).convert(mode).save(file, kind)
    found.append(file.getvalue())
  file = io.BytesIO()
  PIL.Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(file, "PNG")
  return [*found, file.getvalue()]


@fuzz.given(st.integers(0, 7).flatmap(lambda i: fuzz.damaged(pictures()[i])))
def test_an_image_is_pixels_or_a_bad_row(data):
  """Files of every kind that are cut, doubled and replaced."""
  with tempfile.NamedTemporaryFile() as f:
    f.write(data)
    f.flush()
    pixels = fuzz.outcome(lambda: takes_images().read({"image": f.name}))
  assert pixels is None or (pixels.shape == (folders.SIDE, folders.SIDE, 3) and pixels.dtype == np.uint8)


@functools.cache
def vocabulary():
  """A small GGUF file with a tokenizer."""
  with tempfile.TemporaryDirectory() as folder:
    writer = gguf.GGUFWriter(f"{folder}/x.gguf", "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(["<|end|>", "a", "b", "ab"])
    writer.add_token_types([3, 1, 1, 1])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(0)
    writer.add_chat_template("{{ messages }}")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return pathlib.Path(f"{folder}/x.gguf").read_bytes()


@fuzz.given(st.deferred(lambda: fuzz.damaged(vocabulary())))
def test_a_gguf_file_is_a_tokenizer_or_one_line(data):
  """A file that is cut, doubled and replaced."""
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "x.gguf"
    path.write_bytes(data)
    fuzz.outcome(lambda: tokenizer_lib.load(str(path)))


STATE = [{"model_max_length": 8, "chat_template": [{"name": "default", "template": TEMPLATE}], "tokenizer_class": "X"}]


@fuzz.given(fuzz.mutated(STATE))
def test_a_tokenizer_folder_is_opened_or_one_line(case):
  """One node of tokenizer_config.json is replaced or removed."""
  with tempfile.TemporaryDirectory() as folder:
    folders.write_tokenizer(pathlib.Path(folder))
    config = pathlib.Path(folder) / "tokenizer_config.json"
    (pathlib.Path(folder) / "chat_template.jinja").unlink(missing_ok=True)
    config.write_text(json.dumps({**json.loads(config.read_text()), **case[3]}))
    fuzz.outcome(lambda: chat.Renderer(tokenizer_lib.load(folder)))
