"""Personal data is masked among whatever stands around it, and what only looks like it stays."""

import hypothesis
from hypothesis import strategies as st
import pytest

from itune_jax.select.cleaning import card_numbers
from itune_jax.select.cleaning import pii

CARDS = ("4111111111111111", "5500000000000004", "378282246310005", "6011000990139424", "2223000048400011")
IBANS = ("DE89370400440532013000", "GB82WEST12345698765432", "FR1420041010050500013M02606", "NO9386011117947")
PHONES = (
  *("1-800-555-1234", "415 555 2671", "(415) 555-2671", "+1 415 555 2671", "+14155552671", "415.555.2671"),
  *("+49 (0)30 1234567", "+44 20 7946 0958", "030 1234567", "06 12 34 56 78", "0171-1234567", "1 (415) 555-2671"),
)
AROUND = ("", "Order 12", "12/25", "123", "and", "7", "2024-01-15", "3.14", "no. 99,", "(x)")
GROUPS = {16: (4, 4, 4, 4), 15: (4, 6, 5)}


def masked(text):
  row = {"instruction": "Say.", "output": text, "id": text}
  outcome = pii.Pii().row(row)
  assert outcome.row["id"] == text and bool(outcome.marks) == (outcome.row != row)
  return outcome.row["output"]


def grouped(text, sizes, mark):
  at = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
  return mark.join(text[a:b] for a, b in zip(at, at[1:], strict=False))


cards = st.builds(
  lambda one, mark: ("<CARD>", grouped(one, GROUPS[len(one)], mark)), st.sampled_from(CARDS), st.sampled_from(" -")
)
ibans = st.builds(
  lambda one, mark: ("<IBAN>", grouped(one, [4] * (-(-len(one) // 4)), mark)),
  st.sampled_from(IBANS),
  st.sampled_from(("", " ")),
)
phones = st.sampled_from(PHONES).map(lambda one: ("<PHONE>", one))
secret_lists = st.lists(st.one_of(cards, ibans, phones), min_size=1, max_size=3)


@hypothesis.given(before=st.sampled_from(AROUND), after=st.sampled_from(AROUND), found=secret_lists)
@hypothesis.settings(deadline=None)
def test_every_one_of_several_is_masked_among_other_numbers(before, after, found):
  """A pattern that takes too much, or a find that is none, hides no other one."""
  text = ", ".join((before, *(one for _, one in found), after))
  assert masked(text) == ", ".join((before, *(kind for kind, _ in found), after))


@hypothesis.given(found=st.one_of(st.lists(cards, min_size=2, max_size=3), st.lists(ibans, min_size=2, max_size=3)))
@hypothesis.settings(deadline=None)
def test_numbers_with_a_check_digit_are_found_in_a_row(found):
  assert masked(" ".join(one for _, one in found)) == " ".join(kind for kind, _ in found)


@pytest.mark.parametrize("around", ["{} 12/25", "{} 123", "Order 12 {}", "12 {} 12 34", "No. 7, {}."])
def test_a_card_stands_beside_its_date_and_code(around):
  assert masked(around.format("4111 1111 1111 1111")) == around.format("<CARD>")


isbns = st.permutations([3, 1, 3, 5, 1][1:]).map(lambda sizes: (3, *sizes))


@hypothesis.given(
  digits=st.integers(0, 10**10 - 1),
  sizes=isbns,
  mark=st.sampled_from((" ", "-")),
  label=st.sampled_from(("ISBN ", "ISBN-13: ")),
)
def test_books_and_documents_keep_their_numbers(digits, sizes, mark, label):
  text = label + grouped(f"978{digits:010}", sizes, mark)
  assert masked(text) == text
  assert masked(f"see 10.1000/182-{digits:010}.") == f"see 10.1000/182-{digits:010}."


@pytest.mark.parametrize(
  "fine",
  [
    "GB82 WEST 1234 5698 7654 33", "4111 1111 1111 1112", "9111 1111 1111 1111", "pi is 3.14159265358979",
    "+3.14159265358979", "from 1999-2005 and 2024-01-15", "01/02/2003 12345", "01.02.2003 12:30",
    "01 02 03 04 05 06", "512 256 1024 2048", "192.168.100.1", "user@localhost, @handle, me@example.com",
    "version 10.15.7, 12 345 678 people", "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 2 3", "0.4111111111111111",
  ],
)  # fmt: skip
def test_what_looks_like_it_stays(fine):
  assert masked(fine) == fine


def test_mails_secrets_and_social_security():
  masks = {
    "Write to jane.doe+x@mail.co.uk.": "Write to <EMAIL>.",
    "key AKIAIOSFODNN7EXAMPLE, sk-abcdefghijklmnopqrstuvwx": "key <SECRET>, <SECRET>",
    "SSN 123-45-6789": "SSN <SSN>",
    "(212)555-1234x5": "<PHONE>x5",
  }
  assert {text: masked(text) for text in masks} == masks
  assert pii.Pii(action="drop").row({"text": "a@b.org"}).reason == "personal data: email"


@hypothesis.given(number=st.sampled_from(CARDS), at=st.integers(0, 14), step=st.integers(1, 9))
def test_check_digits_tell_every_wrong_digit(number, at, step):
  """Luhn finds each single wrong digit; modulo 97 each one too (ISO 7064)."""
  wrong = lambda text, at: text[:at] + str((int(text[at]) + step) % 10) + text[at + 1 :]
  assert card_numbers.luhn(number) and not card_numbers.luhn(wrong(number, at))
  assert pii.iban(IBANS[0]) == 22 and not pii.iban(wrong(IBANS[0], 4 + at))
