"""Game days: a running product is broken for real, through what it is given, and has to be seen, decided on and mended.

`play` runs a scenario against the rehearsal and measures it; `scenarios` has what is broken, and how; `traffic` asks
the endpoint all the while; `people` do what only people do; `report` tells of it.
"""
