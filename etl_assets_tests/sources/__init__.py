"""Tests of how rows come in, against real servers on localhost."""
