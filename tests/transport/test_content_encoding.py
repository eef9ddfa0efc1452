"""Compressed bodies: valid, split anywhere, invalid, and decompression bombs."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from contextlib import suppress
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer import RequestError
from asyncinfer.transport.content_encoding import PIECE, Inflater, decoder_for


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-Gzip", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "raw": ("deflate", raw_deflate),
    "members": ("gzip", lambda data: gzip.compress(data[:10]) + gzip.compress(data[10:])),
    "padded": ("gzip", lambda data: gzip.compress(data) + bytes(1000)),
}


def decoder(encoding: str) -> Inflater:
    made = decoder_for(encoding)
    assert made is not None
    return made


@pytest.mark.parametrize(("encoding", "pack"), PACKERS.values(), ids=PACKERS)
@given(data=st.binary(max_size=500).map(lambda part: part * 40), size=st.integers(1, 2**14))
def test_body_is_decompressed_wherever_it_is_split(
    encoding: str, pack: Callable[[bytes], bytes], data: bytes, size: int
) -> None:
    packed, unpack = pack(data), decoder(encoding)
    pieces = [piece for i in range(0, len(packed), size) for piece in unpack.feed(packed[i : i + size])]
    assert b"".join(pieces) == data


@pytest.mark.parametrize("count", [1, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE, 300 * PIECE + 7])
def test_size_of_decompressed_pieces_is_bounded(count: int) -> None:
    pieces = list(decoder("gzip").feed(gzip.compress(bytes(count))))
    assert (sum(map(len, pieces)), max(map(len, pieces)) <= PIECE) == (count, True)


def test_compression_bomb_is_decompressed_only_as_far_as_it_is_read() -> None:
    layer = zlib.compressobj(wbits=31)
    bomb = b"".join(layer.compress(bytes(2**20)) for _ in range(200)) + layer.flush()
    assert len(list(islice(decoder("gzip").feed(bomb), 10))) == 10


def test_body_with_too_many_gzip_members_is_refused() -> None:
    with pytest.raises(RequestError, match="more than 1000 gzip members"):
        list(decoder("gzip").feed(gzip.compress(b"") * 1001))


@given(st.binary(min_size=1, max_size=200))
def test_invalid_compressed_data_is_an_error(data: bytes) -> None:
    for encoding in ("gzip", "deflate"):
        with suppress(RequestError):
            list(decoder(encoding).feed(data))


@pytest.mark.parametrize("encoding", [None, "", "identity", " , Identity"])
def test_body_without_an_encoding_is_not_decoded(encoding: str | None) -> None:
    assert decoder_for(encoding) is None


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "deflate, gzip", "compress"])
def test_unknown_encoding_is_named_in_the_error(encoding: str) -> None:
    with pytest.raises(
        RequestError, match=f"the content encoding '{encoding}'; the request accepts only gzip, deflate"
    ):
        decoder_for(encoding)
