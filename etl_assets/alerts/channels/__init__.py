"""Channels: ways to reach people. Each sends one notice and says plainly whether it was acknowledged."""
