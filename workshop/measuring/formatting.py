"""How numbers are written for people: in reports, tables, charts and notebooks alike."""


def format_number(value: float) -> str:
    """Three significant digits, or all digits of a whole part that has more: 0.123, 4.5, 1,234."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def format_ratio(ratio: float) -> str:
    """The same with the zeros that say how exact it is: 1.00, 13.5, 175."""
    if ratio < 10:
        return f"{ratio:.2f}"
    return f"{ratio:.1f}" if ratio < 100 else f"{ratio:,.0f}"
