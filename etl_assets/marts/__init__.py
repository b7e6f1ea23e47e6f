"""Marts: one SQL file per mart, each beginning with a comment that says what it is.

To add a mart, add a file; nothing else has to be touched. See `daily_sales.sql` for the form.
"""
