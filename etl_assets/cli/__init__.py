"""The `etl-assets` command: one module a sub-command. Heavy imports happen inside commands, so that help is quick."""
