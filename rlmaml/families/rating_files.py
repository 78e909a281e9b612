"""Files of ratings as users have them: MovieLens-100K's, MovieLens-1M's, and RecBole's atomic files.

====================== ============================================================= ================================
MovieLens-100K         ``u.data`` (tab), ``u.user``, ``u.item`` (|)                  19 genres in ``u.item``
MovieLens-1M           ``ratings.dat``, ``users.dat``, ``movies.dat`` (::)           genres by name
RecBole                ``NAME.inter``, ``NAME.user``, ``NAME.item`` (tab, a header)  ``class`` or ``genre``
====================== ============================================================= ================================

Of users their age group, gender, occupation and the first digit of their zip code are read, of items their year and
genres, as far as there are such columns.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from rlmaml.base.errors import UserError
from rlmaml.families.ratings import Described, RatingTable, Row, age_group, rating_table, zip_region

Read = Callable[[str, str], str]
USER_COLUMNS: Mapping[str, Read] = {
    "age": age_group,
    "gender": lambda value, _: value,
    "occupation": lambda value, _: value,
    "zip_code": lambda value, _: zip_region(value),
}
"""Column of users that is read -> what is made of a value."""
GENRE_COLUMNS, YEAR_COLUMNS = ("class", "genre", "genres"), ("release_year", "year")
NUM_GENRES = 19
"""Columns of ``u.item`` that are flags."""
SCALE = (1.0, 5.0)
"""Lowest and highest rating of MovieLens."""


def read_ratings(path: Path, scale: tuple[float, float] = SCALE) -> RatingTable:
    """The ratings in a folder.

    Args:
        path: of the folder, or of its file of ratings.
        scale: lowest and highest rating that can be given.

    Raises:
        UserError: there is no file of ratings, a file is missing or cannot be read, or a line is not as it should be;
            see :func:`rlmaml.families.ratings.rating_table`.
    """
    folder = path if path.is_dir() else path.parent
    found = [path] if path.is_file() else [*folder.glob("u.data"), *folder.glob("ratings.dat"), *folder.glob("*.inter")]
    if len(found) != 1:
        listed = ", ".join(sorted(each.name for each in found)) or "none"
        raise UserError(
            f"{path} must hold one file of ratings, u.data, ratings.dat or NAME.inter; it has {listed}. Name the file."
        )
    (file,) = found
    readers = {"u.data": movielens_100k, "ratings.dat": movielens_1m}
    if file.suffix != ".inter" and file.name not in readers:
        raise UserError(f"{file} is none of u.data, ratings.dat and NAME.inter.")
    users, items, rows = readers.get(file.name, atomic_files)(file)
    return rating_table(file.parent.name or file.stem, users, items, rows, *scale)


def movielens_100k(file: Path) -> tuple[Described, Described, list[Row]]:
    """``u.data`` and the files beside it."""
    users = [
        (user, {"age": age_group(age, place), "gender": gender, "occupation": job, "zip_code": zip_region(code)}, "")
        for place, (user, age, gender, job, code) in lines_of(file.with_name("u.user"), "|", 5)
    ]
    items = [
        (item, {"year": date[-4:]}, " ".join(str(i) for i, flag in enumerate(flags) if flag == "1"))
        for _, (item, _, date, _, _, *flags) in lines_of(file.with_name("u.item"), "|", 5 + NUM_GENRES)
    ]
    return described(users), described(items), [as_row(*line) for line in lines_of(file, "\t", 4)]


def movielens_1m(file: Path) -> tuple[Described, Described, list[Row]]:
    """``ratings.dat`` and the files beside it."""
    users = [
        (user, {"age": age_group(age, place), "gender": gender, "occupation": job, "zip_code": zip_region(code)}, "")
        for place, (user, gender, age, job, code) in lines_of(file.with_name("users.dat"), "::", 5)
    ]
    items = [
        (item, {"year": year_of(title)}, genres.replace(" ", "-").replace("|", " "))
        for _, (item, title, genres) in lines_of(file.with_name("movies.dat"), "::", 3)
    ]
    return described(users), described(items), [as_row(*line) for line in lines_of(file, "::", 4)]


def atomic_files(file: Path) -> tuple[Described, Described, list[Row]]:
    """``NAME.inter`` and the files beside it, of which each line begins with a user's or an item's name."""
    tables = {ending: atomic_table(file.with_suffix(ending)) for ending in (".inter", ".user", ".item")}
    ratings = tables[".inter"]
    for needed in ("user_id", "item_id", "rating"):
        if ratings and needed not in ratings[0][1]:
            raise UserError(f"{file} has the columns {', '.join(ratings[0][1])}; {needed} is missing.")
    users = [
        (line["user_id"], {name: read(line[name], place) for name, read in USER_COLUMNS.items() if name in line}, "")
        for place, line in tables[".user"]
    ]
    items = [
        (
            line["item_id"],
            {"year": "".join(line.get(name, "") for name in YEAR_COLUMNS)},
            " ".join(line[name] for name in GENRE_COLUMNS if name in line),
        )
        for _, line in tables[".item"]
    ]
    rows = [
        as_row(place, [line["user_id"], line["item_id"], line["rating"], line.get("timestamp", "0")])
        for place, line in ratings
    ]
    return described(users), described(items), rows


def atomic_table(file: Path) -> list[tuple[str, dict[str, str]]]:
    """Place and columns of every line below the header ``name:kind``.

    Raises:
        UserError: the header is none, or a line has another number of columns.
    """
    first = next(iter(text_of(file).split("\n")), "")
    header = [cell.partition(":")[0] for cell in first.split("\t")]
    name = {".user": "user_id", ".item": "item_id"}.get(file.suffix, header[0])
    if ":" not in first or name not in header:
        raise UserError(f"{file} must begin with a line of columns such as user_id:token; it begins with {first!r}.")
    lines = lines_of(file, "\t", len(header))
    next(lines)
    return [(place, dict(zip(header, cells, strict=True))) for place, cells in lines]


def lines_of(file: Path, separator: str, count: int) -> Iterator[tuple[str, list[str]]]:
    """Place and cells of every line that is not empty.

    Raises:
        UserError: a line has another number of cells.
    """
    for number, line in enumerate(text_of(file).split("\n"), 1):
        if line.strip():
            cells = [cell.strip() for cell in line.split(separator)]
            place = f"{file.name}, line {number}"
            if len(cells) != count:
                raise UserError(f"{place}: there are {len(cells)} columns; there must be {count}.")
            yield place, cells


def text_of(file: Path) -> str:
    """What a file says; MovieLens' are in Latin-1.

    Raises:
        UserError: it cannot be read.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}. It belongs to the ratings.") from error
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def as_row(place: str, cells: Sequence[str]) -> Row:
    """A rating from user, item, rating and time.

    Raises:
        UserError: a number is none.
    """
    user, item, *numbers = cells
    try:
        rating, time = map(float, numbers)
        if not math.isfinite(time):
            raise ValueError("it is no time by which ratings could be ordered")
    except ValueError as error:
        raise UserError(f"{place}: rating and time are {' and '.join(numbers)}; they must be numbers.") from error
    return Row(place, user, item, rating, time)


def year_of(title: str) -> str:
    """The year in brackets at the end of a title; empty where there is none."""
    found = re.search(r"\((\d{4})\)$", title)
    return found.group(1) if found else ""


def described(entries: Sequence[tuple[str, Mapping[str, str], str]]) -> Described:
    """Users or items from their names, categories and flags, which are parted by spaces."""
    names = tuple(name for name, _, _ in entries)
    columns = tuple(entries[0][1]) if entries else ()
    categories = {column: tuple(values[column] for _, values, _ in entries) for column in columns}
    return Described(names, categories, tuple(frozenset(flags.split()) for _, _, flags in entries))
