"""Conversations with images against the processors and `generate` of transformers, from picture to answer."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from itune_jax.data.render import chat  # noqa: E402
from itune_jax.run import session as session_lib  # noqa: E402
from itune_jax.run import specs  # noqa: E402
from itune_jax.sampling.decode import decode as decode_lib  # noqa: E402
from tests.models import folders  # noqa: E402
from tests.parity.families import common  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

PIXELS = 1e-6


@pytest.fixture(scope="module", params=["llava", "paligemma"])
def model(request, tmp_path_factory):
  """(case, folder, transformers' model, our session) of a folder with weights, tokenizer and processor."""
  folder = folders.write(request.param, tmp_path_factory.mktemp(request.param) / "hf")
  theirs = common.reload(transformers.AutoModelForImageTextToText, folder)
  folders.write_tokenizer(folder)
  folders.write_processor(request.param, folder)
  ours = session_lib.open_session(specs.Model(base=str(folder), chat_template=request.param))
  return request.param, folder, theirs, ours


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
  return folders.write_images(tmp_path_factory.mktemp("pictures"))


def processor_of(case, folder):
  processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
  tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
  if case == "paligemma":
    return transformers.PaliGemmaProcessor(processor, tokenizer)
  return transformers.LlavaProcessor(
    processor, tokenizer, patch_size=4, vision_feature_select_strategy="default", num_additional_image_tokens=1
  )


def conversation(picture):
  content = [{"type": "image", "image": picture}, {"type": "text", "text": "what is it"}]
  return [{"role": "user", "content": content}]


def theirs_inputs(case, folder, picture):
  """PaliGemma's processor writes places and start token itself; LLaVA's wants its prompt."""
  text = "<image>what is it" if case == "paligemma" else "USER: <image>\nwhat is it ASSISTANT:"
  image = transformers.image_utils.load_image(picture)
  return processor_of(case, folder)(images=image, text=text, return_tensors="pt")


def test_preprocessing(model, pictures):
  """Ids and pixels of pictures of every shape and mode."""
  case, folder, _, ours = model
  renderer = ours.renderer(chat.Rendering())
  worst = 0.0
  for picture in pictures:
    expected = theirs_inputs(case, folder, picture)
    assert renderer.prompt_ids(conversation(picture)) == expected["input_ids"][0].tolist()
    pixels = renderer.prompt_images(conversation(picture)).transpose(0, 3, 1, 2)
    worst = max(worst, float(np.abs(pixels - expected["pixel_values"].numpy()).max()))
  print(f"images {case}: {len(pictures)} pictures, largest difference of a pixel {worst:.1e} (limit {PIXELS:.0e})")
  assert worst <= PIXELS


def test_answers_are_those_of_transformers(model, pictures):
  """Greedy answers to every picture in one packed prefill, against generate one by one."""
  case, folder, theirs, ours = model
  renderer = ours.renderer(chat.Rendering())
  asked = [conversation(picture) for picture in pictures]
  decode = decode_lib.Decode(max_new_tokens=12, batch=len(asked))
  found = ours.engine().generate(
    [renderer.prompt_ids(c) for c in asked], decode, [renderer.prompt_images(c) for c in asked]
  )
  answers = []
  for picture, mine in zip(pictures, found, strict=True):
    given = theirs_inputs(case, folder, picture)
    out = theirs.generate(**given, max_new_tokens=12, do_sample=False, eos_token_id=2, pad_token_id=0)
    answer = out[0, given["input_ids"].shape[1] :].tolist()
    answers.append(answer[: answer.index(2)] if 2 in answer else answer)
    assert mine.tokens == answers[-1], picture
  assert len(set(map(tuple, answers))) > 1, "the pictures must matter"
