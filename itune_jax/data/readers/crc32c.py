"""CRC-32C (Castagnoli, RFC 3720 appendix B.4), and how TFRecord masks it. Long data is read in lanes by numpy.

The register of a CRC is linear in what stands in it and in the data: the lanes of a text are read side by side, each
from a register of zeros, and the register of one is moved over the next by the linear map of its length.
"""

import functools

import numpy as np

_POLYNOMIAL = 0x82F63B78  # reflected
_LANE = 512  # bytes of a lane
_MASK = 0xA282EAD8


def _table() -> list[int]:
  table = []
  for byte in range(256):
    for _ in range(8):
      byte = (byte >> 1) ^ (_POLYNOMIAL if byte & 1 else 0)
    table.append(byte)
  return table


_TABLE = _table()
_LANES = np.array(_TABLE, np.uint32)


def crc32c(data: bytes) -> int:
  """The checksum of bytes."""
  register, count = 0xFFFFFFFF, len(data) // _LANE
  if count >= 4:
    block = np.frombuffer(data, np.uint8, count * _LANE).reshape(count, _LANE).T
    lanes = np.zeros(count, np.uint32)
    for column in np.ascontiguousarray(block):
      lanes = _LANES[(lanes ^ column) & 0xFF] ^ (lanes >> 8)
    a, b, c, d = _over_a_lane()
    for lane in lanes.tolist():
      register = a[register & 255] ^ b[register >> 8 & 255] ^ c[register >> 16 & 255] ^ d[register >> 24] ^ lane
    data = data[count * _LANE :]
  for byte in data:
    register = _TABLE[(register ^ byte) & 0xFF] ^ (register >> 8)
  return register ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
  """The checksum as TFRecord stores it: rotated by 15 bits, a constant added (tensorflow/core/lib/hash/crc32c.h)."""
  crc = crc32c(data)
  return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


@functools.cache
def _over_a_lane() -> tuple[list[int], list[int], list[int], list[int]]:
  """What a register becomes over a lane of zeros, by each of its four bytes."""

  def moved(register: int) -> int:
    for _ in range(_LANE):
      register = _TABLE[register & 0xFF] ^ (register >> 8)
    return register

  bits = [moved(1 << bit) for bit in range(32)]
  of = lambda place, byte: functools.reduce(int.__xor__, (bits[8 * place + i] for i in range(8) if byte >> i & 1), 0)
  a, b, c, d = ([of(place, byte) for byte in range(256)] for place in range(4))
  return a, b, c, d
