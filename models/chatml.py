"""ChatML: a conversation as turns, each from a start token to an end token, with the name of the speaker as its first line.

A GGUF file has the form as a program in the template language Jinja. The one program that these models have is recognised
here instead of run, and the system message, its only constant, is taken from it.
"""

import re

from models.llama import ModelError

START, END = "<|im_start|>", "<|im_end|>"
"""Names of the control tokens before and after a turn."""

_TEMPLATE = re.compile(
    re.escape(
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n")
    + r"(?P<system>[^'\\<{}]+)"
    + re.escape(
        "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
)


def system_message(template: str) -> str:
    """The system message that a template puts in front of a conversation that has none.

    Raises `ModelError` for a template of another form.
    """
    found = _TEMPLATE.fullmatch(template)
    if not found:
        raise ModelError(f"the chat template is not the known one of ChatML: {template!r:.200}")
    return found["system"]


def conversation(system: str, message: str) -> list[str]:
    """A message after the system message, up to where the answer begins. A part that is START or END is that control
    token, every other one is text."""
    return [START, f"system\n{system}", END, "\n", START, f"user\n{message}", END, "\n", START, "assistant\n"]
