"""Answers that are programs: what of an answer is code, and whether it passes its tests.

Shares of them are `statistics.metrics.PassAtK`. A verdict is that of the sandbox (passed, wrong, timeout, memory,
refused), or `no code`.
"""

import ast
from collections.abc import Callable, Sequence
import dataclasses
import re
from typing import Literal

from itune_jax.grading.sandbox import sandbox

Verdict = Literal["passed", "wrong", "timeout", "memory", "refused", "no code"]
VERDICTS: tuple[Verdict, ...] = ("passed", "wrong", "timeout", "memory", "refused", "no code")
_BLOCK = re.compile(
  r"^[ \t]*(?P<fence>```+|~~~+)[ \t]*(?P<language>[\w+.-]*)[^\n]*\n(?P<code>.*?)(?:^[ \t]*(?P=fence)[ \t]*$|\Z)",
  re.M | re.S,
)
_LANGUAGES = ("", "python", "py", "python3", "python2", "ipython", "pycon")
_BEGINS = re.compile(r"^(def|class|import|from|async def|@|if __name__)\b|^@|^\w+ *=[^=]")
# lm-eval 0.4.13, lm_eval/tasks/mbpp/utils.py, extract_code_blocks.
_LM_EVAL_BLOCK = re.compile(r"```(?:\w+)?\n?(.*?)\n?```", re.S)
_MOST_CUTS = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
  """What a program is to do.

  tests: source code that passes or raises; it is run behind the program, with its names. entry: the name that the
  program must define, "" where tests alone know it. prompt: source code that an answer may continue, "" for none.
  """

  tests: str
  entry: str = ""
  prompt: str = ""


@dataclasses.dataclass(frozen=True)
class Judged:
  """A verdict, a line that says why, and the program that was judged."""

  verdict: Verdict
  detail: str
  program: str

  @property
  def passed(self) -> bool:
    """Whether it passed."""
    return self.verdict == "passed"


def judge(problems: Sequence[Problem], programs: Sequence[str], box: sandbox.Sandbox) -> list[Judged]:
  """Runs programs (`program` makes them of answers) against the tests of their problems; equal ones once.

  Raises InputError for a machine that has less of a sandbox than `box` requires.
  """
  jobs = [sandbox.Job(one, problem.tests) for problem, one in zip(problems, programs, strict=True)]
  distinct = list(dict.fromkeys(job for job in jobs if job.program.strip()))
  results = dict(zip(distinct, box.run_all(distinct), strict=True)) if distinct else {}
  return [
    Judged(results[job].verdict, results[job].detail, job.program) if job in results else Judged("no code", "", "")
    for job in jobs
  ]


def program(answer: str, problem: Problem) -> str:
  """The program of an answer: code that defines what is asked for, behind what its prompt has before that (imports,
  other functions); else the prompt with the answer as its continuation. "" for an answer without code."""
  code = extract(answer, problem)
  if not code.strip():
    return ""
  if not problem.prompt:
    return code
  if problem.entry and _defines(code, problem.entry):
    return _before(problem.prompt, problem.entry) + code
  return problem.prompt + code


def extract(answer: str, problem: Problem) -> str:
  """The code of an answer: of its fenced blocks the first that defines what is asked for, else the first.

  Without blocks: all of it, if it can be parsed, or continues the prompt so; else what stands between words.
  """
  blocks = [m["code"] for m in _BLOCK.finditer(answer) if m["language"].lower() in _LANGUAGES]
  if blocks:
    return next((block for block in blocks if problem.entry and _defines(block, problem.entry)), blocks[0])
  if not answer.strip() or _parses(answer) or (problem.prompt and _parses(problem.prompt + answer)):
    return answer
  return _between_words(answer) or (answer if problem.prompt else "")


def completion(answer: str, problem: Problem) -> str:
  """human-eval's own rule: the prompt and the answer, as they are."""
  return problem.prompt + answer


def whole(answer: str, problem: Problem) -> str:
  """MBPP's own rule, and lm-eval's for its base form: the answer, up to `[DONE]`."""
  del problem
  return answer.partition("[DONE]")[0]


def lm_eval_block(answer: str, problem: Problem) -> str:
  """lm-eval's rule for `mbpp_instruct`, whose prompt opens a block: the text to its end, "" where none ends.

  As lm-eval's: a word right at the beginning is taken for the block's language, and lost.
  """
  del problem
  found = _LM_EVAL_BLOCK.findall("```" + answer) or _LM_EVAL_BLOCK.findall(answer.replace("```python", "```"))
  return found[0] if found else ""


def lm_eval_continued(answer: str, problem: Problem) -> str:
  """lm-eval's rule for `humaneval_instruct`: the prompt and the answer up to its first fence."""
  return problem.prompt + answer.partition("```")[0]


# How an answer becomes a program, by name: ours, which takes completions and whole programs, and the published ones.
RULES: dict[str, Callable[[str, Problem], str]] = {
  "any": program,
  "completion": completion,
  "whole": whole,
  "lm_eval_block": lm_eval_block,
  "lm_eval_continued": lm_eval_continued,
}


def _defines(code: str, name: str) -> bool:
  """Whether code defines a name at its outermost level, by the look of its lines: it need not be whole."""
  return bool(re.search(rf"^(?:async +def|def|class) +{re.escape(name)}\b|^{re.escape(name)} *=[^=]", code, re.M))


def _before(prompt: str, name: str) -> str:
  """What a prompt has before the definition that is asked for."""
  found = re.search(rf"^(?:@.*\n)*(?:async +def|def|class) +{re.escape(name)}\b", prompt, re.M)
  return prompt[: found.start()] if found else ""


def _between_words(answer: str) -> str:
  """From the first line that begins like code, as many lines as can be parsed."""
  lines = answer.splitlines(keepends=True)
  first = next((i for i, line in enumerate(lines) if _BEGINS.match(line)), len(lines))
  for last in range(len(lines), max(first, len(lines) - _MOST_CUTS), -1):
    if _parses(text := "".join(lines[first:last])):
      return text
  return ""


def _parses(code: str) -> bool:
  try:
    ast.parse(code)
  except (SyntaxError, ValueError, RecursionError, MemoryError):
    return False
  return True
