"""Memory contents, stream trace and flipped bits of the simulation this Python runs in: ctypes view of ``sim/rtl/lpu_dpi.cpp``."""

import ctypes

import numpy as np

from golden.ecc import encode

__all__ = ["WORD_DTYPE", "Native", "NativeError", "checked_words", "pack_words", "unpack_words"]

WORDS = 5  # a memory word of up to 160 bits is passed as 5 x 32 bits, low bits first
WORD_DTYPE = np.dtype("<u4")


class NativeError(RuntimeError):
    """The C++ side refused a request or could not write a file."""


def pack_words(data, check=None):
    """uint8 [n, 16] data and uint16 [n] check bits (0 if omitted) as uint32 [n, 5]."""
    words = np.zeros((len(data), WORDS), WORD_DTYPE)
    words[:, :4] = np.ascontiguousarray(data, np.uint8).view(WORD_DTYPE)
    if check is not None:
        words[:, 4] = check
    return words


def checked_words(data):
    """uint8 [n, 16] data with its check bits as uint32 [n, 5]."""
    return pack_words(data, encode(data))


def unpack_words(words):
    """uint32 [n, 5] as data uint8 [n, 16] and check bits uint16 [n]."""
    return np.ascontiguousarray(words[:, :4]).view(np.uint8), words[:, 4].astype(np.uint16)


class Native:
    """Requests to the C++ side. Loads and dumps happen at the rising edges of the top's sim_load and sim_dump."""

    def __init__(self):
        self._lib = ctypes.CDLL(None)  # the simulator executable itself
        self._lib.lpu_dump_get.restype = ctypes.POINTER(ctypes.c_uint32)
        self._lib.lpu_error.restype = ctypes.c_char_p
        self._wanted = {}

    def check(self):
        """Raise NativeError if anything went wrong since the last check."""
        message = self._lib.lpu_error().decode()
        if message:
            raise NativeError(message)

    def add_load(self, memory, addresses, words):
        """Queue words, uint32 [n, 5], for word addresses, uint32 [n], of the memory with this id."""
        addresses = np.ascontiguousarray(addresses, np.uint32)
        words = np.ascontiguousarray(words, np.uint32)
        if words.shape != (len(addresses), WORDS):
            raise NativeError(f"words of memory {memory} have shape {words.shape}, not {(len(addresses), WORDS)}")
        self._lib.lpu_load_add(ctypes.c_uint32(memory), ctypes.c_uint32(len(addresses)),
                               addresses.ctypes.data_as(ctypes.c_void_p), words.ctypes.data_as(ctypes.c_void_p))

    def finish_load(self):
        """After the edge: raise NativeError if words were left because no memory has their id."""
        left = self._lib.lpu_load_pending()
        self._lib.lpu_load_clear()
        self.check()
        if left:
            raise NativeError(f"{left} memories to be loaded do not exist")

    def want_dump(self, memory, first, count):
        """Ask for consecutive words of the memory with this id."""
        self._lib.lpu_dump_want(ctypes.c_uint32(memory), ctypes.c_uint32(first), ctypes.c_uint32(count))
        self._wanted[memory] = count

    def take_dump(self):
        """After the edge: {id: uint32 [count, 5]} of all memories that were wanted."""
        wanted, self._wanted = self._wanted, {}
        dump = {memory: self._dumped(memory, count) for memory, count in wanted.items()}
        self._lib.lpu_dump_clear()
        self.check()
        missing = [memory for memory, words in dump.items() if words is None]
        if missing:
            raise NativeError(f"{len(missing)} memories to be dumped do not exist, the first is {missing[0]}")
        return dump

    def _dumped(self, memory, count):
        pointer = self._lib.lpu_dump_get(ctypes.c_uint32(memory))
        return np.ctypeslib.as_array(pointer, (count, WORDS)).copy() if pointer else None

    def add_flip(self, cycle, boundary, superlane, stream, bit):
        """Flip a bit of a stream register in one cycle of the next run."""
        self._lib.lpu_flip_add(cycle, boundary, superlane, stream, bit)

    def finish_flips(self):
        """After the run: raise NativeError if flips were left, because there is no such place or the design has no faults."""
        left = self._lib.lpu_flip_clear()
        if left:
            raise NativeError(f"{left} bits were not flipped: no stream register is in that place in that cycle")

    def open_trace(self, headers, words):
        """Record driven stream words from now on, in two files."""
        if not self._lib.lpu_trace_open(str(headers).encode(), str(words).encode()):
            raise NativeError(f"cannot open trace files {headers} and {words}")

    def close_trace(self):
        self._lib.lpu_trace_close()
        self.check()
