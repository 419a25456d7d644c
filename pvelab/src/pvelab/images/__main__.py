"""``python -m pvelab.images [--apt] [CACHE]``: build the guests' images; ``--apt``: print what apt
must install.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pvelab.images.build import ensure_images
from pvelab.images.packages import required_apt_packages


def main(arguments: list[str]) -> None:
    """Build the images, saying what is done on standard error and where they are on standard
    output.
    """
    if "--apt" in arguments:
        print(*required_apt_packages())
        return
    images = ensure_images(
        Path(arguments[0]) if arguments else None, lambda text: print(text, file=sys.stderr)
    )
    print(images.folder)


main(sys.argv[1:])
