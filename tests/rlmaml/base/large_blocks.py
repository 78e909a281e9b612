"""Where the C library takes large blocks from: what a process that keeps freed memory has changed for good."""

import ctypes

LARGE = 1 << 29
"""Bytes for which glibc asks the system each time, unless it is told otherwise; a heap has less to spare."""


class Info(ctypes.Structure):
    """What glibc's ``mallinfo2`` returns."""

    _fields_ = [(f"number{index}", ctypes.c_size_t) for index in range(10)]


def come_from_the_system() -> bool | None:
    """Whether a large block does; None where the C library does not say."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        return None
    library.mallinfo2.restype, library.malloc.restype = Info, ctypes.c_void_p
    library.malloc.argtypes, library.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
    before = library.mallinfo2().number3  # blocks that were asked of the system
    block = library.malloc(LARGE)
    after = library.mallinfo2().number3
    library.free(block)
    return bool(after > before)
