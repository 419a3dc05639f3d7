"""Words for numbers of things."""


def count_noun(count: int, noun: str) -> str:
    """A number with its noun, in the plural where it is not one.

    Example:
        >>> count_noun(1, "model"), count_noun(0, "analysis"), count_noun(1200, "image")
        ('1 model', '0 analyses', '1,200 images')
    """
    plural = f"{noun[:-2]}es" if noun.endswith("sis") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"
