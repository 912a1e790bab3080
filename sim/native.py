"""Memory contents and stream trace of the simulation this Python runs in: ctypes view of ``sim/rtl/lpu_dpi.cpp``."""

import ctypes

import numpy as np

__all__ = ["WORD_DTYPE", "Native", "NativeError", "pack_words", "unpack_words"]

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


def unpack_words(words):
    """uint32 [n, 5] as data uint8 [n, 16] and check bits uint16 [n]."""
    return np.ascontiguousarray(words[:, :4]).view(np.uint8), words[:, 4].astype(np.uint16)


class Native:
    """Requests to the C++ side. Loads and dumps happen at the rising edges of the top's sim_load and sim_dump."""

    def __init__(self):
        self._lib = ctypes.CDLL(None)  # the simulator executable itself
        self._lib.lpu_dump_get.restype = ctypes.POINTER(ctypes.c_uint32)
        self._lib.lpu_error.restype = ctypes.c_char_p

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

    def take_dump(self):
        """After the edge: {id: (width in bits, uint32 [depth, 5])} of all memories."""
        self.check()
        ids = np.zeros(self._lib.lpu_dump_count(), np.uint32)
        self._lib.lpu_dump_ids(ids.ctypes.data_as(ctypes.c_void_p))
        dump = {int(memory): self._dumped(int(memory)) for memory in sorted(ids)}
        self._lib.lpu_dump_clear()
        return dump

    def _dumped(self, memory):
        width, depth = ctypes.c_int(), ctypes.c_int()
        pointer = self._lib.lpu_dump_get(ctypes.c_uint32(memory), ctypes.byref(width), ctypes.byref(depth))
        return width.value, np.ctypeslib.as_array(pointer, (depth.value, WORDS)).copy()

    def open_trace(self, headers, words):
        """Record driven stream words from now on, in two files."""
        if not self._lib.lpu_trace_open(str(headers).encode(), str(words).encode()):
            raise NativeError(f"cannot open trace files {headers} and {words}")

    def close_trace(self):
        self._lib.lpu_trace_close()
        self.check()
