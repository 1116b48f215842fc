"""Which texts of a teacher are no answers, in any script; and what only begins or looks like one that is none."""

import hypothesis
from hypothesis import strategies as st
import pytest

from itune_jax.synth import faults

TEXTS = {
  "en": "The river rose in the night and the people of the town went up to the hills with all that they could carry.",
  "ja": "私は毎朝六時に起きて、近くの公園を三十分ほど散歩してから朝ごはんを食べることにしています。",
  "zh-cn": "我们昨天去了城里的图书馆，借了几本关于历史和科学的书，然后在公园里坐了一个下午。",
  "th": "เมื่อวานนี้ฉันไปตลาดกับแม่เพื่อซื้อผักและผลไม้สำหรับทำอาหารเย็นให้ครอบครัว",
  "ko": "어제 저는 친구와 함께 도서관에 가서 역사와 과학에 관한 책을 몇 권 빌렸습니다. 정말 즐거운 하루였습니다.",
  "de": "Die Antwort ist kurz, weil auch die Frage kurz war und niemand hier etwas anderes lesen wollte.",
}


@pytest.mark.parametrize("wanted", list(TEXTS))
def test_a_language_is_told_in_any_script(wanted):
  found = {language: faults.Faults(language=wanted).of_text(text) for language, text in TEXTS.items()}
  assert found == {language: "" if language == wanted else "other language" for language in TEXTS}


@hypothesis.given(text=st.sampled_from(sorted(TEXTS.values())), size=st.integers(2, 12), times=st.integers(40, 80))
@hypothesis.settings(deadline=None)
def test_loops_are_found_in_any_script(text, size, times):
  """Whatever a text goes over again, with or without spaces between."""
  assert faults.Faults().of_text(text[: 4 * size] * times) == "loops" and not faults.Faults().of_text(text)


def test_short_chinese_is_chinese():
  """langdetect takes the first for Korean."""
  for text in ("勾股定理：直角三角形斜边平方等于两直角边平方和。", "水的沸点是一百摄氏度，冰点是零度。"):
    assert not faults.Faults(language="zh-cn").of_text(text) and faults.Faults(language="ja").of_text(text)


@pytest.mark.parametrize(
  "text",
  [
    "I can't wait to tell you: Paris is the capital.", "Sorry, I'm not sure which one you mean, but probably Rome.",
    "I won't lie, this one is hard.", "As an AI engineer, I build models.", "I'm afraid of heights.",
    "I can't help but smile.", "\"I can't help you,\" she said.", "I can't help you, said the king.",
    "Unfortunately, the train was late.", "I'm sorry, but I can't make it tonight, said Bob.",
    "Sorry for the delay. I can provide the answer: 4.", "As a language teacher, I cannot recommend it.",
    "As an AI-powered tool grows, I watch it.", "好的。",
  ],
)  # fmt: skip
def test_a_refusal_needs_what_is_refused(text):
  assert faults.Faults().of_text(text) == ""


@pytest.mark.parametrize(
  "text",
  [
    "I'm sorry, but I can't help with that.", "I cannot assist with this request.", "I’m sorry. I can’t do that.",
    "As an AI language model, I don't have feelings.", "As an AI, I cannot answer.", "I must decline.",
    "I am not able to fulfill this request.", "I'm sorry, but as an AI language model I cannot provide that.",
    "I'm sorry for the inconvenience, but I cannot write malware.", "I'm afraid I can't do that, Dave.",
    "I will not provide that.", "Unfortunately, I'm unable to generate images.",
  ],
)  # fmt: skip
def test_refusals_are_found(text):
  assert faults.Faults().of_text(text) == "refused"
