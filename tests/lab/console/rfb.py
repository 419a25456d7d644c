"""A small VNC client (RFC 6143): the handshake with a password, and one whole picture."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.modes import ECB

VERSION, PASSWORD = b"RFB 003.008\n", 2


class Refused(Exception):
    """The server did not take the password; the text is its own."""


@dataclass(frozen=True)
class Picture:
    """A screen: four bytes a pixel."""

    name: str
    width: int
    height: int
    pixels: bytes

    def colours(self) -> set[bytes]:
        """The colours that occur, without the unused fourth byte."""
        return {self.pixels[at : at + 3] for at in range(0, len(self.pixels), 4)}


class Client:
    """Speaks RFB over two functions that send and receive bytes; ``receive`` returns b"" at the
    end.
    """

    def __init__(self, send: Callable[[bytes], object], receive: Callable[[], bytes]) -> None:
        self._send, self._receive, self._rest = send, receive, b""

    def picture(self, password: str) -> Picture:
        """Log in and return the screen as it is. Raise Refused for a wrong password."""
        self._log_in(password)
        self._send(b"\x01")
        width, height, _, length = struct.unpack("!HH16sI", self._take(24))
        name = self._take(length).decode()
        self._send(struct.pack("!BxH i", 2, 1, 0))  # SetEncodings: raw alone
        self._send(struct.pack("!BBHHHH", 3, 0, 0, 0, width, height))
        return Picture(name, width, height, self._raw(width, height))

    def _log_in(self, password: str) -> None:
        assert self._take(12) == VERSION
        self._send(VERSION)
        offered = self._take(self._take(1)[0])
        assert list(offered) == [PASSWORD]
        self._send(bytes([PASSWORD]))
        self._send(_answer(password, self._take(16)))
        if int.from_bytes(self._take(4), "big"):
            raise Refused(self._take(int.from_bytes(self._take(4), "big")).decode())

    def _raw(self, width: int, height: int) -> bytes:
        """Put the rectangles of one update together."""
        screen = bytearray(width * height * 4)
        kind, rectangles = struct.unpack("!BxH", self._take(4))
        assert kind == 0
        for _ in range(rectangles):
            x, y, wide, high, encoding = struct.unpack("!HHHHi", self._take(12))
            assert encoding == 0
            for row in range(y, y + high):
                start = (row * width + x) * 4
                screen[start : start + wide * 4] = self._take(wide * 4)
        return bytes(screen)

    def _take(self, length: int) -> bytes:
        while len(self._rest) < length:
            piece = self._receive()
            if not piece:
                raise EOFError("the screen was closed")
            self._rest += piece
        taken, self._rest = self._rest[:length], self._rest[length:]
        return taken


def _answer(password: str, challenge: bytes) -> bytes:
    """VNC's own DES: the password's first eight bytes as the key, each with its bits turned
    round.
    """
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in password.encode()[:8].ljust(8, b"\0"))
    encryptor = Cipher(TripleDES(key * 3), ECB()).encryptor()
    return encryptor.update(challenge) + encryptor.finalize()
