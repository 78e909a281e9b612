"""Words of messages: singular and plural."""


def counted(number: int, noun: str) -> str:
    """A number of things: ``counted(1, "episode")`` is "1 episode", ``counted(2, "episode")`` "2 episodes"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def in_short(value: object, most: int = 80) -> str:
    """A value as text for a table's cell; what is longer than ``most`` characters is cut, and ends in an ellipsis."""
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"
