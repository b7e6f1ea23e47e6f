"""`etl-assets` with order lines of which nothing is asked: what validation and audits take is the difference.

What belongs here: that stream without its rules, and the command that loads it. What does not: comparing (`cases`).
"""

from __future__ import annotations

from dataclasses import replace

from etl_assets.streams.base import Contract, Decimal3, Field, Timestamp
from etl_assets.streams.shop import order_lines

COMMAND = ("-c", f"from {__name__} import main; main()")
"""Arguments of Python that run it; by name, so that processes started by it can import the contract."""


class UncheckedLines(Contract):
    """One line of an invoice, whatever it holds; only what decides to which day it belongs has to be there."""

    line_id: str = Field(missing="allow")
    invoice_no: str = Field(missing="allow")
    stock_code: str = Field(missing="allow")
    description: str = Field(missing="allow")
    quantity: int = Field(missing="allow")
    unit_price: Decimal3 = Field(missing="allow")
    amount: Decimal3 = Field(missing="allow")
    invoiced_at: Timestamp = Field()
    customer_id: str = Field(missing="allow", personal="keep")
    country: str = Field(missing="allow")
    is_cancellation: bool = Field(missing="allow")


def main() -> None:
    """Run the command line."""
    order_lines.STREAM = replace(order_lines.STREAM, contract=UncheckedLines, audits=())
    from etl_assets.cli.main import main as command_line

    command_line()
