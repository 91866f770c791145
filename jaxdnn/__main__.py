"""``python -m jaxdnn``: the same as the command ``jaxdnn``."""

from jaxdnn.cli import main

if __name__ == "__main__":
    main()
