"""``python -m etl_assets``: the same as the command ``etl-assets``.

What belongs here: nothing but the call. What does not: commands and options; they live in
``etl_assets.cli``.
"""

from etl_assets.cli.main import main

if __name__ == "__main__":
    main()
