"""A window that shows pictures one after the other."""

import numpy as np
import numpy.typing as npt


class Window:
    """Opened by the first picture, in its size. Needs a display."""

    def __init__(self) -> None:
        self._is_open = False

    def __getstate__(self) -> dict[str, bool]:
        """A copy opens a window of its own."""
        return {"_is_open": False}

    def show(self, picture: npt.NDArray[np.uint8], frames_per_second: int) -> None:
        """Show a picture (height, width, 3), no sooner than 1 / frames_per_second after the one before."""
        import pygame

        if not self._is_open:
            pygame.display.init()
            pygame.display.set_mode((picture.shape[1], picture.shape[0]))
            self._clock = pygame.time.Clock()
            self._is_open = True
        screen = pygame.display.get_surface()
        pygame.surfarray.blit_array(screen, picture.swapaxes(0, 1))
        pygame.event.pump()
        pygame.display.flip()
        self._clock.tick(frames_per_second)

    def close(self) -> None:
        """Close the window; nothing happens if it is not open."""
        if self._is_open:
            import pygame

            pygame.display.quit()
            self._is_open = False
