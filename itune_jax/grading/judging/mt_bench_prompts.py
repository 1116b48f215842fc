"""The eight prompts of MT-bench's judges, verbatim (Zheng et al. 2023; FastChat's `judge_prompts.jsonl`, Apache-2.0).

They are put together from the sentences that they share; a test compares the digest of each with the official file's.
"""

from collections.abc import Mapping

from itune_jax.grading.judging import judge_prompt as prompt_lib

_SOURCE = "FastChat llm_judge/data/judge_prompts.jsonl"
_FACTORS = (
  "factors such as the helpfulness, relevance, accuracy, depth, creativity, and level of detail of {}response{}. "
)
_FAIR = (
  "Avoid any position biases and ensure that the order in which the responses were presented does not influence your "
  "decision. Do not allow the length of the responses to influence your evaluation. Do not favor certain names of the "
  "assistants. Be as objective as possible. "
)
_VERDICT = (
  "After providing your explanation, output your final verdict by strictly following this format: "
  '"[[A]]" if assistant A is better, "[[B]]" if assistant B is better, and "[[C]]" for a tie.'
)
_RATE = (
  "Be as objective as possible. After providing your explanation, you must rate the response on a scale of 1 to 10 by "
  'strictly following this format: "[[rating]]", for example: "Rating: [[5]]".\n\n'
)
_TWO = (
  "Please act as an impartial judge and evaluate the quality of the responses provided by two AI assistants to the "
  "user "
)
_ONE = (
  "Please act as an impartial judge and evaluate the quality of the response provided by an AI assistant to the user "
)
_CORRECT = "Your evaluation should consider correctness and helpfulness. "
_FIX = "Identify and correct any mistakes. "
_EXPLAIN = "Begin your evaluation by providing a short explanation. "


def _block(name: str, field: str, mark: str = "[]") -> str:
  start, end = mark
  return f"{start}The Start of {name}{end}\n{{{field}}}\n{start}The End of {name}{end}"


def _turns(name: str, role: str, fields: tuple[str, str]) -> str:
  said = "".join(f"### User:\n{{question_{i}}}\n\n### {role}:\n{{{field}}}\n\n" for i, field in enumerate(fields, 1))
  return f"<|The Start of {name}|>\n\n{said}<|The End of {name}|>"


def _conversation(which: str, fields: tuple[str, str]) -> str:
  return _turns(f"Assistant {which}'s Conversation with User", f"Assistant {which}", fields)


_REFERENCES = _turns("Reference Answer", "Reference answer", ("ref_answer_1", "ref_answer_2"))
_REFERENCE = _block("Reference Answer", "ref_answer_1")
_ANSWERS = "\n\n".join((_block("Assistant A's Answer", "answer_a"), _block("Assistant B's Answer", "answer_b")))
_CONVERSATIONS = "\n\n\n".join(
  (_conversation("A", ("answer_a_1", "answer_a_2")), _conversation("B", ("answer_b_1", "answer_b_2")))
)
_QUESTIONS = ("question_1", "question_2")
_PAIRS = ("answer_a_1", "answer_b_1", "answer_a_2", "answer_b_2")
_BOTH_REFERENCES = ("ref_answer_1", "ref_answer_2")


def _pair(name: str, system: str, template: str, fields: tuple[str, ...]) -> prompt_lib.Prompt:
  return prompt_lib.Prompt(
    name=name, kind="pair", system=system, template=template, fields=fields, reads="pair", source=_SOURCE
  )


def _single(name: str, system: str, template: str, fields: tuple[str, ...]) -> prompt_lib.Prompt:
  return prompt_lib.Prompt(
    name=name,
    kind="single",
    system=system,
    template=template,
    fields=fields,
    reads="rating",
    scale=(1.0, 10.0),
    source=_SOURCE,
  )


