"""Images of conversations: places in the text, pixels, the cache, the feed; and packed rows with them."""

import base64
import json
import pathlib
import tempfile

import numpy as np
import PIL.Image
import pytest

from itune_jax.core import pack
from itune_jax.data import example as example_lib
from itune_jax.data import feed as feed_lib
from itune_jax.data import mixture
from itune_jax.data import tokenised
from itune_jax.data.readers import readers
from itune_jax.data.render import chat
from itune_jax.data.render import images as images_lib
from itune_jax.data.render import tokenizer as tokenizer_lib
from tests import fuzz
from tests import tiny
from tests.models import folders


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  path = folders.write("llava", tmp_path_factory.mktemp("vlm") / "m")
  folders.write_tokenizer(path)
  folders.write_processor("llava", path)
  return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
  return folders.write_images(tmp_path_factory.mktemp("pictures"))


def renderer_of(folder, **config):
  images = images_lib.load(str(folder), token=folders.IMAGE, patches=folders.PATCHES, size=folders.SIDE)
  return chat.Renderer(tokenizer_lib.load(str(folder)), chat.Rendering(**config), images)


@pytest.fixture(scope="module")
def renderer(folder):
  return renderer_of(folder)


def asked(*content, answer="Yes."):
  parts = [{"type": "text", "text": c} if " " in c else {"type": "image", "image": c} for c in content]
  return {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": answer}]}


def test_an_image_is_as_many_tokens_as_patches_and_none_is_trained(renderer, pictures):
  (row,) = renderer.render(example_lib.from_json(asked(pictures[0], "and this? ", pictures[1])))
  text = "<u>" + "<image>" * 16 + "and this? " + "<image>" * 16 + "</s><a>Yes.</s>"
  assert renderer.tokenizer.decode(row.ids).replace(" <", "<") == text.replace(" <", "<")
  assert renderer.tokenizer.decode(row.ids[row.weights != 0]) == "Yes.</s>"
  assert [image.shape for image in row.images] == [(16, 16, 3)] * 2 and row.images[0].dtype == np.uint8
  prompt = example_lib.from_json(asked(pictures[0], "and this? ", pictures[1])).prompt
  assert renderer.prompt_ids(prompt) == row.ids[: int(np.flatnonzero(row.weights)[0])].tolist()
  np.testing.assert_array_equal(renderer.prompt_images(prompt), renderer.item(row).images)


@pytest.mark.parametrize(
  "row,reason",
  [
    (asked("nowhere.png", "what is it"), "no such image file"),
    (asked("https://example.org/x.png", "what is it"), "images are not fetched"),
    (asked("data:image/png;base64,AAAA", "what is it"), "not readable as an image"),
    (asked("a literal <image> here"), "places for 1 images, the conversation has 0"),
    ({**asked("no place here"), "images": ["0.png"]}, "1 of its images have no place"),
    ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "names no"),
  ],
)
def test_bad_images_say_why(renderer, tmp_path, row, reason):
  (tmp_path / "x.jsonl").write_text(json.dumps(row) + "\n")
  (read,) = readers.read(str(tmp_path / "x.jsonl"))
  if read.example is None:
    assert reason in read.problem
  else:
    with pytest.raises(example_lib.BadRow, match=reason):
      renderer.render(read.example)


def test_a_model_of_text_takes_no_images(folder, pictures):
  with pytest.raises(example_lib.BadRow, match="this model takes none"):
    chat.Renderer(tokenizer_lib.load(str(folder))).render(example_lib.from_json(asked(pictures[0], "what is it")))


