"""The kill-switch: stop what spends, as far as it was allowed to, and put it back as it was."""
