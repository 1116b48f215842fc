"""The 58 kinds of IFBench by the names that rows give them, and those that need a package or a model."""

import importlib.util
from typing import Any

from itune_jax.grading.ifeval import ifbench_form
from itune_jax.grading.ifeval import ifbench_sentences
from itune_jax.grading.ifeval import ifbench_tasks
from itune_jax.grading.ifeval import ifbench_words
from itune_jax.grading.ifeval import instruction
from itune_jax.grading.ifeval import kinds

# Kinds that are not checked here, and what their official checker needs.
_NEVER = {"words:start_verb": "NLTK's trained tagger of parts of speech"}
_BY_PACKAGE = {"format:emoji": "emoji", "words:odd_even_syllables": "syllapy"}
KINDS: dict[str, type[instruction.Instruction]] = {
  "count:word_count_range": ifbench_words.WordRange,
  "count:unique_word_count": ifbench_words.UniqueWords,
  "count:conjunctions": ifbench_words.Conjunctions,
  "count:person_names": ifbench_words.PersonNames,
  "count:numbers": ifbench_words.Numbers,
  "count:punctuation": ifbench_words.Punctuation,
  "count:pronouns": ifbench_words.Pronouns,
  "count:words_japanese": ifbench_words.EveryNthJapanese,
  "count:keywords_multiple": ifbench_words.Keywords,
  "ratio:stop_words": ifbench_words.StopWords,
  "ratio:sentence_type": ifbench_sentences.TwoToOne,
  "ratio:sentence_balance": ifbench_sentences.Balanced,
  "ratio:overlap": ifbench_words.Overlap,
  "ratio:sentence_words": ifbench_form.EqualSentences,
  "words:alphabet": ifbench_words.AlphabetLoop,
  "words:vowel": ifbench_words.ThreeVowels,
  "words:consonants": ifbench_words.Clusters,
  "words:palindrome": ifbench_words.Palindromes,
  "words:prime_lengths": ifbench_words.PrimeLengths,
  "words:repeats": ifbench_words.Repeats,
  "words:odd_even_syllables": ifbench_words.SyllableParity,
  "words:last_first": ifbench_sentences.LastFirst,
  "words:paragraph_last_first": ifbench_words.ParagraphFirstLast,
  "words:no_consecutive": ifbench_words.NoSameFirst,
  "words:keywords_specific_position": ifbench_sentences.KeywordPlace,
  "words:words_position": ifbench_words.SecondWords,
  "sentence:alliteration_increment": ifbench_sentences.Alliteration,
  "sentence:keyword": ifbench_sentences.KeywordSentence,
  "sentence:increment": ifbench_sentences.Growing,
  "format:parentheses": ifbench_form.Parentheses,
  "format:quotes": ifbench_form.Quotes,
  "format:options": ifbench_form.Options,
  "format:newline": ifbench_form.WordsOnLines,
  "format:emoji": ifbench_form.EmojiEnds,
  "format:line_indent": ifbench_form.Stairs,
  "format:quote_unquote": ifbench_form.Explained,
  "format:list": ifbench_form.ListMarks,
  "format:thesis": ifbench_form.Thesis,
  "format:sub-bullets": ifbench_form.SubBullets,
  "format:no_bullets_bullets": ifbench_form.SentencesThenBullets,
  "format:title_case": ifbench_form.TitleCase,
  "format:output_template": ifbench_form.Template,
  "format:no_whitespace": ifbench_form.NoSpace,
  "repeat:repeat_change": ifbench_form.RepeatChanged,
  "repeat:repeat_simple": ifbench_form.RepeatSimple,
  "repeat:repeat_span": ifbench_form.RepeatSpan,
  "custom:multiples": ifbench_tasks.Multiples,
  "custom:mcq_count_length": ifbench_tasks.Questions,
  "custom:reverse_newline": ifbench_tasks.Countries,
  "custom:word_reverse": ifbench_tasks.WordsBackwards,
  "custom:character_reverse": ifbench_tasks.LettersBackwards,
  "custom:sentence_alphabet": ifbench_tasks.Alphabet,
  "custom:european_capitals_sort": ifbench_tasks.Capitals,
  "custom:csv_city": ifbench_tasks.CityTable,
  "custom:csv_special_character": ifbench_tasks.SignTable,
  "custom:csv_quotes": ifbench_tasks.QuotedTable,
  "custom:date_format_list": ifbench_tasks.Dates,
}
# What rows hold for kinds of IFEval, null here.
_OTHERS = frozenset(
  (
    *("capital_frequency", "capital_relation", "end_phrase", "first_word", "forbidden_words", "frequency", "keywords"),
    *("language", "let_frequency", "let_relation", "letter", "nth_paragraph", "num_bullets", "num_highlights"),
    *("num_paragraphs", "num_placeholders", "num_sections", "num_sentences", "num_words", "postscript_marker"),
    *("relation", "section_spliter"),
  )
)


def without() -> dict[str, str]:
  """The kinds that cannot be checked here, and what each needs."""
  lacking = {kind: package for kind, package in _BY_PACKAGE.items() if importlib.util.find_spec(package) is None}
  return {**_NEVER, **{kind: f"{one} (pip install 'itune_jax[ifbench]')" for kind, one in lacking.items()}}


def build(kind: Any, kwargs: Any) -> instruction.Instruction:
  """The instruction of a kind and its kwargs, as a row gives them. Raises InputError as `kinds.build` does."""
  if isinstance(kwargs, dict):
    kwargs = {name: value for name, value in kwargs.items() if value is not None or name not in _OTHERS}
  return kinds.build(kind, kwargs, KINDS)
