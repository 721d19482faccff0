"""The monitors' core: what captured data hold, and how far they moved. No AWS in here.

Standard library only; `capture` is faster where msgspec, numpy and orjson can be imported, with the same results.
"""