_ASSISTANT = "You are a helpful assistant."
_ONE_FACTORS = "Your evaluation should consider " + _FACTORS.format("the ", "")
_TWO_FACTORS = "Your evaluation should consider " + _FACTORS.format("their ", "s")
_COMPARE = "Begin your evaluation by comparing both assistants' answers with the reference answer{}. " + _FIX
_REFERENCE_ONE = "You will be given a reference answer and the assistant's answer. "
_COMPARE_ONE = "Begin your evaluation by comparing the assistant's answer with the reference answer. " + _FIX
_SECOND = "You evaluation should focus on the assistant's answer to the second {}question. "

PROMPTS: Mapping[str, prompt_lib.Prompt] = {
  prompt.name: prompt
  for prompt in (
    _pair(
      "pair-v2",
      _TWO
      + "question displayed below. You should choose the assistant that follows the user's instructions and answers "
      + "the user's question better. "
      + _TWO_FACTORS
      + "Begin your evaluation by comparing the two responses and provide a short explanation. "
      + _FAIR
      + _VERDICT,
      "[User Question]\n{question}\n\n" + _ANSWERS,
      ("question", "answer_a", "answer_b"),
    ),
    _pair(
      "pair-v2-multi-turn",
      _TWO
      + "questions. You should choose the assistant that follows the user's instructions and answers the user's "
      + "questions better. "
      + _TWO_FACTORS
      + "You should focus on who provides a better answer to the second user question. Begin your evaluation by "
      + "comparing the responses of the two assistants and provide a short explanation. "
      + _FAIR
      + _VERDICT,
      _CONVERSATIONS,
      (*_QUESTIONS, *_PAIRS),
    ),
    _pair(
      "pair-math-v1",
      _TWO
      + "question displayed below. "
      + _CORRECT
      + "You will be given a reference answer, assistant A's answer, and assistant B's answer. Your job is to evaluate "
      + "which assistant's answer is better. "
      + _COMPARE.format("")
      + _FAIR
      + _VERDICT,
      "[User Question]\n{question}\n\n" + _REFERENCE + "\n\n" + _ANSWERS,
      ("question", "ref_answer_1", "answer_a", "answer_b"),
    ),
    _pair(
      "pair-math-v1-multi-turn",
      _TWO
      + "questions. "
      + _CORRECT
      + "You will be given reference answers, the assistant A's answers, the assistant B's answers. Your job is to "
      + "determine which assistant provides correct and helpful answers to the second user question. "
      + _COMPARE.format("s")
      + _FAIR
      + _VERDICT,
      _REFERENCES + "\n\n\n" + _CONVERSATIONS,
      (*_QUESTIONS, *_BOTH_REFERENCES, *_PAIRS),
    ),
    _single(
      "single-v1",
      _ASSISTANT,
      "[Instruction]\n"
      + _ONE
      + "question displayed below. "
      + _ONE_FACTORS
      + _EXPLAIN
      + _RATE
      + "[Question]\n{question}\n\n"
      + _block("Assistant's Answer", "answer"),
      ("question", "answer"),
    ),
    _single(
      "single-math-v1",
      _ASSISTANT,
      "[Instruction]\n"
      + _ONE
      + "question displayed below. "
      + _CORRECT
      + _REFERENCE_ONE
      + _COMPARE_ONE
      + _RATE
      + "[Question]\n{question}\n\n"
      + _REFERENCE
      + "\n\n"
      + _block("Assistant's Answer", "answer"),
      ("question", "ref_answer_1", "answer"),
    ),
    _single(
      "single-v1-multi-turn",
      _ONE + "question displayed below. " + _ONE_FACTORS + _SECOND.format("user ") + _EXPLAIN + _RATE,
      _conversation("A", ("answer_1", "answer_2")),
      (*_QUESTIONS, "answer_1", "answer_2"),
    ),
    _single(
      "single-math-v1-multi-turn",
      _ONE + "question. " + _CORRECT + _REFERENCE_ONE + _SECOND.format("") + _COMPARE_ONE + _RATE,
      _REFERENCES + "\n\n\n" + _conversation("A", ("answer_1", "answer_2")),
      (*_QUESTIONS, *_BOTH_REFERENCES, "answer_1", "answer_2"),
    ),
  )
}
