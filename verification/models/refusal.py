"""What readers of files say of those that they refuse."""

from collections.abc import Callable
from pathlib import Path

import pytest


def refusal(error: type[Exception], read: Callable[[Path], object], path: Path, content: bytes) -> str:
    """The message with which a file of that content is refused; it begins with the path."""
    path.write_bytes(content)
    with pytest.raises(error) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)
