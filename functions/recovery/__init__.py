"""What an alarm of an endpoint leads to: decide, act, and record it."""
