from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from rlmaml.base.errors import UserError
from rlmaml.families.rating_files import read_ratings

GENRES = "|".join("1" if index in (1, 5) else "0" for index in range(19))
FILES: dict[str, dict[str, str]] = {
    "u.data": {
        "u.data": "2\t7\t4\t20\n1\t7\t3\t10\n1\t8\t5\t30\n",
        "u.user": "1|24|M|writer|85711\n2|53|F|other|T8H1N\n",
        "u.item": f"7|Café (1995)|01-Jan-1995||http://x|{GENRES}\n8|B (1994)|01-Jan-1994||http://y|{GENRES}\n",
    },
    "ratings.dat": {
        "ratings.dat": "2::7::4::20\n1::7::3::10\n1::8::5::30\n",
        "users.dat": "1::M::18::writer::85711\n2::F::50::other::T8H1N\n",
        "movies.dat": "7::Café (1995)::Action|Sci-Fi\n8::B (1994)::Action|Sci-Fi\n",
    },
    "my.inter": {
        "my.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        "2\t7\t4\t20\n1\t7\t3\t10\n1\t8\t5\t30\n",
        "my.user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
        "1\t24\tM\twriter\t85711\n2\t53\tF\tother\tT8H1N\n",
        "my.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "7\tCafé\t1995\tAction Sci-Fi\n8\tB\t1994\tAction Sci-Fi\n",
    },
}
"""The same ratings in every layout, by the file that holds them."""


