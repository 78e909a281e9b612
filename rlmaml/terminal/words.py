"""Words of messages: singular and plural."""


def counted(number: int, noun: str) -> str:
    """A number of things: ``counted(1, "episode")`` is "1 episode", ``counted(2, "episode")`` "2 episodes"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
