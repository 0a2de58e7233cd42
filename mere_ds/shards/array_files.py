"""`.npy` and `.npz` files of plain numbers, as bytes: equal arrays give equal bytes.

NumPy's own reader parses each header as Python code. Before CPython 3.11.8 that fails now and then on an intact file
while another thread parses any (gh-106905). This one takes only what `npy` writes: no objects, so no pickles.
"""

import io
import re
import zipfile

import numpy as np

_MAGIC = b"\x93NUMPY\x01\x00"
_SHAPE = rb"(?:\d{1,18},(?: \d{1,18}(?:, \d{1,18})*)?)?"
_HEADER = re.compile(
    rb"\{'descr': '([<|][biuf][1248])', 'fortran_order': False, 'shape': \((" + _SHAPE + rb")\), \} *\n"
)


def npy(array: np.ndarray) -> bytes:
    """An array as `.npy`."""
    content = io.BytesIO()
    np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
    return content.getvalue()


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    """Arrays as `.npz`, in this order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), npy(array))  # ZipInfo's own date is fixed
    return buffer.getvalue()


def read_npy(content: bytes) -> np.ndarray:
    """The array of an `.npy`. Raises ValueError for any that `npy` does not write."""
    start = 10 + int.from_bytes(content[8:10], "little")
    header = _HEADER.fullmatch(content[10:start])
    if not content.startswith(_MAGIC) or header is None:
        raise ValueError("not an .npy of plain numbers")
    array = np.frombuffer(content, header[1].decode("ascii"), offset=start)
    return array.reshape([int(size) for size in re.findall(rb"\d+", header[2])]).copy()


def read_npz(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` by name. Raises as `read_npy`, and many kinds if it is no archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name.removesuffix(".npy"): read_npy(archive.read(name)) for name in archive.namelist()}