def test_every_way_to_name_an_image_is_the_same_conversation(tmp_path, pictures):
  data = pathlib.Path(pictures[0]).read_bytes()
  (tmp_path / "0.png").write_bytes(data)
  url = "data:image/png;base64," + base64.b64encode(data).decode()
  text, answer = {"type": "text", "text": "What is it?"}, {"role": "assistant", "content": "Noise."}
  turns = lambda first: [{"role": "user", "content": [first, text]}, answer]
  llava = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "Noise."}]
  rows = [
    {"messages": turns({"type": "image", "image": "0.png"})},
    {"messages": turns({"type": "image"}), "images": ["0.png"]},
    {"messages": turns({"type": "image"}), "images": [{"path": "0.png"}]},
    {"conversations": llava, "image": "0.png"},
    {"instruction": "<image>What is it?", "output": "Noise.", "images": ["0.png"]},
    {"messages": turns({"type": "image_url", "image_url": {"url": url}})},
  ]
  (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  found = [row.example.messages for row in readers.read(str(tmp_path / "rows.jsonl"))]
  assert all(one == found[0] for one in found[:5]) and found[0][0]["content"][0]["image"] == str(tmp_path / "0.png")
  assert found[5][0]["content"] == [{"type": "image", "image": url}, text]
  assert len({row.example.id for row in readers.read(str(tmp_path / "rows.jsonl"))}) == len(rows)


def test_truncation_never_cuts_through_an_image(folder, pictures):
  row = example_lib.from_json(asked(pictures[0], "a question ", answer="y" * 60))
  (kept,) = renderer_of(folder, max_length=60).render(row)
  assert len(kept.images) == 1 and kept.truncated
  with pytest.raises(example_lib.BadRow, match="cut through an image"):
    renderer_of(folder, max_length=80, truncation="keep_end").render(row)
  (kept,) = renderer_of(folder, max_length=50, truncation="keep_end").render(row)
  assert kept.images == ()


def prepared(tmp_path, renderer, pictures):
  second = lambda n: [pictures[(n + 1) % 7]] * (n % 2)
  lines = [asked(pictures[n % 7], "how about ", *second(n), answer="y" * (1 + n)) for n in range(8)]
  lines += [asked("only text here", answer=str(n)) for n in range(4)]
  (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  source = mixture.Source(name="s", path=str(tmp_path / "rows.jsonl"))
  manifest = tokenised.write_source(
    str(tmp_path / "c"), mixture.Mixture(name="m", sources=(source,)), source, renderer, source.rows()
  )
  assert manifest["kept"] == 12
  return source, tokenised.CachedSource(tokenised.source_folder(str(tmp_path / "c"), manifest["key"]))


def test_pixels_come_through_cache_and_feed_for_any_number_of_processes(tmp_path, renderer, pictures):
  source, stored = prepared(tmp_path, renderer, pictures)
  assert stored.image_counts.tolist() == [1, 2] * 4 + [0] * 4
  for i, row in enumerate(source.rows()):
    (fresh,) = renderer.render(row.example)
    if fresh.images:
      np.testing.assert_array_equal(stored[i].images, renderer.item(fresh).images)
  packing = feed_lib.Packing(row_length=96, rows=4, window=12)
  feed = lambda p, n: feed_lib.Feed({"s": stored}, {"s": 1.0}, packing, rows=range(p * 4 // n, (p + 1) * 4 // n))
  for k in range(3):
    whole, parts = feed(0, 1).batch(k), [feed(p, 4).batch(k) for p in range(4)]
    np.testing.assert_array_equal(np.concatenate([part.images for part in parts]), whole.images)
    for b, members in enumerate(feed(0, 1).members(k)):
      seen = [image for _, i in members if stored[i].images is not None for image in stored[i].images]
      np.testing.assert_array_equal(whole.images[b, : len(seen)], np.stack(seen)) if seen else None


def test_the_address_changes_with_the_bytes_of_an_image(tmp_path, renderer):
  file = tmp_path / "one.png"
  keys = set()
  for shade in (0, 100):
    PIL.Image.new("RGB", (8, 8), (shade, 0, 0)).save(file)
    (tmp_path / "rows.jsonl").write_text(json.dumps(asked("one.png", "what is it")) + "\n")
    keys.add(tokenised.source_key(mixture.Source(name="s", path=str(tmp_path / "rows.jsonl")), renderer))
  assert len(keys) == 2


@pytest.mark.parametrize("case", ["llava", "paligemma"])
def test_packed_with_images_equals_unpacked(case, tmp_path, renderer, pictures):
  """Logits of examples with two, one and no images, in one row and in a row each."""
  base = folders.open_ours(folders.write(case, tmp_path / case))
  rows = [asked(*pictures[n : n + 2 - n], "what is it", answer="abc"[n:] * 2) for n in range(3)]
  items = [renderer.item(renderer.render(example_lib.from_json(row))[0]) for row in rows]
  T = sum(len(item.ids) - 1 for item in items)
  together = np.asarray(tiny.logits(base, pack.fill([items], T)))[0]
  apart = np.asarray(tiny.logits(base, pack.fill([[item] for item in items], T)))
  at = 0
  for n, item in enumerate(items):
    length = len(item.ids) - 1
    np.testing.assert_allclose(together[at : at + length], apart[n, :length], atol=2e-5)
    at += length
  assert np.abs(apart[0, 2:18] - apart[1, 2:18]).max() > 0.1  # other pixels, other logits


def test_grey_of_16_bits_is_scaled_by_its_range(renderer, tmp_path):
  grey = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
  read = {}
  for name, values in (("16.png", grey), ("16.tif", grey), ("8.png", np.rint(grey / 257).astype(np.uint8))):
    PIL.Image.fromarray(values).save(tmp_path / name)
    read[name] = renderer.images.read({"image": str(tmp_path / name)}).astype(int)
  for name in ("16.png", "16.tif"):
    assert np.abs(read[name] - read["8.png"]).max() <= 1 and read[name].min() < 10 and read[name].max() > 245
  for name, kind in (("f.tif", np.float32), ("i.tif", np.int32)):
    PIL.Image.fromarray(grey.astype(kind)).save(tmp_path / name)
    with pytest.raises(example_lib.BadRow, match="of unknown range; save it with 8 or 16 bits"):
      renderer.images.read({"image": str(tmp_path / name)})


def test_a_damaged_chunk_is_a_bad_row(renderer, pictures, tmp_path):
  data = pathlib.Path(pictures[0]).read_bytes()
  for name in (b"I\xffAT", b"IDA ", b"\x00\x00\x00\x00"):
    (tmp_path / "x.png").write_bytes(data.replace(b"IDAT", name))
    with pytest.raises(example_lib.BadRow, match=r"x\.png: not readable as an image"):
      renderer.images.read({"image": str(tmp_path / "x.png")})


def test_markers_in_parts_are_places_too(tmp_path):
  what = lambda content: {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "a"}]}
  rows = [
    {**what("<image>\nWhat is it?"), "images": ["0.png"]},
    {**what([{"type": "text", "text": "<image>\nWhat is it?"}]), "images": ["0.png"]},
    {**what([{"type": "image"}, {"type": "text", "text": "What is it?"}]), "image": "0.png", "images": None},
  ]
  one, *others = (readers.parse(row, str(tmp_path)).messages for row in rows)
  assert all(other == one for other in others) and [part["type"] for part in one[0]["content"]] == ["image", "text"]
  for row in ({**rows[0], "image": "1.png"}, {**what("no place"), "images": ["0.png"]}, {**rows[0], "images": [5]}):
    with pytest.raises(example_lib.BadRow):
      readers.parse(row, str(tmp_path))


SETTINGS = [
  {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": 16},
    "crop_size": {"height": 16, "width": 16},
    "image_mean": [0.5, 0.4, 0.4],
    "image_std": [0.3, 0.3, 0.3],
    "do_resize": True,
    "do_center_crop": True,
    "do_rescale": True,
    "rescale_factor": 0.00392156862745098,
    "do_normalize": True,
    "do_convert_rgb": True,
    "resample": 3,
  }
]


@fuzz.given(fuzz.mutated(SETTINGS))
def test_an_image_processor_scales_to_numbers_or_is_refused(case):
  """One node of preprocessor_config.json is replaced or removed."""
  with tempfile.TemporaryDirectory() as folder:
    (pathlib.Path(folder) / "preprocessor_config.json").write_text(json.dumps(case[3]))
    made = fuzz.outcome(lambda: images_lib.load(folder, token=90, patches=16, size=16))
    if made is not None:
      grey = made.scale(np.full((1, 2, 2, 3), 7, np.uint8))
      assert np.isfinite(grey).all() and grey.shape == (1, 2, 2, 3)


def test_pictures_of_which_one_would_be_picked_or_that_fill_memory(tmp_path):
  """Frames, strips, and addresses in any spelling."""
  folders.write_processor("llava", tmp_path)
  takes = images_lib.load(str(tmp_path), token=90, patches=16, size=16)
  noise = [PIL.Image.fromarray(np.full((4, 4, 3), k, np.uint8)) for k in (9, 200)]
  for name in ("a.gif", "a.webp", "a.tiff", "a.png"):
    noise[0].save(tmp_path / name, save_all=True, append_images=noise[1:])
  PIL.Image.new("RGB", (600_000, 1)).save(tmp_path / "strip.png")
  for where, words in (
    *((str(tmp_path / name), "it holds 2 pictures") for name in ("a.gif", "a.webp", "a.tiff", "a.png")),
    (str(tmp_path / "strip.png"), "it is 600000 x 1 pixels, a strip"),
    ("HTTPS://x/y.png", "images are not fetched"),
    ("ftp://x/y.png", "images are not fetched"),
    ("DATA:image/png;base64,!" + "A" * 10_000, "not readable as an image"),
    ("x" * 10_000, "no such image file"),
  ):
    with pytest.raises(example_lib.BadRow, match=words) as caught:
      takes.read({"image": where})
    assert len(str(caught.value)) < 400
