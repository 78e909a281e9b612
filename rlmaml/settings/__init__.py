"""What a user may choose, as frozen dataclasses without torch; each belongs to one owner."""
