"""``python -m stkit``, and what ``accelerate launch -m stkit`` starts."""

from stkit.cli.main import main

if __name__ == "__main__":
    main()
