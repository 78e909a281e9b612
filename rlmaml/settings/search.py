"""Settings of a search in the context of a policy, on one task, by the returns of whole episodes."""

from dataclasses import dataclass
from typing import Any, Literal

from rlmaml.settings.checks import require, require_kinds, require_positive

SearchKind = Literal["cmaes", "hill-climbing", "gradient"]
DEFAULT_EPISODES = 20


@dataclass(frozen=True)
class SearchSettings:
    """How a context is searched for, and how many episodes of the task that may take."""

    search: SearchKind | None = None
    """Adapt by a search in the context (a policy with --context numbers, or the latent of rma) instead of inner steps:
    cmaes or hill-climbing, which need returns alone, or gradient, which climbs along the context's policy gradient. It
    stays within the range that contexts had in the training, and ends with the best one that it measured."""
    search_episodes: int = DEFAULT_EPISODES
    """Budget of the search in episodes on the task: 5, 10, 20 or 50, say. What is left of it and too little for one
    more attempt is not spent: of 5, --search gradient takes 4."""
    search_average: int | None = None
    """Episodes over which the return of one attempt is averaged; each of them counts. By default 1, or 2 with
    --search gradient, which one episode cannot tell."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        require_kinds(self)
        require_positive(self, "search_episodes")
        require(self, "search_average", self.average > 0, "a number above 0")
        enough = self.search_episodes >= self.average
        require(self, "search_episodes", enough, f"--search-average, {self.average}, or more")
        alone = self.search == "gradient" and self.average == 1
        require(self, "search_average", not alone, "2 or more with --search gradient, which one episode cannot tell")
        if self.search is None:
            require(self, "search_episodes", self.search_episodes == DEFAULT_EPISODES, "left out without --search")
            require(self, "search_average", self.search_average is None, "left out without --search")

    @property
    def average(self) -> int:
        """Episodes of one attempt."""
        return self.search_average if self.search_average is not None else 2 if self.search == "gradient" else 1

    @property
    def attempts(self) -> int:
        """Contexts that are tried, the first one and repeated ones among them: as many as the budget is enough for."""
        return self.search_episodes // self.average

    def as_plain(self) -> dict[str, Any]:
        """What is written of it, with nothing left to a default."""
        return {"search": self.search, "search_episodes": self.search_episodes, "search_average": self.average}