def write(folder: Path, files: Mapping[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content.encode("latin-1"))
    return folder


@pytest.mark.parametrize("layout", FILES)
def test_every_layout_says_the_same_of_the_same_ratings(tmp_path: Path, layout: str) -> None:
    folder = write(tmp_path / "mine", FILES[layout])
    for path in (folder, folder / layout):
        table = read_ratings(path)
        assert (table.name, table.users.names, table.items.names) == ("mine", ("1", "2"), ("7", "8"))
        assert (table.who.tolist(), table.what.tolist(), table.ratings.tolist()) == ([0, 1, 0], [0, 0, 1], [3, 4, 5])
        assert dict(table.users.categories) == {
            "age": ("18-24", "50-55"),
            "gender": ("M", "F"),
            "occupation": ("writer", "other"),
            "zip_code": ("8", "T"),
        }
        assert dict(table.items.categories) == {"year": ("1995", "1994")}
        assert [len(flags) for flags in table.items.flags] == [2, 2]
        assert (table.lowest, table.highest) == (1.0, 5.0)


@pytest.mark.parametrize("layout", FILES)
def test_a_missing_file_of_users_is_named(tmp_path: Path, layout: str) -> None:
    users = [name for name in FILES[layout] if "user" in name][0]  # noqa: RUF015
    folder = write(tmp_path / "mine", {name: text for name, text in FILES[layout].items() if name != users})
    with pytest.raises(UserError, match=f"{users} cannot be read: No such file"):
        read_ratings(folder)


@pytest.mark.parametrize(
    ("layout", "name", "content", "error"),
    [
        ("u.data", "u.data", "1\t7\t3\n", "u.data, line 1: there are 3 columns; there must be 4"),
        ("u.data", "u.data", "1\t7\tgood\t1\n", "u.data, line 1: rating and time are good and 1; they must be numbers"),
        ("u.data", "u.data", "1\t7\t4\tnan\n", "u.data, line 1: rating and time are 4 and nan; they must be numbers"),
        ("u.data", "u.data", "1\t7\t6\t1\n", "u.data, line 1: the rating is 6; it must be from 1 to 5"),
        ("u.data", "u.data", "3\t7\t5\t1\n", "u.data, line 1: user 3 is not among the users"),
        ("u.data", "u.data", "\n1\t7\t5\t1\n1\t7\t4\t1\n", "line 3: user 1 rated item 7 already, in u.data, line 2"),
        ("u.data", "u.user", "1|24|M|writer\n", "u.user, line 1: there are 4 columns; there must be 5"),
        ("ratings.dat", "ratings.dat", "", "mine has no ratings"),
        ("my.inter", "my.inter", "1\t7\t5\t1\n", "must begin with a line of columns such as user_id:token"),
        ("my.inter", "my.inter", "user_id:token\titem_id:token\n1\t7\n", "rating is missing"),
        ("my.inter", "my.user", "name:token\n1\n", "my.user must begin with a line of columns"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_refused_by_its_line(
    tmp_path: Path, layout: str, name: str, content: str, error: str
) -> None:
    with pytest.raises(UserError, match=error):
        read_ratings(write(tmp_path / "mine", FILES[layout] | {name: content}))


def test_a_folder_with_no_or_several_files_of_ratings_and_another_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must hold one file of ratings, .*; it has none"):
        read_ratings(write(tmp_path / "empty", {}))
    both = write(tmp_path / "both", FILES["u.data"] | FILES["my.inter"])
    with pytest.raises(UserError, match=r"it has my.inter, u.data. Name the file"):
        read_ratings(both)
    assert len(read_ratings(both / "u.data").ratings) == 3
    with pytest.raises(UserError, match=r"u.user is none of u.data, ratings.dat and NAME.inter"):
        read_ratings(both / "u.user")


def test_another_scale_of_ratings_is_taken_where_it_is_said(tmp_path: Path) -> None:
    files = FILES["ratings.dat"] | {"ratings.dat": "1::7::10::1\n2::7::0.5::1\n"}
    table = read_ratings(write(tmp_path / "mine", files), (0.5, 10.0))
    np.testing.assert_array_equal(table.ratings, [10.0, 0.5])
    assert (table.lowest, table.highest) == (0.5, 10.0)


AGES_OF_1M = {
    "1": "under 18",
    "18": "18-24",
    "25": "25-34",
    "35": "35-44",
    "45": "45-49",
    "50": "50-55",
    "56": "56 and over",
}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_movielens_1m_is_read_as_its_readme_lays_it_out(tmp_path: Path, end: str) -> None:
    """Ages are the first years of their groups, occupations numbers, genres parted by |; numbers of films have gaps."""
    users = [f"{number}::{'MF'[number % 2]}::{age}::{2 * number}::" for number, age in enumerate(AGES_OF_1M, 1)]
    zips = ["48067", "98107-1450", "02460", "00231", "55405", "T8H1N", "9"]
    films = [
        "1::Toy Story (1995)::Animation|Children's|Comedy",
        "73::Misérables, Les (1995)::Drama|Musical",
        "260::Star Wars: Episode IV - A New Hope (1977)::Action|Adventure|Fantasy|Sci-Fi",
        "3952::Contender, The (2000)::Film-Noir",
    ]
    given = ["7::3952::1::1046454590", "1::1::5::978824268", "1::260::4::978300760", "2::73::3::978300760"]
    files = {
        "users.dat": [own + code for own, code in zip(users, zips, strict=True)],
        "movies.dat": films,
        "ratings.dat": given,
    }
    folder = write(tmp_path / "ml-1m", {name: end.join(lines) + end for name, lines in files.items()})
    assert b"\xe9" in (folder / "movies.dat").read_bytes()  # Latin-1
    table = read_ratings(folder)
    assert table.users.names == tuple("1234567")
    assert dict(table.users.categories) == {
        "age": tuple(AGES_OF_1M.values()),
        "gender": tuple("FMFMFMF"),
        "occupation": ("2", "4", "6", "8", "10", "12", "14"),
        "zip_code": tuple("4900" + "5T9"),
    }
    assert table.items.names == ("1", "73", "260", "3952")
    assert table.items.categories["year"] == ("1995", "1995", "1977", "2000")
    assert table.items.flags[0] == {"Animation", "Children's", "Comedy"}
    assert table.items.flags[2] == {"Action", "Adventure", "Fantasy", "Sci-Fi"}
    # in the order of time, and of the file where that is the same
    assert [table.users.names[who] for who in table.who] == ["1", "2", "1", "7"]
    assert [table.items.names[what] for what in table.what] == ["260", "73", "1", "3952"]
    assert table.ratings.tolist() == [4.0, 3.0, 5.0, 1.0]
